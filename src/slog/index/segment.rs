//! The file of an index: segments one behind the other, each with the pieces of a stretch of the recording.
//!
//! ```text
//!   index    head, segment, segment …
//!   segment  header (numbers, and what the recording has told up to its end), pieces, postings, turns
//! ```
//!
//! A *posting* is a key and the piece that has it; they are sorted, and searched in the file. A segment counts once its header is
//! written, which is last.

use std::{fs::File, io, os::unix::fs::FileExt};

use crate::slog::{
    Detail,
    index::{
        key::Key,
        state::{Context, CrankRange},
    },
    reader::Position,
    text::Spot,
};

const MAGIC: u64 = u64::from_le_bytes(*b"slogidx1");

/// Numbers of a segment's header, with its checksum.
const HEADER_WORDS: usize = 40;
pub(super) const HEADER_BYTES: u64 = HEADER_WORDS as u64 * 8;
/// Numbers of a piece.
const PIECE_WORDS: usize = 12;
const PIECE_BYTES: u64 = PIECE_WORDS as u64 * 8;
const POSTING_BYTES: u64 = 8;

/// A piece of a recording: its beginning, and what was told before. It begins with the beginning of a crank, or the start of a host,
/// unless it is the first of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Piece {
    pub(crate) from: Position,
    pub(crate) context: Context,
}

/// The end of what is in an index, and what the file has told up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    /// The piece that is not in the index yet.
    pub(crate) open: Piece,
    /// The number of pieces before it.
    pub(crate) pieces: u64,
    pub(crate) cranks: CrankRange,
    /// The bytes and the modification time of the file when this was found, and the hash of what is before the open piece.
    pub(super) length: u64,
    pub(super) modified: u64,
    pub(super) tail: [u64; 2],
    /// Whether the whole file is in the index.
    pub(crate) is_all: bool,
}

/// A stretch of a recording, in memory while it is collected.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) pieces: Vec<Piece>,
    pub(super) postings: Vec<(Key, u32)>,
    /// The lines at which the crank numbers turn back, and to which crank.
    pub(super) turns: Vec<(u64, u64)>,
}

/// A stretch of a recording, in the file.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The offset of its pieces.
    at: u64,
    pub(super) first: u64,
    pub(super) pieces: u64,
    postings: u64,
    pub(super) turns: Vec<(u64, u64)>,
}

impl Segment {
    /// Writes a stretch at this offset; returns the segment, and its end.
    pub(super) fn write(
        file: &File,
        at: u64,
        first: u64,
        stretch: &mut Stretch,
        reach: &Reach,
    ) -> io::Result<(Segment, u64)> {
        stretch.postings.sort_unstable();
        stretch.postings.dedup();
        let (pieces, postings) = (stretch.pieces.len() as u64, stretch.postings.len() as u64);
        let turns = std::mem::take(&mut stretch.turns);
        let mut body = Vec::new();
        for piece in &stretch.pieces {
            let mut words = Words::default();
            words.piece(piece);
            words.append_to(PIECE_WORDS, &mut body);
        }
        for (key, piece) in &stretch.postings {
            body.extend_from_slice(&key.to_le_bytes());
            body.extend_from_slice(&piece.to_le_bytes());
        }
        turns.iter().flat_map(|(line, crank)| [line, crank]).for_each(|it| body.extend_from_slice(&it.to_le_bytes()));
        file.write_all_at(&body, at + HEADER_BYTES)?;
        // If the machine stops in between, no header may stand before a body that is not there.
        file.sync_data()?;
        let mut words = Words::default();
        words.0.extend([MAGIC, first, pieces, postings, turns.len() as u64]);
        words.reach(reach);
        let mut header = Vec::new();
        words.append_to(HEADER_WORDS - 1, &mut header);
        header.extend_from_slice(&checksum(&header).to_le_bytes());
        file.write_all_at(&header, at)?;
        let end = at + HEADER_BYTES + body.len() as u64;
        Ok((Segment { at: at + HEADER_BYTES, first, pieces, postings, turns }, end))
    }

