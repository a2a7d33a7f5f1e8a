//! States that grow: what they take to open, to keep, to write and to read, from a megabyte on.
//!
//! One vat writes rows of a kilobyte under scattered keys until the state has each size in turn; then the state is opened anew, and the vat
//! does nothing, overwrites rows, and reads: keys from all over it, and keys of a small part, again and again. Guests run in their turn, so
//! that all of it is on one thread, whose CPU is counted: the scrub, which reads the rest meanwhile, is on another.

use std::{
    num::NonZeroUsize,
    ops::{Add, Div},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context;
use serde::Serialize;

use crate::{
    bench::{
        guest::{Guest, repeat, times},
        machine::{self, Hardware, machine},
        result::per,
        svg::{Chart, Dot},
    },
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        options::Audit,
        scenario::{Scenario, StaticVat},
    },
    state::{block::stored, retention::Keep, table::Options},
    store::Database,
};

/// Bytes of each value.
const VALUE: u32 = 1_024;
/// Rows that one delivery writes.
const WRITES: u64 = 2_000;
/// Rows that one delivery reads.
const READS: u32 = 1_000;
/// Deliveries of a block that fills the state, and of one that reads.
const DELIVERIES: u64 = 8;
/// Deliveries of a block that do nothing, or overwrite one row each.
const SHORT_DELIVERIES: u64 = 500;
/// Blocks for each of these figures.
const BLOCKS: u64 = 4;
/// Rows of the part that is read again and again.
const HOT: u32 = 10_000;
/// Bytes of the largest state that is also read with all of it in memory.
const IN_MEMORY_MAX: u64 = 110_000_000;
const VAT: &str = "hoarder";

/// The sizes to measure, and how.
#[derive(Clone, Debug)]
pub struct ScaleOptions {
    /// The bytes of keys and values of the last, largest state.
    pub to: u64,
    /// What a host may take for heaps and rows, as for [`HostOptions::memory_max`].
    pub memory: Option<u64>,
    /// The folder of the state, if it is to be kept: one that is there already goes on to grow.
    pub state: Option<PathBuf>,
}

/// The figures of states of growing size.
#[derive(Clone, Debug, Serialize)]
pub struct Scale {
    /// The machine and the date.
    pub machine: Hardware,
    /// The sizes, from the smallest on.
    pub points: Vec<ScalePoint>,
}

/// The cost of one thing done, on average; the share in its block's commit included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleCost {
    /// Microseconds of CPU on the host's thread; 0 if the system does not tell.
    pub cpu_us: f64,
    /// Microseconds until it was done and durable.
    pub wall_us: f64,
}

impl Add for ScaleCost {
    type Output = ScaleCost;

    fn add(self, other: ScaleCost) -> ScaleCost {
        ScaleCost { cpu_us: self.cpu_us + other.cpu_us, wall_us: self.wall_us + other.wall_us }
    }
}

impl Div<u64> for ScaleCost {
    type Output = ScaleCost;

    fn div(self, by: u64) -> ScaleCost {
        let by = by.max(1) as f64;
        ScaleCost { cpu_us: self.cpu_us / by, wall_us: self.wall_us / by }
    }
}

/// A state of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalePoint {
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Rows of them.
    pub rows: u64,
    /// Bytes on disk for each row, everything included.
    pub disk_bytes_per_row: f64,
    /// The cost of writing a row that is new; nothing where none was written.
    pub fill: Option<ScaleCost>,
    /// Milliseconds to open the state.
    pub ms_to_open: f64,
    /// Bytes by which the process grew when it opened the state.
    pub open_bytes: u64,
    /// The cost of a delivery that does nothing.
    pub ping: ScaleCost,
    /// The cost of a delivery that overwrites a row from anywhere in the state.
    pub store: ScaleCost,
    /// The cost of reading a row from anywhere in the state.
    pub read: ScaleCost,
    /// Reads from the file for each of those reads.
    pub file_reads_per_read: f64,
    /// The cost of reading a row of those that are read again and again.
    pub hot_read: ScaleCost,
    /// The same with all of the state in memory; nothing where that would take too much.
    pub hot_read_in_memory: Option<ScaleCost>,
    /// The most bytes by which the process grew while the state was open, until all of it was brought to memory.
    pub peak_bytes: u64,
}

