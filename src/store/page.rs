//! Heap snapshots in the database: pages by their hash, stored once and counted, and one manifest for each vat.
//!
//! They stand outside of the kernel's tables: nothing here is in a state hash or a digest of the kernel's rows. A page
//! is proved by its hash, how often it is used by a checksum; a manifest by its checksum, which the facts attest.

use std::{fmt, path::Path};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{DeliveryNum, VatId, hex},
    },
    store::{
        database::{Database, Transaction},
        hash::{Digest, RowHash},
        proof::DAMAGED,
    },
};

/// Bytes of a page. Small, so that a delivery that writes here and there makes few new ones; that of the hardware, so
/// that it can tell which were written.
pub const PAGE_BYTES: usize = 4096;

/// `refs` is the number of manifests that name the page; a page of none is gone. The bytes come last: who wants the rest does not
/// read them.
pub(super) const LAYOUT: &str = "
    CREATE TABLE page (hash BLOB PRIMARY KEY, refs INTEGER NOT NULL CHECK (refs > 0), checksum INTEGER NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE snapshot (vat INTEGER PRIMARY KEY, position INTEGER NOT NULL, checksum INTEGER NOT NULL, manifest BLOB NOT NULL);";

/// The hash (BLAKE3) of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PageHash(pub [u8; 32]);

impl PageHash {
    /// Returns the hash of these bytes.
    pub fn of(bytes: &[u8]) -> PageHash {
        PageHash(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What can be done where a snapshot is damaged: the transcripts have all that it has.
const AROUND: &str = "a snapshot is damaged, which is only a short cut: `vathost fork --without-snapshots` makes a copy that does without; \
                      `vathost verify` lists all that is damaged";

/// Returns the checksum of a page's number of uses, bound to the page.
fn refs_checksum(hash: PageHash, refs: i64) -> i64 {
    RowHash::of_parts("page", &[&hash.0, &refs.to_le_bytes()]).checksum()
}

/// The snapshot of a vat, as it is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The vat of the snapshot.
    pub vat: VatId,
    /// The number of the first delivery that is not in it.
    pub position: DeliveryNum,
    /// The checksum of its manifest, and of all this.
    checksum: i64,
}

impl Listed {
    fn new(vat: VatId, position: DeliveryNum, manifest: &[u8]) -> Listed {
        let numbers = [vat.0, position.0].map(u64::to_le_bytes);
        let checksum = RowHash::of_parts("snapshot", &[&numbers[0], &numbers[1], manifest]).checksum();
        Listed { vat, position, checksum }
    }

    /// Returns the hash that stands for the snapshot in the facts.
    fn hash(&self) -> RowHash {
        let numbers = [self.vat.0, self.position.0, self.checksum.cast_unsigned()].map(u64::to_le_bytes);
        RowHash::of_parts("snapshot", &numbers.each_ref().map(|it| &it[..]))
    }

    /// Returns the digest of these listed snapshots.
    pub fn digest(all: &[Listed]) -> Digest {
        let mut digest = Digest::default();
        all.iter().for_each(|it| digest.add(&it.hash()));
        digest
    }
}

/// The manifest of a vat's snapshot, against its checksum. `damaged` says where it is not what was written.
fn manifest(
    connection: &Connection,
    vat: VatId,
    failed: &dyn Fn(&str, &rusqlite::Error) -> HostFault,
    damaged: &dyn Fn(&str) -> HostFault,
) -> Result<Option<(Listed, Vec<u8>)>, HostFault> {
    let what = format!("read the snapshot of {vat}");
    let row: Option<(i64, i64, Vec<u8>)> = connection
        .prepare_cached("SELECT position, checksum, manifest FROM snapshot WHERE vat = ?")
        .and_then(|mut it| {
            it.query_row([vat.0.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
        })
        .map_err(|err| failed(&what, &err))?;
    let Some((position, checksum, manifest)) = row else { return Ok(None) };
    let listed = Listed::new(vat, DeliveryNum(position.cast_unsigned()), &manifest);
    if listed.checksum == checksum { Ok(Some((listed, manifest))) } else { Err(damaged(&what)) }
}

fn around(fault: HostFault) -> HostFault {
    fault.with_way_out(AROUND)
}

impl Database {
    /// Removes the snapshots of a state that was just copied into this file: its vats come back from their transcripts.
    pub(super) fn forget_snapshots(path: &Path) -> Result<(), HostFault> {
        let what = format!("remove the snapshots from `{}`", path.display());
        let mut database = Database::open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE, what.clone())?;
        let Some(mut meta) = database.meta()? else { return Ok(()) };
        if database.has_pruned()? {
            let why = "deliveries that came before them have left the state (--keep): without its snapshot a vat cannot come back";
            return Err(HostFault::new(&what, why));
        }
        let transaction = database.transaction()?;
        transaction.execute(&what, "DELETE FROM snapshot", [])?;
        transaction.execute(&what, "DELETE FROM page", [])?;
        meta.proof.snapshots = Digest::default();
        transaction.put_meta(&meta)?;
        transaction.commit()
    }

    /// Lists every vat's snapshot, as it is stored: the caller compares it with what attests it.
    pub fn snapshots(&self) -> Result<Vec<Listed>, HostFault> {
        let what = "list the snapshots";
        let failed = |err| self.failed(what, &err);
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT vat, position, checksum FROM snapshot").map_err(failed)?;
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let rows = statement
            .query_map([], |row| {
                let (vat, position) = (VatId(number(row, 0)?), DeliveryNum(number(row, 1)?));
                Ok(Listed { vat, position, checksum: row.get(2)? })
            })
            .map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// Reads the manifest of a vat's snapshot, against its checksum.
    pub fn snapshot(&self, vat: VatId) -> Result<Option<Vec<u8>>, HostFault> {
        let failed = |what: &str, err: &rusqlite::Error| self.failed(what, err);
        let damaged = |what: &str| around(self.damaged(what, DAMAGED, "snapshot"));
        Ok(manifest(&self.connection.lock(), vat, &failed, &damaged)?.map(|(_, it)| it))
    }

    /// Lists every page, and how many manifests are said to name it. `damaged` hears of each of which that is not what
    /// was written.
    pub fn pages(&self, damaged: &mut dyn FnMut(HostFault)) -> Result<Vec<(PageHash, u64)>, HostFault> {
        let what = "list the pages";
        let failed = |err| self.failed(what, &err);
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT hash, refs, checksum FROM page").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut pages = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let read = || Ok((PageHash(row.get(0)?), row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
            let (hash, refs, sum) = read().map_err(failed)?;
            if sum != refs_checksum(hash, refs) {
                damaged(self.damaged(format!("read how often page {hash} is used"), DAMAGED, "page"));
            }
            pages.push((hash, refs.cast_unsigned()));
        }
        Ok(pages)
    }

    /// Reads a page, and checks it against its hash.
    pub fn page(&self, hash: PageHash, into: &mut [u8]) -> Result<(), HostFault> {
        let what = format!("read page {hash}");
        let failed = |err| self.failed(&what, &err);
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached("SELECT bytes FROM page WHERE hash = ?").map_err(failed)?;
        let mut rows = statement.query([hash.0]).map_err(failed)?;
        let row = rows.next().map_err(failed)?;
        let row = row.ok_or_else(|| around(self.damaged(&what, "the state does not hold it", "page")))?;
        let bytes = row.get_ref(0).and_then(|it| Ok(it.as_blob()?)).map_err(failed)?;
        if bytes.len() != into.len() || PageHash::of(bytes) != hash {
            return Err(around(self.damaged(&what, "its bytes do not have this hash", "page")));
        }
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl Transaction<'_> {
    /// Reads a vat's snapshot as [`Database::snapshot`] does, together with its listing.
    pub fn snapshot(&self, vat: VatId) -> Result<Option<(Listed, Vec<u8>)>, HostFault> {
        let failed = |what: &str, err: &rusqlite::Error| self.failed(what, err);
        manifest(&self.0, vat, &failed, &|what| around(self.damaged(what, DAMAGED, "snapshot")))
    }

    /// Takes the place of `old`, the snapshot that the vat had. The pages are the caller's business.
    pub fn put_snapshot(
        &self,
        (vat, position): (VatId, DeliveryNum),
        manifest: &[u8],
        old: Option<&Listed>,
        digest: &mut Digest,
    ) -> Result<(), HostFault> {
        let listed = Listed::new(vat, position, manifest);
        if let Some(old) = old {
            digest.remove(&old.hash());
        }
        digest.add(&listed.hash());
        self.execute(
            "write a snapshot",
            "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?)",
            params![vat.0.cast_signed(), position.0.cast_signed(), listed.checksum, manifest],
        )
        .map(drop)
    }

    /// Removes a vat's snapshot. The pages are the caller's business.
    pub fn delete_snapshot(&self, old: &Listed, digest: &mut Digest) -> Result<(), HostFault> {
        digest.remove(&old.hash());
        self.execute("remove a snapshot", "DELETE FROM snapshot WHERE vat = ?", [old.vat.0.cast_signed()]).map(drop)
    }

    /// Returns how many manifests name a page, against its checksum; `None` if the page is not there.
    fn refs(&self, what: &str, hash: PageHash) -> Result<Option<i64>, HostFault> {
        let row: Option<(i64, i64)> = (self.0.prepare_cached("SELECT refs, checksum FROM page WHERE hash = ?"))
            .and_then(|mut it| it.query_row([hash.0], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(|err| self.failed(what, &err))?;
        match row {
            Some((refs, sum)) if sum != refs_checksum(hash, refs) => {
                Err(around(self.damaged(format_args!("read how often page {hash} is used"), DAMAGED, "page")))
            }
            row => Ok(row.map(|(refs, _)| refs)),
        }
    }

    fn set_refs(&self, what: &str, hash: PageHash, refs: i64) -> Result<(), HostFault> {
        let sql = "UPDATE page SET refs = ?2, checksum = ?3 WHERE hash = ?1";
        self.execute(what, sql, params![hash.0, refs, refs_checksum(hash, refs)]).map(drop)
    }

    /// Adds one manifest to those that name this page. Without bytes it must be there.
    pub fn hold_page(&self, hash: PageHash, bytes: Option<&[u8]>) -> Result<(), HostFault> {
        let what = "write a page";
        match (self.refs(what, hash)?, bytes) {
            (Some(refs), _) => self.set_refs(what, hash, refs.saturating_add(1)),
            (None, Some(bytes)) => {
                let row = params![hash.0, refs_checksum(hash, 1), bytes];
                self.execute(what, "INSERT INTO page VALUES (?1, 1, ?2, ?3)", row).map(drop)
            }
            (None, None) => Err(self.lost(what, hash)),
        }
    }

    /// Takes one manifest from those that name this page; after the last, the page is removed.
    pub fn release_page(&self, hash: PageHash) -> Result<(), HostFault> {
        let what = "release a page";
        match self.refs(what, hash)? {
            Some(1) => self.execute(what, "DELETE FROM page WHERE hash = ?", [hash.0]).map(drop),
            Some(refs) => self.set_refs(what, hash, refs.saturating_sub(1)),
            None => Err(self.lost(what, hash)),
        }
    }

    fn lost(&self, what: &str, hash: PageHash) -> HostFault {
        around(self.damaged(what, format_args!("the state does not hold page {hash}"), "page"))
    }
}
