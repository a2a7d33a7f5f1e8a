//! State that survives an upgrade: cells and maps over the vatstore.
//!
//! A value is stored as its smallcaps body, then one line for each slot. References are counted under `vat.ref.<vref>`, so that an import
//! that only the vatstore holds is not reported as dropped.

use alloc::string::String;
use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::number::{parse_u64, push_u64};
use crate::state::vat;
use crate::vref::VRef;
use crate::{Decimal, Error, FromValue, Remote, Value, smallcaps, sys};

/// A type whose values survive an upgrade. Promises and plain objects of this vat do not survive, and do not implement it.
pub trait Store: Into<Value> + FromValue {}

macro_rules! store {
    ($($type:ty)*) => { $(impl Store for $type {})* };
}

store!(bool u8 u16 u32 u64 i8 i16 i32 i64 i128 f64 Decimal String Remote);

impl<T: Store> Store for Option<T> {}
impl<T: Store> Store for Vec<T> {}

/// A cell in the vatstore. Two cells with the same name are the same cell.
///
/// ```
/// static VISITS: vat::Durable<u64> = vat::Durable::at("visits");
///
/// let _world = vat::test::World::empty();
/// assert_eq!(VISITS.get(), None);
/// VISITS.set(1);
/// assert_eq!(VISITS.update(|visits| visits.unwrap_or(0) + 1), 2);
/// ```
#[derive(Debug)]
pub struct Durable<T> {
    name: &'static str,
    holds: PhantomData<fn() -> T>,
}

impl<T: Store> Durable<T> {
    /// The cell of that name. Names that begin with `vat.` are the SDK's.
    pub const fn at(name: &'static str) -> Self {
        Durable { name, holds: PhantomData }
    }

    /// Reads the value that was stored last, if it is a `T`.
    pub fn get(&self) -> Option<T> {
        read(self.name.as_bytes())
    }

    /// Stores a value in the cell.
    pub fn set(&self, value: T) {
        write(self.name.as_bytes(), value.into());
    }

    /// Stores what the function makes of the present value, and returns it.
    pub fn update(&self, change: impl FnOnce(Option<T>) -> T) -> T
    where
        T: Clone,
    {
        let value = change(self.get());
        self.set(value.clone());
        value
    }

    /// Deletes the value of the cell.
    pub fn clear(&self) {
        remove(self.name.as_bytes());
    }
}

/// A type that can be the key of a [`DurableMap`]. Keys are in the order of their bytes.
pub trait Key {
    /// The type of the keys that an iteration returns.
    type Owned;

    /// The bytes of the key.
    fn to_bytes(&self) -> Vec<u8>;

    /// The key of the bytes, if they are one.
    fn from_bytes(bytes: &[u8]) -> Option<Self::Owned>;
}

impl Key for str {
    type Owned = String;

    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

/// Twenty digits, so that the order of the bytes is that of the numbers.
impl Key for u64 {
    type Owned = u64;