impl Scale {
    /// Returns the curves to draw.
    pub fn charts(&self) -> Vec<Chart> {
        let chart = |name: &str, unit, value: fn(&ScalePoint) -> f64| Chart {
            name: name.to_owned(),
            unit,
            dots: self.points.iter().map(|it| Dot::of(it.bytes, size_label(it.bytes), value(it))).collect(),
            ..Chart::default()
        };
        vec![
            chart("to open", " ms", |it| it.ms_to_open),
            chart("memory to open", " MB", |it| it.open_bytes as f64 / 1e6),
            chart("disk, a row of 1 KiB", " B", |it| it.disk_bytes_per_row),
            chart("ping, CPU", " µs", |it| it.ping.cpu_us),
            chart("store, CPU", " µs", |it| it.store.cpu_us),
            chart("read from anywhere, CPU", " µs", |it| it.read.cpu_us),
            chart("read again and again, CPU", " µs", |it| it.hot_read.cpu_us),
        ]
    }
}

/// Writes a size as people name such states: `100 MB`.
fn size_label(bytes: u64) -> String {
    match bytes {
        ..950_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.0} GB", bytes as f64 / 1e9),
    }
}

fn module() -> anyhow::Result<Vec<u8>> {
    let key = |number: &str| {
        format!(
            "(i32.store (i32.const 0x3000) (i32.mul {number} (i32.const 0x9e3779b1)))
             (i32.store (i32.const 0x3004) {number})"
        )
    };
    let write = "(call $vatstore_set (i32.const 0x3000) (i32.const 8) (i32.const 0x200000) (i32.const VALUE))"
        .replace("VALUE", &VALUE.to_string());
    let fill = format!(
        "{} (i32.store (i32.const 0x200000) (global.get $count)) {write}
         (global.set $count (i32.add (global.get $count) (i32.const 1)))",
        key("(global.get $count)")
    );
    let any_key = format!(
        "(global.set $dice (i32.add (i32.mul (global.get $dice) (i32.const 1664525)) (i32.const 1013904223)))
         (local.set $i (i32.rem_u (i32.shr_u (global.get $dice) (i32.const 4)) (local.get $k)))
         {}",
        key("(local.get $i)")
    );
    let is = |letter: char| format!("(i32.eq (i32.load8_u (i32.const 35)) (i32.const {}))", u32::from(letter));
    // `ping` does nothing, `overwrite` writes one row, `hot` reads the first keys alone, `all` all of them.
    let other = format!(
        "(if {} (then (return)))
         (local.set $k (select (i32.const {HOT}) (global.get $count) {}))
         (if {} (then {any_key} (i32.store (i32.const 0x200000) (global.get $dice)) {write} (return)))
         {}",
        is('p'),
        is('h'),
        is('o'),
        repeat(READS, &format!("{any_key} (drop (call $vatstore_get (i32.const 0x3000) (i32.const 8)))"))
    );
    let guest = Guest {
        go: times(&fill),
        other,
        fields: "(global $dice (mut i32) (i32.const 1))".to_owned(),
        awake: true,
        ..Guest::default()
    };
    wat::parse_str(guest.wat()).context("assemble the guest of the benchmark")
}

fn scenario() -> anyhow::Result<Scenario> {
    let options = Options { store_max: u64::MAX, fuel_per_delivery: 1 << 40, ..Options::default() };
    let vat = StaticVat { name: VAT.to_owned(), wasm: module()?, options, parameters: String::new() };
    Ok(Scenario { vats: vec![vat], ..Scenario::default() })
}

fn open(dir: &Path, asked: &ScaleOptions) -> anyhow::Result<Host> {
    Ok(Host::open(HostOptions {
        state: Some(dir.to_owned()),
        memory_max: asked.memory,
        keep: Keep::Needed,
        audit: Audit::Never,
        threads: Some(NonZeroUsize::MIN),
        ..HostOptions::default()
    })?)
}

fn rows(host: &Host) -> anyhow::Result<u64> {
    Ok(host.block()?.tables().vatstore.all_keys())
}

/// Has the vat do this so many times in one block, and returns what the block cost.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn block(host: &mut Host, method: &str, number: Option<u64>, deliveries: u64) -> anyhow::Result<ScaleCost> {
    let mut sent = Vec::new();
    for _ in 0..deliveries {
        sent.push(host.send(VAT, method, number.map(Into::into))?);
    }
    let (begun, cpu) = (Instant::now(), machine::thread_cpu());
    while !host.run_block(&BlockPolicy::default(), &mut |_| true)?.quiescent {}
    let cost = ScaleCost { cpu_us: (machine::thread_cpu() - cpu) / 1e3, wall_us: per(begun.elapsed(), 1) / 1e3 };
    sent.into_iter().try_for_each(|it| host.forget(it))?;
    Ok(cost)
}

