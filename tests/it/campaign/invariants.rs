//! Invariants and `sometimes`, asked in experiments.

use std::{path::PathBuf, time::Duration};

use vathost::{
    lab::Schedule,
    lab::{
        campaign::{self, Ask, Asked, Check, Invariant},
        experiment::{Class, Experiments, Outcome},
    },
};

use crate::fault::lab;

fn jaq(name: &str, check: &str) -> Invariant {
    Invariant { name: name.into(), check: Check::Jaq(check.into()), when: Asked::End, sometimes: false }
}

fn sometimes(check: &str) -> Invariant {
    Invariant { sometimes: true, ..jaq("now and then", check) }
}

/// Asks these in every experiment; a minute is longer than any of them takes.
fn dress(invariants: &[Invariant], experiments: &mut Experiments) -> anyhow::Result<()> {
    dress_within(invariants, experiments, Duration::from_secs(60))
}

fn dress_within(invariants: &[Invariant], experiments: &mut Experiments, wall: Duration) -> anyhow::Result<()> {
    campaign::dress(invariants, experiments, &Ask { exe: env!("CARGO_BIN_EXE_vathost").into(), wall })
}

/// One experiment on a scenario with these.
fn with(scenario: &str, invariants: &[Invariant], fault: &str) -> Outcome {
    let mut experiments = lab::on(scenario);
    dress(invariants, &mut experiments).unwrap_or_else(|err| panic!("{err:#}"));
    lab::run(&mut experiments, fault)
}

/// Why these cannot be asked on the bank.
fn refused(invariants: &[Invariant]) -> String {
    format!("{:#}", dress(invariants, &mut lab::on("bank")).unwrap_err())
}

const AGREE: &str = "[.vats[] | .kv.total // empty] | unique | length == 1";

#[test]
fn an_expression_is_asked_at_the_end_after_blocks_or_after_cranks() {
    let outcome = with("tally", &[jaq("agree", AGREE)], "v2/delivery-3: skip");
    assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::Invariant, Some("agree")));
    let outcome = with("tally", &[jaq("agree", AGREE)], "v2/delivery-1: delay 1 cranks");
    assert_ne!(outcome.class, Class::Invariant, "{outcome:?}");
    // Stopped where it breaks, not at the end.
    let few = |when| Invariant { when, ..jaq("few", ".vats.a.kv.total // 0 | . <= 5") };
    let cranks = [Asked::End, Asked::EveryBlock, Asked::EveryCrank].map(|when| {
        let outcome = with("tally", &[few(when)], "v2/delivery-2: duplicate");
        assert_eq!(outcome.class, Class::Invariant, "{outcome:?}");
        outcome.cranks
    });
    assert!(cranks[0] > cranks[1] && cranks[1] >= cranks[2], "{cranks:?}");
}

#[test]
fn an_invariant_that_cannot_be_or_does_not_hold_without_faults_is_refused() {
    assert_eq!(refused(&[jaq("no", "false")]), "the invariant `no` does not hold in the golden run");
    assert_eq!(refused(&[jaq("no", "empty")]).split(": ").next(), Some("the invariant `no` cannot be asked"));
    assert!(refused(&[jaq("no", ".vats | tonumber")]).contains("cannot be asked"));
    assert!(refused(&[jaq("no", "nonsense")]).contains("there is no filter `nonsense`"));
    for impure in ["now > 0", "env | length > 0", "halt"] {
        assert!(refused(&[jaq("no", impure)]).contains("cannot ask for the time"), "{impure}");
    }
}

#[test]
fn the_golden_run_is_there_to_compare_with_and_the_slog_where_it_is_wanted() {
    let same = jaq("same", "$golden.vats == .golden.vats and (.slog | type) == \"array\" and .kernel.cranks > 0");
    let outcome = with("bank", &[same], "v2/delivery-3: skip");
    assert_eq!(outcome.class, Class::Spread, "{outcome:?}");
    // In the golden run nothing is delivered to a bank that was skipped.
    let told = jaq("told", "[.slog[] | select(.type == \"deliver\" and .vatID == \"v2\")] | length >= 11");
    let outcome = with("bank", &[told], "v2/delivery-3: terminate");
    assert_eq!(outcome.class, Class::Invariant, "{outcome:?}");
}

#[test]
fn what_must_hold_now_and_then_is_noted_and_breaks_nothing() {
    let rejected = sometimes("any(.kernel.results[]; .status == \"rejected\" and .method == \"report\")");
    let outcome = with("bank", std::slice::from_ref(&rejected), "v2/delivery-0: terminate");
    assert_eq!((outcome.class, outcome.noted), (Class::Spread, vec!["now and then".to_owned()]));
    let outcome = with("bank", &[rejected], "v4/delivery-2: delay 1 cranks");
    assert_eq!(outcome.noted, [""; 0]);
}

#[test]
fn a_command_gets_the_document_and_answers_with_its_exit_code() {
    let command = |script: &str| {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let check = Check::Command { argv, slog: false, dir: PathBuf::from("/") };
        Invariant { check, ..jaq("asked", "") }
    };
    let class = |script| with("bank", &[command(script)], "v2/delivery-0: terminate").class;
    assert_eq!(class("grep -q '\"stateHash\"'"), Class::Spread);
    assert_eq!(class("! grep -q 'terminated.*golden'"), Class::Spread);
    assert_eq!(class("! grep -q '\"method\":\"report\",\"status\":\"rejected\"'"), Class::Invariant);
    assert!(refused(&[command("exit 3")]).contains("ended with exit status: 3"));
    assert!(refused(&[command("exit 1")]).contains("does not hold in the golden run"));
    let gone = Check::Command { argv: vec!["/no/such/program".into()], slog: false, dir: PathBuf::from("/") };
    assert!(refused(&[Invariant { check: gone, ..jaq("gone", "") }]).contains("start `/no/such/program`"));
}

