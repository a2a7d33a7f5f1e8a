//! Dirty pages: finds the pages of a memory that were written since they were last hashed or copied to a shadow.
//!
//! Invariant: every page's hash is that of its present bytes, whichever way the written pages were found.

use std::ops::Range;

#[cfg(target_os = "linux")]
use crate::vat::write_protect::System;
use crate::{
    state::snapshot::Heap,
    store::{PAGE_BYTES, PageHash},
};

pub(super) const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// Tells the pages of one memory that may have been written since it was last asked.
pub(super) trait Tracker: Send {
    /// Returns the pages written since the last call, in ascending ranges; `None` if the tracker cannot tell.
    fn written(&mut self, memory: &[u8]) -> Option<Vec<Range<usize>>>;
}

/// The tracker that cannot tell, so that every page is hashed.
struct Comparison;

impl Tracker for Comparison {
    fn written(&mut self, _: &[u8]) -> Option<Vec<Range<usize>>> {
        None
    }
}

/// The method by which this machine finds changed pages.
#[derive(Clone, Debug)]
pub(super) enum Detector {
    Comparison,
    /// By the write protection of the hardware.
    #[cfg(target_os = "linux")]
    WriteProtect(System),
}

impl Detector {
    /// Returns the fastest detector that the system allows.
    pub(super) fn best() -> Detector {
        #[cfg(target_os = "linux")]
        if let Ok(system) = System::detect() {
            return Detector::WriteProtect(system);
        }
        Detector::Comparison
    }

    /// Makes the page table for the memory that begins here and may grow to this size.
    pub(super) fn pages(&self, base: usize, bytes_max: usize) -> Pages {
        let tracker: Box<dyn Tracker> = match self {
            Detector::Comparison => Box::new(Comparison),
            #[cfg(target_os = "linux")]
            Detector::WriteProtect(system) => match system.track(base, bytes_max) {
                Ok(tracker) => Box::new(tracker),
                Err(_) => Box::new(Comparison),
            },
        };
        Pages { tracker, hashes: Vec::new(), stale: Marks::default(), ahead: Marks::default() }
    }
}

/// The hashes of a memory's pages, and the pages that may have been written since.
pub(super) struct Pages {
    tracker: Box<dyn Tracker>,
    /// The hashes, as they were when the pages were last looked at.
    hashes: Vec<Option<PageHash>>,
    /// The pages that may have been written since they were hashed.
    stale: Marks,
    /// The pages that may have been written since a shadow last asked.
    ahead: Marks,
}

/// Some of a memory's pages.
#[derive(Default)]
struct Marks(Vec<bool>);

impl Marks {
    fn add(&mut self, pages: usize, written: &[Range<usize>]) {
        self.0.resize(pages, false);
        for range in written {
            let end = range.end.min(pages);
            self.0.get_mut(range.start..end).into_iter().flatten().for_each(|it| *it = true);
        }
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at) == Some(&true)
    }

    fn take(&mut self) -> Vec<usize> {
        let Marks(marks) = std::mem::take(self);
        marks.into_iter().enumerate().filter(|(_, is)| *is).map(|(at, _)| at).collect()
    }

    fn among(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        range.filter(|at| self.has(*at))
    }
}

/// The share of pages taken for written, one in this many, if written pages cannot be told.
const WRITTEN_ONE_IN: usize = 8;

/// The cost of looking at a page's hash for a snapshot: one part in this many of the cost of a written page.
const LOOKED_AT_ONE_IN: usize = 32;

impl Pages {
    /// Asks the tracker for the written pages, and notes them for later readers. Returns whether they can be told.
    fn scan(&mut self, memory: &[u8]) -> bool {
        let Some(written) = self.tracker.written(memory) else { return false };
        let pages = memory.len() / PAGE_BYTES;
        self.stale.add(pages, &written);
        self.ahead.add(pages, &written);
        true
    }

    /// Takes the pages that a shadow has to follow: those that may have been written since it last asked. `None` if
    /// they cannot be told.
    pub(super) fn take_ahead(&mut self, memory: &[u8]) -> Option<Vec<usize>> {
        let can_tell = self.scan(memory);
        let ahead = self.ahead.take();
        can_tell.then_some(ahead)
    }

    /// Takes the pages that a shadow has to put back: those that may have been written since it last asked. `None` if
    /// they cannot be told. The writes do not make hashes stale, because the shadow undoes them.
    pub(super) fn take_undone(&mut self, memory: &[u8]) -> Option<Vec<usize>> {
        let written = self.tracker.written(memory)?;
        self.ahead.add(memory.len() / PAGE_BYTES, &written);
        Some(self.ahead.take())
    }

    /// Notes that a shadow has just put the written pages back: its own writes do not count.
    pub(super) fn put_back(&mut self, memory: &[u8]) {
        self.tracker.written(memory);
    }

    /// Takes over what is known of the pages of the memory that this one replaces; this one may be smaller.
    pub(super) fn take_over(&mut self, other: Pages, memory: &[u8]) {
        self.tracker.written(memory);
        (self.hashes, self.stale) = (other.hashes, other.stale);
        self.hashes.truncate(memory.len() / PAGE_BYTES);
    }

    /// Notes that the memory was just made this heap.
    pub(super) fn restored(&mut self, memory: &[u8], heap: &Heap) {
        self.tracker.written(memory);
        self.hashes.clone_from(&heap.pages);
        self.stale = Marks::default();
    }

    /// Returns the work that a snapshot would be now, in pages that are hashed and stored; a lower bound if it is
    /// more than `enough`.
    pub(super) fn work(&mut self, memory: &[u8], enough: usize) -> usize {
        let (pages, _) = memory.as_chunks::<PAGE_BYTES>();
        let known = self.hashes.len().min(pages.len());
        let looked_at = pages.len() / LOOKED_AT_ONE_IN;
        if looked_at > enough {
            return looked_at;
        }
        if !self.scan(memory) {
            return pages.len() / WRITTEN_ONE_IN;
        }
        let written = self.stale.among(0..known).count();
        looked_at + written + pages.iter().skip(known).filter(|it| **it != ZEROS).count()
    }

    /// Returns the pages of a memory that may differ from those of this heap, which has as many.
    pub(super) fn unlike(&mut self, memory: &[u8], heap: &Heap) -> Vec<usize> {
        let count = heap.pages.len();
        if !self.scan(memory) || self.hashes.len() != count {
            return (0..count).collect();
        }
        let pages = self.hashes.iter().zip(&heap.pages).enumerate();
        pages.filter(|(at, (known, wanted))| known != wanted || self.stale.has(*at)).map(|(at, _)| at).collect()
    }

    /// Returns the hash of each page; a page of zeros has none.
    pub(super) fn hashes(&mut self, memory: &[u8]) -> &[Option<PageHash>] {
        let (pages, _) = memory.as_chunks::<PAGE_BYTES>();
        let known = self.hashes.len();
        let can_tell = self.scan(memory);
        self.hashes.resize(pages.len(), None);
        for (at, (page, hash)) in pages.iter().zip(&mut self.hashes).enumerate() {
            // A page that was never hashed may hold anything: the memory grew, or it is new and holds the module's own data.
            if !can_tell || at >= known || self.stale.has(at) {
                *hash = (*page != ZEROS).then(|| PageHash::of(page));
            }
        }
        self.stale = Marks::default();
        &self.hashes
    }
}
