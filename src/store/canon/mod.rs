//! The canonical encoding: the bytes of a value that are hashed, whatever the store keeps of it.
//!
//! It depends on serde's model of the value alone: the order of fields and variants, and nothing of the store's codec.
//! Transcripts are stored in it, and read back (`read`); of rows it is only hashed.
//!
//! | what | bytes |
//! | --- | --- |
//! | a number, a `bool`, a `char` | LEB128; a signed one zigzag |
//! | text, bytes | their length, then they |
//! | `Option` | 0, or 1 and the value |
//! | an enum | the number of the variant, then its content |
//! | a sequence, a map | its length, then the items (of a map: each key before its value) |
//! | a struct, a tuple | its fields in order |
//! | a unit | nothing |
//!
//! A float has no canonical form, and is refused.
//!
//! Invariant: each encoding tells where it ends, so that none is the beginning of another of its type. A change of this
//! table, or of the fields of a row, changes every hash: it is a new schema.

mod read;

pub use read::take;

use std::fmt;

use serde::ser::{self, Serialize};

use crate::model::blame::HostFault;

/// A consumer of the canonical encoding.
pub trait Sink {
    /// Takes a number.
    fn number(&mut self, number: u64);

    /// Takes bytes of a length that is known from what came before.
    fn plain(&mut self, bytes: &[u8]);

    /// Takes bytes, their length before them.
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.plain(bytes);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.push(number.to_le_bytes()[0]);
    }

    #[inline]
    fn plain(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Gives the canonical encoding of a value to a sink.
pub fn write<T: Serialize + ?Sized>(value: &T, sink: &mut impl Sink) -> Result<(), HostFault> {
    value.serialize(Encoder(sink)).map_err(|err| HostFault::new("encode a value to be hashed", err))
}

/// The reason why a value has no canonical encoding.
#[derive(Debug)]
struct NotCanonical(String);

impl fmt::Display for NotCanonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotCanonical {}

impl ser::Error for NotCanonical {
    fn custom<T: fmt::Display>(why: T) -> NotCanonical {
        NotCanonical(why.to_string())
    }
}

fn refused<T>(what: &str) -> Result<T, NotCanonical> {
    Err(NotCanonical(format!("{what} has no canonical form")))
}

struct Encoder<'a, S>(&'a mut S);

type Done = Result<(), NotCanonical>;

impl<S: Sink> Encoder<'_, S> {
    #[inline]
    fn signed(self, number: i64) -> Done {
        self.0.number((number << 1 ^ number >> 63).cast_unsigned());
        Ok(())
    }

    #[inline]
    fn unsigned(self, number: u64) -> Done {
        self.0.number(number);
        Ok(())
    }
}

impl<'a, S: Sink> ser::Serializer for Encoder<'a, S> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = Encoder<'a, S>;
    type SerializeTuple = Encoder<'a, S>;
    type SerializeTupleStruct = Encoder<'a, S>;
    type SerializeTupleVariant = Encoder<'a, S>;
    type SerializeMap = Encoder<'a, S>;
    type SerializeStruct = Encoder<'a, S>;
    type SerializeStructVariant = Encoder<'a, S>;

    fn is_human_readable(&self) -> bool {
        false
    }
    #[inline]
    fn serialize_bool(self, it: bool) -> Done {
        self.unsigned(it.into())
    }
    fn serialize_i8(self, it: i8) -> Done {
        self.signed(it.into())
    }
    fn serialize_i16(self, it: i16) -> Done {
        self.signed(it.into())
    }
    fn serialize_i32(self, it: i32) -> Done {
        self.signed(it.into())
    }
    fn serialize_i64(self, it: i64) -> Done {
        self.signed(it)
    }
    #[inline]
    fn serialize_u8(self, it: u8) -> Done {
        self.unsigned(it.into())
    }
    fn serialize_u16(self, it: u16) -> Done {
        self.unsigned(it.into())
    }
    #[inline]
    fn serialize_u32(self, it: u32) -> Done {
        self.unsigned(it.into())
    }
    #[inline]
    fn serialize_u64(self, it: u64) -> Done {
        self.unsigned(it)
    }
    fn serialize_f32(self, _: f32) -> Done {
        refused("a float")
    }
    fn serialize_f64(self, _: f64) -> Done {
        refused("a float")
    }
    fn serialize_char(self, it: char) -> Done {
        self.unsigned(u32::from(it).into())
    }
    #[inline]
    fn serialize_str(self, it: &str) -> Done {
        self.serialize_bytes(it.as_bytes())
    }
    #[inline]
    fn serialize_bytes(self, it: &[u8]) -> Done {
        self.0.bytes(it);
        Ok(())
    }
    #[inline]
    fn serialize_none(self) -> Done {
        self.unsigned(0)
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Done {
        self.0.number(1);
        it.serialize(self)
    }
    fn serialize_unit(self) -> Done {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }
    #[inline]
    fn serialize_unit_variant(self, _: &'static str, variant: u32, _: &'static str) -> Done {
        self.unsigned(variant.into())
    }
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, it: &T) -> Done {
        it.serialize(self)
    }
    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        it: &T,
    ) -> Done {
        self.0.number(variant.into());
        it.serialize(self)
    }
    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, NotCanonical> {
        let Some(length) = length else { return refused("a sequence of unknown length") };
        self.0.number(length as u64);
        Ok(self)
    }
    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, NotCanonical> {
        Ok(self)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NotCanonical> {
        Ok(self)
    }
    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NotCanonical> {
        self.0.number(variant.into());
        Ok(self)
    }
    fn serialize_map(self, length: Option<usize>) -> Result<Self, NotCanonical> {
        self.serialize_seq(length)
    }
    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotCanonical> {
        Ok(self)
    }
    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        variant: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, NotCanonical> {
        self.0.number(variant.into());
        Ok(self)
    }
}

