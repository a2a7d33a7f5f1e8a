use std::path::PathBuf;

use clap::Args;

use super::warn_of_debug_build;
use crate::{
    bench::{self, Amplification, Case, CaseResult, Enough, LIMITS, Measuring},
    cli::{
        Exit, Output, Usage,
        output::{grouped, table},
    },
};

/// Measure how much the host does for a unit of fuel, where a guest asks for the most that it can
///
/// Every import of the guest ABI at its extremes (sizes of nothing and of the most, promises in every state, each device, the vat admin),
/// and faults, snapshots and rows that change in turn. Each case runs in a process of its own. For 1e9 units of fuel none may take
/// more CPU than ten empty loops, 4 GiB of memory, 2 GB of disk, or 2 GB of slog; exit 1 where one does.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost bench amplification
  vathost bench amplification --list
  vathost bench amplification --only send --only subscribe/closure-1-mib
  vathost bench amplification --json > amplification.json")]
pub(super) struct AmplificationArgs {
    /// Only this case, or those of this group: an import, `instructions`, or `host` (repeatable)
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Print the cases, and measure none
    #[arg(long)]
    list: bool,
    /// End a case that takes more CPU than this
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// End a case that takes more memory than this
    #[arg(long, value_name = "MIB", default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..))]
    memory: u64,
    /// Shorter measurements: a look, and no more
    #[arg(long)]
    quick: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Measure one case here, into a folder: what the others are measured by
    #[arg(long, value_name = "CASE", hide = true, requires = "dir")]
    child: Option<String>,
    #[arg(long, value_name = "DIR", hide = true)]
    dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    enough_cpu: Option<f64>,
    #[arg(long, hide = true)]
    enough_fuel: Option<u64>,
}

impl AmplificationArgs {
    fn enough(&self) -> Enough {
        let full =
            if self.quick { Enough { cpu: 0.02, fuel: 20_000_000 } } else { Enough { cpu: 0.3, fuel: 500_000_000 } };
        Enough { cpu: self.enough_cpu.unwrap_or(full.cpu), fuel: self.enough_fuel.unwrap_or(full.fuel) }
    }

    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let mut cases = bench::amplification_cases()?;
        let is = |it: &Case, only: &String| it.group == only || it.full_name() == *only;
        for only in &self.only {
            if !cases.iter().any(|it| is(it, only)) {
                let what = format!("there is no case `{only}`");
                return Err(Usage::new(what, "`vathost bench amplification --list` names them").into());
            }
        }
        cases.retain(|it| self.only.is_empty() || self.only.iter().any(|only| is(it, only)));
        Ok(cases)
    }
}

pub(super) fn cmd_amplification(args: &AmplificationArgs, output: &Output) -> anyhow::Result<Exit> {
    if let (Some(case), Some(dir)) = (&args.child, &args.dir) {
        bench::amplification_child(case, dir, args.enough())?;
        return Ok(Exit::Ok);
    }
    let cases = args.cases()?;
    if args.list {
        return list(&cases, args.json, output);
    }
    warn_of_debug_build(output);
    let how = Measuring {
        exe: std::env::current_exe()?,
        enough: args.enough(),
        seconds: args.seconds,
        memory: args.memory << 20,
    };
    let measured = bench::amplification(&cases, &how, &mut |it| output.note(format!("{it} …")))?;
    if args.json {
        output.json(&measured)?;
    } else {
        show(&measured, output)?;
    }
    Ok(if measured.exceeding().next().is_some() { Exit::Findings } else { Exit::Ok })
}

fn list(cases: &[Case], json: bool, output: &Output) -> anyhow::Result<Exit> {
    if json {
        let all: Vec<_> =
            cases.iter().map(|it| serde_json::json!({ "name": it.full_name(), "about": it.about })).collect();
        output.json(&all)?;
    } else {
        output.line(table(&["case", ""], &[0, 1], cases.iter().map(|it| vec![it.full_name(), it.about.to_owned()])))?;
    }
    Ok(Exit::Ok)
}

fn show(measured: &Amplification, output: &Output) -> anyhow::Result<()> {
    output.line(format!(
        "for 1e9 units of fuel, of which an empty loop takes {:.2} s of CPU; the worst first",
        measured.empty_loop
    ))?;
    let limits = vec![
        "at the most".to_owned(),
        String::new(),
        format!("{:.1} s", LIMITS.ratio * measured.empty_loop),
        format!("{:.1}", LIMITS.ratio),
        bytes(LIMITS.memory),
        bytes(LIMITS.disk),
        bytes(LIMITS.slog),
        String::new(),
    ];
    let header = ["case", "fuel", "CPU", "× loop", "memory", "disk", "slog", ""];
    let rows = measured.rows.iter().map(row);
    output.line(table(&header, &[0, 7], [limits].into_iter().chain(rows)))?;
    let bad = measured.exceeding().count();
    output.line(format!("{} cases, {bad} past a limit", measured.rows.len()))?;
    Ok(())
}

fn row(it: &CaseResult) -> Vec<String> {
    let number = |text: String| if it.times == 0 { "?".to_owned() } else { text };
    let verdict = match (&it.stopped, &it.exceeds[..], &it.ended) {
        (Some(why), ..) => format!("stopped: {why}"),
        (None, [], None) => "ok".to_owned(),
        (None, [], Some(how)) => format!("ok; the guest ended: {}", crate::cli::output::shortened(how, 60)),
        (None, ..) if it.is_known() => format!("known: {}", it.known.unwrap_or_default()),
        (None, what, _) => format!("too much {}", what.join(", ")),
    };
    vec![
        it.name.clone(),
        grouped(it.fuel),
        number(format!("{:.2} s", it.cpu)),
        number(format!("{:.1}", it.ratio)),
        number(bytes(it.memory)),
        number(bytes(it.disk)),
        number(bytes(it.slog)),
        verdict,
    ]
}

/// Writes bytes for people, in units that suit a column of very different sizes.
fn bytes(bytes: f64) -> String {
    match bytes {
        0.0..1e6 => "0".to_owned(),
        1e6..1e9 => format!("{:.0} MB", bytes / 1e6),
        1e9..1e12 => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.1} TB", bytes / 1e12),
    }
}
