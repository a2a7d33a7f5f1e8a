//! How many keys each vat's store has, and how many bytes: what a host must know of a vatstore before it has read it.
//!
//! Invariants: a sum is written in the transaction that changes a row that it counts; the facts attest the digest of all sums. None of
//! it is in a hash: it follows from the rows.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::{
    model::{blame::HostFault, id::VatId},
    store::{
        database::{Database, Transaction},
        hash::{Digest, RowHash},
        proof::DAMAGED,
    },
};

const TABLE: &str = "vatstore_sum";

pub(super) const LAYOUT: &str = "CREATE TABLE vatstore_sum (vat INTEGER PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL, checksum INTEGER NOT NULL);";

/// The size of one vat's store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreSum {
    /// The number of its keys.
    pub keys: u64,
    /// The bytes that they and their values count for.
    pub bytes: u64,
}

impl StoreSum {
    fn hash(&self, vat: VatId) -> RowHash {
        let numbers = [vat.0, self.keys, self.bytes].map(u64::to_le_bytes);
        RowHash::of_parts(TABLE, &numbers.each_ref().map(|it| &it[..]))
    }
}

/// The size of one vat's store that changed: as it was, and as it is, if there were keys, and are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SumChange {
    /// The vat.
    pub vat: VatId,
    /// The size at the last commit.
    pub old: Option<StoreSum>,
    /// The size now.
    pub new: Option<StoreSum>,
}

/// Returns the digest of the sizes of all stores.
pub fn digest_of_sums(sums: &BTreeMap<VatId, StoreSum>) -> Digest {
    let mut digest = Digest::default();
    sums.iter().for_each(|(vat, it)| digest.add(&it.hash(*vat)));
    digest
}

impl Database {
    /// Reads the size of each vat's store: the caller compares their digest with what attests it.
    pub fn sums(&self) -> Result<BTreeMap<VatId, StoreSum>, HostFault> {
        let what = "read the sizes of the vatstores";
        let failed = |err| self.failed(what, &err);
        let connection = self.connection.lock();
        let mut statement =
            connection.prepare("SELECT vat, keys, bytes, checksum FROM vatstore_sum").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut sums = BTreeMap::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned).map_err(failed);
            let (vat, sum) = (VatId(number(0)?), StoreSum { keys: number(1)?, bytes: number(2)? });
            if sum.hash(vat).checksum().cast_unsigned() != number(3)? {
                return Err(self.damaged(format_args!("the size of the vatstore of {vat}"), DAMAGED, TABLE));
            }
            sums.insert(vat, sum);
        }
        Ok(sums)
    }
}

impl Transaction<'_> {
    /// Writes the sizes that changed, and moves their digest along.
    pub fn put_sums(&self, changes: &[SumChange], digest: &mut Digest) -> Result<(), HostFault> {
        let what = "write the size of a vatstore";
        for SumChange { vat, old, new } in changes {
            if let Some(old) = old {
                digest.remove(&old.hash(*vat));
            }
            match new {
                Some(new) => {
                    let hash = new.hash(*vat);
                    digest.add(&hash);
                    let numbers = [vat.0, new.keys, new.bytes].map(u64::cast_signed);
                    let row = params![numbers[0], numbers[1], numbers[2], hash.checksum()];
                    self.execute(what, "INSERT OR REPLACE INTO vatstore_sum VALUES (?, ?, ?, ?)", row)?;
                }
                None => {
                    self.execute(what, "DELETE FROM vatstore_sum WHERE vat = ?", [vat.0.cast_signed()])?;
                }
            }
        }
        Ok(())
    }
}
