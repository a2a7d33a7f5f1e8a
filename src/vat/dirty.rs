//! Which pages of a memory changed since they were last looked at.
//!
//! Invariant: what comes of it is the hash of every page as it is, whichever way the changed ones were found.

use std::ops::Range;

#[cfg(target_os = "linux")]
use crate::vat::write_protect::System;
use crate::{
    snapshot::Heap,
    store::{PAGE_BYTES, PageHash},
};

pub(super) const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Tells the pages of one memory that may have been written since it was last asked.
pub(super) trait Tracker: Send {
    /// The pages, in ascending ranges; `None` where it cannot tell.
    fn written(&mut self, memory: &[u8]) -> Option<Vec<Range<usize>>>;
}

/// Cannot tell: the hash of every page is compared.
struct Comparison;

impl Tracker for Comparison {
    fn written(&mut self, _: &[u8]) -> Option<Vec<Range<usize>>> {
        None
    }
}

/// How changed pages are found on this machine.
#[derive(Clone, Debug)]
pub(super) enum Detector {
    Comparison,
    /// By the write protection of the hardware.
    #[cfg(target_os = "linux")]
    WriteProtect(System),
}

impl Detector {
    /// The fastest that the system lets us use.
    pub(super) fn best() -> Detector {
        #[cfg(target_os = "linux")]
        if let Ok(system) = System::detect() {
            return Detector::WriteProtect(system);
        }
        Detector::Comparison
    }

    /// For the memory that begins here and may grow to this size.
    pub(super) fn pages(&self, base: usize, bytes_max: usize) -> Pages {
        let tracker: Box<dyn Tracker> = match self {
            Detector::Comparison => Box::new(Comparison),
            #[cfg(target_os = "linux")]
            Detector::WriteProtect(system) => match system.track(base, bytes_max) {
                Ok(tracker) => Box::new(tracker),
                Err(_) => Box::new(Comparison),
            },
        };
        Pages { tracker, hashes: Vec::new(), stale: Vec::new(), stale_count: 0 }
    }
}

/// The hashes of a memory's pages, as they were when they were last looked at.
pub(super) struct Pages {
    tracker: Box<dyn Tracker>,
    hashes: Vec<Option<PageHash>>,
    /// Whether a page may have been written since it was last hashed.
    stale: Vec<bool>,
    stale_count: usize,
}

/// Where written pages cannot be told, one in so many is taken for written.
const WRITTEN_ONE_IN: usize = 8;

/// A snapshot looks at every page's hash, which takes one part in so many of what a written page takes.
const LOOKED_AT_ONE_IN: usize = 32;

impl Pages {
    /// The pages that may have been written since this was last asked, in ascending ranges; `None` where it cannot be told.
    pub(super) fn written(&mut self, memory: &[u8]) -> Option<Vec<Range<usize>>> {
        let written = self.tracker.written(memory)?;
        self.stale.resize(memory.len() / PAGE_BYTES, false);
        for at in written.iter().cloned().flatten() {
            if let Some(it) = self.stale.get_mut(at) {
                self.stale_count += usize::from(!*it);
                *it = true;
            }
        }
        Some(written)
    }

    /// The memory was just made what it was when it was last asked what was written.
    pub(super) fn put_back(&mut self, memory: &[u8]) {
        self.tracker.written(memory);
    }

    /// Takes over what is known of the pages of another memory, after which this one was just made; it may be smaller.
    pub(super) fn take_over(&mut self, other: Pages, memory: &[u8]) {
        self.tracker.written(memory);
        (self.hashes, self.stale) = (other.hashes, other.stale);
        let count = memory.len() / PAGE_BYTES;
        self.hashes.truncate(count);
        self.stale.truncate(count);
        self.stale_count = self.stale.iter().filter(|it| **it).count();
    }

    /// The memory was just made this heap.
    pub(super) fn restored(&mut self, memory: &[u8], heap: &Heap) {
        self.tracker.written(memory);
        self.hashes.clone_from(&heap.pages);
        self.forget_stale();
    }

    fn forget_stale(&mut self) {
        self.stale.fill(false);
        self.stale_count = 0;
    }

    /// The work that the hashes would take now, and a snapshot with them, in pages that are hashed and stored.
    pub(super) fn work(&mut self, memory: &[u8]) -> usize {
        let all = memory.len() / PAGE_BYTES;
        match self.written(memory) {
            Some(_) => self.stale_count + all / LOOKED_AT_ONE_IN,
            None => all / WRITTEN_ONE_IN,
        }
    }

    /// The pages of a memory that may not be those of this heap, which has as many.
    pub(super) fn unlike(&mut self, memory: &[u8], heap: &Heap) -> Vec<usize> {
        let count = heap.pages.len();
        let can_tell = self.written(memory).is_some();
        if self.hashes.len() != count || !can_tell {
            return (0..count).collect();
        }
        let is_stale = |at: usize| self.stale.get(at) == Some(&true);
        let pages = self.hashes.iter().zip(&heap.pages).enumerate();
        pages.filter(|(at, (known, wanted))| known != wanted || is_stale(*at)).map(|(at, _)| at).collect()
    }

    /// The hash of each page; a page of zeros has none.
    pub(super) fn hashes(&mut self, memory: &[u8]) -> &[Option<PageHash>] {
        let (pages, _) = memory.as_chunks::<PAGE_BYTES>();
        let known = self.hashes.len();
        let can_tell = self.written(memory).is_some();
        self.hashes.resize(pages.len(), None);
        for (at, (page, hash)) in pages.iter().zip(&mut self.hashes).enumerate() {
            // What was never looked at may hold anything: the memory grew, or it is new and the module's own data are in it.
            if !can_tell || at >= known || self.stale.get(at) == Some(&true) {
                *hash = (*page != ZEROS).then(|| PageHash::of(page));
            }
        }
        self.forget_stale();
        &self.hashes
    }
}