/// Measures states of growing size. `told` receives what is done next.
pub fn scale(asked: &ScaleOptions, told: &mut dyn FnMut(&str)) -> anyhow::Result<Scale> {
    let made = tempfile::tempdir().context("make a folder for the state")?;
    let dir = asked.state.as_deref().unwrap_or(made.path());
    let mut scale = Scale { machine: machine(), points: Vec::new() };
    if !Database::exists(dir) {
        open(dir, asked)?.install(&scenario()?)?;
    }
    let bytes_of = |rows: u64| rows * u64::from(VALUE + 8);
    let mut size = 1_000_000;
    loop {
        let size_now = size.min(asked.to);
        let mut host = open(dir, asked)?;
        let before = rows(&host)?;
        // A state that was left here goes on from its own size.
        if bytes_of(before) <= size_now || size_now == asked.to {
            let mut cost = ScaleCost::default();
            while bytes_of(rows(&host)?) < size_now {
                let left = (size_now - bytes_of(rows(&host)?)) / u64::from(VALUE + 8);
                told(&format!("{} MB of {} MB", bytes_of(rows(&host)?) / 1_000_000, asked.to / 1_000_000));
                cost = cost + block(&mut host, "go", Some((left / DELIVERIES + 1).min(WRITES)), DELIVERIES)?;
            }
            let written = rows(&host)? - before;
            drop(host);
            told(&format!("open and read {} MB", size_now / 1_000_000));
            scale.points.push(point(dir, asked, (written > 0).then(|| cost / written))?);
        }
        if size >= asked.to {
            return Ok(scale);
        }
        size *= 10;
    }
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn point(dir: &Path, asked: &ScaleOptions, fill: Option<ScaleCost>) -> anyhow::Result<ScalePoint> {
    let on_disk = machine::size_of(dir);
    machine::forget_peak();
    let resident = machine::resident();
    let begun = Instant::now();
    let mut host = open(dir, asked)?;
    let ms_to_open = per(begun.elapsed(), 1_000_000);
    let open_bytes = machine::peak().saturating_sub(resident);
    let rows = rows(&host)?;
    let bytes = rows * u64::from(VALUE + 8);
    // The vat comes up, which is another matter.
    block(&mut host, "ping", None, 1)?;
    let ping = blocks(&mut host, "ping", SHORT_DELIVERIES)? / SHORT_DELIVERIES;
    let store = blocks(&mut host, "overwrite", SHORT_DELIVERIES)? / SHORT_DELIVERIES;
    // Until they are in memory, if they can be.
    blocks(&mut host, "hot", DELIVERIES)?;
    let reads = DELIVERIES * u64::from(READS);
    let hot_read = blocks(&mut host, "hot", DELIVERIES)? / reads;
    let before = stored::reads(host.block()?);
    let read = blocks(&mut host, "all", DELIVERIES)? / reads;
    let file_reads = stored::reads(host.block()?) - before;
    let peak_bytes = machine::peak().saturating_sub(resident);
    let mut hot_read_in_memory = None;
    if bytes <= IN_MEMORY_MAX {
        stored::fetch_all(host.block_mut()?)?;
        hot_read_in_memory = Some(blocks(&mut host, "hot", DELIVERIES)? / reads);
    }
    Ok(ScalePoint {
        bytes,
        rows,
        disk_bytes_per_row: on_disk as f64 / rows.max(1) as f64,
        fill,
        ms_to_open,
        open_bytes,
        ping,
        store,
        read,
        file_reads_per_read: file_reads as f64 / (BLOCKS * reads) as f64,
        hot_read,
        hot_read_in_memory,
        peak_bytes,
    })
}

/// Has the vat do this so many times in each of some blocks, and returns what a block cost.
fn blocks(host: &mut Host, method: &str, deliveries: u64) -> anyhow::Result<ScaleCost> {
    let mut cost = ScaleCost::default();
    for _ in 0..BLOCKS {
        cost = cost + block(host, method, None, deliveries)?;
    }
    Ok(cost / BLOCKS)
}
