//! The tail of a state: what each of the last blocks appended, a row a block, until it is dealt out.
//!
//! ```text
//!   table `tail`:  block 7 │ its mark, those of its cranks │ v1 d3 d4, v2 d9 ─┐                   table `block`:  7, 8, 9   `crank_mark`
//!                  block 8 │ …                             │ v2 d10 ──────────┼─ it is full ─▶   table `transcript`:  v1 d3 d4 d5 │ v2 d9 d10
//!                  block 9 │ …                             │ v1 d5 ───────────┘
//! ```
//!
//! So a block writes one page, and not one of each of those tables; and where it delivers to a thousand vats not a thousand of the index
//! by which their chunks are found.
//!
//! Invariants:
//! * A delivery stands in the tail or in a chunk of its vat, never in both; what the tail has of a vat goes on where its chunks end. The
//!   same holds for the marks of blocks and cranks. Of a block that was open the last row counts.
//! * The checksum of a row is that of all that is in it, and the checksum of the row before; the facts attest the last one.
//! * All of it is in memory, too: a vat that comes back does not read the rows of all the others.
//! * When it is dealt out depends on what was committed alone. Where transcripts may leave the state it is with each block.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, CrankNum, DeliveryNum, VatId},
    },
    store::{
        database::{Database, Transaction},
        fold::CrankMark,
        hash::{Digest, RowHash, StateHash},
        history::{self, Append, Chunk, Heads, OfBlock, missing, reading},
        mark::{BlockMark, MARK_BYTES},
        packed::{PLAIN, Packer, unpack},
        proof::{DAMAGED, Proof},
        size::TranscriptSize,
    },
};

const TABLE: &str = "tail";

/// `marks` are those of the cranks, of which the last is before `next_crank`. `entries` holds how many pieces there are, the vat, first and
/// next delivery, and length of each, and their entries.
pub(super) const LAYOUT: &str =
    "CREATE TABLE tail (id INTEGER PRIMARY KEY, height INTEGER NOT NULL, time INTEGER NOT NULL,
                         next_crank INTEGER NOT NULL, state_hash BLOB NOT NULL, marks BLOB NOT NULL,
                         checksum INTEGER NOT NULL, entries BLOB NOT NULL);";

/// Bytes of entries and of marks of cranks with which the tail is full: what a host holds in memory, and reads when it is opened.
const TAIL_BYTES: usize = 4 << 20;
/// Rows with which it is full, however short they are.
const TAIL_ROWS: u64 = 4_096;
/// Bytes of entries in one chunk, except if one entry is larger.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of entries of several blocks that are put together in one chunk: who wants one of them unpacks all.
const TOGETHER_BYTES: usize = 64 << 10;

/// Some deliveries of one block to a vat, and the place of their entries in the bytes of the tail.
#[derive(Clone, Copy, Debug)]
struct TailPiece {
    first: DeliveryNum,
    next: DeliveryNum,
    begin: usize,
    end: usize,
    of: OfBlock,
}

/// The end of a block, or of what was run of one: what a commit appends, besides the entries of transcripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendedBlock<'a> {
    /// The place where the chain stands.
    pub mark: BlockMark,
    /// The time of the block.
    pub time: u64,
    /// The marks of the cranks since the last commit.
    pub cranks: &'a [CrankMark],
    /// Whether the block may have a mark already, since it was open.
    pub has_mark: bool,
    /// Whether all of it may stay in the tail: nothing of the transcripts leaves the state.
    pub gathers: bool,
}

/// The row of a block, without the entries of transcripts.
struct TailRow {
    id: u64,
    mark: BlockMark,
    time: u64,
    cranks: Vec<u8>,
}

impl TailRow {
    /// The checksum of the row behind one with the checksum `before`; 0 stands for none.
    fn checksum(&self, before: i64, entries: &[u8]) -> i64 {
        let BlockMark { height, next_crank, state_hash } = self.mark;
        let numbers = [self.id, before.cast_unsigned(), height.0, self.time, next_crank.0].map(u64::to_le_bytes);
        let [id, before, height, time, next_crank] = numbers.each_ref().map(|it| &it[..]);
        let parts = [id, before, height, time, next_crank, &state_hash.0, &self.cranks, entries];
        RowHash::of_parts(TABLE, &parts).checksum()
    }

    /// The first of its cranks, as it is stored.
    fn first_crank(&self) -> i64 {
        let cranks = (self.cranks.len() / MARK_BYTES) as u64;
        self.mark.next_crank.0.cast_signed().saturating_sub_unsigned(cranks)
    }
}

