//! The allocator of a vat without std: blocks of powers of two, with a list of free ones for each size.
//!
//! It trades memory for fuel and code. To allocate or free a block takes a dozen instructions; std's allocator takes a hundred, and 6 KB
//! more code. But blocks are never joined, and split only if no memory is left: a vat keeps, for each size, the most that it ever had at once.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::{NonNull, null_mut, with_exposed_provenance_mut};

/// Blocks are of 16 bytes at least, so that one which is free has room for the link to the next.
const SMALLEST: usize = 16;
/// The largest block is half of what 32 bits can address.
const CLASSES: usize = 28;
const PAGE: usize = 64 * 1024;

/// A block that nobody owns.
struct Free {
    next: Option<NonNull<Free>>,
}

pub(crate) struct Heap {
    /// Takes so many pages more, and gives the address of the first, if there are as many.
    grow: fn(usize) -> Option<usize>,
    free: [Cell<Option<NonNull<Free>>>; CLASSES],
    /// What was taken of memory and not handed out yet: from here to there.
    start: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a vat is a wasm instance without the threads proposal, so no second thread can see the heap.
unsafe impl Sync for Heap {}

impl Heap {
    pub(crate) const fn new(grow: fn(usize) -> Option<usize>) -> Self {
        let free = [const { Cell::new(None) }; CLASSES];
        Heap { grow, free, start: Cell::new(0), end: Cell::new(0) }
    }

    /// A block which was never used. It begins at a multiple of its size, or of a page if that is less.
    fn fresh(&self, size: usize) -> Option<usize> {
        let mut block = self.start.get().next_multiple_of(size.min(PAGE));
        let room = self.end.get().saturating_sub(block);
        if room < size {
            let pages = size.div_ceil(PAGE);
            let (first, len) = match (self.grow)(pages) {
                Some(first) => (first, pages * PAGE),
                None => self.larger(size)?,
            };
            // New pages continue what is left of the old ones, unless somebody else took some in between.
            if first != self.end.get() {
                block = first;
            }
            self.end.set(first + len);
        }
        self.start.set(block + size);
        Some(block)
    }

    /// A free block that is larger, and its size. It will be cut up, since no other memory is left.
    fn larger(&self, size: usize) -> Option<(usize, usize)> {
        let sizes = (0..CLASSES).map(|class| SMALLEST << class);
        let (list, size) = self.free.iter().zip(sizes).find(|(list, len)| *len > size && list.get().is_some())?;
        let block = list.get()?;
        // SAFETY: `dealloc` wrote a link into every block of a list.
        list.set(unsafe { block.read() }.next);
        Some((block.expose_provenance().get(), size))
    }
}

/// Which of the sizes a layout needs: how many bits the offset of its last byte has above those of the smallest size.
#[inline]
fn class(layout: Layout) -> usize {
    let last = layout.size().max(layout.align()) - 1;
    (usize::BITS - (last / SMALLEST).leading_zeros()) as usize
}

// SAFETY: a block is as large as its class says, aligned to its size up to a page, and at one place at a time: in its owner's
// hands or in the list of its class. A layout has the same class whenever it is asked.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(layout);
        let Some(list) = self.free.get(class) else { return null_mut() };
        let Some(block) = list.get() else {
            let size = SMALLEST << class;
            let block = if layout.align() > PAGE { None } else { self.fresh(size) };
            return block.map_or(null_mut(), with_exposed_provenance_mut);
        };
        // SAFETY: `dealloc` wrote a link into every block of a list.
        list.set(unsafe { block.read() }.next);
        block.as_ptr().cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let (Some(list), Some(block)) = (self.free.get(class(layout)), NonNull::new(block.cast::<Free>())) {
            // SAFETY: the block is the caller's to give, and has room for a link at its start.
            unsafe { block.write(Free { next: list.replace(Some(block)) }) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's size is valid for the alignment of the layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if class(wanted) == class(layout) {
            return block;
        }
        // SAFETY: the old block and the new one do not overlap, and both hold the smaller of the sizes.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    std::thread_local! {
        /// The memory of the test, and how many pages of it are taken.
        static MEMORY: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }

    const PAGES: usize = 256;

    fn grow(pages: usize) -> Option<usize> {
        let (mut base, taken) = MEMORY.get();
        if base == 0 {
            let layout = Layout::from_size_align(PAGES * PAGE, PAGE).expect("a layout");
            // SAFETY: the layout is not empty. The memory is never given back.
            base = unsafe { std::alloc::alloc(layout) }.expose_provenance();
        }
        let enough = taken + pages <= PAGES;
        MEMORY.set((base, taken + if enough { pages } else { 0 }));
        enough.then_some(base + taken * PAGE)
    }

    /// A block, how it was asked for, and the byte that it is full of.
    type Held = (*mut u8, Layout, u8);

    fn fill((block, layout, byte): Held) {
        // SAFETY: the block is as large as its layout.
        unsafe { block.write_bytes(byte, layout.size()) };
    }

    fn check((block, layout, byte): Held) {
        assert_eq!(block.addr() % layout.align(), 0);
        // SAFETY: the block is as large as its layout, and was filled.
        let bytes = unsafe { core::slice::from_raw_parts(block, layout.size()) };
        assert!(bytes.iter().all(|&b| b == byte), "somebody else wrote here");
    }

    #[test]
    fn blocks_never_overlap_and_are_used_again() {
        let heap = Heap::new(grow);
        let mut held: Vec<Held> = Vec::new();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from((random >> 33) % below).expect("a small number")
        };
        for round in 0..20_000 {
            let byte = u8::try_from(round % 251).expect("a byte");
            let bits = 1 + next(13);
            let size = 1 + next(1 << bits);
            let layout = Layout::from_size_align(size, 1 << next(5)).expect("a layout");
            // SAFETY: each block is given back once, with the layout that it has.
            unsafe {
                if held.len() < 100 {
                    let entry = (heap.alloc(layout), layout, byte);
                    fill(entry);
                    held.push(entry);
                    continue;
                }
                let at = next(100);
                let (block, old, was) = held.swap_remove(at);
                check((block, old, was));
                if round % 3 == 0 {
                    let new = Layout::from_size_align(size, old.align()).expect("a layout");
                    let block = heap.realloc(block, old, size);
                    let kept = Layout::from_size_align(size.min(old.size()), 1).expect("a layout");
                    check((block, kept, was));
                    fill((block, new, byte));
                    held.push((block, new, byte));
                } else {
                    heap.dealloc(block, old);
                }
            }
        }
        held.iter().for_each(|&entry| check(entry));
        assert!(MEMORY.get().1 < 50, "{} pages are taken", MEMORY.get().1);
    }

    #[test]
    fn large_blocks_are_cut_up_when_there_is_nothing_else() {
        let heap = Heap::new(grow);
        let (large, small) = (Layout::new::<[u8; PAGE]>(), Layout::new::<[u64; 8]>());
        let take = |layout| {
            // SAFETY: the layout is not empty.
            let block = unsafe { heap.alloc(layout) };
            (!block.is_null()).then_some((block, layout, 7))
        };
        let held: Vec<Held> = core::iter::from_fn(|| take(large)).collect();
        assert_eq!(held.len(), PAGES);
        assert_eq!(take(small), None);
        // SAFETY: each block is given back once.
        held.iter().for_each(|&(block, layout, _)| unsafe { heap.dealloc(block, layout) });
        let held: Vec<Held> = core::iter::from_fn(|| take(small)).collect();
        assert_eq!(held.len(), PAGES * PAGE / 64);
        held.iter().for_each(|&entry| fill(entry));
        held.iter().for_each(|&entry| check(entry));
    }

    #[test]
    fn what_cannot_be_had_is_null() {
        let heap = Heap::new(grow);
        for size in [PAGES * PAGE + 1, 1 << 31, (1 << 31) + 1] {
            let layout = Layout::from_size_align(size, 1).expect("a layout");
            // SAFETY: the layout is not empty.
            assert!(unsafe { heap.alloc(layout) }.is_null());
        }
    }
}
