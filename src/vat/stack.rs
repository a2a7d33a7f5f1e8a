//! The native stack that guest code runs on, whichever thread the host is called on.
//!
//! A thread of a program has 2 or 8 MiB of it, and a guest needs more: then a stack is mapped. That takes three calls of the system, seven
//! times what a short delivery takes. So it is done once around a block, and again around a delivery only where the block's caller did not.

use crate::vat::module::limits::NATIVE_STACK_MIN;

/// The stack that is left for a guest, at least.
const GUEST_BYTES: usize = NATIVE_STACK_MIN + (1 << 20);

/// The stack that the kernel takes between the beginning of a block and a guest, at most.
const KERNEL_BYTES: usize = 1 << 20;

/// Calls guest code where there is stack enough for it.
pub(super) fn for_guest<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(GUEST_BYTES, 2 * GUEST_BYTES, run)
}

/// Runs many deliveries where there is stack enough for each of them.
pub(crate) fn for_block<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(GUEST_BYTES + KERNEL_BYTES, 2 * GUEST_BYTES, run)
}
