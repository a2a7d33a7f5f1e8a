use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::{
    cli::{
        Exit, Output, Usage,
        fault::{
            campaign::{dress, folder, open, prepare, read, refused, runner},
            progress::Progress,
            report::{before, print, write_all},
        },
        output::grouped,
    },
    lab::{
        campaign::{
            self, Campaign, CampaignWork, Earlier, Ended, Experiment, Finding, Folder, Header, Results, Tally,
            report::Report,
        },
        experiment::{self, Build, Experiments, Isolation},
    },
};

/// Most findings of several faults that are shrunk.
const SHRINK_MAX: usize = 50;

/// Run a campaign
///
/// Results are kept as they come, one line an experiment: a campaign that was interrupted, or killed, goes on with `--resume`, and
/// comes to the same report, byte by byte; `docs/results.md` has the fields of a line. Exits with 1 where a limit of `[accept]` is not kept, or a `sometimes` never held.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault run vats/bank/kill-each.toml
  vathost fault run nightly.toml -j 8 --time 30m --resume
  vathost fault run nightly.toml --shard 3/16 --out part-3      then: cat part-*/results.jsonl, or `fault report part-*`")]
pub(crate) struct RunArgs {
    /// The campaign
    file: PathBuf,
    /// The folder of the results; otherwise beside the campaign
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Experiments at a time
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Only this part of the experiments: the Ith of N
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Go on with the results that are there
    #[arg(long, conflicts_with = "fresh")]
    resume: bool,
    /// Throw away the results that are there
    #[arg(long)]
    fresh: bool,
    /// Stop after this time, as in `30s`, `10m`, `2h`; what is done stays
    #[arg(long, value_name = "TIME")]
    time: Option<Span>,
    /// Stop at the first finding
    #[arg(long)]
    fail_fast: bool,
    /// Where an experiment runs: in a child that serves many and is replaced when it crashes, in this process, or in one of its own
    #[arg(long, value_name = "HOW", default_value = "fork", value_parser = ["rollback", "fork", "process"])]
    isolation: String,
    /// Say in the report what is other than in these results
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
    /// How the progress is told
    #[arg(long, value_name = "HOW", default_value = "auto")]
    progress: ProgressKind,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressKind {
    Auto,
    Json,
}

/// A part of a campaign, as in `3/16`.
#[derive(Clone, Copy, Debug)]
struct Shard {
    this: u64,
    of: u64,
}

impl FromStr for Shard {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Shard, &'static str> {
        let parsed = text.split_once('/').and_then(|(this, of)| Some((this.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((this, of)) if (1..=of).contains(&this) => Ok(Shard { this, of }),
            _ => Err("a shard is like 3/16: the third of sixteen"),
        }
    }
}

impl Shard {
    /// Returns whether the experiment of that name is in this part.
    fn has(self, id: &str) -> bool {
        let number = id.get(..8).and_then(|it| u64::from_str_radix(it, 16).ok()).unwrap_or(0);
        number % self.of == self.this - 1
    }
}

/// A length of time, as in `10m`.
#[derive(Clone, Copy, Debug)]
struct Span(Duration);

impl FromStr for Span {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Span, &'static str> {
        let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
        let factor = match text.get(digits.len()..).unwrap_or_default() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err("a time is like 30s, 10m or 2h"),
        };
        let number: u64 = digits.parse().map_err(|_| "a time is like 30s, 10m or 2h")?;
        Ok(Span(Duration::from_secs(number.saturating_mul(factor))))
    }
}

