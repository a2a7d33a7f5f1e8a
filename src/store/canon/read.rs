//! The reading of canonical encodings: of transcripts, which are stored as they are hashed.
//!
//! Invariants: what was written is read back as it was; anything else is an error, and never makes the reader ask for more memory
//! than the bytes have room for.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use crate::model::blame::HostFault;

/// Takes a value off the front of the bytes.
pub fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, HostFault> {
    T::deserialize(Decoder(bytes)).map_err(|err| HostFault::new("decode a canonical encoding", err))
}

/// The reason why bytes are no canonical encoding of a value of its type.
#[derive(Debug)]
struct NotEncoded(String);

impl fmt::Display for NotEncoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotEncoded {}

impl de::Error for NotEncoded {
    fn custom<T: fmt::Display>(why: T) -> NotEncoded {
        NotEncoded(why.to_string())
    }
}

type Read<T> = Result<T, NotEncoded>;

fn refused<T>(why: &str) -> Read<T> {
    Err(NotEncoded(why.to_owned()))
}

/// Reads from the front of what is left.
struct Decoder<'a, 'b>(&'a mut &'b [u8]);

impl<'b> Decoder<'_, 'b> {
    #[inline]
    fn number(&mut self) -> Read<u64> {
        let (mut number, mut shift) = (0_u64, 0_u32);
        loop {
            let Some((byte, rest)) = self.0.split_first() else { return refused("it ends in a number") };
            *self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            if shifted >> shift != bits {
                return refused("a number is too large");
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                // Each number has one encoding: the last byte of a longer one is not 0.
                return if *byte == 0 && shift > 0 { refused("a number is longer than it is") } else { Ok(number) };
            }
            shift += 7;
            if shift > 63 {
                return refused("a number is too large");
            }
        }
    }

    #[inline]
    fn signed(&mut self) -> Read<i64> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of things of which each takes a byte or more.
    fn length(&mut self) -> Read<usize> {
        let length = usize::try_from(self.number()?).ok().filter(|it| *it <= self.0.len());
        length.ok_or_else(|| NotEncoded("more is announced than there are bytes".to_owned()))
    }

    fn bytes(&mut self) -> Read<&'b [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at(length);
        *self.0 = rest;
        Ok(bytes)
    }

    fn small(&mut self) -> Read<u32> {
        self.number()?.try_into().map_err(|_| NotEncoded("a variant has too large a number".to_owned()))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $read:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
            let number = <$type>::try_from(self.$read()?);
            visitor.$visit(number.map_err(|_| NotEncoded("a number is too large for its place".to_owned()))?)
        }
    )*};
}

macro_rules! unnamed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'b>>(self, _: V) -> Read<V::Value> {
            refused("its type has no canonical encoding")
        }
    )*};
}

impl<'b> de::Deserializer<'b> for Decoder<'_, 'b> {
    type Error = NotEncoded;

    numbers! {
        deserialize_u8 visit_u8 u8, number
        deserialize_u16 visit_u16 u16, number
        deserialize_u32 visit_u32 u32, number
        deserialize_u64 visit_u64 u64, number
        deserialize_i8 visit_i8 i8, signed
        deserialize_i16 visit_i16 i16, signed
        deserialize_i32 visit_i32 i32, signed
        deserialize_i64 visit_i64 i64, signed
    }

    unnamed! { deserialize_any deserialize_f32 deserialize_f64 deserialize_ignored_any }

    fn is_human_readable(&self) -> bool {
        false
    }
    #[inline]
    fn deserialize_bool<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        match self.number()? {
            it @ 0..=1 => visitor.visit_bool(it == 1),
            _ => refused("it is neither true nor false"),
        }
    }
    fn deserialize_char<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        match char::from_u32(self.small()?) {
            Some(it) => visitor.visit_char(it),
            None => refused("it is no character"),
        }
    }
    fn deserialize_str<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => refused("a text is not UTF-8"),
        }
    }
    fn deserialize_string<V: Visitor<'b>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_str(visitor)
    }
    #[inline]
    fn deserialize_bytes<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }
    #[inline]
    fn deserialize_byte_buf<V: Visitor<'b>>(self, visitor: V) -> Read<V::Value> {
        self.deserialize_bytes(visitor)
    }
    #[inline]
    fn deserialize_option<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        match self.number()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => refused("it is neither there nor absent"),
        }
    }
    fn deserialize_unit<V: Visitor<'b>>(self, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }
    fn deserialize_unit_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        visitor.visit_unit()
    }
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'b>>(self, _: &'static str, visitor: V) -> Read<V::Value> {
        visitor.visit_newtype_struct(self)
    }
    #[inline]
    fn deserialize_seq<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        let left = self.length()?;
        visitor.visit_seq(Items { decoder: self, left })
    }
    #[inline]
    fn deserialize_tuple<V: Visitor<'b>>(self, left: usize, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(Items { decoder: self, left })
    }
    fn deserialize_tuple_struct<V: Visitor<'b>>(self, _: &'static str, left: usize, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(Items { decoder: self, left })
    }
    fn deserialize_map<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        let left = self.length()?;
        visitor.visit_map(Items { decoder: self, left })
    }
    #[inline]
    fn deserialize_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_seq(Items { decoder: self, left: fields.len() })
    }
    #[inline]
    fn deserialize_enum<V: Visitor<'b>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_enum(self)
    }
    fn deserialize_identifier<V: Visitor<'b>>(mut self, visitor: V) -> Read<V::Value> {
        visitor.visit_u32(self.small()?)
    }
}

/// The items of a sequence, the fields of a struct, or the pairs of a map.
struct Items<'a, 'b> {
    decoder: Decoder<'a, 'b>,
    left: usize,
}

impl<'b> Items<'_, 'b> {
    #[inline]
    fn next<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(Decoder(&mut *self.decoder.0)).map(Some)
    }
}

impl<'b> de::SeqAccess<'b> for Items<'_, 'b> {
    type Error = NotEncoded;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        self.next(seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'b> de::MapAccess<'b> for Items<'_, 'b> {
    type Error = NotEncoded;

    fn next_key_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        self.next(seed)
    }
    fn next_value_seed<T: DeserializeSeed<'b>>(&mut self, seed: T) -> Read<T::Value> {
        seed.deserialize(Decoder(&mut *self.decoder.0))
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'a, 'b> de::EnumAccess<'b> for Decoder<'a, 'b> {
    type Error = NotEncoded;
    type Variant = Decoder<'a, 'b>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'b>>(mut self, seed: T) -> Read<(T::Value, Decoder<'a, 'b>)> {
        let variant = self.small()?;
        Ok((seed.deserialize(IntoDeserializer::<NotEncoded>::into_deserializer(variant))?, self))
    }
}

impl<'b> de::VariantAccess<'b> for Decoder<'_, 'b> {
    type Error = NotEncoded;

    fn unit_variant(self) -> Read<()> {
        Ok(())
    }
    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'b>>(self, seed: T) -> Read<T::Value> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'b>>(self, left: usize, visitor: V) -> Read<V::Value> {
        visitor.visit_seq(Items { decoder: self, left })
    }
    #[inline]
    fn struct_variant<V: Visitor<'b>>(self, fields: &'static [&'static str], visitor: V) -> Read<V::Value> {
        visitor.visit_seq(Items { decoder: self, left: fields.len() })
    }
}
