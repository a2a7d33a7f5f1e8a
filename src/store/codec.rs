//! The encoding of values as bytes in the store: one codec, with a format version in front of every record.

use bincode::{enc::write::Writer, error::EncodeError};
use serde::{Serialize, de::DeserializeOwned};

use crate::{model::blame::HostFault, store::canon::Sink};

/// The version of the records' format, in front of each.
const FORMAT: u8 = 3;

/// Appends the record of `value` to `out`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), HostFault> {
    out.push(FORMAT);
    append(value, out)
}

/// Returns the record of `value` without its last byte: all but the last field, where that is a byte.
pub(crate) fn beginning<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, HostFault> {
    let mut record = Vec::new();
    encode(value, &mut record)?;
    record.pop();
    Ok(record)
}

/// Reads a record, all of it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HostFault> {
    let mut rest = begin(bytes)?;
    let value = take(&mut rest)?;
    if rest.is_empty() { Ok(value) } else { Err(HostFault::new("decode a record", "bytes are left over")) }
}

/// Checks the format version in front of bytes, and returns the rest.
fn begin(bytes: &[u8]) -> Result<&[u8], HostFault> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        _ => Err(HostFault::new("decode a record", "unknown format version")),
    }
}

/// Appends a value inside of a record.
pub(super) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), HostFault> {
    bincode::serde::encode_into_writer(value, Append(out), bincode::config::standard())
        .map_err(|err| HostFault::new("encode a record", err))
}

/// Appends pieces of a few bytes, of which a crank writes hundreds: through `std::io::Write` each would be counted,
/// and copied by a call.
struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match bytes {
            // Most numbers are one.
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}

/// Bytes of one value: what SQLite can hold. Damage must not make the codec ask for more memory than there is.
const VALUE_BYTES_MAX: usize = 1 << 30;

/// Takes a value off the front of a record.
fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, HostFault> {
    let config = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|err| HostFault::new("decode a record", err))?;
    *bytes = &bytes[used..];
    Ok(value)
}

/// A key of a table, and its bytes, which sort as the key does.
pub trait Key: Ord + Clone {
    /// Whether the bytes do sort so: those of a text order do not. A range of the keys must be one of the bytes as well then.
    const SORTS_AS_BYTES: bool = true;

    /// Appends the bytes.
    fn write(&self, out: &mut impl Sink);
    /// Takes the key off the front of the bytes.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

impl Key for u64 {
    fn write(&self, out: &mut impl Sink) {
        out.plain(&self.to_be_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<u64> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_be_bytes(*head))
    }
}

impl Key for i64 {
    fn write(&self, out: &mut impl Sink) {
        (self.cast_unsigned() ^ 1 << 63).write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<i64> {
        u64::read(bytes).map(|it| (it ^ 1 << 63).cast_signed())
    }
}

/// As its number; rows are found by the order of the texts, which is that of the keys in memory.
impl Key for crate::model::id::TextOrd {
    const SORTS_AS_BYTES: bool = false;

    fn write(&self, out: &mut impl Sink) {
        self.0.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).map(Self)
    }
}

impl Key for u8 {
    fn write(&self, out: &mut impl Sink) {
        out.plain(&[*self]);
    }
    fn read(bytes: &mut &[u8]) -> Option<u8> {
        let (head, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(*head)
    }
}

impl Key for () {
    fn write(&self, _: &mut impl Sink) {}
    fn read(_: &mut &[u8]) -> Option<()> {
        Some(())
    }
}

/// Takes all that is left: the last part of a key only.
impl Key for crate::model::value::Bytes {
    fn write(&self, out: &mut impl Sink) {
        out.plain(self);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self::from(std::mem::take(bytes)))
    }
}

/// As its bytes.
impl Key for crate::model::value::StoreKey {
    fn write(&self, out: &mut impl Sink) {
        Key::write(&**self, out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        crate::model::value::Bytes::read(bytes).map(Self::from)
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const SORTS_AS_BYTES: bool = A::SORTS_AS_BYTES && B::SORTS_AS_BYTES;

    fn write(&self, out: &mut impl Sink) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<(A, B)> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        impl Key for crate::model::id::$name {
            fn write(&self, out: &mut impl Sink) {
                self.0.write(out);
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                u64::read(bytes).map(Self)
            }
        }
    )*};
}

numbers!(VatId ObjectId PromiseId DeviceId CrankNum DeliveryNum BlockHeight);

impl Key for crate::model::id::VRef {
    fn write(&self, out: &mut impl Sink) {
        self.bits().write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u64::read(bytes).and_then(Self::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_key_sort_as_the_key_does_and_read_back() {
        let keys = [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX];
        let bytes = keys.map(|key| {
            let mut out = vec![];
            (7_u8, key).write(&mut out);
            out
        });
        assert!(bytes.is_sorted());
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(<(u8, i64)>::read(&mut &bytes[..]), Some((7, *key)));
        }
    }

    #[test]
    fn a_record_of_another_format_or_length_is_refused() {
        let mut bytes = vec![];
        encode(&(1_u64, "text"), &mut bytes).expect("encodes");
        assert_eq!(decode::<(u64, String)>(&bytes).expect("decodes"), (1, "text".to_owned()));
        assert!(decode::<(u64, String)>(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode::<u64>(&bytes).is_err(), "left over");
        // A length that no memory could hold.
        assert!(decode::<String>(&[FORMAT, 253, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
        bytes[0] = 9;
        assert!(decode::<(u64, String)>(&bytes).is_err(), "format");
    }
}