pub(crate) fn cmd_run(args: &RunArgs, output: &Output) -> anyhow::Result<Exit> {
    let campaign = read(&args.file)?;
    let build = Build::current()?;
    let isolation: Isolation = args.isolation.parse().map_err(anyhow::Error::msg)?;
    let earlier = before(args.compare.as_ref())?;
    let mut experiments = prepare(&campaign, build, output)?;
    dress(&campaign, &mut experiments)?;
    let drawn = campaign.space.draw();
    let header = Header::of(&campaign, experiments.golden(), build, drawn.numbers.len() as u64);
    let dir = args.out.clone().unwrap_or_else(|| folder(&args.file));
    if args.fresh {
        throw_away(&dir)?;
    }
    let (mut folder, earlier_results) = open(&dir, &header, args.resume)?;
    let known = &earlier_results.ids;
    let mut left = drawn.numbers;
    if args.shard.is_some() || !known.is_empty() {
        let is_wanted = |it: Experiment| is_wanted(&experiments, &it, args.shard, known);
        left.retain(|it| campaign.space.experiment(*it).is_some_and(is_wanted));
    }
    drop(experiments);
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = on_interrupt(&stop)?;
    let total = left.len() as u64 + known.len() as u64;
    if !known.is_empty() {
        output.note(format!("going on after {} of {} experiments", grouped(known.len() as u64), grouped(total)));
    }
    let ended =
        work(args, &campaign, build, isolation, &header, &mut folder, &left, &stop, (total, &earlier_results), output)?;
    folder.sync()?;
    let (header, mut tally) = Tally::read(std::slice::from_ref(&dir)).map_err(refused)?;
    if ended == Ended::All {
        shrink(&campaign, build, isolation, &folder, &mut tally, output)?;
    }
    drop(folder);
    let report = Report::of(header, tally, earlier.as_ref());
    if report.change.as_ref().is_some_and(|it| it.compared == 0) {
        output.note("warning: no experiment is in both results: nothing is compared");
    }
    write_all(&report, &dir)?;
    if args.json {
        output.json_text(report.json().trim_end())?;
    } else {
        print(&report, output)?;
    }
    output.note(format!("report: {}", dir.join("report.html").display()));
    if interrupted.load(Ordering::Relaxed) {
        output.note("interrupted; what is done stays: --resume goes on");
        return Ok(Exit::Interrupted);
    }
    if ended == Ended::Stopped {
        output.note("stopped before the end; what is done stays: --resume goes on");
    }
    // A part of a campaign need not meet the `sometimes` conditions, which are for the whole.
    let enough = args.shard.is_some() || ended == Ended::Stopped;
    let accepted = if enough { report.tally.limits.iter().all(|it| it.holds) } else { report.tally.is_accepted() };
    Ok(if accepted { Exit::Ok } else { Exit::Findings })
}

fn is_wanted(experiments: &Experiments, it: &Experiment, shard: Option<Shard>, known: &BTreeSet<String>) -> bool {
    let id = experiments.id(&it.schedule, it.seed);
    shard.is_none_or(|shard| shard.has(&id)) && !known.contains(&id)
}

/// Removes the files that a campaign wrote into the folder, and nothing else.
fn throw_away(dir: &Path) -> anyhow::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    if !dir.join("campaign.json").exists() && fs::read_dir(dir)?.next().is_some() {
        let what = format!("`{}` is no folder of results", dir.display());
        return Err(Usage::new(what, "nothing of it was touched: give --out another folder").into());
    }
    for name in
        ["campaign.json", "results.jsonl", "shrunk.json", "report.html", "report.md", "report.xml", "report.json"]
    {
        let path = dir.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Makes the first ^C stop the campaign after the experiments under way, and a second one at once.
fn on_interrupt(stop: &Arc<AtomicBool>) -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (stop, seen) = (stop.clone(), interrupted.clone());
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        stop.store(true, Ordering::Relaxed);
    })
    .context("install a handler for ^C")?;
    Ok(interrupted)
}

#[expect(clippy::too_many_arguments, reason = "all that a campaign under way has")]
#[allow(clippy::disallowed_methods, reason = "--time is about the clock on the wall")]
fn work(
    args: &RunArgs,
    campaign: &Campaign,
    build: Build,
    isolation: Isolation,
    header: &Header,
    folder: &mut Folder,
    left: &[u64],
    stop: &AtomicBool,
    (total, before): (u64, &Earlier),
    output: &Output,
) -> anyhow::Result<Ended> {
    if left.is_empty() {
        return Ok(Ended::All);
    }
    let begun = Instant::now();
    let mut progress = Progress::new(output, args.progress == ProgressKind::Json, total, before);
    let workers = usize::try_from(args.jobs).unwrap_or(1);
    let work = CampaignWork {
        space: &campaign.space,
        numbers: left,
        workers,
        make: &|| runner(campaign, build, isolation, &output.quietly()),
        stop,
    };
    let ended = campaign::run(&work, &mut |outcome| {
        folder.put(&outcome)?;
        let is_finding = header.is_finding(outcome.class);
        progress.add(&outcome, is_finding);
        let late = args.time.is_some_and(|it| begun.elapsed() >= it.0);
        if late || (args.fail_fast && is_finding) {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    progress.finish();
    ended
}

/// Shrinks the findings that are of several faults.
fn shrink(
    campaign: &Campaign,
    build: Build,
    isolation: Isolation,
    folder: &Folder,
    tally: &mut Tally,
    output: &Output,
) -> anyhow::Result<()> {
    let several = |it: &&mut Finding| it.outcome.faults.len() > 1;
    let (mut made, mut shrunk) = (None, Results::new());
    for finding in tally.findings.iter_mut().filter(several).take(SHRINK_MAX) {
        let outcome = &finding.outcome;
        if finding.shrunk.is_none() {
            let runner = match &mut made {
                Some(it) => it,
                None => made.insert(runner(campaign, build, isolation, output)?),
            };
            let it = experiment::shrink(&outcome.faults, &mut |it| runner.run(it, outcome.seed));
            finding.shrunk = Some(it.outcome);
        }
        shrunk.extend(finding.shrunk.clone().map(|it| (outcome.id.clone(), it)));
    }
    Ok(folder.put_shrunk(&shrunk)?)
}
