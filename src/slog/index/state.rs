//! What a recording has told up to a place in it, as far as readers that begin there need it.

use crate::slog::{Detail, Record, RecordedEvent};

/// The things that are under way at a place. Outermost, `None` means: nothing in the file before it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Context {
    /// The height and time of the block that began last.
    pub(crate) block: Option<Option<(u64, Option<u64>)>>,
    /// The height of the block that is open.
    pub(crate) open: Option<Option<u64>>,
    /// The block that was committed last.
    pub(crate) committed: Option<Option<u64>>,
    /// The crank that began last.
    pub(crate) crank: Option<Option<u64>>,
}

impl Context {
    pub(crate) fn add(&mut self, record: &Record) {
        match record.event() {
            RecordedEvent::Start { height } => {
                (self.block, self.open, self.crank) = (Some(None), Some(None), Some(None));
                self.committed = height.map(Some).or(self.committed);
            }
            RecordedEvent::BeginBlock { height, time } => {
                (self.block, self.open) = (Some(height.map(|it| (it, time))), Some(height));
            }
            RecordedEvent::CommitFinish { height } => {
                // That of another block may stand behind the beginning of the one that is open.
                if !matches!(self.open, Some(Some(_)) if self.open != Some(height)) {
                    self.open = Some(None);
                }
                self.committed = Some(height);
            }
            RecordedEvent::CrankStart { crank, .. } => self.crank = Some(crank),
            _ => (),
        }
    }

    /// Returns what is known after both.
    pub(crate) fn then(self, later: Context) -> Context {
        Context {
            block: later.block.or(self.block),
            open: later.open.or(self.open),
            committed: later.committed.or(self.committed),
            crank: later.crank.or(self.crank),
        }
    }
}

/// The cranks of a file, up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CrankRange {
    /// The line of the first crank, and the crank.
    pub(crate) first: Option<(u64, u64)>,
    /// The crank after the last one.
    pub(crate) next: u64,
    /// The lowest crank and the highest.
    pub(crate) extent: Option<(u64, u64)>,
    /// The detail of the events.
    pub(crate) detail: Detail,
}

impl CrankRange {
    /// Takes a crank that begins at this line, and returns whether the numbers turn back there.
    pub(crate) fn begin(&mut self, line: u64, crank: u64) -> bool {
        let turns = crank < self.next;
        self.first = self.first.or(Some((line, crank)));
        self.next = crank.saturating_add(1);
        self.extent = Some(self.extent.map_or((crank, crank), |(low, high)| (low.min(crank), high.max(crank))));
        turns
    }
}
