//! The native stack that guest code runs on, whichever thread the host is called on.
//!
//! A program's thread has 2 or 8 MiB of stack, and a guest needs more: then a stack is mapped. That takes three system calls,
//! longer than a short delivery. So it is done once around a block, and around a delivery only if that was not done.

use crate::vat::module::limits::NATIVE_STACK_MIN;

/// The stack that is left for a guest, at least.
const GUEST_BYTES: usize = NATIVE_STACK_MIN + (1 << 20);

/// The stack that the kernel takes between the beginning of a block and a guest, at most.
const KERNEL_BYTES: usize = 1 << 20;

/// The stack of a thread that runs guests, and nothing of the kernel.
pub(super) const THREAD_BYTES: usize = GUEST_BYTES + KERNEL_BYTES;

/// Calls guest code, on a stack that is large enough for it.
pub(super) fn for_guest<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(GUEST_BYTES, 2 * GUEST_BYTES, run)
}

/// Runs a block's deliveries, on a stack that is large enough for each of them.
pub(crate) fn for_block<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(GUEST_BYTES + KERNEL_BYTES, 2 * GUEST_BYTES, run)
}
