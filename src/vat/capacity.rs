//! Capacity of this machine: the default bounds for the number of live vats and for their memory, and the default number of threads.
//!
//! None of this changes a result: a vat that is evicted comes back, to the same hashes.

use std::{fs, fs::File, num::NonZeroUsize, os::unix::fs::FileExt};

/// Mappings of one instance, at most: its memory with the guards on both sides, the part that it may still grow to,
/// the image of its data, and what the allocator maps for it.
const MAPPINGS_PER_INSTANCE: u64 = 6;

/// Mappings that are left for everything else: code, libraries, threads, the database.
const MAPPINGS_FOR_OTHERS: u64 = 4_096;

/// Address space that wasmtime reserves for an instance's memory, with its guards.
const ADDRESSES_PER_INSTANCE: u64 = (4 << 30) + (64 << 20);

/// Address space that a process has for mappings, if it has no limit: 47 bits, less a quarter for everything else.
const ADDRESSES: u64 = (1 << 47) - (1 << 45);

/// Mappings that Linux allows, if the system does not say.
const MAPPINGS: u64 = 65_530;

/// Bytes for vats' memory, if the memory of the machine is not known.
const MEMORY: u64 = 4 << 30;

/// Returns the number of instances that there is room for.
pub(super) fn instances() -> usize {
    let mappings = number_in("/proc/sys/vm/max_map_count").unwrap_or(MAPPINGS);
    let by_mappings = mappings.saturating_sub(MAPPINGS_FOR_OTHERS) / MAPPINGS_PER_INSTANCE;
    let addresses = address_limit().map_or(ADDRESSES, |it| it.min(ADDRESSES));
    let by_addresses = addresses / ADDRESSES_PER_INSTANCE;
    usize::try_from(by_mappings.min(by_addresses).max(1)).unwrap_or(usize::MAX)
}

/// Returns the number of threads that this machine runs at once.
pub(crate) fn threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The bytes of memory that the parts of a host may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shares {
    /// The heaps of the live vats.
    pub heaps: u64,
    /// The rows of the vatstores.
    pub rows: u64,
}

/// Divides the memory of a host: three parts are for the heaps of the live vats, one is for rows. Without a number that is half of this
/// machine's memory, or of this process's share of it; the other half is for what cannot leave it.
pub fn shares(memory: Option<u64>) -> Shares {
    let memory = memory.unwrap_or_else(half);
    let rows = memory / 4;
    Shares { heaps: memory - rows, rows }
}

fn half() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|it| {
        let line = it.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    });
    let share = number_in("/sys/fs/cgroup/memory.max");
    [machine, share, address_limit()].into_iter().flatten().min().unwrap_or(MEMORY) / 2
}

/// `RLIMIT_AS`, if there is a limit.
fn address_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|it| it.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A reader of the memory that this process really takes: a vat may have asked for more than it ever touches.
#[derive(Debug)]
pub(super) struct Resident(Option<File>);

impl Resident {
    pub(super) fn new() -> Resident {
        Resident(File::open("/proc/self/statm").ok())
    }

    /// Returns the bytes in memory; `None` if that cannot be told.
    pub(super) fn bytes(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
}
