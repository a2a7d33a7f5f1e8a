//! What a wasm module lacks without std: an allocator, and something to do at a panic. With the feature `std` only the
//! panic message is left to do.

#[cfg(not(feature = "std"))]
mod without_std {
    use alloc::string::String;
    use core::arch::wasm32::memory_grow;
    use core::fmt::Write;

    use crate::heap::Heap;

    #[global_allocator]
    static HEAP: Heap = Heap::new(grow);

    /// Pages are of 64 KiB, and follow each other.
    fn grow(pages: usize) -> Option<usize> {
        let first = memory_grow::<0>(pages);
        (first != usize::MAX).then(|| first * 64 * 1024)
    }

    /// Says on the console what went wrong, then traps: the kernel ends the delivery and blames this vat.
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        let mut text = String::from("panicked");
        if let Some(place) = info.location() {
            text.push_str(" at ");
            text.push_str(place.file());
            text.push(':');
            crate::number::push_u64(&mut text, place.line().into());
        }
        text.push_str(": ");
        match info.message().as_str() {
            Some(message) => text.push_str(message),
            // Only a message with something in it needs the formatting machinery, which it brings along.
            None => drop(write!(text, "{}", info.message())),
        }
        crate::console(crate::Level::Error, &text);
        core::arch::wasm32::unreachable()
    }
}

/// Called at the start of every delivery.
pub(crate) fn prepare() {
    #[cfg(feature = "std")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|info| {
                crate::console(crate::Level::Error, &info.to_string());
            }));
        });
    }
}
