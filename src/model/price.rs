//! The prices, in fuel, of the host's work: one row for each kind of work, charged to the delivery that causes it.
//!
//! A unit of fuel is about 0.7 ns of guest work. For each unit, the host's work may take at most ten times that, 4 bytes
//! of memory, and 2 bytes of disk or of the slog. (`vathost bench amplification` measures it, kind by kind.) A price has
//! a base, a part by the byte, and a part by the reference:
//!
//! * by the byte, because it is copied, hashed, packed, kept, and written to the slog twice (as the vat has it, and as
//!   the kernel does), where a byte may become six;
//! * by the reference, because each is a row of a c-list, and counted.
//!
//! What a syscall brings is charged before it is copied. An answer is charged when its size is known, which is a
//! megabyte at most. What a delivery brings is charged on top of the fuel that the vat may use, so that a message that
//! is dear to take in ends nobody and is paid for all the same.
//!
//! A change of any price makes a new [engine version](crate::model::engine_version), which the states that exist do not run on.

/// The price of one kind of work.
#[derive(Clone, Copy)]
pub(crate) struct Price {
    base: u64,
    byte: u64,
    reference: u64,
}

impl Price {
    pub(crate) fn of(self, bytes: u64, references: u64) -> u64 {
        let bytes = self.byte.saturating_mul(bytes);
        self.base.saturating_add(bytes).saturating_add(self.reference.saturating_mul(references))
    }
}

const fn price(base: u64, byte: u64, reference: u64) -> Price {
    Price { base, byte, reference }
}

// ---- what a delivery brings

/// Any delivery: routed, translated, encoded, recorded, sealed, committed. By what the guest can read of it.
pub(crate) const DELIVERY: Price = price(2_000, 6, 1_500);
/// `startVat`, on top of [`DELIVERY`]: an instance is made.
pub(crate) const START: Price = price(500_000, 0, 0);
/// A WebAssembly page (64 KiB) that a vat begins with, or that its memory grows by: the system provides it in parts,
/// each when it is first written, and clears it.
pub(crate) const GROW: Price = price(0, 0, 30_000);
/// A page of 4 KiB of a vat that survives its fault: compared, copied and protected again.
pub(crate) const UNDO: Price = price(0, 0, 3_000);
/// A message that the kernel answers itself, to the vat admin, an admin facet, a meter: it is parsed into a tree.
pub(crate) const KERNEL_OBJECT: Price = price(8_000, 56, 1_000);
/// A row of a c-list that is looked at when an incarnation ends.
pub(crate) const LOOK: Price = price(0, 0, 100);
/// A promise or an export that ends with an incarnation.
pub(crate) const DISCONNECT: Price = price(0, 0, 8_000);

// ---- what a syscall brings

/// `input_read`, `result_read`: a copy.
pub(crate) const READ: Price = price(100, 1, 0);
/// `send`
pub(crate) const SEND: Price = price(8_000, 8, 2_500);
/// `call_now`: the device parses it into a tree.
pub(crate) const CALL_NOW: Price = price(8_000, 32, 2_500);
/// `subscribe`: a row, or a notify.
pub(crate) const SUBSCRIBE: Price = price(4_000, 0, 0);
/// `resolve`, for itself and for each resolution: it is parsed.
pub(crate) const RESOLVE: Price = price(8_000, 8, 2_500);
/// A fulfilment in the older encoding, on top of [`RESOLVE`]: it is parsed into a tree.
pub(crate) const RESOLVE_OLDER: Price = price(0, 40, 0);
/// `exit`
pub(crate) const EXIT: Price = price(4_000, 10, 2_500);
/// `vatstore_get`, `vatstore_next_key`, `vatstore_scan`
pub(crate) const VATSTORE_READ: Price = price(4_000, 6, 0);
/// `vatstore_set`, `vatstore_delete`
pub(crate) const VATSTORE_WRITE: Price = price(8_000, 12, 0);
/// `drop_imports`, `retire_imports`, `retire_exports`, `abandon_exports`
pub(crate) const GC: Price = price(2_000, 0, 4_000);
/// `console`, by the bytes given
pub(crate) const CONSOLE: Price = price(1_000, 3, 0);

// ---- what comes of it

/// The answer to a syscall: kept in the transcript.
pub(crate) const ANSWER: Price = price(0, 6, 0);
/// A console line, by the bytes that it becomes in the slog.
pub(crate) const CONSOLE_LINE: Price = price(0, 1, 0);
