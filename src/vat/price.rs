//! What syscalls cost in fuel: a base, and more by the byte and by the reference. Charged before anything is copied.
//!
//! A unit of fuel is about 0.1 ns of guest work; the prices follow what the kernel's work takes, rounded up.

/// Part of the engine id: raise it with any price.
pub(super) const VERSION: u32 = 1;

/// The price of one kind of syscall.
#[derive(Clone, Copy)]
pub(super) struct Price {
    base: u64,
    byte: u64,
    reference: u64,
}

impl Price {
    pub(super) fn of(self, bytes: u64, references: u64) -> u64 {
        self.base + self.byte * bytes + self.reference * references
    }
}

const fn price(base: u64, byte: u64, reference: u64) -> Price {
    Price { base, byte, reference }
}

/// `input_read`, `result_read`
pub(super) const READ: Price = price(100, 1, 0);
/// `send`
pub(super) const SEND: Price = price(8_000, 2, 1_000);
/// `call_now`
pub(super) const CALL_NOW: Price = price(8_000, 2, 1_000);
/// `subscribe`
pub(super) const SUBSCRIBE: Price = price(3_000, 0, 0);
/// `resolve`, for each resolution
pub(super) const RESOLVE: Price = price(8_000, 2, 1_000);
/// `exit`
pub(super) const EXIT: Price = price(1_000, 2, 1_000);
/// `vatstore_get`, `vatstore_next_key`, `vatstore_scan`; the answer is paid for when it is read
pub(super) const VATSTORE_READ: Price = price(4_000, 2, 0);
/// `vatstore_set`, `vatstore_delete`
pub(super) const VATSTORE_WRITE: Price = price(8_000, 8, 0);
/// `drop_imports` and its kin
pub(super) const GC: Price = price(1_000, 0, 4_000);
/// `console`
pub(super) const CONSOLE: Price = price(500, 1, 0);
