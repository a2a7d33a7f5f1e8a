//! The transcripts of the vats in the database: chunks, each bound to the one before it.
//!
//! Invariants:
//! * The chunks of a vat begin at its first delivery, or behind the last one that left the state (see `prune`), and each begins where
//!   the one before it ended.
//! * A chunk's checksum is that of its vat, its deliveries, its bytes, and the checksum of the chunk before: who has proved the last
//!   one has proved the order of all.
//! * What of this does not hold is damage: history is whole, or refused.

use std::collections::BTreeMap;

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
    },
};

const TABLE: &str = "transcript";

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

/// The last chunk of every vat that has a transcript.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heads(BTreeMap<VatId, Head>);

impl Heads {
    /// Returns the head of a vat's transcript.
    pub fn get(&self, vat: VatId) -> Option<&Head> {
        self.0.get(&vat)
    }

    /// Iterates over the heads of all vats.
    pub fn iter(&self) -> impl Iterator<Item = (VatId, &Head)> {
        self.0.iter().map(|(vat, it)| (*vat, it))
    }

    /// Returns the digest of all heads.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.iter().for_each(|(vat, it)| digest.add(&it.hash(vat)));
        digest
    }

    /// Forgets the head of a vat whose transcript has left up to `next`, if that is all of it.
    pub(super) fn leave(&mut self, vat: VatId, next: DeliveryNum, digest: &mut Digest) {
        if let Some(head) = self.0.get(&vat).filter(|it| it.next == next) {
            digest.remove(&head.hash(vat));
            self.0.remove(&vat);
        }
    }

    fn put(&mut self, vat: VatId, head: Head, digest: &mut Digest) {
        digest.add(&head.hash(vat));
        if let Some(old) = self.0.insert(vat, head) {
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

fn reading(vat: VatId, first: DeliveryNum) -> String {
    format!("read the transcript of {vat} from {first}")
}

fn missing(next: DeliveryNum) -> String {
    format!("{next} should come next: deliveries are missing")
}

/// A chunk, its block, and the checksum that is stored with it.
pub(super) type Stored = (Chunk, OfBlock, i64);

impl Database {
    /// Reads the last chunk of every vat that has a transcript, as it is stored: the caller compares it with what
    /// attests it.
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
            let Some((vat, head)) = row.optional().map_err(|err| self.failed(what, &err))? else { return Ok(heads) };
            if vat >= below {
                return Err(self.damaged(what, "its index is out of order", TABLE));
            }
            heads.0.insert(VatId(vat.cast_unsigned()), head);
            below = vat;
        }
    }

    /// Reads the chunks of a vat's transcript that hold its deliveries from `from` on, in order and without a gap
    /// between them, each against its checksum and the chunk before it.
    pub fn transcript(&self, vat: VatId, from: DeliveryNum) -> Result<Vec<Chunk>, HostFault> {
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
    pub fn ends_at(&self, vat: VatId, chunks: &[Chunk], head: Option<&Head>) -> Result<(), HostFault> {
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
    /// Appends chunks to the vats' transcripts, of the block with this height and time: all that `each` hands over, as a vat, the number
    /// of the first delivery, the one after the last, and the entries.
    pub fn put_transcripts(
        &self,
        of: OfBlock,
        heads: &mut Heads,
        digest: &mut Digest,
        each: impl FnOnce(&mut Put<'_>) -> Result<(), HostFault>,
    ) -> Result<(), HostFault> {
        let what = "write a transcript";
        let failed = |err| self.failed(what, &err);
        let mut insert =
            self.0.prepare_cached("INSERT INTO transcript VALUES (?, ?, ?, ?, ?, ?, ?)").map_err(failed)?;
        each(&mut |vat, first, next, entries| {
            let (end, before) = heads.get(vat).map_or((DeliveryNum(0), 0), |it| (it.next, it.checksum));
            if end != first || next <= first {
                let why = format!("{end} is the next of {vat}, and not {first} to {next}");
                return Err(HostFault::new(what, why));
            }
            let sum = checksum(vat, before, (first, next), of, entries);
            let [whose, from, to, height, time] = [vat.0, first.0, next.0, of.0.0, of.1].map(u64::cast_signed);
            let row = params![whose, from, to, sum, height, time, entries];
            insert.execute(row).map_err(failed)?;
            heads.put(vat, Head { first, next, checksum: sum }, digest);
            Ok(())
        })
    }

    /// Removes a vat's transcript.
    pub fn delete_transcript(&self, vat: VatId, heads: &mut Heads, digest: &mut Digest) -> Result<(), HostFault> {
        if let Some(head) = heads.0.remove(&vat) {
            digest.remove(&head.hash(vat));
        }
        self.forget_pruned(vat)?;
        self.execute("remove a transcript", "DELETE FROM transcript WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }
}

/// Takes a chunk: of a vat, from a delivery up to another, its entries.
pub type Put<'a> = dyn FnMut(VatId, DeliveryNum, DeliveryNum, &[u8]) -> Result<(), HostFault> + 'a;
