//! The stored rows of a table, one after the other: as many are in memory as are read from the file at once.

use std::{ops::Bound, vec};

use crate::{
    model::blame::HostFault,
    store::{database::Database, elsewhere::AT_ONCE},
};

/// The key and the value of a stored row.
type KeyValue = (Vec<u8>, Vec<u8>);

/// An iterator over the stored rows of a table, in the order of their keys. None of them is proved.
#[derive(Debug)]
pub struct StoredRows<'a> {
    file: &'a Database,
    table: &'static str,
    piece: vec::IntoIter<KeyValue>,
    /// Where the next piece begins; `None` behind the last one.
    from: Option<Bound<Vec<u8>>>,
}

impl<'a> StoredRows<'a> {
    /// Makes an iterator over the rows of this table of the kernel.
    pub fn of(file: &'a Database, table: &'static str) -> StoredRows<'a> {
        StoredRows { file, table, piece: Vec::new().into_iter(), from: Some(Bound::Unbounded) }
    }

    fn read_on(&mut self) -> Result<(), HostFault> {
        let Some(from) = self.from.take() else { return Ok(()) };
        let mut piece: Vec<KeyValue> = Vec::new();
        let is_all = self.file.file.rows_within(self.table, (from, Bound::Unbounded), AT_ONCE, &mut |row| {
            piece.push((row.key.to_vec(), row.value.to_vec()));
            Ok(())
        })?;
        self.from = piece.last().filter(|_| !is_all).map(|(key, _)| Bound::Excluded(key.clone()));
        self.piece = piece.into_iter();
        Ok(())
    }
}

impl Iterator for StoredRows<'_> {
    type Item = Result<KeyValue, HostFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.piece.len() == 0
            && let Err(fault) = self.read_on()
        {
            return Some(Err(fault));
        }
        self.piece.next().map(Ok)
    }
}
