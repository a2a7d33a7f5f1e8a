//! References as the vat sees them: 64 bits, laid out as `vat1.h` says.
//!
//! | bits  | meaning |
//! | ----- | ------- |
//! | 63–62 | kind: 0 object, 1 promise, 2 device |
//! | 61    | 1 = allocated by this vat (`+`) |
//! | 60    | durable object |
//! | 59    | virtual object |
//! | 58–0  | the number; of a durable or virtual object: 58–40 its kind, 39–0 the instance |

use alloc::string::String;

/// A reference of this vat.
pub type VRef = u64;

/// The kind bits of a promise.
pub const PROMISE: VRef = 1 << 62;
/// The kind bits of a device.
pub const DEVICE: VRef = 2 << 62;
/// The mask of the kind bits. All of them set is no kind at all.
pub const KIND: VRef = 3 << 62;
/// The bit that is set if the vat allocated the reference, and clear if the kernel did.
pub const OURS: VRef = 1 << 61;
/// The bit that is set in a durable object of this vat.
pub const DURABLE: VRef = 1 << 60;
/// The bit that is set in a virtual object of this vat.
pub const VIRTUAL: VRef = 1 << 59;
/// The vat's root object, `o+0`.
pub const ROOT: VRef = OURS;

/// Makes `o+N`, an object of this vat.
pub const fn own_object(number: u64) -> VRef {
    OURS | number
}

/// Makes `o+dK/I`, a durable object of this vat: the kind, below 2^19, and the instance, below 2^40.
pub const fn own_durable(kind: u32, instance: u64) -> VRef {
    OURS | DURABLE | (kind as u64) << INSTANCE_BITS | instance
}

/// Returns the kind and the instance of a durable object of this vat.
pub fn durable_parts(vref: VRef) -> Option<(u32, u64)> {
    let kind = u32::try_from((vref & (VIRTUAL - 1)) >> INSTANCE_BITS).ok()?;
    let durable = vref & (KIND | OURS | DURABLE | VIRTUAL) == OURS | DURABLE;
    durable.then_some((kind, vref & ((1 << INSTANCE_BITS) - 1)))
}

const INSTANCE_BITS: u32 = 40;

/// Makes `o-N`, an object of another vat.
pub const fn import(number: u64) -> VRef {
    number
}

/// Makes `p+N`, a promise allocated by this vat.
pub const fn own_promise(number: u64) -> VRef {
    PROMISE | OURS | number
}

/// Makes `p-N`, a promise allocated by the kernel.
pub const fn promise(number: u64) -> VRef {
    PROMISE | number
}

/// Makes `d-N`, the reference of a device.
pub const fn device(number: u64) -> VRef {
    DEVICE | number
}

/// The reference as people write it: `o+5`, `o-50`, `o+d3/1`, `p+1`, `d-70`.
pub fn text(vref: VRef) -> String {
    let mut out = String::new();
    out.push(match vref & KIND {
        0 => 'o',
        PROMISE => 'p',
        DEVICE => 'd',
        _ => '?',
    });
    out.push(if vref & OURS == 0 { '-' } else { '+' });
    if vref & KIND == 0 && vref & (DURABLE | VIRTUAL) != 0 {
        out.push(if vref & DURABLE == 0 { 'v' } else { 'd' });
        crate::number::push_u64(&mut out, (vref & (VIRTUAL - 1)) >> INSTANCE_BITS);
        out.push('/');
        crate::number::push_u64(&mut out, vref & ((1 << INSTANCE_BITS) - 1));
    } else {
        crate::number::push_u64(&mut out, vref & (VIRTUAL - 1));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_abi() {
        for (vref, spelling) in [
            (ROOT, "o+0"),
            (own_object(5), "o+5"),
            (import(50), "o-50"),
            (own_promise(1), "p+1"),
            (promise(60), "p-60"),
            (device(70), "d-70"),
            (own_durable(3, 1), "o+d3/1"),
            (OURS | VIRTUAL | 5 << 40 | 1, "o+v5/1"),
        ] {
            assert_eq!(text(vref), spelling);
        }
        assert_eq!(durable_parts(own_durable(3, 1)), Some((3, 1)));
        assert_eq!(durable_parts(own_object(3)), None);
        assert_eq!(ROOT, 1 << 61);
        assert_eq!(own_promise(1), 0x6000_0000_0000_0001);
    }
}
