//! The report for a pull request.

use std::fmt::Write;

use crate::lab::{
    campaign::{about, report::Report, tally::severity},
    experiment::Outcome,
};

/// Findings that are shown.
const FINDINGS_MAX: usize = 20;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let _ = write_all(report, &mut text);
    text
}

/// A text that cannot end its cell, or begin something of its own.
fn cell(text: &str) -> String {
    let mut plain = String::new();
    for it in text.chars() {
        match it {
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '#' | '\\' => plain.extend(['\\', it]),
            it if it.is_control() => plain.push(' '),
            it => plain.push(it),
        }
    }
    plain
}

/// A block of code that the text cannot end.
fn code(text: &str) -> String {
    let ticks = text.split(|it| it != '`').map(str::len).max().unwrap_or(0).max(2) + 1;
    let fence = "`".repeat(ticks);
    format!("{fence}text\n{text}\n{fence}")
}

fn write_all(report: &Report, out: &mut String) -> std::fmt::Result {
    let tally = &report.tally;
    writeln!(out, "# {}: {}\n\n{}.\n", cell(&report.header.name), report.verdict(), report.summary())?;
    writeln!(out, "| | limit | found |\n| --- | --- | --- |")?;
    let mark = |holds: bool| if holds { "✓" } else { "✗" };
    for it in &tally.limits {
        writeln!(out, "| {} | {} | {} |", mark(it.holds), cell(&it.limit), cell(&it.found))?;
    }
    for (name, count) in &tally.sometimes {
        writeln!(out, "| {} | sometimes: {} | held in {count} experiments |", mark(*count > 0), cell(name))?;
    }
    let (unreached, census) = (report.has_unreached(), tally.is_census);
    let heads = [Some("share"), unreached.then_some("of those reached"), (!census).then_some("95 % interval")];
    let heads: Vec<&str> = heads.into_iter().flatten().collect();
    let rule = " ---: |".repeat(heads.len());
    writeln!(out, "\n| class | experiments | {} |\n| --- | ---: |{rule}", heads.join(" | "))?;
    let mut shares: Vec<_> = tally.shares.iter().collect();
    shares.sort_by_key(|it| std::cmp::Reverse(severity(it.class)));
    for it in shares {
        let share = about(it.count as f64 / tally.run.max(1) as f64);
        let reached = unreached.then(|| it.of_reached.map(about).unwrap_or_default());
        let interval = (!census).then(|| format!("{} – {}", about(it.low), about(it.high)));
        let cells: Vec<String> = [Some(share), reached, interval].into_iter().flatten().collect();
        writeln!(out, "| {} | {} | {} |", it.class, it.count, cells.join(" | "))?;
    }
    for it in &tally.no_effect {
        let example = cell(&it.example.replace('\n', "; "));
        writeln!(out, "\nNo effect in {}: {}, as in {example}.", it.count, cell(&it.why))?;
    }
    if let Some(change) = &report.change {
        writeln!(out, "\n## Since the run it is compared with\n")?;
        writeln!(out, "{}.\n", change.summary())?;
        for (class, then, now) in &change.classes {
            writeln!(out, "* {class}: {then} → {now}")?;
        }
        change.transitions().try_for_each(|it| writeln!(out, "* {it}"))?;
        change.new.iter().try_for_each(|it| writeln!(out, "* new: {}", cell(it)))?;
        change.gone.iter().try_for_each(|it| writeln!(out, "* gone: {}", cell(it)))?;
    }
    if !tally.findings.is_empty() {
        writeln!(out, "\n## Findings")?;
    }
    for finding in tally.findings.iter().take(FINDINGS_MAX) {
        let outcome = finding.simplest();
        let Outcome { faults, detail, .. } = outcome;
        writeln!(out, "\n### {} ({}×)\n\n{}\n", cell(&finding.name), finding.count, code(&faults.to_string()))?;
        if let Some(detail) = detail.as_ref().filter(|it| !finding.name.contains(&***it)) {
            writeln!(out, "{}\n", cell(detail))?;
        }
        outcome.saw.iter().try_for_each(|it| writeln!(out, "* saw {}", cell(it)))?;
        if !outcome.saw.is_empty() {
            writeln!(out)?;
        }
        writeln!(out, "{}", code(&report.header.again(outcome)))?;
    }
    if tally.findings.len() > FINDINGS_MAX {
        writeln!(out, "\n{} more findings are in the JSON.", tally.findings.len() - FINDINGS_MAX)?;
    }
    if !tally.plants.is_empty() {
        let found = tally.plants.iter().filter(|it| it.found > 0).count();
        writeln!(out, "\n## Planted bugs\n\n{found} of {} were found.\n", tally.plants.len())?;
        writeln!(out, "| | bug | shown | as |\n| --- | --- | ---: | --- |")?;
        for it in &tally.plants {
            let shown = cell(it.shown.as_deref().unwrap_or("nothing"));
            writeln!(out, "| {} | {} | {} of {} | {shown} |", mark(it.found > 0), cell(&it.bug), it.found, it.tried)?;
        }
    }
    Ok(())
}
