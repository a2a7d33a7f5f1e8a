//! The process of a case: it is started here, watched, and ended past its limits.

use std::{
    fs,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{
    Measuring,
    cases::Case,
    measure::{MeasuredStep, steps_file},
};
use crate::bench::machine;

/// Time from one look at a process to the next.
const LOOK: Duration = Duration::from_millis(20);
/// The time by the clock that a process may take, as a multiple of its seconds of CPU: it waits for the disk, and for other processes. So
/// this ends only a process that hangs.
const PATIENCE: u32 = 30;

/// Measures a case in a process of its own. Returns its steps, and the reason why the process was ended or failed, if it was.
#[allow(clippy::disallowed_methods, reason = "a benchmark waits, and is there to read the clock")]
pub(super) fn measured(case: &Case, how: &Measuring) -> anyhow::Result<(Vec<MeasuredStep>, Option<String>)> {
    let dir = tempfile::tempdir().context("make a folder for a case")?;
    let mut child = Command::new(&how.exe)
        .args(["-q", "bench", "amplification", "--child", &case.full_name(), "--dir"])
        .arg(dir.path())
        .args(["--enough-cpu", &how.enough.cpu.to_string(), "--enough-fuel", &how.enough.fuel.to_string()])
        .spawn()
        .with_context(|| format!("start {}", how.exe.display()))?;
    let begun = Instant::now();
    let patience = Duration::from_secs(how.seconds) * PATIENCE;
    let stopped = loop {
        if let Some(status) = child.try_wait().context("wait for a case")? {
            break (!status.success()).then(|| ended(status));
        }
        let (cpu, memory) = (machine::cpu_of(child.id()), machine::resident_of(child.id()));
        let why = if cpu > how.seconds as f64 {
            format!("more than {} s of CPU", how.seconds)
        } else if memory > how.memory {
            format!("more than {} MiB of memory", how.memory >> 20)
        } else if begun.elapsed() > patience {
            format!("more than {} s", patience.as_secs())
        } else {
            thread::sleep(LOOK);
            continue;
        };
        child.kill().and_then(|()| child.wait()).context("end a case")?;
        break Some(why);
    };
    let text = fs::read_to_string(steps_file(dir.path())).unwrap_or_default();
    // The last line may be cut, if the process was ended.
    let steps = text.lines().map_while(|it| serde_json::from_str(it).ok()).collect();
    Ok((steps, stopped))
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("ended by signal {signal}");
    }
    status.code().map_or("ended".to_owned(), |code| format!("exit code {code}"))
}