    /// Reads the segment at this offset of a file of this length; `None` if there is no whole one.
    pub(super) fn read(file: &File, at: u64, length: u64) -> io::Result<Option<(Segment, Reach, u64)>> {
        let mut header = [0; HEADER_WORDS * 8];
        if length < at.saturating_add(HEADER_BYTES) {
            return Ok(None);
        }
        file.read_exact_at(&mut header, at)?;
        let (told, sum) = header.split_at(header.len() - 8);
        let mut words = Words::read(told);
        let [magic, first, pieces, postings, turns] = [(); 5].map(|()| words.next());
        if checksum(told).to_le_bytes() != *sum || magic != MAGIC {
            return Ok(None);
        }
        let reach = words.next_reach();
        let body = pieces * PIECE_BYTES + postings * POSTING_BYTES;
        let end = at + HEADER_BYTES + body + turns * 16;
        if length < end {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(turns * 16).unwrap_or(0)];
        file.read_exact_at(&mut bytes, at + HEADER_BYTES + body)?;
        let mut words = Words::read(&bytes);
        let turns = (0..turns).map(|_| (words.next(), words.next())).collect();
        Ok(Some((Segment { at: at + HEADER_BYTES, first, pieces, postings, turns }, reach, end)))
    }

    /// Reads one of its pieces, by its number in the segment.
    pub(super) fn piece(&self, file: &File, number: u64) -> io::Result<Piece> {
        let mut bytes = [0; PIECE_WORDS * 8];
        file.read_exact_at(&mut bytes, self.at + number * PIECE_BYTES)?;
        Ok(Words::read(&bytes).next_piece())
    }

    /// Returns the first piece from this one on that has the key, by their numbers in the segment.
    pub(super) fn next(&self, file: &File, key: Key, from: u32) -> io::Result<Option<u32>> {
        let at = self.lower_bound(file, (key, from))?;
        Ok(self.posting(file, at)?.filter(|(it, _)| *it == key).map(|(_, piece)| piece))
    }

    /// Returns the last piece before this one that has the key, by their numbers in the segment.
    pub(super) fn previous(&self, file: &File, key: Key, before: u32) -> io::Result<Option<u32>> {
        let Some(at) = self.lower_bound(file, (key, before))?.checked_sub(1) else { return Ok(None) };
        Ok(self.posting(file, at)?.filter(|(it, _)| *it == key).map(|(_, piece)| piece))
    }

    /// Returns the number of postings that are less than this one.
    fn lower_bound(&self, file: &File, wanted: (Key, u32)) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.postings);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.posting(file, middle)?.is_some_and(|it| it < wanted) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn posting(&self, file: &File, at: u64) -> io::Result<Option<(Key, u32)>> {
        if at >= self.postings {
            return Ok(None);
        }
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, self.at + self.pieces * PIECE_BYTES + at * POSTING_BYTES)?;
        let [a, b, c, d, rest @ ..] = bytes;
        Ok(Some((Key::from_le_bytes([a, b, c, d]), u32::from_le_bytes(rest))))
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    hash(bytes)[0]
}

pub(super) fn hash(bytes: &[u8]) -> [u64; 2] {
    let mut words = Words::read(&blake3::hash(bytes).as_bytes()[..16]);
    [words.next(), words.next()]
}

/// Numbers, as they are written one behind the other.
#[derive(Debug, Default)]
struct Words(Vec<u64>);

impl Words {
    fn append_to(self, count: usize, out: &mut Vec<u8>) {
        debug_assert!(self.0.len() <= count, "{} of {count}", self.0.len());
        self.0.iter().chain(std::iter::repeat(&0)).take(count).for_each(|it| out.extend_from_slice(&it.to_le_bytes()));
    }

