//! A connection as rows: what changed since the last time is written, so that a host that was started anew goes on with it.
//!
//! Invariant: a connection that is read from its rows behaves as the one that wrote them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    model::{blame::HostFault, id::VRef},
    serve::captp::{Connection, Settlement},
    store::{BesideRow, KeptRow, codec::decode, encode},
};

/// The first byte of a row's key behind the prefix: which map it is of.
const IMPORTS: u8 = b'i';
const PROMISES: u8 = b'p';
const OPEN: u8 = b'o';
const SETTLED: u8 = b's';
const ASKED: u8 = b'q';

/// A map that notes which of its keys were changed, if it is to be kept.
#[derive(Debug)]
pub(super) struct Noted<K, V> {
    map: BTreeMap<K, V>,
    changed: Option<BTreeSet<K>>,
}

impl<K, V> Default for Noted<K, V> {
    fn default() -> Self {
        Noted { map: BTreeMap::new(), changed: None }
    }
}

impl<K: Ord + Copy, V> Noted<K, V> {
    fn note(&mut self, key: K) {
        if let Some(changed) = &mut self.changed {
            changed.insert(key);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.map.keys()
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.note(key);
        self.map.insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let removed = self.map.remove(key);
        if removed.is_some() {
            self.note(*key);
        }
        removed
    }
}

impl<K: Ord + Copy + Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> Noted<K, V> {
    /// Notes changes from now on; all that there is counts as changed.
    fn keep(&mut self) {
        self.changed = Some(self.map.keys().copied().collect());
    }

    /// Notes changes from now on: what there is was read from its rows.
    fn keep_on(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    fn take_rows(&mut self, prefix: &[u8], kind: u8, rows: &mut Vec<BesideRow>) {
        for key in self.changed.as_mut().map(std::mem::take).unwrap_or_default() {
            rows.push((row_key(prefix, kind, &key), self.map.get(&key).and_then(encoded)));
        }
    }

    /// Removes the rows, those that were not written as well.
    fn forget_rows(&self, prefix: &[u8], kind: u8, rows: &mut Vec<BesideRow>) {
        let changed = self.changed.iter().flatten();
        rows.extend(self.map.keys().chain(changed).map(|key| (row_key(prefix, kind, key), None)));
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<(), HostFault> {
        self.map.insert(decode(key)?, decode(value)?);
        Ok(())
    }
}

/// The part of a connection that is no map: some hundred bytes, written at each change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::serve) struct ConnectionHead {
    exports: BTreeMap<String, VRef>,
    next_question: u64,
    next_own: u64,
    next_settled: u64,
    untold: BTreeSet<VRef>,
}

/// A settlement, and its place in the order of all.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptSettlement {
    pub(super) at: u64,
    pub(super) settlement: Settlement,
}

impl Connection {
    /// Has the connection note what changes, for [`take_rows`](Connection::take_rows).
    pub(in crate::serve) fn keep(&mut self) {
        self.known.imports.keep();
        self.known.promises.keep();
        self.known.open.keep();
        self.known.settled.keep();
        self.asked.keep();
    }

    /// Returns the part that is no map.
    pub(in crate::serve) fn head(&self) -> ConnectionHead {
        ConnectionHead {
            exports: self.exports.clone(),
            next_question: self.next_question,
            next_own: self.next_own,
            next_settled: self.known.next_settled,
            untold: self.untold.clone(),
        }
    }

    /// Takes the rows that changed, but for the head's, with this in front of their keys.
    pub(in crate::serve) fn take_rows(&mut self, prefix: &[u8], rows: &mut Vec<BesideRow>) {
        self.known.imports.take_rows(prefix, IMPORTS, rows);
        self.known.promises.take_rows(prefix, PROMISES, rows);
        self.known.open.take_rows(prefix, OPEN, rows);
        self.known.settled.take_rows(prefix, SETTLED, rows);
        self.asked.take_rows(prefix, ASKED, rows);
    }

    /// Removes all rows of the connection.
    pub(in crate::serve) fn forget_rows(&self, prefix: &[u8], rows: &mut Vec<BesideRow>) {
        self.known.imports.forget_rows(prefix, IMPORTS, rows);
        self.known.promises.forget_rows(prefix, PROMISES, rows);
        self.known.open.forget_rows(prefix, OPEN, rows);
        self.known.settled.forget_rows(prefix, SETTLED, rows);
        self.asked.forget_rows(prefix, ASKED, rows);
    }

    /// Makes the connection that its rows are of: their keys without the prefix, and their values.
    pub(in crate::serve) fn of_rows(head: ConnectionHead, rows: &[KeptRow]) -> Result<Connection, HostFault> {
        let mut connection = Connection::new(BTreeMap::new());
        let ConnectionHead { exports, next_question, next_own, next_settled, untold } = head;
        connection.exports = exports;
        connection.next_question = next_question;
        connection.next_own = next_own;
        connection.untold = untold;
        for (key, value) in rows {
            let Some((kind, key)) = key.split_first() else { continue };
            match *kind {
                IMPORTS => connection.known.imports.read(key, value)?,
                PROMISES => connection.known.promises.read(key, value)?,
                OPEN => connection.known.open.read(key, value)?,
                SETTLED => connection.known.settled.read(key, value)?,
                ASKED => connection.asked.read(key, value)?,
                // The owner's.
                _ => (),
            }
        }
        connection.known.next_settled = next_settled;
        connection.known.put_settled_in_order();
        connection.known.imports.keep_on();
        connection.known.promises.keep_on();
        connection.known.open.keep_on();
        connection.known.settled.keep_on();
        connection.asked.keep_on();
        Ok(connection)
    }
}

fn row_key<K: Serialize>(prefix: &[u8], kind: u8, key: &K) -> Vec<u8> {
    let mut bytes = [prefix, &[kind]].concat();
    bytes.extend(encoded(key).unwrap_or_default());
    bytes
}

fn encoded<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).ok().map(|()| bytes)
}
