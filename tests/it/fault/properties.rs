//! What holds of every experiment.

use proptest::prelude::*;
use vathost::{
    lab::Schedule,
    lab::experiment::{Class, Experiments, Isolation, Limits, Outcome, shrink},
};

use super::lab::{faults, on, run, runner};

/// Faults of all kinds, over the whole run of the bank.
fn every_kind() -> Vec<String> {
    let mut lines = vec![];
    for vat in 1..=4 {
        for delivery in 0..8 {
            let place = format!("v{vat}/delivery-{delivery}");
            for action in
                ["skip", "terminate", "pause", "trap after 500 fuel", "flip v2 memory bit random", "delay 2 cranks"]
            {
                lines.push(format!("{place}: {action}"));
            }
            lines.push(format!("{place} end: terminate"));
            lines.push(format!("{place}/syscall-0: error illegal"));
        }
        lines.push(format!("v{vat}/delivery every 3: skip"));
        lines.push(format!("v{vat}/syscall-vatstoreGet-1: error out-of-fuel"));
    }
    lines.push("crank-7: kernel-panic clist.known".to_owned());
    lines
}

fn line(outcome: &Outcome) -> String {
    serde_json::to_string(outcome).unwrap()
}

#[test]
fn an_experiment_leaves_nothing_for_the_next_one_whatever_their_order() {
    let lines = every_kind();
    let mut bank = on("bank");
    let forth: Vec<String> = lines.iter().map(|it| line(&run(&mut bank, it))).collect();
    let mut back: Vec<String> = lines.iter().rev().map(|it| line(&run(&mut bank, it))).collect();
    back.reverse();
    assert_eq!(forth, back);
    let mut other = on("bank");
    let again: Vec<String> = lines.iter().step_by(7).map(|it| line(&run(&mut other, it))).collect();
    assert_eq!(again, forth.iter().step_by(7).cloned().collect::<Vec<_>>());
}

#[test]
fn the_outcome_is_the_same_in_every_isolation() {
    let lines = every_kind();
    let mut here = runner("bank", Isolation::Rollback, Limits::default());
    let mut there = runner("bank", Isolation::Fork, Limits::default());
    let mut alone = runner("bank", Isolation::Process, Limits::default());
    for it in lines.iter().step_by(3) {
        assert_eq!(line(&here.run(&faults(it), 1)), line(&there.run(&faults(it), 1)), "{it}");
    }
    let it = &lines[11];
    assert_eq!(line(&here.run(&faults(it), 1)), line(&alone.run(&faults(it), 1)), "{it}");
}

/// A run that is never cut short comes to the same as one that meets the golden run.
#[test]
fn what_is_said_early_is_what_the_whole_run_would_say() {
    let mut early = on("bank");
    let mut whole = on("bank");
    whole.set_replicas(2);
    for it in every_kind().iter().step_by(2) {
        let (early, whole) = (run(&mut early, it), run(&mut whole, it));
        // A flipped bit is in no transcript: a replica, whose vats are evicted after each crank, loses it.
        let is_lost = it.contains(": flip ") && (early.class, whole.class) == (Class::Spread, Class::Diverged);
        let class = if is_lost { early.class } else { whole.class };
        assert_eq!((early.class, &early.hurt), (class, &whole.hurt), "{it}\n{early:?}\n{whole:?}");
    }
}

fn shrunk(bank: &mut Experiments, lines: &str) -> (Schedule, usize) {
    let shrunk = shrink(&faults(lines), &mut |it| bank.run(it, 0));
    (shrunk.schedule, shrunk.runs)
}

#[test]
fn ten_faults_shrink_to_the_one_that_matters() {
    let mut bank = on("bank");
    let many = "crank-2: delay 1 cranks\nv3/delivery-1: flip v3 memory bit random\nv4/delivery-9: skip\ncrank-30: delay 4 cranks\n\
                v2/delivery-5: kernel-panic object.counts\nv1/delivery-2: trap after 900000 fuel\nv3/delivery every 50: skip\n\
                v2/syscall-vatstoreGet-77: error absent\ncrank-900: skip\nv1/delivery-3 end: flip v1 memory bit random";
    let (schedule, runs) = shrunk(&mut bank, many);
    assert_eq!(schedule.len(), 1, "{schedule}");
    let text = schedule.to_string();
    assert!(text.starts_with("v2/delivery-") && text.ends_with(": kernel-panic object.counts"), "{text}");
    assert!(runs < 200, "{runs}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shrunk_keeps_its_signature_and_needs_each_of_its_faults(picked in prop::sample::subsequence(every_kind(), 2..5)) {
        thread_local! {
            static BANK: std::cell::RefCell<Experiments> = std::cell::RefCell::new(on("bank"));
        }
        BANK.with_borrow_mut(|bank| {
            let Ok(schedule) = Schedule::read("picked", &picked.join("\n")) else { return Ok(()) };
            let before = bank.run(&schedule, 0);
            let shrunk = shrink(&schedule, &mut |it| bank.run(it, 0));
            prop_assert_eq!(shrunk.outcome.signature(), before.signature());
            for left_out in 0..shrunk.schedule.len() {
                let rest = shrunk.schedule.faults().enumerate().filter(|(at, _)| *at != left_out).map(|(_, it)| it.clone());
                let rest = Schedule::of(rest).unwrap();
                prop_assert!(rest.is_empty() || bank.run(&rest, 0).signature() != before.signature(), "{}", shrunk.schedule);
            }
            Ok(())
        })?;
    }
}