    fn to_bytes(&self) -> Vec<u8> {
        let mut digits = String::new();
        push_u64(&mut digits, *self);
        let mut bytes = alloc::vec![b'0'; 20 - digits.len()];
        bytes.extend_from_slice(digits.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<u64> {
        core::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

/// A map in the vatstore, in the order of its keys.
///
/// ```
/// use vat::DurableMap;
/// static BALANCES: DurableMap<str, u64> = DurableMap::at("balances");
///
/// let _world = vat::test::World::empty();
/// BALANCES.insert("bob", 20);
/// BALANCES.insert("alice", 10);
/// assert_eq!(BALANCES.get("bob"), Some(20));
/// let names: Vec<String> = BALANCES.iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["alice", "bob"]);
/// ```
#[derive(Debug)]
pub struct DurableMap<K: ?Sized, T> {
    name: &'static str,
    holds: PhantomData<fn(&K) -> T>,
}

impl<K: Key + ?Sized, T: Store> DurableMap<K, T> {
    /// The map of that name. Names that begin with `vat.` are the SDK's.
    pub const fn at(name: &'static str) -> Self {
        DurableMap { name, holds: PhantomData }
    }

    /// Reads the value of a key, if it is a `T`.
    pub fn get(&self, key: &K) -> Option<T> {
        read(&self.key(key))
    }

    /// Stores the value of a key.
    pub fn insert(&self, key: &K, value: T) {
        write(&self.key(key), value.into());
    }

    /// Deletes a key and its value.
    pub fn remove(&self, key: &K) {
        remove(&self.key(key));
    }

    /// The entries in order of their keys, read some kilobytes at a time. Entries inserted or removed meanwhile may or may not show.
    pub fn iter(&self) -> impl Iterator<Item = (K::Owned, T)> + use<K, T> {
        let prefix = self.prefix();
        let skip = prefix.len();
        let scan = Scan { after: prefix.clone(), prefix, page: Vec::new(), read: 0, done: false };
        scan.filter_map(move |(key, value)| {
            Some((K::from_bytes(&key[skip..])?, T::from_value(parse(&value).ok()?).ok()?))
        })
    }

    fn prefix(&self) -> Vec<u8> {
        let mut prefix = self.name.as_bytes().to_vec();
        prefix.push(b'.');
        prefix
    }

    fn key(&self, key: &K) -> Vec<u8> {
        let mut full = self.prefix();
        full.extend(key.to_bytes());
        full
    }
}

/// Walks through the entries under a prefix, a page at a time.
struct Scan {
    prefix: Vec<u8>,
    after: Vec<u8>,
    page: Vec<u8>,
    read: usize,
    done: bool,
}

const PAGE_BYTES: usize = 16 * 1024;

impl Iterator for Scan {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.read >= self.page.len() && !self.done {
            self.page = sys::vatstore_scan(&self.prefix, &self.after, PAGE_BYTES);
            self.read = 0;
        }
        let entry = if self.page.is_empty() { self.single() } else { self.entry() };
        match &entry {
            Some((key, _)) => self.after.clone_from(key),
            None => self.done = true,
        }
        entry
    }
}

impl Scan {
    fn entry(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (key_len, value_len) = (self.length()?, self.length()?);
        Some((self.bytes(key_len)?, self.bytes(value_len)?))
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.bytes(4)?;
        Some(bytes.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte)))
    }

    fn bytes(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.page.get(self.read..self.read + len)?.to_vec();
        self.read += len;
        Some(bytes)
    }

    /// An empty page is the end, or an entry larger than a page.
    fn single(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        if self.done {
            return None;
        }
        let key = sys::vatstore_next_key(&self.after).filter(|k| k.starts_with(&self.prefix))?;
        let value = sys::vatstore_get(&key)?;
        Some((key, value))
    }
}

fn read<T: Store>(key: &[u8]) -> Option<T> {
    let stored = sys::vatstore_get(key)?;
    T::from_value(parse(&stored).ok()?).ok()
}

fn write(key: &[u8], value: Value) {
    // A `Store` holds no promise, so none is sent again.
    let data = smallcaps::encode(&value, &mut Vec::new());
    let old = old_slots(key);
    let mut text = data.body;
    for &vref in &data.slots {
        count(vref, 1);
        text.push('\n');
        push_u64(&mut text, vref);
    }
    sys::vatstore_set(key, text.as_bytes());
    release(&old);
}

fn remove(key: &[u8]) {
    let old = old_slots(key);
    sys::vatstore_delete(key);
    release(&old);
}

/// The references that the vatstore holds under the key now; it is not asked if it holds no reference at all.
fn old_slots(key: &[u8]) -> Vec<VRef> {
    if vat().stored.get() == 0 {
        return Vec::new();
    }
    sys::vatstore_get(key).map_or_else(Vec::new, |stored| slots(&stored))
}

fn slots(stored: &[u8]) -> Vec<VRef> {
    stored.split(|&b| b == b'\n').skip(1).filter_map(parse_u64).collect()
}

fn parse(stored: &[u8]) -> Result<Value, Error> {
    let body = stored.split(|&b| b == b'\n').next().unwrap_or(stored);
    let handles: Vec<Value> = slots(stored).into_iter().map(|vref| Value::Remote(Remote::of(vref))).collect();
    smallcaps::decode(body, &handles)
}

/// The number of references that the vatstore holds, over all keys.
const STORED: &[u8] = b"vat.refs";

/// Called by the first delivery of a later incarnation.
pub(crate) fn count_stored() {
    vat().stored.set(number(STORED));
}

fn number(key: &[u8]) -> u64 {
    sys::vatstore_get(key).and_then(|text| parse_u64(&text)).unwrap_or(0)
}

fn set_number(key: &[u8], number: u64) {
    let mut text = String::new();
    push_u64(&mut text, number);
    sys::vatstore_set(key, text.as_bytes());
}

fn ref_key(vref: VRef) -> String {
    let mut key = String::from("vat.ref.");
    push_u64(&mut key, vref);
    key
}

/// Counts one stored reference more, or less; returns how many are left.
fn count(vref: VRef, change: i64) -> u64 {
    let key = ref_key(vref);
    let left = number(key.as_bytes()).saturating_add_signed(change);
    if left == 0 {
        sys::vatstore_delete(key.as_bytes());
    } else {
        set_number(key.as_bytes(), left);
    }
    vat().stored.set(vat().stored.get().saturating_add_signed(change));
    set_number(STORED, vat().stored.get());
    left
}

fn release(slots: &[VRef]) {
    for &vref in slots {
        if count(vref, -1) == 0 {
            crate::remote::release(vref);
        }
    }
}

/// Returns whether the vatstore holds the reference.
pub(crate) fn is_stored(vref: VRef) -> bool {
    vat().stored.get() > 0 && sys::vatstore_get(ref_key(vref).as_bytes()).is_some()
}
