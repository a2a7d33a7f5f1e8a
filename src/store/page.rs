//! Heap snapshots in the database: pages by their hash, stored once and counted, and one manifest for each vat.
//!
//! They stand outside of the kernel's tables: nothing here is in a state hash or a digest.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::{
    fault::HostFault,
    id::{DeliveryNum, VatId, hex},
    store::database::{Database, Transaction, fault},
};

/// Bytes of a page. Small, so that a delivery that writes here and there makes few new ones; that of the hardware, so that it
/// can tell which were written.
pub const PAGE_BYTES: usize = 4096;

/// `refs` is the number of manifests that name the page; a page of none is gone.
pub(super) const LAYOUT: &str = "
    CREATE TABLE page (hash BLOB PRIMARY KEY, refs INTEGER NOT NULL CHECK (refs > 0), bytes BLOB NOT NULL);
    CREATE TABLE snapshot (vat INTEGER PRIMARY KEY, position INTEGER NOT NULL, hash BLOB NOT NULL, manifest BLOB NOT NULL);";

/// The hash (BLAKE3) of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PageHash(pub [u8; 32]);

impl PageHash {
    /// That of these bytes.
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

fn manifest(connection: &Connection, vat: VatId) -> Result<Option<Vec<u8>>, HostFault> {
    let what = format!("read the snapshot of {vat}");
    let row: Option<(Vec<u8>, Vec<u8>)> = connection
        .prepare_cached("SELECT hash, manifest FROM snapshot WHERE vat = ?")
        .and_then(|mut it| it.query_row([vat.0.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(fault(&what))?;
    let Some((hash, manifest)) = row else { return Ok(None) };
    if blake3::hash(&manifest).as_bytes()[..] != hash {
        let why = format!("its bytes do not have the hash {}: the state is damaged", hex(&hash));
        return Err(HostFault::new(&what, why));
    }
    Ok(Some(manifest))
}

impl Database {
    /// The position of each vat's snapshot.
    pub fn snapshots(&self) -> Result<Vec<(VatId, DeliveryNum)>, HostFault> {
        let what = "list the snapshots";
        let mut statement = self.connection.prepare("SELECT vat, position FROM snapshot").map_err(fault(what))?;
        let number = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::cast_unsigned);
        let rows = statement
            .query_map([], |row| Ok((VatId(number(row, 0)?), DeliveryNum(number(row, 1)?))))
            .map_err(fault(what))?;
        rows.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// The manifest of a vat's snapshot, checked against its hash.
    pub fn snapshot(&self, vat: VatId) -> Result<Option<Vec<u8>>, HostFault> {
        manifest(&self.connection, vat)
    }

    /// Every page, and how many manifests are said to name it.
    pub fn pages(&self) -> Result<Vec<(PageHash, u64)>, HostFault> {
        let what = "list the pages";
        let mut statement = self.connection.prepare("SELECT hash, refs FROM page").map_err(fault(what))?;
        let rows = statement
            .query_map([], |row| Ok((PageHash(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned())))
            .map_err(fault(what))?;
        rows.collect::<Result<_, _>>().map_err(fault(what))
    }

    /// Reads a page, and checks it against its hash.
    pub fn page(&self, hash: PageHash, into: &mut [u8]) -> Result<(), HostFault> {
        let what = format!("read page {hash}");
        let mut statement =
            self.connection.prepare_cached("SELECT bytes FROM page WHERE hash = ?").map_err(fault(&what))?;
        let mut rows = statement.query([hash.0]).map_err(fault(&what))?;
        let row = rows.next().map_err(fault(&what))?;
        let row = row.ok_or_else(|| HostFault::new(&what, "the state does not hold it"))?;
        let bytes = row.get_ref(0).and_then(|it| Ok(it.as_blob()?)).map_err(fault(&what))?;
        if bytes.len() != into.len() || PageHash::of(bytes) != hash {
            return Err(HostFault::new(&what, "its bytes do not have this hash: the state is damaged"));
        }
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl Transaction<'_> {
    /// As [`Database::snapshot`].
    pub fn snapshot(&self, vat: VatId) -> Result<Option<Vec<u8>>, HostFault> {
        manifest(&self.0, vat)
    }

    /// Replaces a vat's snapshot. The pages are the caller's business.
    pub fn put_snapshot(&self, vat: VatId, position: DeliveryNum, manifest: &[u8]) -> Result<(), HostFault> {
        self.execute(
            "write a snapshot",
            "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?)",
            params![vat.0.cast_signed(), position.0.cast_signed(), &blake3::hash(manifest).as_bytes()[..], manifest],
        )
        .map(drop)
    }

    /// Removes a vat's snapshot. The pages are the caller's business.
    pub fn delete_snapshot(&self, vat: VatId) -> Result<(), HostFault> {
        self.execute("remove a snapshot", "DELETE FROM snapshot WHERE vat = ?", [vat.0.cast_signed()]).map(drop)
    }

    /// One more manifest names this page. Without bytes it must be there.
    pub fn hold_page(&self, hash: PageHash, bytes: Option<&[u8]>) -> Result<(), HostFault> {
        let what = "write a page";
        let found = match bytes {
            Some(bytes) => self.execute(
                what,
                "INSERT INTO page VALUES (?1, 1, ?2) ON CONFLICT (hash) DO UPDATE SET refs = refs + 1",
                params![hash.0, bytes],
            )?,
            None => self.execute(what, "UPDATE page SET refs = refs + 1 WHERE hash = ?", [hash.0])?,
        };
        if found == 1 { Ok(()) } else { Err(HostFault::new(what, format_args!("the state does not hold page {hash}"))) }
    }

    /// One manifest less names this page; after the last it is gone.
    pub fn release_page(&self, hash: PageHash) -> Result<(), HostFault> {
        let what = "release a page";
        let gone = self.execute(what, "DELETE FROM page WHERE hash = ? AND refs = 1", [hash.0])?;
        let found = match gone {
            0 => self.execute(what, "UPDATE page SET refs = refs - 1 WHERE hash = ?", [hash.0])?,
            gone => gone,
        };
        if found == 1 { Ok(()) } else { Err(HostFault::new(what, format_args!("the state does not hold page {hash}"))) }
    }
}
