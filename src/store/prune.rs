//! The beginnings of transcripts that have left a state, and how far.
//!
//! ```text
//!   transcript of a vat:   d0 … d1999 │ d2000 … d2999 │ d3000 … d3017
//!                          left ──────┘ └── kept: the first chunk binds the checksum of the last one that left
//! ```
//!
//! Invariants: only whole chunks leave, from the beginning, without a gap; the last chunk of a vat stays as long as the vat, since the facts
//! attest it. The checksum of the last chunk that left stays, so that the chain of the others is proved as before, and so are the files of
//! an archive, into which the chunks went before (see `span`). Of a vat that has ended all leaves: into an archive, and then that checksum
//! stays for ever; or with the vat, and nothing of it stays.

use rusqlite::{OptionalExtension, params};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    store::{
        database::{Database, Transaction},
        hash::{Digest, RowHash},
        history::{Chunk, Head, Heads, Stored, checksum, stored},
        proof::DAMAGED,
        span::{Reach, SpanChunks, SpanFolder},
    },
};

const TABLE: &str = "pruned";

pub(super) const LAYOUT: &str =
    "CREATE TABLE pruned (vat INTEGER PRIMARY KEY, next INTEGER NOT NULL, link INTEGER NOT NULL,
                         height INTEGER NOT NULL, checksum INTEGER NOT NULL);";

/// The part of a vat's transcript that has left the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pruned {
    /// The first delivery that is still there.
    pub next: DeliveryNum,
    /// The block with which the last of the others left.
    pub height: BlockHeight,
    /// The checksum of the last chunk that left.
    pub(super) link: i64,
}

impl Pruned {
    fn checksum(&self, vat: VatId) -> i64 {
        let numbers = [vat.0, self.next.0, self.link.cast_unsigned(), self.height.0].map(u64::to_le_bytes);
        RowHash::of_parts(TABLE, &numbers.each_ref().map(|it| &it[..])).checksum()
    }

    /// Describes what left, and since when.
    pub(crate) fn told(&self) -> String {
        format!("the deliveries before {} left the state by {} (--keep)", self.next, self.height)
    }
}

/// The chunks of a vat that may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MayLeave {
    /// The first delivery that is needed.
    pub needed: DeliveryNum,
    /// The last block whose chunks may leave.
    pub height: BlockHeight,
    /// The latest time of a block whose chunks may leave.
    pub time: u64,
    /// The most chunks that leave at a time.
    pub chunks: u64,
    /// Bytes of entries with which no more leave.
    pub bytes: u64,
    /// Whether the last chunk may leave, too: the vat has ended.
    pub last: bool,
}

/// The amount that left with one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// The number of chunks.
    pub chunks: u64,
    /// The number of deliveries in them.
    pub deliveries: u64,
    /// The bytes of their entries, as they were stored.
    pub bytes: u64,
}

impl std::ops::Add for Left {
    type Output = Left;
    fn add(self, more: Left) -> Left {
        Left {
            chunks: self.chunks + more.chunks,
            deliveries: self.deliveries + more.deliveries,
            bytes: self.bytes + more.bytes,
        }
    }
}

impl std::ops::AddAssign for Left {
    fn add_assign(&mut self, more: Left) {
        *self = *self + more;
    }
}

/// The chunks that are about to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaving {
    vat: VatId,
    first: DeliveryNum,
    /// The checksum of the chunk before the first.
    before: i64,
    /// What will have left then.
    end: Pruned,
    /// The amount that leaves.
    pub amount: Left,
}

impl Leaving {
    /// Nothing yet, behind what has left.
    fn behind(vat: VatId, pruned: Option<Pruned>) -> Leaving {
        let end = pruned.unwrap_or(Pruned { next: DeliveryNum(0), height: BlockHeight(0), link: 0 });
        Leaving { vat, first: end.next, before: end.link, end, amount: Left::default() }
    }
}

