//! A vat that lies to the kernel. Each forgery must be the vat's last syscall: the kernel faults it, and nobody else notices.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use core::ptr::without_provenance;
use vat::prelude::*;
use vat::sys::{self, Resolution, raw};
use vat::vref::{self, VRef};
use vat::{CapData, Device};

struct Forger;

/// What an honest vat has: an object of another vat, and the promise that answers the message which it handles.
struct Means {
    victim: VRef,
    answer: VRef,
}

/// Lies to the kernel on demand.
#[vat::exo]
impl Forger {
    /// Commits the forgery of that name. An answer means that the kernel let it pass.
    pub fn forge(&self, kind: String, victim: Remote) -> Result<String, Error> {
        let means = Means { victim: victim.vref(), answer: answer_of_this_message() };
        let families = [references, promises, collection, payloads, pointers];
        if families.iter().any(|family| family(&kind, &means)) {
            return Ok(["nobody noticed ", &kind].concat());
        }
        Err(Error::new(["no such forgery: ", &kind].concat()))
    }

    /// What honest vats do, for comparison.
    pub fn behave(&self) -> bool {
        true
    }

    /// Sends bytes that are no text, without wanting an answer. The kernel does not look into bodies, so this is for the victim
    /// to refuse.
    pub fn babble(&self, victim: Remote) {
        let bytes = [0xff, 0xfe];
        // SAFETY: the pointer and the length are those of a live slice, and no slot is read.
        unsafe { raw::send(victim.vref(), bytes.as_ptr(), bytes.len(), core::ptr::null(), 0, 0) };
    }

    /// Sends to a device, as if it were an object.
    pub fn send_to_device(&self, device: Device) {
        send(device.vref(), &[], 0);
    }
}

/// The delivery can be read again: kind and count, target, result.
fn answer_of_this_message() -> VRef {
    let head = sys::input(24);
    head[16..].iter().rev().fold(0, |vref, &byte| vref << 8 | VRef::from(byte))
}

/// Numbers that nobody gave out.
const UNKNOWN: u64 = 999_999;
/// A promise number far from those of the SDK.
const FRESH: VRef = vref::own_promise(1 << 50);

