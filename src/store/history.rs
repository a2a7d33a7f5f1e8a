//! The transcripts of the vats in the database: chunks, each bound to the one before it, and behind them what is in the tail (see `tail`).
//!
//! Invariants:
//! * The chunks of a vat begin at its first delivery, or behind the last one that left the state (see `prune`), and each begins where
//!   the one before it ended.
//! * A chunk's checksum is that of its vat, its deliveries, its bytes, and the checksum of the chunk before: who has proved the last
//!   one has proved the order of all.
//! * What of this does not hold is damage: history is whole, or refused.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    store::{
        database::{Database, Transaction},
        hash::{Digest, RowHash},
        proof::DAMAGED,
        tail::{self, BlockTail},
    },
};

pub(super) const TABLE: &str = "transcript";

/// `height` and `time` are those of the chunk's block: they only tell when it may leave. The bytes come last: who wants the checksum does
/// not read them.
pub(super) const LAYOUT: &str = "CREATE TABLE transcript (vat INTEGER, first INTEGER, next INTEGER NOT NULL, checksum INTEGER NOT NULL,
                         height INTEGER NOT NULL, time INTEGER NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (vat, first));";

/// Some deliveries to a vat, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The number of the first.
    pub first: DeliveryNum,
    /// The number after that of the last.
    pub next: DeliveryNum,
    /// The encoded entries of those deliveries.
    pub entries: Vec<u8>,
}

/// The last chunk of a vat's transcript, without its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The number of its first delivery.
    pub first: DeliveryNum,
    /// The number of the vat's next delivery.
    pub next: DeliveryNum,
    checksum: i64,
}

impl Head {
    /// Returns the hash that stands in the facts for this head, and for all before it.
    fn hash(&self, vat: VatId) -> RowHash {
        let numbers = [vat.0, self.first.0, self.next.0, self.checksum.cast_unsigned()].map(u64::to_le_bytes);
        RowHash::of_parts(TABLE, &numbers.each_ref().map(|it| &it[..]))
    }
}

/// The ends of all transcripts: the last chunk of each vat, and what the last blocks appended.
#[derive(Debug, Default)]
pub struct Heads {
    chunks: BTreeMap<VatId, Head>,
    pub(super) tail: BlockTail,
}

impl Heads {
    /// Returns the last chunk of a vat's transcript. Deliveries of the last blocks may be behind it.
    pub fn last_chunk(&self, vat: VatId) -> Option<&Head> {
        self.chunks.get(&vat)
    }

    /// Returns the number of a vat's next delivery: 0 where it has no transcript.
    pub fn next(&self, vat: VatId) -> DeliveryNum {
        let in_chunks = || self.last_chunk(vat).map(|it| it.next);
        self.tail.next(vat).or_else(in_chunks).unwrap_or_default()
    }

    /// Returns whether a vat has a transcript.
    pub fn has(&self, vat: VatId) -> bool {
        self.next(vat) > DeliveryNum(0)
    }

    /// Returns the vats that have a transcript.
    pub fn vats(&self) -> BTreeSet<VatId> {
        self.chunks.keys().copied().chain(self.tail.vats()).collect()
    }

    /// Returns whether the last blocks are in the tail.
    pub fn has_tail(&self) -> bool {
        self.tail.hash().is_some()
    }

    /// Returns the digest of all ends.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.chunks.iter().for_each(|(vat, it)| digest.add(&it.hash(*vat)));
        self.tail.hash().iter().for_each(|it| digest.add(it));
        digest
    }

    /// Appends entries of the block with this height and time: all that `each` hands over, vat by vat.
    pub(super) fn append(
        &mut self,
        of: OfBlock,
        each: impl FnOnce(&mut Append<'_>) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let Heads { chunks, tail } = self;
        each(&mut |vat, number, entry| {
            let in_chunks = || chunks.get(&vat).map(|it| it.next);
            let next = |tail: &BlockTail| tail.next(vat).or_else(in_chunks).unwrap_or_default();
            tail.append(of, (vat, number), next, entry)
        })
    }

    /// Forgets the last chunk of a vat whose transcript has left up to `next`, if that is all of it.
    pub(super) fn leave(&mut self, vat: VatId, next: DeliveryNum, digest: &mut Digest) {
        if let Some(head) = self.chunks.get(&vat).filter(|it| it.next == next) {
            digest.remove(&head.hash(vat));
            self.chunks.remove(&vat);
        }
    }

    fn put(&mut self, vat: VatId, head: Head, digest: &mut Digest) {
        digest.add(&head.hash(vat));
        if let Some(old) = self.chunks.insert(vat, head) {
            digest.remove(&old.hash(vat));
        }
    }
}

