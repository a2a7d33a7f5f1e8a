//! Directives where nothing else is to do: whether there is a crank for them, and what it leaves.

use vathost::{kernel, model::blame::Fault};

use super::*;

/// `b` is paused and holds a message; nothing is left to do.
fn resting() -> World {
    let mut w = five();
    w.order("crank+0: pause v2");
    w.check(expect![""]);
    w
}

/// The status of each directive that was obeyed, and the crank.
fn statuses(w: &World) -> Vec<String> {
    w.tables().applied.iter().map(|(_, it)| format!("{}: {}", it.crank, it.effect.status())).collect()
}

#[test]
fn what_changes_the_state_and_names_its_vat_is_done_at_rest_in_the_crank_of_its_number() {
    for (order, status) in [
        ("terminate v2", "applied"),
        ("resume v2", "applied"),
        ("pause v1", "applied"),
        ("pause v2", "no effect: already paused"),
        ("resume v1", "no effect: not paused"),
    ] {
        let mut w = resting();
        let next = w.next_crank();
        w.order(&format!("crank+0: {order}"));
        w.run();
        assert_eq!(statuses(&w).last().unwrap(), &format!("crank-{next}: {status}"), "{order}");
        assert!(w.next_crank() > next, "{order} consumes its crank");
        let (hash, cranks) = (w.hash(), w.next_crank());
        w.run();
        assert_eq!((w.hash(), w.next_crank()), (hash, cranks), "{order} is done with");
    }
}

#[test]
fn a_paused_vat_that_is_terminated_at_rest_answers_who_waits_for_it() {
    let mut w = World::new("a b");
    let sent = w.call("b.hello");
    w.order("crank+0: pause v2");
    w.check(expect![""]);
    w.order("crank+0: terminate v2");
    w.check(expect![""]);
    assert!(w.outcome(sent).contains("vat terminated"), "{}", w.outcome(sent));
}

#[test]
fn an_upgrade_at_rest_runs_the_new_code() {
    let (mut w, _) = upgradable();
    w.run();
    let bundle = BundleId::of(b"code").to_string();
    w.order(&format!("crank+0: upgrade v2 bundle {}", &bundle[..8]));
    w.run();
    assert_eq!(w.tables().vats.get(&w.vat("b")).unwrap().incarnation, 1);
}

#[test]
fn orders_of_cranks_that_follow_each_other_are_all_obeyed() {
    let mut w = resting();
    w.order("crank+0: pause v1\ncrank+1: resume v1\ncrank+3: pause v1\ncrank+2: terminate v1");
    let next = w.next_crank();
    w.run();
    let here = |n: u64| format!("crank-{}: ", next + n);
    let statuses = statuses(&w);
    assert!(statuses.contains(&(here(1) + "applied")) && statuses.contains(&(here(2) + "applied")), "{statuses:?}");
}

#[test]
fn what_needs_a_delivery_or_changes_nothing_makes_no_crank() {
    for order in ["skip", "skip v2", "pause", "terminate", "halt", "break"] {
        let mut w = resting();
        let (hash, next) = (w.hash(), w.next_crank());
        w.order(&format!("crank+0: {order}\nexpect state 00000000 before crank+0"));
        w.run();
        assert_eq!((w.hash(), w.next_crank()), (hash, next), "{order}");
        // The order comes to it at rest all the same, and changes nothing.
        let fault = kernel::obey_at_rest(w.block()).unwrap_err().fault;
        let Fault::Halted(halted) = fault else { panic!("{order}: {fault}") };
        let line = &halted.line;
        assert!(*line == format!("crank-{next}: halt") || line.starts_with("expect state 00000000"), "{line}");
    }
    let mut w = resting();
    w.order("crank+1: terminate v2\nv2/delivery-1: terminate");
    let next = w.next_crank();
    w.run();
    assert_eq!(w.next_crank(), next, "the place has not come");
}

#[test]
fn a_halt_is_before_what_would_be_done_at_rest_and_an_order_to_nobody_halts() {
    let mut w = resting();
    w.order("crank+0: terminate v2\ncrank+0: halt");
    assert_eq!(w.halts().why, None);
    let mut w = resting();
    w.order("crank+0: terminate v9");
    assert_eq!(w.halts().why.unwrap(), "there is no v9");
}

#[test]
fn another_kernel_takes_over_at_rest_in_its_block_and_in_no_other() {
    let versions = |lines: &str| {
        let mut w = resting();
        w.block = Some(w.block.take().unwrap().commit(false).unwrap());
        w.order(lines);
        let mut versions = vec![];
        for _ in 0..3 {
            let begins = !kernel::is_finished(w.block());
            if begins {
                w.block = Some(kernel::begin_block(w.block.take().unwrap(), 5).unwrap());
                w.run();
                w.block = Some(w.block.take().unwrap().commit(false).unwrap());
            }
            versions.push((begins, w.tables().globals().kernel_version));
        }
        versions
    };
    let now = resting().tables().globals().kernel_version;
    assert_eq!(versions("block-1: replace-kernel 2"), [(true, 2), (false, 2), (false, 2)]);
    assert_eq!(versions("block-2: replace-kernel 2"), [(false, now); 3]);
    assert_eq!(versions(&format!("block-1: replace-kernel {now}")), [(false, now); 3]);
}
