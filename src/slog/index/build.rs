//! Makes an index: reads a file from where the index ends, and cuts it into pieces.

use crate::slog::{
    Detail, ReadError, Reader, RecordedEvent,
    index::{
        CrankRange, Index, Indexing,
        key::{Key, keys_of},
        modified,
        quick::{self, Quick},
        segment::{Piece, Reach, Stretch},
        tail_of,
    },
    reader::{Position, RecordingFile},
};

/// Bytes of a frame that are unpacked to come to a place in it, at most. (Recordings of earlier versions are a single frame.)
const FRAME_BYTES_MAX: u64 = 16 << 20;

/// Continues the index up to the end of the file. Returns whether the file is one that can be read from places in it.
pub(super) fn continued(
    index: &mut Index,
    of: &RecordingFile,
    is_last: bool,
    rules: Indexing,
) -> Result<bool, ReadError> {
    let unreadable = |why| ReadError::Open { path: of.path.clone(), why };
    let Reach { open, cranks, .. } = *index.reach();
    let mut reader = Reader::of_files(&of.path, [of.clone()], open.from)?;
    let mut cutter = Cutter {
        open,
        keys: Vec::new(),
        now: open,
        cranks,
        cranks_before: cranks,
        turns: Vec::new(),
        stretch: Stretch::default(),
        first: index.reach().pieces,
    };
    let first_line = crate::slog::reader::first_line(of.number);
    let length = of.length;
    let modified = modified(of).map_err(unreadable)?;
    let reach = |cutter: &mut Cutter, is_all: bool| -> Result<Reach, ReadError> {
        if is_all {
            cutter.close();
        }
        let covered = if is_all { length } else { cutter.open.from.spot.frame };
        let tail = tail_of(of, covered).map_err(unreadable)?;
        let pieces = cutter.first + cutter.stretch.pieces.len() as u64;
        let open = if is_all { Piece { context: cutter.now.context, ..cutter.open } } else { cutter.open };
        Ok(Reach { open, pieces, cranks: cutter.cranks_before, length, modified, tail, is_all })
    };
    while let Some(line) = reader.take_line()? {
        let Some(at) = line.at else { return Ok(false) };
        let begin = cutter.keys.len();
        match quick::read(&line.bytes, &mut |it| cutter.keys.push(it)) {
            Some(Quick::Event(detail)) => cutter.cranks.detail = cutter.cranks.detail.max(detail),
            Some(Quick::Crank(crank)) => {
                cutter.cut(begin, at, rules);
                cutter.begin(at.lines + 1, crank);
                cutter.now.context.crank = Some(Some(crank));
            }
            None => {
                cutter.keys.truncate(begin);
                let Some(record) = reader.record_of(line)? else { break };
                let Some(at) = reader.position() else { return Ok(false) };
                if !record.is_replay() {
                    cutter.cranks.detail = cutter.cranks.detail.max(Detail::of(record.kind()));
                }
                let event = record.event();
                if let RecordedEvent::Start { .. } | RecordedEvent::CrankStart { .. } = event {
                    cutter.cut(begin, at, rules);
                }
                if let RecordedEvent::CrankStart { crank: Some(crank), .. } = event {
                    cutter.begin(record.line - first_line, crank);
                }
                cutter.now.context.add(&record);
                keys_of(&record, &mut |it| cutter.keys.push(it));
            }
        }
        if cutter.open.from.spot.skip > FRAME_BYTES_MAX {
            return Ok(false);
        }
        if cutter.stretch.postings.len() >= rules.postings {
            let reach = reach(&mut cutter, false)?;
            index.append(&mut cutter.stretch, reach).map_err(unreadable)?;
            cutter.next_stretch();
        }
    }
    if reader.end().is_none() {
        return Ok(false);
    }
    let reach = reach(&mut cutter, !is_last)?;
    index.append(&mut cutter.stretch, reach).map_err(unreadable)?;
    Ok(true)
}

/// Cuts the text into pieces, and collects them.
struct Cutter {
    /// The beginning of the piece that is being read.
    open: Piece,
    /// The keys in it so far, some more than once.
    keys: Vec<Key>,
    /// What was told up to what is read; the place in it is not used.
    now: Piece,
    /// The cranks so far, and those before the open piece.
    cranks: CrankRange,
    cranks_before: CrankRange,
    /// The turns in the open piece.
    turns: Vec<(u64, u64)>,
    stretch: Stretch,
    /// The number of pieces before the stretch.
    first: u64,
}

impl Cutter {
    /// Ends the piece before this place, if it is long enough. The keys from `begin` on are of what comes there.
    fn cut(&mut self, begin: usize, at: Position, rules: Indexing) {
        let (from, to) = (self.open.from.spot, at.spot);
        let is_short = from.frame == to.frame && to.skip - from.skip < rules.piece_bytes
            || from.skip == 0 && to.skip == 0 && to.frame - from.frame < rules.piece_bytes;
        if is_short {
            return;
        }
        let next = self.keys.split_off(begin);
        self.close();
        self.keys = next;
        self.open = Piece { from: at, context: self.now.context };
    }

    fn close(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        let number = u32::try_from(self.stretch.pieces.len()).unwrap_or(u32::MAX);
        self.stretch.postings.extend(self.keys.drain(..).map(|it| (it, number)));
        self.stretch.pieces.push(self.open);
        self.stretch.turns.append(&mut self.turns);
        self.cranks_before = self.cranks;
    }

    fn begin(&mut self, line: u64, crank: u64) {
        if self.cranks.begin(line, crank) {
            self.turns.push((line, crank));
        }
    }

    fn next_stretch(&mut self) {
        self.first += self.stretch.pieces.len() as u64;
        self.stretch = Stretch::default();
    }
}