/// The records that the last blocks appended: deliveries, and marks.
#[derive(Debug, Default)]
pub(super) struct BlockTail {
    bytes: Vec<u8>,
    /// The pieces of each vat, in order.
    vats: BTreeMap<VatId, Vec<TailPiece>>,
    /// Those of the block that is being written, in order: they are not among the others yet.
    open: Vec<(VatId, TailPiece)>,
    blocks: Vec<BlockMark>,
    /// The marks of cranks that follow each other, behind the number of the first.
    cranks: Vec<(i64, Vec<u8>)>,
    rows: u64,
    /// The checksum of the last row.
    checksum: i64,
    packer: Packer,
}

impl BlockTail {
    /// Returns the number of a vat's next delivery, if it has any here.
    pub(super) fn next(&self, vat: VatId) -> Option<DeliveryNum> {
        self.vats.get(&vat)?.last().map(|it| it.next)
    }

    /// Returns whether this delivery to a vat is here, and so all behind it.
    pub(super) fn has(&self, vat: VatId, number: DeliveryNum) -> bool {
        self.vats.get(&vat).and_then(|it| it.first()).is_some_and(|it| it.first <= number)
    }

    /// Iterates over the vats that have deliveries here.
    pub(super) fn vats(&self) -> impl Iterator<Item = VatId> {
        self.vats.keys().copied()
    }

    /// Returns the hash that stands in the facts for all of it, if there is any.
    pub(super) fn hash(&self) -> Option<RowHash> {
        let numbers = [self.rows, self.checksum.cast_unsigned()].map(u64::to_le_bytes);
        (self.rows > 0).then(|| RowHash::of_parts(TABLE, &numbers.each_ref().map(|it| &it[..])))
    }

    /// Returns what is here of a vat's deliveries from `from` on.
    pub(super) fn chunk(&self, vat: VatId, from: DeliveryNum) -> Option<Chunk> {
        let pieces = self.vats.get(&vat)?;
        let pieces = &pieces[pieces.partition_point(|it| it.next <= from)..];
        let (first, next) = (pieces.first()?.first, pieces.last()?.next);
        let entries = [&PLAIN[..]].into_iter().chain(pieces.iter().map(|it| self.entries(it)));
        Some(Chunk { first, next, entries: entries.collect::<Vec<_>>().concat() })
    }

    /// Adds up what is here of a vat, as if each block had a chunk of its own: what is of blocks after `since` is recent, what comes before
    /// `needed` and is not the last is not needed.
    pub(super) fn add_size(&self, vat: VatId, since: BlockHeight, needed: DeliveryNum, size: &mut TranscriptSize) {
        let end = self.next(vat);
        for it in self.vats.get(&vat).into_iter().flatten() {
            let bytes = (PLAIN.len() + self.entries(it).len()) as u64;
            size.deliveries += it.next.0 - it.first.0;
            size.bytes += bytes;
            size.recent += if it.of.0 > since { bytes } else { 0 };
            size.unneeded += if it.next <= needed && Some(it.next) != end { bytes } else { 0 };
        }
    }

    fn entries(&self, piece: &TailPiece) -> &[u8] {
        &self.bytes[piece.begin..piece.end]
    }

    /// Appends an entry of the block that is being written; `next` is the number that the vat's next one has to have. Those of a vat come
    /// one behind the other.
    pub(super) fn append(
        &mut self,
        of: OfBlock,
        (vat, number): (VatId, DeliveryNum),
        next: impl FnOnce(&BlockTail) -> DeliveryNum,
        entry: &[u8],
    ) -> Result<(), HostFault> {
        let begin = self.bytes.len();
        let end = begin + entry.len();
        let mine = self.open.last().filter(|it| it.0 == vat);
        let next = mine.map_or_else(|| next(self), |it| it.1.next);
        if next != number {
            return Err(HostFault::new("write a transcript", format!("{next} is the next of {vat}, and not {number}")));
        }
        match self.open.last_mut() {
            Some((last, it)) if *last == vat && end - it.begin <= CHUNK_BYTES => {
                (it.next, it.end) = (number.next(), end);
            }
            _ => self.open.push((vat, TailPiece { first: number, next: number.next(), begin, end, of })),
        }
        self.bytes.extend_from_slice(entry);
        Ok(())
    }

    /// Ends the block that was being written.
    fn close(&mut self) {
        for (vat, piece) in self.open.drain(..) {
            self.vats.entry(vat).or_default().push(piece);
        }
    }

    /// Adds the marks of a block, and takes back that of the same block, if there is one.
    fn put_marks(&mut self, row: &TailRow) -> Option<BlockMark> {
        let old = self.blocks.pop_if(|it| it.height == row.mark.height);
        self.blocks.push(row.mark);
        let first = row.first_crank();
        match self.cranks.last_mut() {
            Some((begin, marks)) if begin.saturating_add_unsigned((marks.len() / MARK_BYTES) as u64) == first => {
                marks.extend_from_slice(&row.cranks);
            }
            _ if row.cranks.is_empty() => (),
            _ => self.cranks.push((first, row.cranks.clone())),
        }
        old
    }

