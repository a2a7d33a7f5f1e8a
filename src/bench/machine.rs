//! The machine of a measurement: its description in a result, and the use that a process makes of it.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::bench::date;

/// The machine and the date of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hardware {
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub arch: String,
    /// The number of threads that it runs at once.
    pub cores: usize,
    /// The processor's own name for itself.
    pub cpu: String,
    /// The day, in UTC.
    pub date: String,
    /// Whether vathost was built without debug assertions: the figures of any other build mean nothing.
    pub release: bool,
    /// Whether the compiler was told what a delivery runs: see `benches/profiled.sh`.
    #[serde(default)]
    pub profiled: bool,
    /// The load average of the last minute: 0 is an idle machine.
    pub load: f64,
}

/// Describes this machine, and today's date.
pub fn machine() -> Hardware {
    Hardware {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        date: date::today(),
        release: !cfg!(debug_assertions),
        profiled: option_env!("VATHOST_PROFILED").is_some_and(|it| !it.is_empty()),
        load: fs::read_to_string("/proc/loadavg")
            .ok()
            .and_then(|it| it.split(' ').next()?.parse().ok())
            .unwrap_or_default(),
    }
}

/// Reads the value after `name:` in one of the system's files.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|it| Some(it.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned()))
}

fn kibibytes(name: &str) -> u64 {
    kibibytes_of("self", name)
}

fn kibibytes_of(process: &str, name: &str) -> u64 {
    let field = field(&format!("/proc/{process}/status"), name);
    field.and_then(|it| it.split(' ').next()?.parse::<u64>().ok()).map_or(0, |it| it << 10)
}

/// Returns the resident memory of this process, in bytes.
pub(super) fn resident() -> u64 {
    kibibytes("VmRSS")
}

/// Returns the resident memory of another process, in bytes.
pub(super) fn resident_of(process: u32) -> u64 {
    kibibytes_of(&process.to_string(), "VmRSS")
}

/// Waits until the disk has what was written so far: what other loads wrote would be measured, too.
pub(super) fn write_back() {
    rustix::fs::sync();
}

/// Returns the seconds of CPU that this process used so far, all threads together; 0 if the system does not tell.
pub(super) fn cpu() -> f64 {
    cpu_at("self")
}

/// Returns the nanoseconds of CPU that this thread used so far; 0 if the system does not tell.
pub(super) fn thread_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0)
}

/// Returns the seconds of CPU that another process used so far.
pub(super) fn cpu_of(process: u32) -> f64 {
    cpu_at(&process.to_string())
}

#[cfg(target_os = "linux")]
fn cpu_at(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything. Behind it come eleven fields, then the ticks of the user and of the system.
    let behind = text.rsplit_once(')').map_or("", |it| it.1);
    let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

#[cfg(not(target_os = "linux"))]
fn cpu_at(_: &str) -> f64 {
    0.0
}

/// Returns the most resident memory of this process since the last [`forget_peak`], in bytes.
pub(super) fn peak() -> u64 {
    kibibytes("VmHWM")
}

/// Measures the peak anew from here on, if the system allows it.
pub(super) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Returns the bytes that this process wrote so far.
pub(super) fn written() -> u64 {
    field("/proc/self/io", "wchar").and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Returns the bytes of the files in a folder.
pub(super) fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}
