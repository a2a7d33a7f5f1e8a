//! Reports: what they show, and that nothing in them can be more than text.

use expect_test::expect;
use vathost::lab::{
    campaign::{
        Bound, Counting, Header, Limit, Results, Tally,
        report::{Report, html, junit, markdown},
    },
    experiment::{Class, Outcome},
};

use crate::fault::lab::faults;

const HOSTILE: &str = "<script>alert('1')</script> & \"it\" | `x` ]]> \u{1b}[31m";

fn header() -> Header {
    Header {
        schema: 1,
        name: format!("test {HOSTILE}"),
        file: "vats/bank/a b.toml".into(),
        key: "k".into(),
        base: "b".repeat(64),
        build: "c".repeat(64),
        seed: 7,
        order: "singles".into(),
        total: 4,
        space: 400,
        cranks: 37,
        state_hash: "d".repeat(64),
        vats: vec![("v1".into(), "market".into()), ("v2".into(), HOSTILE.into())],
        accept: vec![Limit { class: Class::Invariant, bound: Bound::Most(0) }],
        sometimes: vec![HOSTILE.into()],
        exhaustive: false,
        random: false,
    }
}

fn outcome(id: &str, lines: &str, class: Class, hurt: &[&str]) -> Outcome {
    let mut outcome = lab_outcome(lines);
    outcome.id = id.into();
    outcome.class = class;
    outcome.detail = (class == Class::Invariant).then(|| HOSTILE.to_owned());
    outcome.hurt = hurt.iter().map(|it| (*it).to_owned()).collect();
    outcome.noted = if class == Class::Spread { vec![HOSTILE.into()] } else { Vec::new() };
    outcome
}

fn lab_outcome(lines: &str) -> Outcome {
    serde_json::from_value(serde_json::json!({
        "id": "", "faults": faults(lines), "seed": 7, "class": "MASKED", "done": [{"fault": 0, "crank": 9, "times": 1}],
        "deviated": 9, "end": "quiescent", "cranks": 37, "token": "vf1-token",
    }))
    .unwrap()
}

fn results() -> Results {
    let all = [
        outcome("01", "v2/delivery-3: skip", Class::Spread, &["v1"]),
        outcome("02", "v2/delivery-4: terminate reason \"<b>\"", Class::Invariant, &["v1", "outside"]),
        outcome("03", "crank-5: plant lost-decref", Class::KernelPanic, &[]),
        outcome("04", "crank-6: plant lost-decref", Class::Masked, &[]),
    ];
    all.into_iter().map(|it| (it.id.clone(), it)).collect()
}

fn report() -> Report {
    of(results(), None)
}

/// A report of these, beside earlier ones.
fn of(results: impl IntoIterator<Item = (String, Outcome)>, before: Option<Results>) -> Report {
    let before = before.map(tally);
    Report::of(header(), tally(results), before.as_ref())
}

fn tally(results: impl IntoIterator<Item = (String, Outcome)>) -> Tally {
    let mut counting = Counting::new(&header());
    results.into_iter().for_each(|(_, it)| counting.add(&it));
    counting.tally(&Results::new())
}

#[test]
fn a_page_is_one_file_without_scripts_and_shows_hostile_names_as_text() {
    let page = html(&report());
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    for forbidden in ["<script", "<b>", "http://", "https://", "src=", "onload", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
    for shown in [
        "not accepted",
        "&lt;script&gt;alert('1')&lt;/script&gt; &amp; &quot;it&quot;",
        "prefers-color-scheme: dark",
        "4 experiments (single faults, drawn from 400) on a golden run of 37 cranks, seed 7.",
        "vathost fault repro --campaign 'vats/bank/a b.toml' vf1-token",
        "aria-label=\"heat map",
        "aria-label=\"blast radius",
        "1 of 1 were found.",
        // Of 400, as of the four that were run.
        "18 – 280",
    ] {
        assert!(page.contains(shown), "no {shown} in {page}");
    }
    // Every element that is opened is closed, in order.
    let mut open = Vec::new();
    for tag in page.split('<').skip(2).filter_map(|it| it.split(['>', ' ']).next()) {
        match tag.strip_prefix('/') {
            Some(tag) => assert_eq!(open.pop(), Some(tag)),
            None if tag == "meta" => (),
            None => open.push(tag),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_same_results_give_the_same_report_in_whatever_order_they_came() {
    let other = of(results().into_iter().rev(), None);
    assert_eq!((html(&report()), report().json()), (html(&other), other.json()));
}

#[test]
fn markdown_and_junit_hold_what_a_pull_request_and_a_ci_want() {
    expect![[r##"
        # test \<script\>alert('1')\</script\> & "it" \| \`x\` \]\]\>  \[31m: not accepted

        4 experiments (single faults, drawn from 400) on a golden run of 37 cranks, seed 7.

        | | limit | found |
        | --- | --- | --- |
        | ✗ | invariant = 0 | 1 |
        | ✓ | sometimes: \<script\>alert('1')\</script\> & "it" \| \`x\` \]\]\>  \[31m | held in 1 experiments |

        | class | experiments | share | 95 % interval |
        | --- | ---: | ---: | ---: |
        | KERNEL-PANIC | 1 | 25.0% | 4.56% – 69.9% |
        | INVARIANT | 1 | 25.0% | 4.56% – 69.9% |
        | SPREAD | 1 | 25.0% | 4.56% – 69.9% |
        | MASKED | 1 | 25.0% | 4.56% – 69.9% |

        ## Findings

        ### KERNEL-PANIC, with lost-decref planted (1×)

        ```text
        crank-5: plant lost-decref
        ```

        ```text
        vathost fault repro --campaign 'vats/bank/a b.toml' vf1-token
        ```

        ### INVARIANT \<script\>alert('1')\</script\> & "it" \| \`x\` \]\]\>  \[31m, hurts v1 outside (1×)

        ```text
        v2/delivery-4: terminate reason "<b>"
        ```

        ```text
        vathost fault repro --campaign 'vats/bank/a b.toml' vf1-token
        ```

        ## Planted bugs

        1 of 1 were found.

        | | bug | shown | as |
        | --- | --- | ---: | --- |
        | ✓ | lost-decref | 1 of 2 | KERNEL-PANIC |
    "##]]
    .assert_eq(&markdown(&report()));
    let xml = junit(&report());
    assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name="), "{xml}");
    assert!(xml.contains("tests=\"4\" failures=\"1\""), "{xml}");
    assert!(!xml.contains("<script") && !xml.contains('\u{1b}'), "{xml}");
}

#[test]
fn a_report_says_what_is_other_than_before() {
    let mut before = results();
    before.insert("02".into(), outcome("02", "v2/delivery-4: terminate reason \"<b>\"", Class::Diverged, &["v1"]));
    let moved = of(results(), Some(before.clone())).change.unwrap();
    assert_eq!(moved.classes, [(Class::Diverged, 1, 0), (Class::Invariant, 0, 1)]);
    assert_eq!(moved.transitions, [(Class::Diverged, Class::Invariant, 1)]);
    assert_eq!((moved.new.len(), moved.gone.clone()), (1, vec!["DIVERGED, hurts v1".to_owned()]));
    before.remove("02");
    before.insert("05".into(), outcome("05", "v2/delivery-7: skip", Class::Diverged, &["v1"]));
    let report = of(results(), Some(before));
    let change = report.change.as_ref().unwrap();
    // One is only here, one was only there: they are no change of any experiment.
    assert_eq!((change.compared, change.only_before, change.only_now), (3, 1, 1));
    assert!(change.is_none(), "{change:?}");
    assert!(html(&report).contains("Since the run it is compared with"));
}