/// The block of a chunk: its height and its time.
pub(super) type OfBlock = (BlockHeight, u64);

/// The checksum of a chunk behind one with the checksum `before`; 0 stands for none.
pub(super) fn checksum(
    vat: VatId,
    before: i64,
    (first, next): (DeliveryNum, DeliveryNum),
    (height, time): OfBlock,
    entries: &[u8],
) -> i64 {
    let numbers = [vat.0, before.cast_unsigned(), first.0, next.0, height.0, time].map(u64::to_le_bytes);
    let [vat, before, first, next, height, time] = numbers.each_ref().map(|it| &it[..]);
    RowHash::of_parts(TABLE, &[vat, before, first, next, height, time, entries]).checksum()
}

/// What can be done where deliveries have left.
const LEFT: &str = "what left is not in the state any more: ask for later deliveries, or a copy that was made before";

pub(super) fn reading(vat: VatId, first: DeliveryNum) -> String {
    format!("read the transcript of {vat} from {first}")
}

pub(super) fn missing(next: DeliveryNum) -> String {
    format!("{next} should come next: deliveries are missing")
}

/// A chunk, its block, and the checksum that is stored with it.
pub(super) type Stored = (Chunk, OfBlock, i64);

impl Database {
    /// Reads the ends of all transcripts, as they are stored: the caller compares them with what attests them.
    pub fn heads(&self) -> Result<Heads, HostFault> {
        let what = "find the ends of the transcripts";
        // From the last vat to the first: the last chunk of each is where the index of the next smaller one ends.
        let sql =
            "SELECT vat, first, next, checksum FROM transcript WHERE vat < ? ORDER BY vat DESC, first DESC LIMIT 1";
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(sql).map_err(|err| self.failed(what, &err))?;
        let (mut heads, mut below) = (Heads::default(), i64::MAX);
        loop {
            let row = statement.query_row([below], |row| {
                let number = |at| Ok::<_, rusqlite::Error>(DeliveryNum(row.get::<_, i64>(at)?.cast_unsigned()));
                Ok((row.get::<_, i64>(0)?, Head { first: number(1)?, next: number(2)?, checksum: row.get(3)? }))
            });
            let Some((vat, head)) = row.optional().map_err(|err| self.failed(what, &err))? else { break };
            if vat >= below {
                return Err(self.damaged(what, "its index is out of order", TABLE));
            }
            heads.chunks.insert(VatId(vat.cast_unsigned()), head);
            below = vat;
        }
        tail::read(self, &mut heads)?;
        Ok(heads)
    }