    /// Returns whether the block that is being written can stay.
    fn has_room(&self) -> bool {
        let marks: usize = self.cranks.iter().map(|(_, marks)| marks.len()).sum();
        self.bytes.len() + marks <= TAIL_BYTES && self.rows < TAIL_ROWS
    }

    /// Returns the row of the block that is being written.
    fn pack(&mut self) -> Result<&[u8], HostFault> {
        let begin = self.open.first().map_or(self.bytes.len(), |(_, it)| it.begin);
        let mut numbers = (self.open.len() as u64).to_le_bytes().to_vec();
        for (vat, it) in &self.open {
            let of = [vat.0, it.first.0, it.next.0, (it.end - it.begin) as u64].map(u64::to_le_bytes);
            numbers.extend_from_slice(of.as_flattened());
        }
        self.packer.pack([&numbers[..], &self.bytes[begin..]].into_iter())
    }

    /// Forgets all of it.
    fn clear(&mut self) {
        self.vats.clear();
        self.blocks.clear();
        self.cranks.clear();
        self.bytes.clear();
        self.bytes.shrink_to(2 * TAIL_BYTES);
        (self.rows, self.checksum) = (0, 0);
    }
}

/// Some deliveries of one block to a vat, as they are stored.
struct StoredPiece<'a> {
    vat: VatId,
    first: DeliveryNum,
    next: DeliveryNum,
    entries: &'a [u8],
}

/// The pieces of a row; `None` if it cannot be one.
fn pieces(row: &[u8]) -> Option<Vec<StoredPiece<'_>>> {
    let (count, rest) = row.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(4 * 8)?;
    let (numbers, mut entries) = rest.split_at_checked(length)?;
    let mut pieces = Vec::new();
    for [vat, first, next, length] in numbers.as_chunks().0.as_chunks().0 {
        let [vat, first, next, length] = [vat, first, next, length].map(|it| u64::from_le_bytes(*it));
        let (mine, others) = entries.split_at_checked(usize::try_from(length).ok()?)?;
        let (vat, first, next) = (VatId(vat), DeliveryNum(first), DeliveryNum(next));
        pieces.push(StoredPiece { vat, first, next, entries: mine });
        entries = others;
    }
    entries.is_empty().then_some(pieces)
}

/// The columns of a row, but for its checksum and its entries.
const COLUMNS: &str = "id, height, time, next_crank, state_hash, marks";

/// Reads those columns.
fn row_of(row: &Row<'_>) -> rusqlite::Result<TailRow> {
    let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let (height, next_crank) = (BlockHeight(number(1)?), CrankNum(number(3)?));
    let mark = BlockMark { height, next_crank, state_hash: StateHash(row.get(4)?) };
    Ok(TailRow { id: number(0)?, mark, time: number(2)?, cranks: row.get(5)? })
}

/// The marks of the last blocks and of their cranks, of each run of them the number of the first.
pub(super) type TailMarks = (Vec<BlockMark>, Vec<(i64, Vec<u8>)>);

/// Reads the marks that are in the tail, as they are stored: [`read`] proves them.
pub(super) fn marks(connection: &Connection) -> rusqlite::Result<TailMarks> {
    let mut tail = BlockTail::default();
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM tail ORDER BY id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tail.put_marks(&row_of(row)?);
    }
    Ok((tail.blocks, tail.cranks))
}

/// Reads the tail behind these ends of the chunks, each row against its checksum and the row before it.
pub(super) fn read(database: &Database, heads: &mut Heads) -> Result<(), HostFault> {
    let what = "read the tail of the state";
    let failed = |err| database.failed(what, &err);
    let connection = database.connection.lock();
    let sql = format!("SELECT {COLUMNS}, checksum, entries FROM tail ORDER BY id");
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(stored) = rows.next().map_err(failed)? {
        let row = row_of(stored).map_err(failed)?;
        let (id, of) = (row.id, (row.mark.height, row.time));
        let sum: i64 = stored.get(6).map_err(failed)?;
        let entries = stored.get_ref(7).and_then(|it| Ok(it.as_blob()?)).map_err(failed)?;
        let damaged = |why: &str| database.damaged(format_args!("{what}, row {id}"), why, TABLE);
        if id != heads.tail.rows + 1 || sum != row.checksum(heads.tail.checksum, entries) {
            return Err(damaged(DAMAGED));
        }
        let entries = unpack(entries).map_err(|err| damaged(&err.why))?;
        for StoredPiece { vat, first, next, entries } in
            pieces(&entries).ok_or_else(|| damaged("its pieces are not whole"))?
        {
            let end = heads.next(vat);
            if end != first || next <= first {
                return Err(database.damaged(reading(vat, first), missing(end), history::TABLE));
            }
            let begin = heads.tail.bytes.len();
            heads.tail.bytes.extend_from_slice(entries);
            let piece = TailPiece { first, next, begin, end: heads.tail.bytes.len(), of };
            heads.tail.vats.entry(vat).or_default().push(piece);
        }
        heads.tail.put_marks(&row);
        (heads.tail.rows, heads.tail.checksum) = (id, sum);
    }
    Ok(())
}

