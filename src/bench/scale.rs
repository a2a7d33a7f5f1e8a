//! States that grow: what they take to open, to keep, to write and to read, from a megabyte on.
//!
//! One vat writes rows of a kilobyte under scattered keys until the state has each size in turn; then the state is opened anew, and the vat
//! reads: keys from all over it, and keys of a small part, again and again.

use std::{
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
/// Deliveries of a block that writes, and of one that reads.
const DELIVERIES: u64 = 8;
/// Blocks that read, for each of the two figures.
const BLOCKS: u64 = 4;
/// Rows of the part that is read again and again.
const HOT: u32 = 10_000;
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
    /// Microseconds to write a row and make it durable; nothing where no row was written.
    pub us_per_write: Option<f64>,
    /// Milliseconds to open the state.
    pub ms_to_open: f64,
    /// Bytes by which the process grew when it opened the state.
    pub open_bytes: u64,
    /// Microseconds to read a row from anywhere in the state.
    pub us_per_read: f64,
    /// Reads from the file for each of those reads.
    pub file_reads_per_read: f64,
    /// Microseconds to read a row of those that are read again and again.
    pub us_per_hot_read: f64,
    /// The most bytes by which the process grew while it read.
    pub peak_bytes: u64,
}

fn module() -> anyhow::Result<Vec<u8>> {
    let key = |number: &str| {
        format!(
            "(i32.store (i32.const 0x3000) (i32.mul {number} (i32.const 0x9e3779b1)))
             (i32.store (i32.const 0x3004) {number})"
        )
    };
    let write = format!(
        "{} (i32.store (i32.const 0x200000) (global.get $count))
         (call $vatstore_set (i32.const 0x3000) (i32.const 8) (i32.const 0x200000) (i32.const {VALUE}))
         (global.set $count (i32.add (global.get $count) (i32.const 1)))",
        key("(global.get $count)")
    );
    // `hot` reads the first keys alone.
    let read = format!(
        "(local.set $k (select (i32.const {HOT}) (global.get $count) (i32.eq (i32.load8_u (i32.const 35)) (i32.const 104))))
         {}",
        repeat(
            READS,
            &format!(
                "(global.set $dice (i32.add (i32.mul (global.get $dice) (i32.const 1664525)) (i32.const 1013904223)))
                 (local.set $i (i32.rem_u (i32.shr_u (global.get $dice) (i32.const 4)) (local.get $k)))
                 {} (drop (call $vatstore_get (i32.const 0x3000) (i32.const 8)))",
                key("(local.get $i)")
            )
        )
    );
    let guest = Guest {
        go: times(&write),
        other: read,
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
        ..HostOptions::default()
    })?)
}

fn rows(host: &Host) -> anyhow::Result<u64> {
    Ok(host.block()?.tables().vatstore.all_keys())
}

/// Has the vat do this in one block, and returns the nanoseconds that it took.
#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn block(host: &mut Host, method: &str, number: Option<u64>) -> anyhow::Result<f64> {
    let mut sent = Vec::new();
    for _ in 0..DELIVERIES {
        sent.push(host.send(VAT, method, number.map(Into::into))?);
    }
    let begun = Instant::now();
    while !host.run_block(&BlockPolicy::default(), &mut |_| true)?.quiescent {}
    let took = per(begun.elapsed(), 1);
    sent.into_iter().try_for_each(|it| host.forget(it))?;
    Ok(took)
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
            let mut took = 0.0;
            while bytes_of(rows(&host)?) < size_now {
                let left = (size_now - bytes_of(rows(&host)?)) / u64::from(VALUE + 8);
                told(&format!("{} MB of {} MB", bytes_of(rows(&host)?) / 1_000_000, asked.to / 1_000_000));
                took += block(&mut host, "go", Some((left / DELIVERIES + 1).min(WRITES)))?;
            }
            let written = rows(&host)? - before;
            drop(host);
            let us_per_write = (written > 0).then(|| took / 1e3 / written as f64);
            told(&format!("open and read {} MB", size_now / 1_000_000));
            scale.points.push(point(dir, asked, us_per_write)?);
        }
        if size >= asked.to {
            return Ok(scale);
        }
        size *= 10;
    }
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is there to read the clock")]
fn point(dir: &Path, asked: &ScaleOptions, us_per_write: Option<f64>) -> anyhow::Result<ScalePoint> {
    let on_disk = machine::size_of(dir);
    machine::forget_peak();
    let resident = machine::resident();
    let begun = Instant::now();
    let mut host = open(dir, asked)?;
    let ms_to_open = per(begun.elapsed(), 1_000_000);
    let open_bytes = machine::peak().saturating_sub(resident);
    let rows = rows(&host)?;
    // The vat comes up, which is another matter.
    block(&mut host, "hot", None)?;
    let reads = (BLOCKS * DELIVERIES * u64::from(READS)) as f64;
    let from_file = |host: &Host| -> anyhow::Result<u64> { Ok(stored::reads(host.block()?)) };
    let mut measure = |method: &str| -> anyhow::Result<(f64, f64)> {
        let (mut took, before) = (0.0, from_file(&host)?);
        for _ in 0..BLOCKS {
            took += block(&mut host, method, None)?;
        }
        Ok((took / 1e3 / reads, (from_file(&host)? - before) as f64 / reads))
    };
    // Until they are in memory, if they can be.
    measure("hot")?;
    let (us_per_hot_read, _) = measure("hot")?;
    let (us_per_read, file_reads_per_read) = measure("all")?;
    Ok(ScalePoint {
        bytes: rows * u64::from(VALUE + 8),
        rows,
        disk_bytes_per_row: on_disk as f64 / rows.max(1) as f64,
        us_per_write,
        ms_to_open,
        open_bytes,
        us_per_read,
        file_reads_per_read,
        us_per_hot_read,
        peak_bytes: machine::peak().saturating_sub(resident),
    })
}