#[test]
fn what_is_remembered_changes_no_outcome() {
    // Every two of these, under an invariant that is asked after every crank, and one that holds now and then.
    let mut faults = Vec::new();
    for (vat, numbers) in [("v1", 3..6), ("v2", 2..5), ("v3", 2..4)] {
        let actions = ["skip", "terminate", "pause", "delay 1 cranks", "trap after 0 fuel", "trap after 900 fuel"];
        faults.extend(numbers.flat_map(|it| actions.map(|action| format!("{vat}/delivery-{it}: {action}"))));
    }
    faults.extend([7, 8, 16].map(|it| format!("v2/syscall:vatstoreGet #{it}: value \"#\\\"+0\\\"\"")));
    let sum = "def sum(book): [.vats[].kv | to_entries[] | select(.key | startswith(book)) | .value] | add // 0;\
               sum(\"made\") <= sum(\"balance.\") + sum(\"open\")";
    let watched = [Invariant { when: Asked::EveryCrank, ..jaq("sum", sum) }, {
        let check = Check::Jaq(".vats.north.kv.open == 30".to_owned());
        Invariant { check, when: Asked::EveryCrank, ..sometimes("") }
    }];
    let [mut remembers, mut forgets] = [lab::on("bank"), lab::on("bank")];
    dress(&watched, &mut remembers).unwrap();
    dress(&watched, &mut forgets).unwrap();
    let (mut noted, mut broken) = (0, 0);
    for (at, one) in faults.iter().enumerate() {
        for other in &faults[..at] {
            let Ok(schedule) = Schedule::read("test", &format!("{one}\n{other}")) else { continue };
            forgets.forget();
            let outcome = remembers.run(&schedule, 0);
            assert_eq!(outcome, forgets.run(&schedule, 0));
            noted += usize::from(!outcome.noted.is_empty());
            broken += usize::from(outcome.class == Class::Invariant);
        }
    }
    let hits = remembers.memo_hits();
    assert!(hits > 300 && noted > 50 && broken > 10, "{hits} {noted} {broken}");
    assert_eq!(forgets.memo_hits(), 0);
}

#[test]
fn numbers_that_a_state_does_not_decide_are_there_for_those_who_ask_for_them() {
    let there = |check: &str| with("bank", &[jaq("there", check)], "v2/delivery-3: skip").class;
    assert_eq!(there(".kernel.cranks > 30 and .vats.north.deliveries > 3"), Class::Spread);
    assert_eq!(
        there(
            "[.kernel | keys[]] == [\"results\"] and [.vats.north | keys[]] == [\"id\", \"incarnation\", \"kv\", \"status\"]"
        ),
        Class::Spread
    );
}

#[test]
fn an_invariant_that_has_no_end_is_an_error_of_its_own() {
    let within = |check: Invariant, millis| {
        let result = dress_within(&[check], &mut lab::on("bank"), Duration::from_millis(millis));
        format!("{:#}", result.unwrap_err())
    };
    let said = |check: &str, millis| within(jaq("i", check), millis);
    assert_eq!(said("def f: f; f", 500), "the invariant `i` cannot be asked: it gave no answer in its time");
    assert_eq!(
        said("def f: [f]; f", 60_000),
        "the invariant `i` cannot be asked: it goes too deep: a definition that calls itself must come to an end"
    );
    assert_eq!(
        said("\"x\" * 100000000000 | length > 0", 60_000),
        "the invariant `i` cannot be asked: it takes more than 1024 MiB of memory"
    );
    let argv = ["sh", "-c", "sleep 1000 & sleep 1000"].map(str::to_owned).to_vec();
    let sleeps = Invariant { check: Check::Command { argv, slog: false, dir: PathBuf::from("/") }, ..jaq("i", "") };
    assert_eq!(within(sleeps, 200), "the invariant `i` cannot be asked: `sh` gave no answer in its time");
}

#[test]
fn an_invariant_that_has_no_end_after_a_fault_ends_that_experiment_alone() {
    let deep = jaq("deep", "def f: [f]; if .vats.north.status == \"terminated\" then f else true end");
    let mut experiments = lab::on("bank");
    dress(&[deep], &mut experiments).unwrap();
    let outcome = lab::run(&mut experiments, "v2/delivery-3: terminate");
    let why = "invariant `deep`: it goes too deep: a definition that calls itself must come to an end";
    assert_eq!((outcome.class, outcome.detail.as_deref()), (Class::Harness, Some(why)));
    // The next one is asked of another process.
    assert_eq!(lab::run(&mut experiments, "v2/delivery-3: skip").class, Class::Spread);
}

#[test]
fn all_invariants_of_an_experiment_share_its_time() {
    // Each answer by itself comes in time, and all of them together do not.
    let slow = |name: &str| {
        let check = "if .vats.north.status == \"terminated\" then [range(2000000)] | length > 0 else true end";
        Invariant { when: Asked::EveryCrank, ..jaq(name, check) }
    };
    let mut experiments = lab::on("bank");
    let all: Vec<Invariant> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(slow).to_vec();
    dress_within(&all, &mut experiments, Duration::from_secs(2)).unwrap();
    let outcome = lab::run(&mut experiments, "v2/delivery-3: terminate");
    assert_eq!(outcome.class, Class::Harness, "{outcome:?}");
}
