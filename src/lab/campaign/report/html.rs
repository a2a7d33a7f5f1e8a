//! The page: one file, no scripts. Every text of a vat or a file is escaped, as maud escapes all that it is given.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::lab::{
    campaign::{
        Header, about,
        report::{
            Change, Report, meaning,
            style::{CSS, FAMILIES, family},
            svg,
        },
        tally::{Finding, Reason, Score, Share, severity},
    },
    experiment::Outcome,
};

/// Findings that are shown at length.
const FINDINGS_MAX: usize = 50;

/// The report as a page.
pub fn html(report: &Report) -> String {
    let Report { header, tally, change } = report;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (header.name) ": " (report.verdict()) }
                style { (PreEscaped(CSS)) }
            }
            body {
                h1 { (header.name) }
                p { span.verdict.(if tally.is_accepted() { "yes" } else { "no" }) { (report.verdict()) } }
                p { (report.summary()) "." }
                p.soft.small {
                    "Base " code { (short(&header.base)) } ", build " code { (short(&header.build)) }
                    ", golden run ends in state " code { (short(&header.state_hash)) } "."
                }
                @if let Some(change) = change { (changed(change)) }
                h2 { "What was asked, and what was found" }
                (limits(report))
                h2 { "Classes" }
                (svg::bar(&tally.shares, tally.run))
                (classes(report))
                @if !tally.no_effect.is_empty() {
                    h2 { "Without effect" }
                    (reasons(&tally.no_effect))
                }
                @if !tally.plants.is_empty() {
                    h2 { "Planted bugs" }
                    (planted(&tally.plants))
                }
                h2 { "Findings" }
                @if tally.findings.is_empty() { p { "None." } }
                @for finding in tally.findings.iter().take(FINDINGS_MAX) { (one(header, finding)) }
                @if tally.findings.len() > FINDINGS_MAX {
                    p.soft { (tally.findings.len() - FINDINGS_MAX) " more are in the JSON." }
                }
                h2 { "Where, and what" }
                p.soft.small { "A row is a place and an action; from left to right its number in the run; the colours are what came of faults there." }
                p.legend.small { @for (family, says) in FAMILIES { span { i.tag.{ "f-" (family) } {} (says) } } }
                div.scroll { (svg::heat(&tally.heat)) }
                @if !tally.blast.is_empty() {
                    h2 { "Blast radius" }
                    p.soft.small { "Rows: the vat at which faults were aimed. Columns: who was hurt by them, and how often. " "“outside” is who sent the messages of the scenario." }
                    div.scroll { (svg::blast(&tally.blast)) }
                }
            }
        }
    };
    page.into_string() + "\n"
}

fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

fn limits(report: &Report) -> Markup {
    html! {
        table {
            thead { tr { th { "" } th { "limit" } th { "found" } } }
            tbody {
                @for it in &report.tally.limits {
                    tr { td { (mark(it.holds)) } td { code { (it.limit) } } td { (it.found) } }
                }
                @for (name, count) in &report.tally.sometimes {
                    tr { td { (mark(*count > 0)) } td { "sometimes: " (name) } td { "held in " (count) " experiments" } }
                }
                @if !report.is_complete() {
                    tr { td { "…" } td { "all experiments" } td { (report.tally.run) " of " (report.header.total) " were run" } }
                }
            }
        }
    }
}

fn mark(holds: bool) -> Markup {
    html! { @if holds { span.yes { "✓" } } @else { span.no { "✗" } } }
}

/// The reasons why nothing was done.
fn reasons(reasons: &[Reason]) -> Markup {
    html! {
        table {
            thead { tr { th { "reason" } th.number { "experiments" } th { "as in" } } }
            tbody { @for it in reasons { tr { td { (it.why) } td.number { (it.count) } td { code { (it.example) } } } } }
        }
    }
}

