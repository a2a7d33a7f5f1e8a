use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{
        Exit, Output, Usage,
        fault::campaign::refused,
        output::{grouped, harmless, table},
    },
    lab::campaign::{
        Tally, about,
        report::{Report, html, junit, markdown},
    },
};

/// Most findings that are printed.
const FINDINGS_MAX: usize = 20;

/// Say what a campaign came to
///
/// Prints the report of one folder of results, or of several that are shards of one campaign. The same results give the same bytes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost fault report vats/bank/kill-each.results
  vathost fault report part-1 part-2 --html > report.html
  vathost fault report now --compare before --md >> \"$GITHUB_STEP_SUMMARY\"")]
pub(crate) struct ReportArgs {
    /// Folders of results
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// As a page: one file, without scripts
    #[arg(long, group = "form")]
    html: bool,
    /// As Markdown
    #[arg(long, group = "form")]
    md: bool,
    /// As JUnit XML
    #[arg(long, group = "form")]
    junit: bool,
    /// As one JSON object
    #[arg(long, group = "form")]
    json: bool,
    /// Say what is other than in these results
    #[arg(long, value_name = "DIR")]
    compare: Option<PathBuf>,
}

pub(crate) fn cmd_report(args: &ReportArgs, output: &Output) -> anyhow::Result<Exit> {
    let (header, tally) = Tally::read(&args.dirs).map_err(refused)?;
    let report = Report::of(header, tally, before(args.compare.as_ref())?.as_ref());
    if report.change.as_ref().is_some_and(|it| it.compared == 0) {
        let hint = "experiments are compared by their faults and seeds: name results of the same campaign";
        return Err(Usage::new("no experiment is in both results", hint).into());
    }
    let text = match () {
        () if args.html => html(&report),
        () if args.md => markdown(&report),
        () if args.junit => junit(&report),
        () if args.json => {
            output.json_text(report.json().trim_end())?;
            return Ok(exit(&report));
        }
        () => {
            output.page();
            print(&report, output)?;
            return Ok(exit(&report));
        }
    };
    output.line(text.trim_end())?;
    Ok(exit(&report))
}

/// Reads the earlier results to compare with, if a folder of them is given.
pub(super) fn before(dir: Option<&PathBuf>) -> anyhow::Result<Option<Tally>> {
    dir.map(|it| Tally::read(std::slice::from_ref(it)).map(|(_, tally)| tally)).transpose().map_err(refused)
}

fn exit(report: &Report) -> Exit {
    if report.tally.is_accepted() { Exit::Ok } else { Exit::Findings }
}

/// Writes every form of the report beside its results.
pub(super) fn write_all(report: &Report, dir: &Path) -> anyhow::Result<()> {
    fs::write(dir.join("report.html"), html(report))?;
    fs::write(dir.join("report.md"), markdown(report))?;
    fs::write(dir.join("report.xml"), junit(report))?;
    fs::write(dir.join("report.json"), report.json())?;
    Ok(())
}

/// Prints the report for a terminal.
pub(super) fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    let tally = &report.tally;
    output.line(format!("{}: {}\n", harmless(&report.header.name), report.summary()))?;
    let unreached = report.has_unreached();
    let rows = tally.shares.iter().map(|it| {
        let share = about(it.count as f64 / tally.run.max(1) as f64);
        let reached = unreached.then(|| it.of_reached.map(about).unwrap_or_default());
        let interval = (!tally.is_census).then(|| format!("{} – {}", about(it.low), about(it.high)));
        [Some(it.class.to_string()), Some(grouped(it.count)), Some(share), reached, interval]
            .into_iter()
            .flatten()
            .collect()
    });
    let heads = [
        Some("class"),
        Some("experiments"),
        Some("share"),
        unreached.then_some("of those reached"),
        (!tally.is_census).then_some("95 % interval"),
    ];
    let heads: Vec<&str> = heads.into_iter().flatten().collect();
    output.line(table(&heads, &[0], rows))?;
    for it in &tally.no_effect {
        let example = harmless(&it.example.replace('\n', "; "));
        output.line(format!("no effect in {}: {}, as in `{example}`", grouped(it.count), harmless(&it.why)))?;
    }
    for (at, finding) in tally.findings.iter().take(FINDINGS_MAX).enumerate() {
        let outcome = finding.simplest();
        output.line(format!("\nfinding {}: {} ({}×)", at + 1, harmless(&finding.name), grouped(finding.count)))?;
        for fault in outcome.faults.faults() {
            output.line(format!("  {}", harmless(&fault.to_string())))?;
        }
        for it in &outcome.saw {
            output.line(format!("  saw {}", harmless(it)))?;
        }
        if finding.is_shrunk() {
            output.line(format!("  shrunk from {} faults", finding.outcome.faults.len()))?;
        }
        output.line(format!("  show:  vathost fault show {}", outcome.id))?;
        output.line(format!("  again: {}", harmless(&report.header.again(outcome))))?;
    }
    if tally.findings.len() > FINDINGS_MAX {
        output.line(format!("\n{} more findings are in the report", tally.findings.len() - FINDINGS_MAX))?;
    }
    if !tally.plants.is_empty() {
        let found = tally.plants.iter().filter(|it| it.found > 0).count();
        output.line(format!("\nplanted bugs: {found} of {} found", tally.plants.len()))?;
        for it in tally.plants.iter().filter(|it| it.found == 0) {
            output.line(format!("  {} was planted {} times, and never showed", it.bug, it.tried))?;
        }
    }
    if let Some(change) = &report.change {
        output.line(format!("\ncompared: {}", change.summary()))?;
        if change.is_none() {
            output.line("nothing is other than before")?;
        }
        change
            .classes
            .iter()
            .try_for_each(|(class, then, now)| output.line(format!("{class}: {then} before, {now} now")))?;
        change.transitions().try_for_each(|it| output.line(it))?;
        change.new.iter().try_for_each(|it| output.line(format!("new:  {}", harmless(it))))?;
        change.gone.iter().try_for_each(|it| output.line(format!("gone: {}", harmless(it))))?;
    }
    output.line(format!("\n{}", report.verdict()))?;
    for it in &tally.limits {
        let mark = if it.holds { "ok  " } else { "FAIL" };
        output.line(format!("  {mark}  {}: found {}", it.limit, it.found))?;
    }
    for (name, count) in &tally.sometimes {
        let mark = if *count > 0 { "ok  " } else { "FAIL" };
        output.line(format!("  {mark}  sometimes {}: held in {count}", harmless(name)))?;
    }
    Ok(())
}
