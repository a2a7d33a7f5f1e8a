//! The beginnings of transcripts that have left a state, and how far.
//!
//! ```text
//!   transcript of a vat:   d0 … d1999 │ d2000 … d2999 │ d3000 … d3017
//!                          left ──────┘ └── kept: the first chunk binds the checksum of the last one that left
//! ```
//!
//! Invariants: only whole chunks leave, from the beginning, without a gap; the last chunk of a vat stays, since the facts attest it. The
//! checksum of the last chunk that left stays, so that the chain of the others is proved as before, and so is a copy of what left.

use rusqlite::{OptionalExtension, params};

use crate::{
    model::{
        blame::HostFault,
        id::{BlockHeight, DeliveryNum, VatId},
    },
    store::{
        database::{Database, Transaction},
        hash::RowHash,
        history::Head,
        proof::DAMAGED,
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

impl std::ops::AddAssign for Left {
    fn add_assign(&mut self, more: Left) {
        self.chunks += more.chunks;
        self.deliveries += more.deliveries;
        self.bytes += more.bytes;
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

fn reading(vat: VatId) -> String {
    format!("read how much of the transcript of {vat} left")
}

impl Database {
    /// Returns what left of a vat's transcript, if anything did.
    pub fn pruned(&self, vat: VatId) -> Result<Option<Pruned>, HostFault> {
        match read(&self.connection, vat).map_err(|err| self.failed(&reading(vat), &err))? {
            Some((_, false)) => Err(self.damaged(reading(vat), DAMAGED, TABLE)),
            found => Ok(found.map(|(it, _)| it)),
        }
    }

    /// Returns the first delivery of a vat's transcript that is still there; the first of all, if nothing left.
    pub fn begins_at(&self, vat: VatId) -> Result<DeliveryNum, HostFault> {
        Ok(self.pruned(vat)?.map_or(DeliveryNum(0), |it| it.next))
    }

    /// Returns whether something of any vat's transcript left.
    pub fn has_pruned(&self) -> Result<bool, HostFault> {
        let found = self.connection.query_row("SELECT EXISTS (SELECT 1 FROM pruned)", [], |row| row.get(0));
        found.map_err(|err| self.failed("look whether anything left", &err))
    }
}

impl Transaction<'_> {
    /// Removes the first chunks of a vat's transcript, as far as they may leave, but never the last one of all. `now` is the block with
    /// which they do.
    pub fn prune(&self, vat: VatId, may: &MayLeave, last: &Head, now: BlockHeight) -> Result<Left, HostFault> {
        let what = format!("prune the transcript of {vat}");
        let failed = |err: rusqlite::Error| self.failed(&what, &err);
        let (mut left, mut end) = (Left::default(), None);
        {
            let sql = "SELECT first, next, checksum, length(entries) FROM transcript
                       WHERE vat = ?1 AND first < ?2 AND next <= ?3 AND height <= ?4 AND time <= ?5 ORDER BY first LIMIT ?6";
            let mut statement = self.0.prepare_cached(sql).map_err(failed)?;
            let bounds = params![
                vat.0.cast_signed(),
                signed(last.first.0),
                signed(may.needed.0),
                signed(may.height.0),
                signed(may.time),
                signed(may.chunks)
            ];
            let mut rows = statement.query(bounds).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned).map_err(failed);
                let (first, next) = (number(0)?, number(1)?);
                let begin = match end {
                    Some(Pruned { next, .. }) => next,
                    None => self.begins_at(vat)?,
                };
                if begin.0 != first {
                    let why = format_args!("{begin} should come next, and {first} does: deliveries are missing");
                    return Err(self.damaged(&what, why, "transcript"));
                }
                end = Some(Pruned { next: DeliveryNum(next), link: row.get(2).map_err(failed)?, height: now });
                left += Left { chunks: 1, deliveries: next.saturating_sub(first), bytes: number(3)? };
            }
        }
        if let Some(end) = end {
            let numbers = params![vat.0.cast_signed(), end.next.0.cast_signed()];
            self.execute(&what, "DELETE FROM transcript WHERE vat = ? AND first < ?", numbers)?;
            let (next, height) = (end.next.0.cast_signed(), end.height.0.cast_signed());
            let row = params![vat.0.cast_signed(), next, end.link, height, end.checksum(vat)];
            self.execute(&what, "INSERT OR REPLACE INTO pruned VALUES (?, ?, ?, ?, ?)", row)?;
        }
        Ok(left)
    }

    fn begins_at(&self, vat: VatId) -> Result<DeliveryNum, HostFault> {
        match read(&self.0, vat).map_err(|err| self.failed(&reading(vat), &err))? {
            Some((_, false)) => Err(self.damaged(reading(vat), DAMAGED, TABLE)),
            found => Ok(found.map_or(DeliveryNum(0), |(it, _)| it.next)),
        }
    }

    /// Forgets what left of a vat's transcript: all of it is gone.
    pub(super) fn forget_pruned(&self, vat: VatId) -> Result<(), HostFault> {
        self.execute("forget what left", "DELETE FROM pruned WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }
}