fn classes(report: &Report) -> Markup {
    let (run, census) = (report.tally.run, report.tally.is_census);
    let unreached = report.has_unreached();
    let mut shares: Vec<&Share> = report.tally.shares.iter().collect();
    shares.sort_by_key(|it| std::cmp::Reverse(severity(it.class)));
    let space = shares.iter().any(|it| it.space.is_some());
    html! {
        table {
            thead { tr {
                th { "class" } th.number { "experiments" } th.number { "share" }
                @if unreached { th.number { "of those reached" } }
                @if !census { th.number { "95 % interval" } }
                @if space { th.number { "of the whole space" } }
                th { "" }
            } }
            tbody {
                @for it in shares {
                    tr {
                        td.word { i.tag.{ "f-" (family(it.class)) } {} (it.class) }
                        td.number { (it.count) }
                        td.number { (about(it.count as f64 / run.max(1) as f64)) }
                        @if unreached { td.number { @if let Some(share) = it.of_reached { (about(share)) } } }
                        @if !census { td.number { (about(it.low)) " – " (about(it.high)) } }
                        @if space { td.number { @if let Some((low, high)) = it.space { (low) " – " (high) } } }
                        td.soft { (meaning(it.class)) }
                    }
                }
            }
        }
    }
}

fn one(header: &Header, finding: &Finding) -> Markup {
    let outcome = finding.simplest();
    let Outcome { class, detail, hurt, path, faults, id, deviated, saw, .. } = outcome;
    html! {
        div.finding {
            h3 { i.tag.{ "f-" (family(*class)) } {} (finding.name) }
            p.soft.small {
                (finding.count) @if finding.count == 1 { " experiment" } @else { " experiments" } ", the simplest is " code { (id) }
                @if finding.is_shrunk() { ", shrunk from " (finding.outcome.faults.len()) " faults" }
            }
            pre { (faults) }
            @if let Some(detail) = detail.as_ref().filter(|it| !finding.name.contains(&***it)) { p { (detail) } }
            @for it in saw { p.small { "Saw " code { (it) } } }
            @if !hurt.is_empty() { p { "Hurt: " (hurt.join(", ")) "." } }
            @if let Some(crank) = deviated { p.small { "The run deviates in crank " (crank) "." } }
            @if !path.is_empty() {
                p.small.soft {
                    @for (at, step) in path.iter().enumerate() {
                        @if at > 0 { " → " }
                        (step.vat) " " (step.what) " (crank " (step.crank) ")"
                    }
                }
            }
            pre.token { (header.again(outcome)) }
        }
    }
}

fn planted(plants: &[Score]) -> Markup {
    let found = plants.iter().filter(|it| it.found > 0).count();
    html! {
        p { (found) " of " (plants.len()) " were found." }
        div.scroll { table {
            thead { tr { th { "" } th { "bug" } th.number { "planted" } th.number { "shown" } th { "as" } } }
            tbody {
                @for it in plants {
                    tr {
                        td { (mark(it.found > 0)) }
                        td { code { (it.bug) } }
                        td.number { (it.tried) }
                        td.number { (it.found) }
                        td { (it.shown.as_deref().unwrap_or("nothing")) }
                    }
                }
            }
        } }
    }
}

fn changed(change: &Change) -> Markup {
    html! {
        h2 { "Since the run it is compared with" }
        p { "That one was " @if !change.was_accepted { "not " } "accepted." }
        p { (change.summary()) "." }
        @if change.is_none() { p { "Nothing has changed." } }
        @if !change.transitions.is_empty() {
            table {
                thead { tr { th { "class then" } th { "class now" } th.number { "experiments" } } }
                tbody { @for (then, now, count) in &change.transitions { tr { td { (then) } td { (now) } td.number { (count) } } } }
            }
        }
        @if !change.classes.is_empty() {
            table {
                thead { tr { th { "class" } th.number { "then" } th.number { "now" } } }
                tbody { @for (class, then, now) in &change.classes { tr { td { (class) } td.number { (then) } td.number { (now) } } } }
            }
        }
        @for it in &change.new { p { "New: " (it) } }
        @for it in &change.gone { p { "Gone: " (it) } }
    }
}