    /// They are then taken from the end.
    fn read(bytes: &[u8]) -> Words {
        let words =
            bytes.chunks_exact(8).map(|it| it.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        Words(words.rev().collect())
    }

    fn next(&mut self) -> u64 {
        self.0.pop().unwrap_or(0)
    }

    fn position(&mut self, it: &Position) {
        self.0.extend([it.spot.frame, it.spot.skip, it.lines]);
    }

    fn next_position(&mut self) -> Position {
        Position { spot: Spot { frame: self.next(), skip: self.next() }, lines: self.next() }
    }

    fn piece(&mut self, it: &Piece) {
        let Context { block, open, committed, crank } = it.context;
        self.position(&it.from);
        let time = block.flatten().and_then(|(_, time)| time);
        let block = block.map(|it| it.map(|(height, _)| height));
        let depth = |it: &Option<Option<u64>>| u64::from(it.is_some()) + u64::from(it.flatten().is_some());
        let known = [block, open, committed, crank, Some(time)];
        self.0.push(known.iter().fold(0, |all, it| all * 3 + depth(it)));
        self.0.extend(known.map(|it| it.flatten().unwrap_or(0)));
    }

    fn next_piece(&mut self) -> Piece {
        let from = self.next_position();
        let mut depths = self.next();
        let values = [(); 5].map(|()| self.next());
        let mut known = [None; 5];
        for (it, value) in known.iter_mut().zip(values).rev() {
            *it = match depths % 3 {
                0 => None,
                1 => Some(None),
                _ => Some(Some(value)),
            };
            depths /= 3;
        }
        let [block, open, committed, crank, time] = known;
        let block = block.map(|it| it.map(|height| (height, time.flatten())));
        Piece { from, context: Context { block, open, committed, crank } }
    }

    fn pair(&mut self, it: Option<(u64, u64)>) {
        let (one, other) = it.unwrap_or_default();
        self.0.extend([u64::from(it.is_some()), one, other]);
    }

    fn next_pair(&mut self) -> Option<(u64, u64)> {
        let [is_some, one, other] = [(); 3].map(|()| self.next());
        (is_some > 0).then_some((one, other))
    }

    fn reach(&mut self, it: &Reach) {
        self.piece(&it.open);
        let cranks = &it.cranks;
        self.0.extend([it.pieces, it.length, it.modified, it.tail[0], it.tail[1], u64::from(it.is_all)]);
        self.0.extend([cranks.next, cranks.detail as u64]);
        self.pair(cranks.first);
        self.pair(cranks.extent);
    }

    fn next_reach(&mut self) -> Reach {
        let open = self.next_piece();
        let [pieces, length, modified, one, other, is_all, next, detail] = [(); 8].map(|()| self.next());
        let detail = [Detail::None, Detail::Cranks, Detail::Deliveries, Detail::Syscalls]
            .into_iter()
            .find(|it| *it as u64 == detail)
            .unwrap_or_default();
        let (first, extent) = (self.next_pair(), self.next_pair());
        let cranks = CrankRange { first, next, extent, detail };
        Reach { open, pieces, cranks, length, modified, tail: [one, other], is_all: is_all > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_as_it_was_written_and_searched_by_key() {
        let known = [None, Some(None), Some(Some(7))];
        let mut pieces = Vec::new();
        for block in [None, Some(None), Some(Some((3, None))), Some(Some((3, Some(9))))] {
            for open in known {
                for committed in known {
                    let context = Context { block, open, committed, crank: known[pieces.len() % 3] };
                    let spot = Spot { frame: pieces.len() as u64, skip: 5 };
                    pieces.push(Piece { from: Position { spot, lines: 6 }, context });
                }
            }
        }
        let count = u32::try_from(pieces.len()).expect("few");
        let postings = (0..count).rev().flat_map(|it| [(it % 5, it), (100, it)]).collect();
        let cranks = CrankRange { first: Some((1, 2)), next: 3, extent: Some((4, 5)), detail: Detail::Deliveries };
        let reach = Reach { open: pieces[9], pieces: 36, cranks, length: 1, modified: 2, tail: [3, 4], is_all: true };
        let mut stretch = Stretch { pieces: pieces.clone(), postings, turns: vec![(8, 9)] };
        let file = tempfile::tempfile().expect("a file");
        let (_, end) = Segment::write(&file, 24, 11, &mut stretch, &reach).expect("written");
        let (segment, read, read_end) = Segment::read(&file, 24, end).expect("read").expect("whole");
        assert_eq!((read, read_end, segment.first, &segment.turns[..]), (reach, end, 11, &[(8, 9)][..]));
        for (at, piece) in pieces.iter().enumerate() {
            assert_eq!(segment.piece(&file, at as u64).expect("read"), *piece);
        }
        for key in [0, 4, 5, 100, 101] {
            let has = |it: &u32| key == 100 || key < 5 && it % 5 == key;
            for at in 0..=count {
                let next = segment.next(&file, key, at).expect("read");
                assert_eq!(next, (at..count).find(has), "{key} from {at}");
                let previous = segment.previous(&file, key, at).expect("read");
                assert_eq!(previous, (0..at).rev().find(has), "{key} before {at}");
            }
        }
        assert!(Segment::read(&file, 24, end - 1).expect("read").is_none());
        assert!(Segment::read(&file, 16, end).expect("read").is_none());
    }
}
