//! Names of things: one spelling each, the same in the store, the slog, the command line and the directive file.
//!
//! Invariants: `Display` and `FromStr` round-trip; only the canonical spelling parses (no signs, blanks, leading
//! zeros); a [`VRef`] is exactly the 64 bits that cross the guest ABI (`vat1`), checked on entry.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The error for a text that is not the canonical spelling of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl ParseIdError {
    fn new(text: &str, expected: &'static str) -> ParseIdError {
        ParseIdError { text: text.to_owned(), expected }
    }
}

/// The number in a canonical spelling: decimal digits without a leading zero.
fn canonical_number(text: &str) -> Option<u64> {
    let canonical = text == "0" || (!text.starts_with('0') && !text.is_empty());
    (canonical && text.bytes().all(|it| it.is_ascii_digit())).then(|| text.parse().ok())?
}

macro_rules! numbered {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the id after this one.
            #[must_use]
            pub fn next(self) -> $name {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<$name, ParseIdError> {
                text.strip_prefix($prefix).and_then(canonical_number).map($name)
                    .ok_or_else(|| ParseIdError::new(text, $expected))
            }
        }
    )*};
}

numbered! {
    /// A vat, `v12`: numbered in order of creation, never reused.
    VatId, "v", "a vat like `v12`";
    /// A kernel object, `ko20`.
    ObjectId, "ko", "a kernel object like `ko20`";
    /// A kernel promise, `kp41`.
    PromiseId, "kp", "a kernel promise like `kp41`";
    /// A device, `kd30`.
    DeviceId, "kd", "a device like `kd30`";
    /// The number of a crank, `crank-7890`: counts every crank from 0, a delivery or not, and is never reused.
    CrankNum, "crank-", "a crank like `crank-7890`";
    /// The number of an attempt to deliver to one vat, `delivery-1234`: counts from 0 across all incarnations of the
    /// vat, and is never reused.
    DeliveryNum, "delivery-", "a delivery like `delivery-1234`";
    /// A block, `block-120`. Block 0 is the genesis: it runs no crank.
    BlockHeight, "block-", "a block like `block-120`";
}

/// A reference in the kernel's own space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KRef {
    /// A kernel object, `ko20`.
    Object(ObjectId),
    /// A kernel promise, `kp41`.
    Promise(PromiseId),
    /// A device, `kd30`.
    Device(DeviceId),
}

impl From<ObjectId> for KRef {
    fn from(id: ObjectId) -> KRef {
        KRef::Object(id)
    }
}

impl From<DeviceId> for KRef {
    fn from(id: DeviceId) -> KRef {
        KRef::Device(id)
    }
}

impl KRef {
    /// Returns the promise that the reference names, if it names one.
    pub fn promise(self) -> Option<PromiseId> {
        match self {
            KRef::Promise(id) => Some(id),
            _ => None,
        }
    }
}

impl From<PromiseId> for KRef {
    fn from(id: PromiseId) -> KRef {
        KRef::Promise(id)
    }
}

impl fmt::Display for KRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KRef::Object(id) => id.fmt(f),
            KRef::Promise(id) => id.fmt(f),
            KRef::Device(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for KRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KRef {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<KRef, ParseIdError> {
        let object = text.parse().map(KRef::Object);
        let promise = || text.parse().map(KRef::Promise);
        let device = || text.parse().map(KRef::Device);
        object
            .or_else(|_: ParseIdError| promise())
            .or_else(|_: ParseIdError| device())
            .map_err(|_: ParseIdError| ParseIdError::new(text, "a kernel reference like `ko20`, `kp41` or `kd30`"))
    }
}

/// The kind of thing that a [`VRef`] names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VRefKind {
    /// An object, `o+5` or `o-50`.
    Object,
    /// A promise, `p+1` or `p-60`.
    Promise,
    /// A device, `d-70`.
    Device,
}

/// A reference in one vat's space: `o+5` exported by the vat, `o+d3/1` exported and durable, `o+v5/1` virtual, `o-50`
/// imported, `p+1` a promise allocated by the vat, `p-60` one allocated by the kernel, `d-70` a device.
///
/// The bits are those of the guest ABI: 63–62 kind, 61 allocated by the vat, 60 durable, 59 virtual, then the number
/// (for durable and virtual objects: 19 bits of the factory's id, 40 bits of the instance).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VRef(u64);

const PROMISE: u64 = 1 << 62;
const DEVICE: u64 = 2 << 62;
const KIND_MASK: u64 = 3 << 62;
const OWN: u64 = 1 << 61;
const DURABLE: u64 = 1 << 60;
const VIRTUAL: u64 = 1 << 59;
const NUMBER_MAX: u64 = VIRTUAL - 1;
const INSTANCE_BITS: u32 = 40;
const INSTANCE_MAX: u64 = (1 << INSTANCE_BITS) - 1;
const FACTORY_MAX: u64 = (1 << 19) - 1;
/// Bits above the number.
const FLAG_BITS: u32 = 5;

