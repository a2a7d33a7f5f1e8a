//! An experiment's faults beside the directives that operators gave.

use std::collections::BTreeMap;

use vathost::{
    directive::{Schedule, injector::Injector},
    state::block::inject,
};

use super::*;

fn injector(fault: &str) -> Injector {
    let schedule: Schedule = fault.parse().unwrap_or_else(|err| panic!("{err}"));
    Injector::new(schedule, 0, BTreeMap::new())
}

fn lines(w: &World) -> Vec<String> {
    w.block().directives().iter().map(ToString::to_string).collect()
}

#[test]
fn both_are_in_force_and_both_are_obeyed() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let next = w.next_crank();
    inject(w.block.as_mut().unwrap(), injector(&format!("crank-{}: terminate v1", next + 2))).unwrap();
    assert_eq!(lines(&w), [format!("crank-{}: pause v2", next + 1), format!("crank-{}: terminate v1", next + 2)]);
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
    inject(w.block.as_mut().unwrap(), injector).unwrap();
    assert_eq!(w.halts().why.as_deref(), Some("the delivery is to v2"));
    assert_eq!(log.reached()[&0].why_not.as_deref(), Some("there is no v9"));
}

#[test]
fn an_operators_skip_is_obeyed_before_a_later_fault() {
    let mut w = five();
    w.order("crank+0: skip v2");
    let injector = injector(&format!("crank-{}: delay 2 cranks", w.next_crank() + 1));
    let (log, first) = (injector.log().clone(), w.next_crank());
    inject(w.block.as_mut().unwrap(), injector).unwrap();
    w.step();
    let applied: Vec<_> = w.tables().applied.iter().map(|(_, it)| (it.crank.0, it.effect.status())).collect();
    assert_eq!(applied, [(first, "applied")]);
    w.run();
    assert_eq!(log.reached()[&0].done, 1);
}

#[test]
fn the_faults_leave_with_the_experiment_and_the_directives_stay() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let before = w.next_crank();
    let block = w.block.as_mut().unwrap();
    let mark = block.mark().unwrap();
    inject(block, injector(&format!("crank-{before}: terminate v1"))).unwrap();
    block.revert(&mark);
    assert_eq!(lines(&w), [format!("crank-{}: pause v2", before + 1)]);
    assert!(w.block().probe().is_none_or(|it| it.injector.is_none()));
}

#[test]
fn a_fault_that_contradicts_a_directive_is_refused_and_changes_nothing() {
    let mut w = five();
    w.order("crank+1: pause v2");
    let fault = format!("crank-{}: terminate v2", w.next_crank() + 1);
    let refused = inject(w.block.as_mut().unwrap(), injector(&fault)).unwrap_err().to_string();
    assert!(refused.contains("contradicts"), "{refused}");
    assert_eq!(lines(&w).len(), 1);
}