    /// Reads the chunks of a vat's transcript that hold its deliveries from `from` on, in order and without a gap
    /// between them, each against its checksum and the chunk before it, up to these ends.
    pub fn transcript(&self, heads: &Heads, vat: VatId, from: DeliveryNum) -> Result<Vec<Chunk>, HostFault> {
        if heads.tail.has(vat, from) {
            return Ok(heads.tail.chunk(vat, from).into_iter().collect());
        }
        let what = format!("read the transcript of {vat}");
        let failed = |err| self.failed(&what, &err);
        let sql = "SELECT first, next, checksum, entries, height, time FROM transcript WHERE vat = ?1 AND first >=
                   coalesce((SELECT max(first) FROM transcript WHERE vat = ?1 AND first <= ?2), 0) ORDER BY first";
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query(params![vat.0.cast_signed(), from.0.cast_signed()]).map_err(failed)?;
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut before = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            let (chunk, of, sum) = stored(row).map_err(failed)?;
            match chunks.last() {
                None => before = self.link(vat, from, chunk.first)?,
                Some(last) if last.next != chunk.first => {
                    return Err(self.damaged(reading(vat, chunk.first), missing(last.next), TABLE));
                }
                Some(_) => (),
            }
            if sum != checksum(vat, before, (chunk.first, chunk.next), of, &chunk.entries) || chunk.next <= chunk.first
            {
                return Err(self.damaged(reading(vat, chunk.first), DAMAGED, TABLE));
            }
            before = sum;
            chunks.push(chunk);
        }
        self.ends_at(vat, &chunks, heads.last_chunk(vat))?;
        chunks.extend(heads.tail.chunk(vat, from));
        Ok(chunks)
    }

    /// The checksum of the chunk before the one that begins at `first` and is to hold delivery `from`.
    fn link(&self, vat: VatId, from: DeliveryNum, first: DeliveryNum) -> Result<i64, HostFault> {
        let pruned = self.pruned(vat)?;
        if let Some(pruned) = pruned.filter(|it| from < it.next) {
            return Err(HostFault::new(reading(vat, from), pruned.told()).with_way_out(LEFT));
        }
        if first > from {
            return Err(self.damaged(reading(vat, first), missing(from), TABLE));
        }
        if first.0 == 0 {
            return Ok(0);
        }
        if let Some(pruned) = pruned.filter(|it| it.next == first) {
            return Ok(pruned.link);
        }
        let what = format!("read the transcript of {vat}");
        let sql = "SELECT next, checksum FROM transcript WHERE vat = ? AND first < ? ORDER BY first DESC LIMIT 1";
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(sql).map_err(|err| self.failed(&what, &err))?;
        let before: Option<(i64, i64)> = statement
            .query_row(params![vat.0.cast_signed(), first.0.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|err| self.failed(&what, &err))?;
        let next = before.map_or(DeliveryNum(0), |(next, _)| DeliveryNum(next.cast_unsigned()));
        match before {
            Some((_, sum)) if next == first => Ok(sum),
            _ => Err(self.damaged(reading(vat, first), missing(next), TABLE)),
        }
    }

    /// Checks that the end of what was read of a vat's transcript is the one that the facts attest.
    fn ends_at(&self, vat: VatId, chunks: &[Chunk], head: Option<&Head>) -> Result<(), HostFault> {
        let (read, attested) = (chunks.last().map(|it| it.next), head.map(|it| it.next));
        match read == attested {
            true => Ok(()),
            false => {
                let first = chunks.last().map_or(DeliveryNum(0), |it| it.first);
                let name = |it: Option<DeliveryNum>| it.map_or("nothing of it".to_owned(), |it| format!("up to {it}"));
                let why = format!("there is {}, and should be {}", name(read), name(attested));
                Err(self.damaged(reading(vat, first), why, TABLE))
            }
        }
    }
}

/// Reads `first, next, checksum, entries, height, time`.
pub(super) fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stored> {
    let number = |at| Ok::<_, rusqlite::Error>(DeliveryNum(row.get::<_, i64>(at)?.cast_unsigned()));
    let of = (BlockHeight(row.get::<_, i64>(4)?.cast_unsigned()), row.get::<_, i64>(5)?.cast_unsigned());
    Ok((Chunk { first: number(0)?, next: number(1)?, entries: row.get(3)? }, of, row.get(2)?))
}

impl Transaction<'_> {
    /// Appends a chunk to a vat's transcript.
    pub(super) fn put_chunk(
        &self,
        of: OfBlock,
        heads: &mut Heads,
        digest: &mut Digest,
        (vat, first, next): (VatId, DeliveryNum, DeliveryNum),
        entries: &[u8],
    ) -> Result<(), HostFault> {
        let before = heads.last_chunk(vat).map_or(0, |it| it.checksum);
        let sum = checksum(vat, before, (first, next), of, entries);
        let [whose, from, to, height, time] = [vat.0, first.0, next.0, of.0.0, of.1].map(u64::cast_signed);
        let row = params![whose, from, to, sum, height, time, entries];
        self.execute("write a transcript", "INSERT INTO transcript VALUES (?, ?, ?, ?, ?, ?, ?)", row)?;
        heads.put(vat, Head { first, next, checksum: sum }, digest);
        Ok(())
    }

    /// Removes a vat's transcript.
    pub fn delete_transcript(&self, vat: VatId, heads: &mut Heads, digest: &mut Digest) -> Result<(), HostFault> {
        if heads.tail.next(vat).is_some() {
            self.deal_out(heads, digest, true)?;
        }
        if let Some(head) = heads.chunks.remove(&vat) {
            digest.remove(&head.hash(vat));
        }
        self.forget_pruned(vat)?;
        self.execute("remove a transcript", "DELETE FROM transcript WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }
}

/// Takes an entry of the block that is being written: the vat, the number of the delivery, the encoded entry.
pub type Append<'a> = dyn FnMut(VatId, DeliveryNum, &[u8]) -> Result<(), HostFault> + 'a;
