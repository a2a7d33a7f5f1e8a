//! A second copy of a heap, as it was before the delivery that is under way, so that the delivery can be undone.
//!
//! ```text
//!   (first fault) ─▶ brought up by replay ─▶ follow ─▶ deliver ─▶ follow ─▶ deliver ─▶ fault ─▶ put_back ─▶ follow …
//! ```
//!
//! Invariant: between `follow` and the end of the next delivery the shadow is the heap before it, page for page; only pages that
//! were written since are copied, forth or back.

use crate::{state::snapshot::GlobalValue, store::PAGE_BYTES, vat::dirty::ZEROS};

type Page = [u8; PAGE_BYTES];

/// The copy of a heap, as it was before the delivery that is under way.
#[derive(Default)]
pub(super) struct Shadow {
    /// The memory, page by page; `None` is a page of zeros.
    pages: Vec<Option<Box<Page>>>,
    /// The mutable globals.
    pub(super) globals: Vec<GlobalValue>,
    held: usize,
}

impl Shadow {
    /// Returns the bytes that the shadow takes.
    pub(super) fn bytes(&self) -> usize {
        self.held * PAGE_BYTES
    }

    /// Returns the bytes of the memory that it copies.
    pub(super) fn memory_bytes(&self) -> usize {
        self.pages.len() * PAGE_BYTES
    }

    /// Makes the shadow equal to the heap. Only the `written` pages changed since the last call; `None` means that any may have.
    pub(super) fn follow(&mut self, memory: &[u8], globals: Vec<GlobalValue>, written: Option<&[usize]>) {
        self.globals = globals;
        let (memory, _) = memory.as_chunks::<PAGE_BYTES>();
        let known = self.pages.len();
        self.pages.resize(memory.len(), None);
        match written {
            Some(written) => written.iter().filter(|at| **at < known).for_each(|at| self.copy(memory, *at)),
            None => (0..known).for_each(|at| self.copy(memory, at)),
        }
        (known..memory.len()).for_each(|at| self.copy(memory, at));
    }

    fn copy(&mut self, memory: &[Page], at: usize) {
        let (Some(from), Some(to)) = (memory.get(at), self.pages.get_mut(at)) else { return };
        self.held -= usize::from(to.is_some());
        match to {
            _ if *from == ZEROS => *to = None,
            Some(to) => **to = *from,
            None => *to = Some(Box::new(*from)),
        }
        self.held += usize::from(to.is_some());
    }

    /// Makes a memory of the same size equal to the shadow. Only the `written` pages changed since the shadow last followed; `None`
    /// means that any may have.
    pub(super) fn put_back(&self, memory: &mut [u8], written: Option<&[usize]>) {
        let (memory, _) = memory.as_chunks_mut::<PAGE_BYTES>();
        let mut restore = |at: usize| {
            let (Some(from), Some(to)) = (self.pages.get(at), memory.get_mut(at)) else { return };
            let from = from.as_deref().unwrap_or(&ZEROS);
            // A write that changes nothing would make the page dirty.
            if to != from {
                *to = *from;
            }
        };
        match written {
            Some(written) => written.iter().copied().for_each(&mut restore),
            None => (0..self.pages.len()).for_each(&mut restore),
        }
    }
}
