//! An experiment's faults beside the directives that operators gave.

use std::{collections::BTreeMap, sync::Arc};

use vathost::{
    kernel::{probe_of, set_probe},
    lab::Schedule,
    lab::probe::{Injector, PlantedBugs, Probes},
};

use super::*;

fn injector(fault: &str) -> Arc<Injector> {
    let schedule: Schedule = fault.parse().unwrap_or_else(|err| panic!("{err}"));
    Arc::new(Injector::new(schedule, 0, BTreeMap::new(), Arc::<PlantedBugs>::default()))
}

/// What is in force: the directives, and the faults.
fn lines(w: &World) -> Vec<String> {
    match probe_of(w.block()) {
        Some(probe) => probe.in_force(w.block()).into_iter().map(|(line, _)| line).collect(),
        None => operators(w),
    }
}

fn operators(w: &World) -> Vec<String> {
    w.block().directives().iter().map(ToString::to_string).collect()
}

#[test]
fn both_are_in_force_and_both_are_obeyed() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let next = w.next_crank();
    Probes::inject(w.block.as_mut().unwrap(), injector(&format!("crank-{}: terminate v1", next + 2))).unwrap();
    assert_eq!(lines(&w), [format!("crank-{}: pause v2", next + 1), format!("crank-{}: terminate v1", next + 2)]);
    assert_eq!(operators(&w), [format!("crank-{}: pause v2", next + 1)], "what operators ordered is not overwritten");
    w.run();
    let applied: Vec<_> = w.tables().applied.iter().map(|(_, it)| it.text.clone()).collect();
    assert_eq!(applied, lines(&w));
    assert!(w.tables().is_paused(w.vat("b")) && !w.tables().is_alive(w.vat("a")));
}

#[test]
fn what_operators_ordered_halts_as_in_any_run_where_a_fault_that_cannot_be_done_is_noted() {
    let mut w = five();
    w.order("crank+1: skip v1");
    let injector = injector(&format!("crank-{}: terminate v9", w.next_crank()));
    let log = injector.log().clone();
    Probes::inject(w.block.as_mut().unwrap(), injector).unwrap();
    assert_eq!(w.halts().why.as_deref(), Some("the delivery is to v2"));
    assert_eq!(log.reached()[&0].why_not.as_deref(), Some("there is no v9"));
}

#[test]
fn an_operators_skip_is_obeyed_before_a_later_fault() {
    let mut w = five();
    w.order("crank+0: skip v2");
    let injector = injector(&format!("crank-{}: delay 2 cranks", w.next_crank() + 1));
    let (log, first) = (injector.log().clone(), w.next_crank());
    Probes::inject(w.block.as_mut().unwrap(), injector).unwrap();
    w.step();
    let applied: Vec<_> = w.tables().applied.iter().map(|(_, it)| (it.crank.0, it.effect.status())).collect();
    assert_eq!(applied, [(first, "applied")]);
    w.run();
    assert_eq!(log.reached()[&0].done, 1);
}

#[test]
fn a_directive_is_recorded_under_the_digest_of_all_that_is_in_force() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let alone = w.block().directives().digest();
    let injector = injector(&format!("crank-{}: terminate v1", w.next_crank() + 2));
    let both = injector.with(w.block().directives()).unwrap().digest();
    Probes::inject(w.block.as_mut().unwrap(), injector).unwrap();
    w.run();
    let digests: Vec<_> = w.tables().applied.iter().map(|(_, it)| it.digest).collect();
    assert_eq!(digests, [both, both]);
    assert_ne!(both, alone);
}

#[test]
fn the_faults_leave_with_the_probe_and_the_directives_stay() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let before = lines(&w);
    let injector = injector(&format!("crank-{}: terminate v1", w.next_crank()));
    let block = w.block.as_mut().unwrap();
    Probes::inject(block, injector).unwrap();
    set_probe(block, None);
    assert_eq!(lines(&w), before);
    w.run();
    assert!(w.tables().is_alive(w.vat("a")));
}

#[test]
fn a_fault_that_contradicts_a_directive_is_refused_and_changes_nothing() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let fault = format!("crank-{}: terminate v2", w.next_crank() + 1);
    let refused = Probes::inject(w.block.as_mut().unwrap(), injector(&fault)).unwrap_err().to_string();
    assert!(refused.contains("contradicts"), "{refused}");
    assert_eq!(lines(&w).len(), 1);
}

#[test]
fn a_fault_that_needs_no_delivery_comes_although_nothing_is_left_to_do() {
    let mut w = five();
    w.run();
    let injector = injector(&format!("crank-{}: terminate v1", w.next_crank()));
    Probes::inject(w.block.as_mut().unwrap(), injector).unwrap();
    w.run();
    assert!(!w.tables().is_alive(w.vat("a")));
}
