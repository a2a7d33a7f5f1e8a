//! How long a state keeps the transcripts of its vats: as an operator chooses, and never less than its vats need.
//!
//! A vat needs the deliveries that its heap would be brought back from: those since its snapshot, or since its incarnation began.
//!
//! Invariants: what leaves, and when, is in no hash, and changes no result. It leaves in the transaction of a block, or in one of its own,
//! never more at a time than a bound. With an archive it is in a file there before; what cannot be written there stays.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    state::{
        snapshot::Snapshots,
        table::{Status, Tables},
    },
    store::{Heads, Leaving, Left, MayLeave, SpanFolder, Transaction},
};

/// The transcripts that a host keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Keeps all.
    #[default]
    All,
    /// Keeps what the vats need, and nothing else.
    Needed,
    /// Keeps what the vats need, and the deliveries of this many blocks.
    Blocks(u64),
    /// Keeps what the vats need, and the deliveries of this many days, by the time of the blocks.
    Days(u64),
}

/// Says what a text has to be that it is not.
const FORMS: &str = "`all`, `needed`, `blocks=N` or `days=N`";

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Keep, String> {
        let wrong = || format!("`{text}` is none of {FORMS}");
        match text.split_once('=') {
            None if text == "all" => Ok(Keep::All),
            None if text == "needed" => Ok(Keep::Needed),
            Some(("blocks", number)) => number.parse().map(Keep::Blocks).map_err(|_| wrong()),
            Some(("days", number)) => number.parse().map(Keep::Days).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::All => f.write_str("all"),
            Keep::Needed => f.write_str("needed"),
            Keep::Blocks(blocks) => write!(f, "blocks={blocks}"),
            Keep::Days(days) => write!(f, "days={days}"),
        }
    }
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;
/// The least number of chunks that may leave with a block.
const CHUNKS_MIN: u64 = 16;

/// The most chunks of a span that leaves with a block, and the bytes with which it ends.
const SPAN_MAX: (u64, u64) = (512, 2 << 20);
/// Bytes with which a span ends that leaves where nothing else is done.
const SPAN_BYTES_AT_REST: u64 = 8 << 20;
/// The least chunks that leave with a block into an archive, unless they have so many bytes: there shall not be a million files.
const SPAN_MIN: (u64, u64) = (64, 1 << 20);
/// Blocks from a write that failed to the next that is tried.
const PATIENCE: u64 = 64;

/// News of the archive into which a host writes.
#[derive(Clone, Debug)]
pub enum ArchiveNews {
    /// A span could not be written: until one can, nothing leaves.
    Broken(HostFault),
    /// Spans are written again.
    GoesOn,
}

/// The pruning of a state's transcripts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retention {
    pub(crate) keep: Keep,
    /// The archive that takes what leaves, if there is one.
    pub(crate) archive: Option<SpanFolder>,
    /// What became of the archive since this was asked for.
    pub(crate) news: Option<ArchiveNews>,
    /// The blocks until the archive is tried again, while it cannot be written.
    broken: Option<u64>,
    /// The vat that was looked at last: the others come first.
    cursor: VatId,
}

/// The parts of a state on which it depends what may leave.
pub(crate) struct PastOf<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) snapshots: &'a Snapshots,
    pub(crate) heads: &'a Heads,
}

impl PastOf<'_> {
    /// Returns the first delivery that a vat needs to come back: that behind its snapshot, or that with which its incarnation began. `None`
    /// if there is no such vat alive.
    pub(crate) fn needed(&self, vat: VatId) -> Option<DeliveryNum> {
        let row = self.tables.vats.get(&vat).filter(|it| !matches!(it.status, Status::Terminated { .. }))?;
        // A snapshot that is not of this incarnation is of no use.
        Some(self.snapshots.position(vat).map_or(row.first_delivery, |it| it.max(row.first_delivery)))
    }
}

impl Retention {
    /// Makes the pruning of a state that keeps this much.
    pub(crate) fn of(keep: Keep, archive: Option<SpanFolder>) -> Retention {
        Retention { keep, archive, ..Retention::default() }
    }

    /// Returns the bounds up to which chunks of a vat may leave; `None` if none may.
    fn may_leave(&self, vat: VatId, kept: &PastOf<'_>, chunks: u64, bytes: u64) -> Option<MayLeave> {
        let globals = kept.tables.globals();
        let (height, time) = match self.keep {
            Keep::All => return None,
            Keep::Needed => (BlockHeight(u64::MAX), u64::MAX),
            Keep::Blocks(blocks) => (BlockHeight(globals.height.0.checked_sub(blocks)?), u64::MAX),
            Keep::Days(days) => (BlockHeight(u64::MAX), globals.time.checked_sub(days.saturating_mul(DAY))?),
        };
        Some(MayLeave { needed: kept.needed(vat)?, height, time, chunks, bytes })
    }