fn message(slots: &[VRef]) -> CapData {
    CapData { body: r#"#["forged",[]]"#.into(), slots: slots.to_vec() }
}

fn send(target: VRef, slots: &[VRef], result: VRef) {
    sys::send(target, &message(slots), result);
}

fn resolve(vpid: VRef, body: &str, slots: &[VRef]) {
    sys::resolve(&[(vpid, false, CapData { body: body.into(), slots: slots.to_vec() })]);
}

/// References that the vat was never given, or that are none.
fn references(kind: &str, means: &Means) -> bool {
    match kind {
        "unknown-import" => send(vref::import(UNKNOWN), &[], 0),
        "unknown-import-in-a-slot" => send(means.victim, &[vref::import(UNKNOWN)], 0),
        "unknown-promise" => sys::subscribe(vref::promise(UNKNOWN)),
        "unknown-promise-in-a-slot" => send(means.victim, &[vref::promise(UNKNOWN)], 0),
        "unknown-device" => send(vref::device(UNKNOWN), &[], 0),
        "call-to-an-unknown-device" => drop(sys::call_now(vref::device(UNKNOWN), &message(&[]))),
        "call-to-an-object" => drop(sys::call_now(means.victim, &message(&[]))),
        "own-device" => send(means.victim, &[vref::DEVICE | vref::OURS | 1], 0),
        "import-with-the-durable-bit" => send(means.victim | vref::DURABLE, &[], 0),
        "object-both-durable-and-virtual" => {
            send(means.victim, &[vref::own_object(1) | vref::DURABLE | vref::VIRTUAL], 0);
        }
        "kind-3" => send(vref::KIND | means.victim, &[], 0),
        "nothing" => send(0, &[], 0),
        "subscribe-to-an-object" => sys::subscribe(means.victim),
        _ => return false,
    }
    true
}

/// Promises that the vat does not decide, or no longer.
fn promises(kind: &str, means: &Means) -> bool {
    match kind {
        "resolve-an-object" => resolve(means.victim, "#null", &[]),
        "resolve-what-another-decides" => {
            send(means.victim, &[], FRESH);
            resolve(FRESH, "#null", &[]);
        }
        "resolve-twice" => {
            resolve(means.answer, "#1", &[]);
            resolve(means.answer, "#2", &[]);
        }
        "resolve-twice-in-one-batch" => {
            let once = (means.answer, false, CapData { body: "#1".into(), slots: Vec::new() });
            sys::resolve(&[once.clone(), once]);
        }
        "resolve-to-a-promise" => resolve(means.answer, r##"#"&0""##, &[FRESH]),
        "resolve-to-no-such-slot" => resolve(means.answer, r##"#"$3""##, &[]),
        "resolve-to-no-json" => resolve(means.answer, "not json", &[]),
        "result-used-before" => {
            send(means.victim, &[], FRESH);
            send(means.victim, &[], FRESH);
        }
        "result-in-its-own-slots" => send(means.victim, &[FRESH], FRESH),
        "result-is-an-object" => send(means.victim, &[], means.victim),
        "result-of-another-vat" => send(means.victim, &[], vref::promise(UNKNOWN)),
        _ => return false,
    }
    true
}

/// Drops and retirements of what the vat does not hold, or still does.
fn collection(kind: &str, means: &Means) -> bool {
    let victim = means.victim;
    match kind {
        "drop-unknown" => sys::drop_imports(&[vref::import(UNKNOWN)]),
        "drop-own" => sys::drop_imports(&[vref::ROOT]),
        "drop-a-promise" => sys::drop_imports(&[means.answer]),
        "use-after-drop" => {
            sys::drop_imports(&[victim]);
            send(victim, &[], 0);
        }
        "retire-reachable-import" => sys::retire_imports(&[victim]),
        "retire-import-twice" => {
            sys::drop_imports(&[victim]);
            sys::retire_imports(&[victim, victim]);
        }
        "retire-reachable-export" => sys::retire_exports(&[vref::ROOT]),
        "retire-unknown-export" => sys::retire_exports(&[vref::own_object(UNKNOWN)]),
        "retire-import-as-export" => sys::retire_exports(&[victim]),
        "abandon-import" => sys::abandon_exports(&[victim]),
        "abandon-unknown" => sys::abandon_exports(&[vref::own_object(UNKNOWN)]),
        "abandon-twice" => sys::abandon_exports(&[vref::ROOT, vref::ROOT]),
        _ => return false,
    }
    true
}

/// Payloads one past their limits.
fn payloads(kind: &str, means: &Means) -> bool {
    const BODY_MAX: usize = 1 << 20;
    match kind {
        "body-too-long" => {
            let body = String::from_utf8(vec![b'#'; BODY_MAX + 1]).unwrap_or_default();
            sys::send(means.victim, &CapData { body, slots: Vec::new() }, 0);
        }
        "too-many-slots" => send(means.victim, &[means.victim; 4_097], 0),
        "key-too-long" => sys::vatstore_set(&[b'k'; 1_025], b""),
        "value-too-long" => sys::vatstore_set(b"k", &vec![0; BODY_MAX + 1]),
        _ => return false,
    }
    true
}

/// Pointers and lengths that leave the vat's memory.
fn pointers(kind: &str, means: &Means) -> bool {
    /// The last byte that a memory of 32 bits could have.
    const END: usize = 0xffff_ffff;
    let (nowhere, text) = (without_provenance::<u8>(END), "#[]");
    let (body, no_slots) = (text.as_ptr(), core::ptr::null());
    let (victim, far) = (means.victim, without_provenance::<VRef>(END - 7));
    // SAFETY: none of these is sound, which is why they are here: each names memory that is not there. The sandbox must
    // refuse it before it touches anything. Natively the mock kernel would not, so no test calls this.
    unsafe {
        match kind {
            "body-past-memory" => raw::send(victim, nowhere, 100, no_slots, 0, 0),
            "body-of-4-gib" => raw::send(victim, body, END, no_slots, 0, 0),
            "a-million-slots" => raw::send(victim, body, text.len(), no_slots, 1_000_000, 0),
            "slots-past-memory" => raw::send(victim, body, text.len(), far, 4, 0),
            "resolutions-past-memory" => raw::resolve(without_provenance::<Resolution>(END - 31), 2),
            "a-billion-resolutions" => raw::resolve(core::ptr::null(), 1_000_000_000),
            "drops-past-memory" => raw::drop_imports(far, 0x2000_0001),
            "console-past-memory" => raw::console(1, nowhere, 2),
            "read-to-past-memory" => raw::input_read(nowhere.cast_mut(), 0, 16),
            "read-past-the-delivery" => {
                let mut buffer = [0u8; 16];
                raw::input_read(buffer.as_mut_ptr(), END, buffer.len());
            }
            "read-an-answer-never-given" => {
                let mut buffer = [0u8; 16];
                raw::result_read(buffer.as_mut_ptr(), 0, buffer.len());
            }
            _ => return false,
        }
    }
    true
}

#[vat::root]
fn build() -> Forger {
    Forger
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    #[should_panic(expected = "the vat mentions o-999999, which it does not hold")]
    fn the_mock_kernel_notices_too() {
        let mut world = World::start(build);
        let victim = world.import();
        world.send("forge", ("unknown-import", victim));
    }

    #[test]
    fn an_unknown_forgery_says_so() {
        let mut world = World::start(build);
        let victim = world.import();
        let answer = world.send("forge", ("none", victim));
        assert_eq!(world.outcome(answer), Some(Err("no such forgery: none".into())));
    }
}
