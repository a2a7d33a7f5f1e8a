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
        Pages { tracker, hashes: Vec::new() }
    }
}

/// The hashes of a memory's pages, as they were when they were last looked at.
pub(super) struct Pages {
    tracker: Box<dyn Tracker>,
    hashes: Vec<Option<PageHash>>,
}

impl Pages {
    /// The memory was just made this heap.
    pub(super) fn restored(&mut self, memory: &[u8], heap: &Heap) {
        self.tracker.written(memory);
        self.hashes.clone_from(&heap.pages);
    }

    /// The pages of a memory that may not be those of this heap, which has as many.
    pub(super) fn unlike(&mut self, memory: &[u8], heap: &Heap) -> Vec<usize> {
        let count = heap.pages.len();
        if self.hashes.len() != count {
            return (0..count).collect();
        }
        let mut unlike: Vec<bool> =
            self.hashes.iter().zip(&heap.pages).map(|(known, wanted)| known != wanted).collect();
        match self.tracker.written(memory) {
            Some(written) => written.into_iter().flatten().for_each(|at| {
                if let Some(it) = unlike.get_mut(at) {
                    *it = true;
                }
            }),
            None => unlike.fill(true),
        }
        (0..count).filter(|at| unlike.get(*at) == Some(&true)).collect()
    }

    /// The hash of each page; a page of zeros has none.
    pub(super) fn hashes(&mut self, memory: &[u8]) -> &[Option<PageHash>] {
        let (pages, _) = memory.as_chunks::<PAGE_BYTES>();
        let known = self.hashes.len();
        self.hashes.resize(pages.len(), None);
        // What was never looked at may hold anything: the memory grew, or it is new and the module's own data are in it.
        let new = known..pages.len();
        let written: Vec<_> = match self.tracker.written(memory) {
            Some(written) => written.into_iter().flatten().filter(|it| *it < known).chain(new).collect(),
            None => (0..pages.len()).collect(),
        };
        for at in written {
            self.hashes[at] = (pages[at] != ZEROS).then(|| PageHash::of(&pages[at]));
        }
        &self.hashes
    }
}