    /// Lets chunks leave with the transaction of a block in which `written` others came: some more than those, so that what is to leave
    /// becomes less, but not all at once.
    pub(crate) fn step(
        &mut self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        written: u64,
    ) -> Result<Left, HostFault> {
        if self.keep == Keep::All || self.waits() {
            return Ok(Left::default());
        }
        let (chunks_max, vats_max) = (CHUNKS_MIN.max(written.saturating_mul(2)), written.saturating_add(2));
        let behind = kept.tables.vats.range(VatId(self.cursor.0.saturating_add(1))..).map(|(vat, _)| *vat);
        let around = behind.chain(kept.tables.vats.range(..=self.cursor).map(|(vat, _)| *vat));
        let vats: Vec<VatId> = around.take(usize::try_from(vats_max).unwrap_or(usize::MAX)).collect();
        let mut left = Left::default();
        for vat in vats {
            if left.chunks >= chunks_max {
                break;
            }
            self.cursor = vat;
            left += match self.archive.is_some() {
                false => self.leave(transaction, kept, vat, chunks_max - left.chunks)?,
                true => match self.leave_archived(transaction, kept, vat)? {
                    Some(archived) => archived,
                    None => break,
                },
            };
        }
        Ok(left)
    }

    /// Returns whether the archive could not be written a short while ago, and is not tried again yet.
    fn waits(&mut self) -> bool {
        match &mut self.broken {
            Some(blocks) if *blocks > 0 => {
                *blocks -= 1;
                true
            }
            _ => false,
        }
    }

    /// Lets a span leave with the transaction of a block into the archive, if there is enough for one; `None` if it cannot be written.
    fn leave_archived(
        &mut self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        vat: VatId,
    ) -> Result<Option<Left>, HostFault> {
        let may = self.may_leave(vat, kept, SPAN_MAX.0, SPAN_MAX.1);
        // A block that is undone takes its own chunks back, and others may take their place: none of them is archived with it.
        let before = kept.tables.globals().height.0.checked_sub(1).map(BlockHeight);
        let may = may.zip(before).map(|(may, before)| MayLeave { height: may.height.min(before), ..may });
        let leaving = leaving(transaction, kept, vat, may.as_ref())?;
        let is_enough = |it: &Leaving| it.amount.chunks >= SPAN_MIN.0 || it.amount.bytes >= SPAN_MIN.1;
        let Some(leaving) = leaving.filter(is_enough) else { return Ok(Some(Left::default())) };
        let span = transaction.span(&leaving)?;
        match self.archive.as_ref().map_or(Ok(()), |it| it.put(&span)) {
            Ok(()) => {
                if self.broken.take().is_some() {
                    self.news = Some(ArchiveNews::GoesOn);
                }
                transaction.leave(&leaving).map(Some)
            }
            Err(fault) => {
                if self.broken.replace(PATIENCE).is_none() {
                    self.news = Some(ArchiveNews::Broken(fault));
                }
                Ok(None)
            }
        }
    }

    /// Lets chunks of one vat leave, however few: into the archive, if there is one.
    ///
    /// # Errors
    ///
    /// The archive cannot be written, or the chunks are damaged.
    pub(crate) fn leave(
        &self,
        transaction: &Transaction<'_>,
        kept: &PastOf<'_>,
        vat: VatId,
        chunks: u64,
    ) -> Result<Left, HostFault> {
        let bytes = if self.archive.is_some() { SPAN_BYTES_AT_REST } else { u64::MAX };
        let may = self.may_leave(vat, kept, chunks, bytes);
        let Some(leaving) = leaving(transaction, kept, vat, may.as_ref())? else { return Ok(Left::default()) };
        if let Some(archive) = &self.archive {
            archive.put(&transaction.span(&leaving)?)?;
        }
        transaction.leave(&leaving)
    }
}

/// The chunks of a vat that may leave.
fn leaving(
    transaction: &Transaction<'_>,
    kept: &PastOf<'_>,
    vat: VatId,
    may: Option<&MayLeave>,
) -> Result<Option<Leaving>, HostFault> {
    match (may, kept.heads.get(vat)) {
        (Some(may), Some(last)) => transaction.leaving(vat, may, last, kept.tables.globals().height),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_what_is_kept_or_is_refused_with_the_forms_that_there_are() {
        for keep in [Keep::All, Keep::Needed, Keep::Blocks(7), Keep::Days(0)] {
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        for text in ["", "some", "blocks", "blocks=", "days=-1", "needed=1"] {
            assert_eq!(text.parse::<Keep>(), Err(format!("`{text}` is none of {FORMS}")));
        }
    }
}