/// Bounds that SQLite compares as signed numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn read(connection: &rusqlite::Connection, vat: VatId) -> rusqlite::Result<Option<(Pruned, bool)>> {
    let sql = "SELECT next, link, height, checksum FROM pruned WHERE vat = ?";
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row([vat.0.cast_signed()], |row| {
        let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let pruned = Pruned { next: DeliveryNum(number(0)?), link: row.get(1)?, height: BlockHeight(number(2)?) };
        Ok((pruned, row.get::<_, i64>(3)?))
    });
    Ok(row.optional()?.map(|(pruned, sum)| (pruned, sum == pruned.checksum(vat))))
}

fn pruning(vat: VatId) -> String {
    format!("prune the transcript of {vat}")
}

fn reading(vat: VatId) -> String {
    format!("read how much of the transcript of {vat} left")
}

impl Database {
    /// Returns what left of a vat's transcript, if anything did.
    pub fn pruned(&self, vat: VatId) -> Result<Option<Pruned>, HostFault> {
        match read(&self.connection.lock(), vat).map_err(|err| self.failed(&reading(vat), &err))? {
            Some((_, false)) => Err(self.damaged(reading(vat), DAMAGED, TABLE)),
            found => Ok(found.map(|(it, _)| it)),
        }
    }

    /// Returns the first delivery of a vat's transcript that can be read: that which is still there, or what the archive reaches.
    pub fn begins_at(&self, vat: VatId) -> Result<DeliveryNum, HostFault> {
        let Some(pruned) = self.pruned(vat)? else { return Ok(DeliveryNum(0)) };
        Ok(Reach::of(self, vat)?.first().unwrap_or(pruned.next))
    }

    /// Reads from now on what has left of the transcripts in the files of an archive.
    pub fn read_archive(&mut self, archive: SpanFolder) {
        self.home.archive = Some(archive);
    }

    /// Returns whether something left of the transcript of a vat that still has one.
    pub fn has_pruned(&self) -> Result<bool, HostFault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM pruned WHERE vat IN (SELECT vat FROM transcript))";
        let found = self.connection.lock().query_row(sql, [], |row| row.get(0));
        found.map_err(|err| self.failed("look whether anything left", &err))
    }
}

impl Reach {
    /// Finds the spans of the archive that lead to what is still there of a vat's transcript; nothing without an archive.
    pub fn of(database: &Database, vat: VatId) -> Result<Reach, HostFault> {
        match (&database.home.archive, database.pruned(vat)?) {
            (Some(archive), Some(pruned)) => Ok(archive.reach(vat, pruned.next, pruned.link)),
            _ => Ok(Reach::default()),
        }
    }

    /// Returns the chunks of the archive that hold a vat's deliveries from `from` on, and where the state goes on from there.
    ///
    /// # Errors
    ///
    /// The archive has not all of them.
    pub fn chunks_from(
        database: &Database,
        vat: VatId,
        from: DeliveryNum,
    ) -> Result<(impl Iterator<Item = Result<Chunk, HostFault>> + use<>, DeliveryNum), HostFault> {
        let pruned = database.pruned(vat)?.filter(|it| from < it.next && database.home.archive.is_some());
        let Some(pruned) = pruned else { return Ok((None.into_iter().flatten(), from)) };
        let reach = Reach::of(database, vat)?;
        match reach.first().is_some_and(|it| it <= from) {
            true => Ok((Some(reach.chunks(from)).into_iter().flatten(), pruned.next)),
            false => {
                let why = reach.gap.unwrap_or_default();
                Err(HostFault::new(format_args!("read the transcript of {vat} from {from} in the archive"), why))
            }
        }
    }
}

