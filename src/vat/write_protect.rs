//! Detection of written pages by the hardware: `userfaultfd` in its asynchronous write-protect mode, and `PAGEMAP_SCAN`.
//!
//! Linux marks a page when it is first written, without waking anybody; a scan returns the marked pages and protects them
//! again. It needs Linux 6.7 or later, and no privilege. If any of it fails, the caller compares hashes of pages instead.
#![allow(unsafe_code, reason = "these requests have no safe wrapper; each use is proved at its place")]

use std::{
    ffi::c_void,
    fs::File,
    io,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    ioctl::{Ioctl, IoctlOutput, Opcode, ioctl},
    mm::{UserfaultfdFlags, userfaultfd},
};

use crate::{store::PAGE_BYTES, vat::dirty::Tracker};

const UFFD_USER_MODE_ONLY: u32 = 1;
const UFFDIO_API: Opcode = 0xc018_aa3f;
const UFFDIO_REGISTER: Opcode = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_WP: u64 = 2;
const UFFD_API: u64 = 0xaa;
/// `PAGEFAULT_FLAG_WP`, `WP_UNPOPULATED`, `WP_ASYNC`.
const FEATURES: u64 = 1 | 1 << 13 | 1 << 15;
const PAGEMAP_SCAN: Opcode = 0xc060_6610;
/// The flags `PM_SCAN_WP_MATCHING` and `PM_SCAN_CHECK_WPASYNC`.
const SCAN_FLAGS: u64 = 1 | 2;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
/// Ranges that one scan returns, at most; several scans may be needed.
const RANGES: usize = 256;

/// A request whose argument is a structure that Linux reads and writes.
struct Request<'a, T> {
    opcode: Opcode,
    argument: &'a mut T,
}

// SAFETY: every opcode above has its structure's size in it, and is used with that structure alone (see the three calls); the
// structures are plain words, so whatever Linux writes to them is valid.
unsafe impl<T> Ioctl for Request<'_, T> {
    type Output = usize;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.argument).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        Ok(usize::try_from(output).unwrap_or(0))
    }
}

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The open files: one pair for all memories.
#[derive(Clone, Debug)]
pub(super) struct System(Arc<Files>);

#[derive(Debug)]
struct Files {
    userfaultfd: OwnedFd,
    pagemap: File,
}

impl System {
    /// Opens the write-protection detector; an error if this system does not have it.
    pub(super) fn detect() -> io::Result<System> {
        if rustix::param::page_size() != PAGE_BYTES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let user_mode_only = UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
        // SAFETY: the descriptor stays in this file, which registers memories of wasmtime for asynchronous write protection
        // and nothing else: no access ever waits, and no byte of memory is changed through it.
        let userfaultfd =
            unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK | user_mode_only) }?;
        let mut api = Api { api: UFFD_API, features: FEATURES, ioctls: 0 };
        // SAFETY: `Api` is `struct uffdio_api`, which this request reads and writes.
        unsafe { ioctl(&userfaultfd, Request { opcode: UFFDIO_API, argument: &mut api }) }?;
        Ok(System(Arc::new(Files { userfaultfd, pagemap: File::open("/proc/self/pagemap")? })))
    }

    /// Tracks the memory that begins here and may grow to this size.
    pub(super) fn track(&self, base: usize, bytes_max: usize) -> io::Result<WriteProtect> {
        let len = bytes_max.min(1 << 32).next_multiple_of(PAGE_BYTES);
        let mut register = Register { start: base as u64, len: len as u64, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
        // SAFETY: `Register` is `struct uffdio_register`. The range is reserved address space of one of wasmtime's memories (or
        // Linux refuses it); asynchronous write protection changes nothing that a program can see of it, and it ends when
        // the memory is unmapped.
        unsafe { ioctl(&self.0.userfaultfd, Request { opcode: UFFDIO_REGISTER, argument: &mut register }) }?;
        Ok(WriteProtect { system: self.clone(), base, len })
    }
}

/// The write-protection tracker of one memory.
pub(super) struct WriteProtect {
    system: System,
    base: usize,
    len: usize,
}

impl WriteProtect {
    /// Returns the written pages of this part of the address space, and protects them again.
    fn scan(&self, range: Range<usize>) -> io::Result<Vec<Range<usize>>> {
        let (mut start, end) = (range.start as u64, range.end as u64);
        let mut regions = [Region::default(); RANGES];
        let mut written = Vec::new();
        while start < end {
            let mut scan = Scan {
                size: size_of::<Scan>() as u64,
                flags: SCAN_FLAGS,
                start,
                end,
                vec: regions.as_mut_ptr() as u64,
                vec_len: RANGES as u64,
                category_mask: PAGE_IS_WRITTEN,
                return_mask: PAGE_IS_WRITTEN,
                ..Scan::default()
            };
            let pagemap = self.system.0.pagemap.as_fd();
            // SAFETY: `Scan` is `struct pm_scan_arg`. Linux writes at most `vec_len` regions to `vec`, which is this
            // array, borrowed until after the call; the pages are armed only if their range is registered (CHECK_WPASYNC).
            let found = unsafe { ioctl(pagemap, Request { opcode: PAGEMAP_SCAN, argument: &mut scan }) }?;
            for region in regions.get(..found).unwrap_or(&regions) {
                let page = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).saturating_sub(self.base) / PAGE_BYTES;
                written.push(page(region.start)..page(region.end));
            }
            if scan.walk_end <= start {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            start = scan.walk_end;
        }
        Ok(written)
    }
}

impl Tracker for WriteProtect {
    fn written(&mut self, memory: &[u8]) -> Option<Vec<Range<usize>>> {
        // A memory elsewhere, or larger than was said, is not the one that is tracked.
        let same = memory.as_ptr() as usize == self.base && memory.len() <= self.len;
        same.then(|| self.scan(self.base..self.base + memory.len()).ok())?
    }
}