impl<S: Sink> Encoder<'_, S> {
    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, it: &T) -> Done {
        it.serialize(Encoder(&mut *self.0))
    }
}

macro_rules! items {
    ($($of:ident $method:ident)*) => {$(
        impl<S: Sink> ser::$of for Encoder<'_, S> {
            type Ok = ();
            type Error = NotCanonical;
            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, it: &T) -> Done {
                self.item(it)
            }
            #[inline]
            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

items!(SerializeSeq serialize_element SerializeTuple serialize_element SerializeTupleStruct serialize_field SerializeTupleVariant serialize_field);

impl<S: Sink> ser::SerializeMap for Encoder<'_, S> {
    type Ok = ();
    type Error = NotCanonical;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, it: &T) -> Done {
        self.item(it)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, it: &T) -> Done {
        self.item(it)
    }
    fn end(self) -> Done {
        Ok(())
    }
}

macro_rules! fields {
    ($($of:ident)*) => {$(
        impl<S: Sink> ser::$of for Encoder<'_, S> {
            type Ok = ();
            type Error = NotCanonical;
            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, it: &T) -> Done {
                self.item(it)
            }
            fn skip_field(&mut self, _: &'static str) -> Done {
                refused("a field that is left out")
            }
            #[inline]
            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
    enum Example {
        Unit,
        One(u64),
        Two(i64, bool),
        Named { text: String, maybe: Option<Box<Example>>, list: Vec<(u8, char)> },
    }

    fn canon<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(value, &mut bytes).expect("encodes");
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        assert_eq!(canon(&(0_u8, 127_u64, 128_u64, 300_u16, true)), [0, 127, 0x80, 1, 0xac, 2, 1]);
        assert_eq!(canon(&u64::MAX), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(canon(&(0_i64, -1_i8, 1_i32, -65_i16)), [0, 1, 2, 0x81, 1]);
        assert_eq!(canon(&("ab", Some(7_u8), None::<u8>, ())), [2, b'a', b'b', 1, 7, 0]);
        assert_eq!(canon(&BTreeMap::from([(1_u8, "x"), (2, "")])), [2, 1, 1, b'x', 2, 0]);
        assert_eq!(canon(&vec![Example::Unit, Example::One(9)]), [2, 0, 1, 9]);
        let named =
            Example::Named { text: "t".into(), maybe: Some(Box::new(Example::Two(-1, true))), list: vec![(1, 'é')] };
        assert_eq!(canon(&named), [3, 1, b't', 1, 2, 1, 1, 1, 1, 0xe9, 1]);
        assert!(write(&1.5_f64, &mut Vec::new()).is_err());
    }

    #[test]
    fn what_announces_more_than_there_is_or_does_not_fit_is_refused() {
        assert!(take::<Vec<u8>>(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]).is_err());
        assert!(take::<String>(&mut &[4, b'a'][..]).is_err(), "cut short");
        assert!(take::<String>(&mut &[1, 0xff][..]).is_err(), "not UTF-8");
        assert!(take::<u8>(&mut &[0x80, 2][..]).is_err(), "256");
        assert!(take::<u64>(&mut &[0x80, 0][..]).is_err(), "0 in two bytes");
        assert!(take::<u64>(&mut &[0xff; 11][..]).is_err(), "more than 64 bits");
        assert!(take::<bool>(&mut &[2][..]).is_err());
        assert!(take::<f64>(&mut &[0; 8][..]).is_err());
        assert!(take::<Example>(&mut &[9][..]).is_err(), "no such variant");
    }

    fn shape() -> impl Strategy<Value = Example> {
        let leaf = prop_oneof![
            Just(Example::Unit),
            (0..4_u64).prop_map(Example::One),
            (-2..2_i64, any::<bool>()).prop_map(|(a, b)| Example::Two(a, b)),
        ];
        leaf.prop_recursive(3, 8, 2, |inner| {
            ("[ab]{0,2}", prop::option::of(inner), prop::collection::vec((0..3_u8, prop::char::range('a', 'c')), 0..3))
                .prop_map(|(text, maybe, list)| Example::Named { text, maybe: maybe.map(Box::new), list })
        })
    }

    proptest! {
        #[test]
        fn no_encoding_begins_with_that_of_another_value(a in shape(), b in shape()) {
            prop_assert_eq!(canon(&a).starts_with(&canon(&b)), a == b);
        }

        #[test]
        fn what_was_written_is_read_back_and_nothing_is_left(a in shape(), numbers in any::<(u64, i64, i8, u16, bool)>()) {
            let written = (a, numbers, BTreeMap::from([(numbers.0, "x".to_owned())]));
            let bytes = canon(&written);
            let mut rest = &bytes[..];
            prop_assert_eq!(take::<(Example, (u64, i64, i8, u16, bool), BTreeMap<u64, String>)>(&mut rest).expect("reads"), written);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn bytes_that_nobody_wrote_are_refused_or_are_the_encoding_of_what_is_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = &bytes[..];
            if let Ok(read) = take::<Vec<Example>>(&mut rest) {
                prop_assert_eq!(canon(&read), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