impl Transaction<'_> {
    /// Appends a block: its mark and those of its cranks, and to the transcripts all entries that `each` hands over, vat by vat. Deals the
    /// tail out if it is full, or nothing may stay there. Returns the number of chunks of transcripts that were written then.
    pub fn put_block(
        &self,
        block: &AppendedBlock<'_>,
        heads: &mut Heads,
        proof: &mut Proof,
        each: impl FnOnce(&mut Append<'_>) -> Result<(), HostFault>,
    ) -> Result<u64, HostFault> {
        let &AppendedBlock { mark, time, cranks, has_mark, gathers } = block;
        heads.append((mark.height, time), each)?;
        let cranks = cranks.iter().flat_map(|it| it.0.to_le_bytes()).collect();
        let row = TailRow { id: heads.tail.rows + 1, mark, time, cranks };
        match heads.tail.put_marks(&row) {
            Some(old) => proof.blocks.remove(&old.hash()),
            None if has_mark => self.remove_block(mark.height, &mut proof.blocks)?,
            None => (),
        }
        proof.blocks.add(&mark.hash());
        let written = match gathers && heads.tail.has_room() {
            true => self.put_row(&row, heads, &mut proof.transcripts).map(|()| 0)?,
            false => self.deal_out(heads, &mut proof.transcripts, gathers)?,
        };
        self.forget_marks(block, &mut proof.blocks).map(|()| written)
    }

    /// Writes the row of the block that was appended last.
    fn put_row(&self, row: &TailRow, heads: &mut Heads, digest: &mut Digest) -> Result<(), HostFault> {
        let tail = &mut heads.tail;
        if let Some(hash) = tail.hash() {
            digest.remove(&hash);
        }
        let before = tail.checksum;
        let entries = tail.pack()?;
        let sum = row.checksum(before, entries);
        let [id, height, time, next_crank] =
            [row.id, row.mark.height.0, row.time, row.mark.next_crank.0].map(u64::cast_signed);
        let values = params![id, height, time, next_crank, row.mark.state_hash.0, row.cranks, sum, entries];
        self.execute("write the tail of the state", "INSERT INTO tail VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)?;
        (tail.rows, tail.checksum) = (row.id, sum);
        tail.close();
        if let Some(hash) = tail.hash() {
            digest.add(&hash);
        }
        Ok(())
    }

    /// Deals the tail out: its marks become rows, and what it has of a vat becomes chunks, of several blocks `together` where they are
    /// short, or else of one each, so that they can leave with it. Returns their number.
    pub fn deal_out(&self, heads: &mut Heads, digest: &mut Digest, together: bool) -> Result<u64, HostFault> {
        let chunk_max = if together { TOGETHER_BYTES } else { 0 };
        heads.tail.close();
        let (vats, bytes) = (std::mem::take(&mut heads.tail.vats), std::mem::take(&mut heads.tail.bytes));
        let (mut packer, mut chunks) = (std::mem::take(&mut heads.tail.packer), 0);
        for (vat, pieces) in &vats {
            let mut rest = &pieces[..];
            while let Some(first) = rest.first() {
                let mut length = 0;
                let fits = |it: &&TailPiece| {
                    length += it.end - it.begin;
                    length <= chunk_max || it.first == first.first
                };
                let (chunk, others) = rest.split_at(rest.iter().take_while(fits).count());
                let last = chunk.last().unwrap_or(first);
                let entries = packer.pack(chunk.iter().map(|it| &bytes[it.begin..it.end]))?;
                self.put_chunk(last.of, heads, digest, (*vat, first.first, last.next), entries)?;
                chunks += 1;
                rest = others;
            }
        }
        heads.tail.blocks.iter().try_for_each(|it| self.put_mark(it))?;
        heads.tail.cranks.iter().try_for_each(|(first, marks)| self.put_crank_marks(*first, marks))?;
        if let Some(hash) = heads.tail.hash() {
            digest.remove(&hash);
            self.execute("deal the tail of the state out", "DELETE FROM tail", [])?;
        }
        (heads.tail.bytes, heads.tail.packer) = (bytes, packer);
        heads.tail.clear();
        Ok(chunks)
    }
}
