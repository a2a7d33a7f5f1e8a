//! What the host's work costs in fuel: one row for each kind of it, charged to the delivery that causes it.
//!
//! A unit of fuel is about 0.7 ns of guest work, and no work of the host's may take ten times that, nor 4 bytes of memory, nor
//! 2 bytes of disk or of the slog, for a unit. (`vathost bench amplification` measures it, kind by kind.) A price has a base,
//! and more by the byte and by the reference:
//!
//! * by the byte, because it is copied, hashed, packed, kept, and written to the slog, where a byte may become six, twice (as
//!   the vat has it, and as the kernel does);
//! * by the reference, because each is a row of a c-list, and counted.
//!
//! What a syscall brings is charged before it is copied; what it is answered with, when its size is known, which is a
//! megabyte at the most; what a delivery brings, on top of the fuel that the vat may use, so that a message that is dear to take
//! in ends nobody but is paid for all the same.

/// Part of the engine id: raise it with any price.
pub(super) const VERSION: u32 = 2;

/// The price of one kind of work.
#[derive(Clone, Copy)]
pub(super) struct Price {
    base: u64,
    byte: u64,
    reference: u64,
}

impl Price {
    pub(super) fn of(self, bytes: u64, references: u64) -> u64 {
        let bytes = self.byte.saturating_mul(bytes);
        self.base.saturating_add(bytes).saturating_add(self.reference.saturating_mul(references))
    }
}

const fn price(base: u64, byte: u64, reference: u64) -> Price {
    Price { base, byte, reference }
}

// ---- what a delivery brings

/// Any delivery: routed, translated, encoded, recorded, sealed, committed. By what the guest can read of it.
pub(super) const DELIVERY: Price = price(2_000, 6, 1_000);
/// `startVat`, besides: an instance is made.
pub(super) const START: Price = price(500_000, 0, 0);

// ---- what a syscall brings

/// `input_read`, `result_read`: a copy.
pub(super) const READ: Price = price(100, 1, 0);
/// `send`
pub(super) const SEND: Price = price(8_000, 6, 1_000);
/// `call_now`: the device parses it.
pub(super) const CALL_NOW: Price = price(8_000, 8, 1_000);
/// `subscribe`: a row, or a notify.
pub(super) const SUBSCRIBE: Price = price(4_000, 0, 0);
/// `resolve`, for itself and for each resolution: it is parsed.
pub(super) const RESOLVE: Price = price(8_000, 6, 1_000);
/// `exit`
pub(super) const EXIT: Price = price(4_000, 6, 1_000);
/// `vatstore_get`, `vatstore_next_key`, `vatstore_scan`
pub(super) const VATSTORE_READ: Price = price(4_000, 6, 0);
/// `vatstore_set`, `vatstore_delete`
pub(super) const VATSTORE_WRITE: Price = price(8_000, 8, 0);
/// `drop_imports` and its kin
pub(super) const GC: Price = price(2_000, 0, 4_000);
/// `console`, by the bytes given
pub(super) const CONSOLE: Price = price(1_000, 1, 0);

// ---- what comes of it

/// The answer to a syscall: kept in the transcript.
pub(super) const ANSWER: Price = price(0, 6, 0);
/// A console line, by the bytes that it becomes in the slog.
pub(super) const CONSOLE_LINE: Price = price(0, 1, 0);