/// Stored with the flags below the number, so that a small number makes a small integer.
impl Serialize for VRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.rotate_left(FLAG_BITS))
    }
}

impl<'de> Deserialize<'de> for VRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VRef, D::Error> {
        u64::deserialize(deserializer).map(|bits| VRef(bits.rotate_right(FLAG_BITS)))
    }
}

impl VRef {
    /// The vat's root object, `o+0`.
    pub const ROOT: VRef = VRef(OWN);
    /// The lowest reference of a durable object of the vat's own. The vat's own objects below it, from the root on,
    /// end with their incarnation.
    pub(crate) const FIRST_DURABLE: VRef = VRef(OWN | DURABLE);

    /// Makes the reference `o-N` to an object that the kernel allocates.
    pub fn imported_object(number: u64) -> VRef {
        VRef(number & NUMBER_MAX)
    }

    /// Makes the reference `p-N` to a promise that the kernel allocates.
    pub fn imported_promise(number: u64) -> VRef {
        VRef(PROMISE | (number & NUMBER_MAX))
    }

    /// Makes the reference `d-N` to a device.
    pub fn device(number: u64) -> VRef {
        VRef(DEVICE | (number & NUMBER_MAX))
    }

    /// Makes the reference `o+N` to an object of the vat's own.
    pub fn own_object(number: u64) -> VRef {
        VRef(OWN | (number & NUMBER_MAX))
    }

    /// Makes the reference `p+N` to a promise of the vat's own.
    pub fn own_promise(number: u64) -> VRef {
        VRef(PROMISE | OWN | (number & NUMBER_MAX))
    }

    /// Returns the number behind the sign. For a durable or virtual object it holds the factory and the instance.
    pub fn number(self) -> u64 {
        self.0 & NUMBER_MAX
    }

    /// Takes the 64 bits that a guest gave. `None` if they name nothing: kind 3, flags of the wrong kind, or 0
    /// (which means "none" if a reference is optional).
    pub fn from_bits(bits: u64) -> Option<VRef> {
        let flags = bits & (DURABLE | VIRTUAL);
        let own_object = bits & KIND_MASK == 0 && bits & OWN != 0;
        let valid =
            bits != 0 && bits & KIND_MASK != KIND_MASK && (flags == 0 || (own_object && flags != DURABLE | VIRTUAL));
        valid.then_some(VRef(bits))
    }

    /// Returns the 64 bits of the guest ABI.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Returns the kind: object, promise or device.
    pub fn kind(self) -> VRefKind {
        match self.0 & KIND_MASK {
            0 => VRefKind::Object,
            PROMISE => VRefKind::Promise,
            _ => VRefKind::Device,
        }
    }

    /// Returns whether the vat allocated the reference (`+`), rather than the kernel (`-`).
    pub fn is_own(self) -> bool {
        self.0 & OWN != 0
    }

    /// Returns whether the reference names a durable object, which survives an upgrade.
    pub fn is_durable(self) -> bool {
        self.0 & DURABLE != 0
    }

    /// Returns whether the reference names an object that the vat imports, `o-N`.
    pub fn is_imported_object(self) -> bool {
        self.kind() == VRefKind::Object && !self.is_own()
    }

    /// Returns whether the reference names an object that the vat exports, `o+N`.
    pub fn is_exported_object(self) -> bool {
        self.kind() == VRefKind::Object && self.is_own()
    }

    /// Returns whether the reference names a promise, by whichever side it was allocated.
    pub fn is_promise(self) -> bool {
        self.kind() == VRefKind::Promise
    }
}

impl fmt::Display for VRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind() {
            VRefKind::Object => 'o',
            VRefKind::Promise => 'p',
            VRefKind::Device => 'd',
        };
        let sign = if self.is_own() { '+' } else { '-' };
        let number = self.0 & NUMBER_MAX;
        match self.0 & (DURABLE | VIRTUAL) {
            0 => write!(f, "{kind}{sign}{number}"),
            flag => {
                let family = if flag == DURABLE { 'd' } else { 'v' };
                write!(f, "{kind}{sign}{family}{}/{}", number >> INSTANCE_BITS, number & INSTANCE_MAX)
            }
        }
    }
}

impl fmt::Debug for VRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VRef {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<VRef, ParseIdError> {
        parse_vref(text).ok_or_else(|| ParseIdError::new(text, "a vat reference like `o+5`, `o-50`, `p-60` or `d-70`"))
    }
}

