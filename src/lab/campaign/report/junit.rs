//! The report for a CI: a test case for each limit, each `sometimes`, and each finding.

use maud::html;

use crate::lab::campaign::report::Report;

/// The report as JUnit XML. A finding that no limit forbids is no failure: it stands in the output of its case.
pub fn junit(report: &Report) -> String {
    let tally = &report.tally;
    let failures = tally.limits.iter().filter(|it| !it.holds).count()
        + tally.sometimes.iter().filter(|(_, count)| *count == 0).count();
    let tests = tally.limits.len() + tally.sometimes.len() + tally.findings.len();
    let name = plain(&report.header.name);
    let suite = html! {
        testsuite name=(name) tests=(tests) failures=(failures) errors="0" {
            @for it in &tally.limits {
                testcase classname=(name) name=(plain(&it.limit)) {
                    @if !it.holds { failure message=(plain(&it.found)) {} }
                }
            }
            @for (sometimes, count) in &tally.sometimes {
                testcase classname=(name) name={ "sometimes: " (plain(sometimes)) } {
                    @if *count == 0 { failure message="it never held: the campaign is too weak" {} }
                }
            }
            @for it in &tally.findings {
                testcase classname=(name) name={ "finding: " (plain(&it.name)) } {
                    system-out { (it.count) " experiments\n" (plain(&it.simplest().faults.to_string())) "\n" (plain(&report.header.again(it.simplest()))) }
                }
            }
        }
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", suite.into_string())
}

/// Without the characters that no XML may hold.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|it| !it.is_control() || matches!(it, '\n' | '\t'))
        .filter(|it| !matches!(it, '\u{fffe}' | '\u{ffff}'))
        .collect()
}