impl Transaction<'_> {
    /// Finds the first chunks of a vat's transcript, as far as they may leave: of a live vat never the last one of all. `now` is the block
    /// with which they would.
    pub fn leaving(
        &self,
        vat: VatId,
        may: &MayLeave,
        last: &Head,
        now: BlockHeight,
    ) -> Result<Option<Leaving>, HostFault> {
        let what = pruning(vat);
        let failed = |err: rusqlite::Error| self.failed(&what, &err);
        let sql = "SELECT first, next, checksum, length(entries) FROM transcript
                   WHERE vat = ?1 AND first < ?2 AND next <= ?3 AND height <= ?4 AND time <= ?5 ORDER BY first LIMIT ?6";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let bounds = params![
            vat.0.cast_signed(),
            signed(if may.last { last.next.0 } else { last.first.0 }),
            signed(may.needed.0),
            signed(may.height.0),
            signed(may.time),
            signed(may.chunks)
        ];
        let mut rows = statement.query(bounds).map_err(failed)?;
        let mut leaving: Option<Leaving> = None;
        while let Some(row) = rows.next().map_err(failed)? {
            let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned).map_err(failed);
            let (first, next) = (number(0)?, number(1)?);
            let it = match leaving.take() {
                Some(it) => it,
                None => Leaving::behind(vat, self.pruned(vat)?),
            };
            if it.end.next.0 != first {
                let why = format_args!("{} should come next, and {first} does: deliveries are missing", it.end.next);
                return Err(self.damaged(&what, why, "transcript"));
            }
            let end = Pruned { next: DeliveryNum(next), link: row.get(2).map_err(failed)?, height: now };
            let more = Left { chunks: 1, deliveries: next.saturating_sub(first), bytes: number(3)? };
            let it = leaving.insert(Leaving { end, amount: it.amount + more, ..it });
            if it.amount.bytes >= may.bytes {
                break;
            }
        }
        Ok(leaving)
    }

    /// Reads the chunks that are about to leave, each against its checksum and the chunk before it.
    pub fn span(&self, leaving: &Leaving) -> Result<SpanChunks, HostFault> {
        let Leaving { vat, first, before, end, .. } = *leaving;
        let what = pruning(vat);
        let failed = |err: rusqlite::Error| self.failed(&what, &err);
        let sql = "SELECT first, next, checksum, entries, height, time FROM transcript
                   WHERE vat = ? AND first >= ? AND first < ? ORDER BY first";
        let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
        let bounds = [vat.0, first.0, end.next.0].map(u64::cast_signed);
        let chunks = statement.query_map(bounds, stored).map_err(failed)?;
        let chunks = chunks.collect::<Result<Vec<Stored>, _>>().map_err(failed)?;
        let mut link = before;
        for (chunk, of, sum) in &chunks {
            if *sum != checksum(vat, link, (chunk.first, chunk.next), *of, &chunk.entries) {
                return Err(self.damaged(format_args!("{what} from {}", chunk.first), DAMAGED, "transcript"));
            }
            link = *sum;
        }
        Ok(SpanChunks { vat, before, chunks })
    }

    /// Removes the chunks that are about to leave.
    pub fn leave(&self, leaving: &Leaving, heads: &mut Heads, digest: &mut Digest) -> Result<Left, HostFault> {
        let (what, whose, end) = (pruning(leaving.vat), leaving.vat.0.cast_signed(), &leaving.end);
        let next = end.next.0.cast_signed();
        self.execute(&what, "DELETE FROM transcript WHERE vat = ? AND first < ?", params![whose, next])?;
        let row = params![whose, next, end.link, end.height.0.cast_signed(), end.checksum(leaving.vat)];
        self.execute(&what, "INSERT OR REPLACE INTO pruned VALUES (?, ?, ?, ?, ?)", row)?;
        heads.leave(leaving.vat, end.next, digest);
        Ok(leaving.amount)
    }

    fn pruned(&self, vat: VatId) -> Result<Option<Pruned>, HostFault> {
        match read(&self.0, vat).map_err(|err| self.failed(&reading(vat), &err))? {
            Some((_, false)) => Err(self.damaged(reading(vat), DAMAGED, TABLE)),
            found => Ok(found.map(|(it, _)| it)),
        }
    }

    /// Forgets what left of a vat's transcript: all of it is gone.
    pub(super) fn forget_pruned(&self, vat: VatId) -> Result<(), HostFault> {
        self.execute("forget what left", "DELETE FROM pruned WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }
}