fn parse_vref(text: &str) -> Option<VRef> {
    let (kind, rest) = text.split_at_checked(1)?;
    let (sign, number) = rest.split_at_checked(1)?;
    let kind = match kind {
        "o" => 0,
        "p" => PROMISE,
        "d" => DEVICE,
        _ => return None,
    };
    let sign = match sign {
        "+" => OWN,
        "-" => 0,
        _ => return None,
    };
    let number = match number.split_once('/') {
        None => canonical_number(number).filter(|it| *it <= NUMBER_MAX)?,
        Some((factory, instance)) => {
            let (family, factory) = factory.split_at_checked(1)?;
            let flag = match family {
                "d" => DURABLE,
                "v" => VIRTUAL,
                _ => return None,
            };
            let factory = canonical_number(factory).filter(|it| *it <= FACTORY_MAX)?;
            let instance = canonical_number(instance).filter(|it| *it <= INSTANCE_MAX)?;
            flag | factory << INSTANCE_BITS | instance
        }
    };
    VRef::from_bits(kind | sign | number)
}

/// The hash (BLAKE3) of a bundle: the wasm bytes that a vat runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BundleId(pub [u8; 32]);

impl BundleId {
    /// The id that a session has, which is a vat without code.
    pub const NONE: BundleId = BundleId([0; 32]);

    /// Returns the id of a bundle with these bytes.
    pub fn of(bytes: &[u8]) -> BundleId {
        BundleId(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    // ASCII is UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

/// A number that sorts as its decimal text does (`100 < 99`): the order in which SwingSet keeps its sets of names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextOrd(pub u64);

impl TextOrd {
    fn digits(self) -> u32 {
        self.0.checked_ilog10().unwrap_or(0) + 1
    }

    /// Compares with a number that has more digits, by so many: zeros behind this one would change nothing but its length.
    fn cmp_longer(self, longer: TextOrd, by: u32) -> Ordering {
        let filled = u128::from(self.0) * u128::from(10_u64.pow(by));
        filled.cmp(&longer.0.into()).then(Ordering::Less)
    }
}

impl PartialOrd for TextOrd {
    fn partial_cmp(&self, other: &TextOrd) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TextOrd {
    fn cmp(&self, other: &TextOrd) -> Ordering {
        let (own, others) = (self.digits(), other.digits());
        match own.cmp(&others) {
            Ordering::Equal => self.0.cmp(&other.0),
            Ordering::Less => self.cmp_longer(*other, others - own),
            Ordering::Greater => other.cmp_longer(*self, own - others).reverse(),
        }
    }
}

impl fmt::Debug for TextOrd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_of_a_reference_parses() {
        for text in ["o+0", "o+5", "o-50", "p+0", "p-60", "d-70", "d+1", "o+d3/1", "o+v5/1", "o+576460752303423487"] {
            assert_eq!(text.parse::<VRef>().expect(text).to_string(), text);
        }
        let wrong = "o+ o+05 o+zz o++5 o5 q+5 o+d3 o+d3/ o-d3/1 p+d3/1 o+1:2:3 o+x3/1 o+576460752303423488 o-0 o+0x10";
        for text in wrong.split(' ').chain(["", "o+ 5", "o+5 ", "é+1"]) {
            assert!(text.parse::<VRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn bits_that_name_nothing_are_refused() {
        for bits in [0, 3 << 62, 3 << 62 | OWN, DURABLE, VIRTUAL, OWN | DURABLE | VIRTUAL, PROMISE | OWN | DURABLE] {
            assert_eq!(VRef::from_bits(bits), None, "{bits:#x}");
        }
        assert_eq!(VRef::from_bits(1 << 61), Some(VRef::ROOT));
    }

    #[test]
    fn kernel_references_round_trip() {
        for text in ["ko20", "kp41", "kd30"] {
            assert_eq!(text.parse::<KRef>().expect(text).to_string(), text);
        }
        for text in ["ko", "ko020", "kx1", "o20", "ko-1", "ko+1"] {
            assert!(text.parse::<KRef>().is_err(), "{text}");
        }
        assert_eq!("v12".parse::<VatId>(), Ok(VatId(12)));
        assert_eq!("crank-0".parse::<CrankNum>(), Ok(CrankNum(0)));
    }

    #[test]
    fn text_order_is_the_order_of_the_decimal_texts() {
        let mut numbers: Vec<u64> = (0..300).chain([999, 1000, 1001, u64::MAX, u64::MAX - 1, 10_u64.pow(19)]).collect();
        let mut texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
        numbers.sort_by_key(|it| TextOrd(*it));
        texts.sort();
        assert_eq!(numbers.iter().map(u64::to_string).collect::<Vec<_>>(), texts);
    }
}
