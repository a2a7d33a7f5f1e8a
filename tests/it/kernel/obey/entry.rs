//! A crank that is no delivery: what it takes can be skipped all the same, and the books are kept.

use vathost::kernel;

use super::*;

/// `b` is dead, and a message that was queued for it comes third: its turn is no delivery.
fn orphaned() -> (World, PromiseId) {
    let mut w = World::new("a b");
    w.call("b.one");
    let second = w.call("b.two");
    (w, second)
}

#[test]
fn a_message_that_reaches_nobody_is_skipped_and_its_sender_told() {
    let (mut w, second) = orphaned();
    w.order("crank+0: terminate v2\ncrank+2: skip");
    w.run();
    assert_eq!(w.outcome(second), "!Error(delivery skipped by directive)");
    let consumed: Vec<_> =
        w.tables().applied.iter().filter_map(|(_, it)| it.effect.consumed().map(str::to_owned)).collect();
    assert_eq!(consumed, ["a message `two` to ko21"]);
    assert!(w.slog("directive").last().unwrap().contains("\"consumed\":\"a message `two` to ko21\""));
    assert_eq!(w.skipped("b"), Vec::<u64>::new(), "no delivery number is taken");
    kernel::audit(w.tables()).unwrap();
}

#[test]
fn a_guard_by_vat_or_by_hash_holds_for_an_entry_too() {
    let (mut w, _) = orphaned();
    w.order("crank+0: terminate v2\ncrank+2: skip v2");
    assert_eq!(w.halts().why.unwrap(), "the crank is no delivery, but a message `two` to ko21");
    let (mut w, _) = orphaned();
    w.order("crank+0: terminate v2\ncrank+2: skip expect 00000000");
    assert!(w.halts().why.unwrap().starts_with("the message hash is "));
}

#[test]
fn what_waits_for_a_paused_vat_is_skipped_before_it_waits() {
    let mut w = World::new("a b");
    w.order("crank+0: pause v2");
    w.call("b.one");
    w.run();
    let second = w.call("b.two");
    w.order("crank+0: skip v2");
    w.run();
    assert_eq!(w.outcome(second), "!Error(delivery skipped by directive)");
    kernel::audit(w.tables()).unwrap();
}

#[test]
fn an_order_of_a_block_is_obeyed_at_its_first_crank_whatever_that_is() {
    for (order, outcome) in [
        ("skip", "!Error(delivery skipped by directive)"),
        ("terminate v2", "!Error(vat terminated)"),
        ("pause v2", "pending"),
    ] {
        let mut w = World::new("a b");
        let sent = w.call("b.one");
        w.block = Some(w.block.take().unwrap().commit(false).unwrap());
        w.order(&format!("block-1: {order}"));
        w.block = Some(kernel::begin_block(w.block.take().unwrap(), 5).unwrap());
        w.run();
        let told = w.outcome(sent);
        assert!(told == outcome || outcome == "pending" && !told.contains("Error"), "{order}: {told}");
        assert_eq!(w.tables().applied.len(), 1, "{order}");
    }
}
