//! Promises, and where messages go.

use expect_test::expect;
use vathost::{
    model::id::KRef,
    state::table::{Policy, QueueId},
};

use super::{World, pipelining, plain};

#[test]
fn a_message_arrives_with_translated_slots() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi(o+1,p+2,o-50)->p+3");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.hi(o-50,p-60,o+0)->p-61"#]]);
}

#[test]
fn three_vats_are_introduced_a_passes_bs_object_to_c_and_c_sends_straight_to_b() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-51 meet(o-50)");
    w.on("c.meet", "send o-50 hi(o+7)");
    w.call("a.go(b,c)");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        c: o+0.meet(o-50)
        b: o+0.hi(o-50)"#]]);
}

#[test]
fn one_kernel_reference_always_maps_to_one_reference_of_a_vat() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 hi(o+1,o+1,o-51); send o-51 pass(o+1)");
    w.on("c.pass", "send o-51 again(o-50)");
    w.call("c.learn(a,b)");
    w.call("a.go(b,c)");
    w.check(expect![[r#"
        c: o+0.learn(o-50,o-51)->p-60
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.hi(o-50,o-50,o-51)
        c: o+0.pass(o-52)
        b: o+0.again(o-52)"#]]);
}

#[test]
fn an_object_that_comes_home_bears_its_owners_name() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hold(o+4)->p+1; subscribe p+1");
    w.on("b.hold", "resolve p-60=$o-50");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.hold(o-50)->p-60
        a: notify p+1=$o+4"#]]);
}

#[test]
fn a_message_to_an_unresolved_promise_waits_in_the_kernel() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send p+1 hi()->p+2");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60"#]]);
    let waiting: Vec<QueueId> = w.tables().queue.iter().map(|((queue, _), _)| *queue).collect();
    assert!(matches!(waiting[..], [QueueId::Promise(_)]), "{waiting:?}");
}

#[test]
fn resolving_to_a_presence_re_targets_what_waited_in_order() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 get()->p+1; send p+1 one(); send p+1 two()->p+2; send p+1 three(o+5)");
    w.on("b.now", "resolve p-60=$o-50");
    w.call("a.go(b)");
    w.run();
    w.call("b.now(c)");
    w.check(expect![[r#"
        b: o+0.now(o-50)->p-61
        c: o+0.one()
        c: o+0.two()->p-60
        c: o+0.three(o-50)"#]]);
}

#[test]
fn a_message_that_waited_goes_to_the_decider_itself_where_it_fulfils_with_its_own_object() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send p+1 hi()");
    w.on("b.get", "resolve p-60=$o+9");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60
        b: o+9.hi()"#]]);
}

#[test]
fn resolving_to_data_rejects_each_that_waited_and_names_why() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send p+1 one()->p+2; send p+1 two()->p+3; subscribe p+2; subscribe p+3");
    w.on("b.get", "resolve p-60=seven");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60
        a: notify p+2!Error(data is not callable, has no method one)
        a: notify p+3!Error(data is not callable, has no method two)"#]]);
}

#[test]
fn resolving_to_a_rejection_rejects_each_that_waited_with_the_same() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; send p+1 one(o+3)->p+2; subscribe p+2");
    w.on("b.get", "resolve p-60![o+8]");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60
        a: dropExports o+3
        a: retireExports o+3
        a: notify p+2![o-51]"#]]);
}

#[test]
fn a_message_to_a_promise_that_is_settled_already_is_routed_at_once() {
    let mut w = World::new("a b c");
    w.on("b.make", "send o-51 take(p+1,p+2,p+3); resolve p+1=$o-50 p+2=data p+3!bad");
    w.on(
        "a.take",
        "send p-60 hi()->p+4; send p-61 hi()->p+5; send p-62 hi()->p+6; subscribe p+4; subscribe p+5; subscribe p+6",
    );
    w.on("c.hi", "resolve p-60=done");
    w.call("b.make(c,a)");
    w.check(expect![[r#"
        b: o+0.make(o-50,o-51)->p-60
        a: o+0.take(p-60,p-61,p-62)
        c: o+0.hi()->p-60
        a: notify p+5!Error(data is not callable, has no method hi)
        a: notify p+6!bad
        a: notify p+4=done"#]]);
}

#[test]
fn a_pipelining_decider_gets_messages_at_once() {
    let mut w = World::of([("a", plain()), ("b", pipelining())]);
    w.on("a.go", "send o-50 get()->p+1; send p+1 hi(o+2)->p+2; send p+2 there()");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get()->p-60
        b: p-60.hi(o-50)->p-61
        b: p-61.there()"#]]);
}

#[test]
fn messages_queued_before_a_pipelining_vat_became_the_decider_come_before_what_it_sends() {
    let mut w = World::of([("a", plain()), ("b", pipelining())]);
    w.on("a.go", "send o-50 get(o+1)->p+1; send p+1 first(); send p+1 second()");
    w.on("b.get", "send o-50 own()");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.get(o-50)->p-60
        b: p-60.first()
        b: p-60.second()
        a: o+1.own()"#]]);
}

#[test]
fn a_pipelining_vat_may_give_away_as_result_what_it_decides() {
    let mut w = World::of([("a", plain()), ("b", pipelining()), ("c", plain())]);
    w.on("b.get", "send o-50 get()->p-60");
    w.on("c.get", "resolve p-60=from-c");
    let answer = w.call("b.get(c)");
    w.check(expect![[r#"
        b: o+0.get(o-50)->p-60
        c: o+0.get()->p-60"#]]);
    assert_eq!(w.outcome(answer), "=from-c");
}

#[test]
fn a_result_promise_may_be_used_as_an_argument_before_delivery() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 get()->p+1; send o-51 take(p+1)");
    w.on("b.get", "resolve p-60=$o+1");
    w.on("c.take", "send p-60 hi(); subscribe p-60");
    w.call("a.go(b,c)");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.get()->p-60
        c: o+0.take(p-60)
        b: o+1.hi()
        c: notify p-60=$o-50"#]]);
}

#[test]
fn a_notify_goes_to_subscribers_only_and_once_each() {
    let mut w = World::new("a b c d");
    w.on("a.go", "send o-50 take(p+1); send o-51 take(p+1); send o-52 take(p+1)");
    w.on("b.take", "subscribe p-60; subscribe p-60");
    w.on("d.take", "subscribe p-60");
    w.on("a.now", "resolve p+1=yes");
    w.call("a.go(b,c,d)");
    w.run();
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.now()->p-61
        b: notify p-60=yes
        d: notify p-60=yes"#]]);
}

#[test]
fn subscribing_to_a_settled_promise_notifies() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1); resolve p+1=yes");
    w.on("b.take", "subscribe p-60");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(p-60)
        b: notify p-60=yes"#]]);
}

#[test]
fn settled_promises_inside_the_data_come_in_the_same_notify_each_once() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1); resolve p+1=[p+2,p+3,p+2,p+3,p+9] p+2=[p+3] p+3!three");
    w.on("b.take", "subscribe p-60");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(p-60)
        b: notify p-60=[p-61,p-62,p-61,p-62,p-63] p-61=[p-62] p-62!three"#]]);
    assert_eq!(w.clist("b"), "p-63:kp44", "what is not settled stays, the rest is forgotten");
}

#[test]
fn a_cycle_of_settled_promises_ends() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1); resolve p+1=[p+2] p+2=[p+1,p+2]");
    w.on("b.take", "subscribe p-60");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.take(p-60)
        b: notify p-60=[p-61] p-61=[p-60,p-61]"#]]);
    assert_eq!(w.clist("b"), "");
}

#[test]
fn the_entries_of_a_promise_retire_on_both_sides_and_its_name_means_a_new_promise_then() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1)");
    w.on("b.take", "subscribe p-60");
    w.on("a.now", "resolve p+1=one; send o-50 take(p+1)");
    w.call("a.go(b)");
    w.run();
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.now()->p-61
        b: notify p-60=one
        b: o+0.take(p-61)"#]]);
    assert_eq!(
        (w.clist("a"), w.clist("b")),
        ("o-50:ko21 p-60:kp40 p-61:kp42 p+1:kp43".to_owned(), "p-61:kp43".to_owned())
    );
}

#[test]
fn a_settled_promise_that_nobody_holds_is_gone() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get()->p+1; subscribe p+1");
    w.on("b.get", "resolve p-60=[o+1]");
    w.call("a.go(b)");
    w.run();
    assert_eq!(w.stray_promises(), 0);
    assert_eq!(w.clist("a"), "o-50:ko21 o-51:ko22 p-60:kp40");
}

#[test]
fn an_unresolved_promise_in_data_stays_usable() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1); resolve p+1=[p+2]");
    w.on("b.take", "subscribe p-60");
    w.on("b.notify", "send p-61 hi(); subscribe p-61");
    w.on("a.now", "resolve p+2=$o+6");
    w.call("a.go(b)");
    w.run();
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.now()->p-61
        b: notify p-61=$o-50
        a: o+6.hi()"#]]);
}

#[test]
fn crossing_resolutions_of_two_vats_settle_both() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 get(p+1)->p+2; subscribe p+2");
    w.on("a.now", "resolve p+1=[p+2]");
    w.on("b.get", "subscribe p-60; resolve p-61=[p-60]");
    w.call("a.go(b)");
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        a: o+0.now()->p-61
        b: o+0.get(p-60)->p-61
        b: notify p-60=[p-62] p-62=[p-60]
        a: notify p+2=[p-62] p-62=[p+2]"#]]);
}

#[test]
fn without_a_result_there_is_no_promise() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi()");
    w.call("a.go(b)");
    w.run();
    assert_eq!(w.stray_promises(), 0);
}

#[test]
fn a_second_notify_of_one_promise_is_dropped() {
    let mut w = World::new("a b");
    // b subscribes to both; the notify of the first brings the second along, whose own notify finds nothing left to say.
    w.on("a.go", "send o-50 take(p+1,p+2)");
    w.on("b.take", "subscribe p-60; subscribe p-61");
    w.on("a.now", "resolve p+1=[p+2] p+2=two");
    w.call("a.go(b)");
    w.run();
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.now()->p-61
        b: notify p-60=[p-61] p-61=two"#]]);
}

#[test]
fn a_vat_that_settles_what_it_subscribed_to_is_not_told() {
    let mut w = World::new("a");
    w.on("a.go", "subscribe p+1; resolve p+1=yes");
    w.call("a.go");
    w.check(expect!["a: o+0.go()->p-60"]);
}

#[test]
fn a_send_to_oneself_goes_through_the_queue() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 one(); send o+0 two()->p+1; send o-50 three()");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.one()
        a: o+0.two()->p+1
        b: o+0.three()"#]]);
}

#[test]
fn a_message_to_oneself_may_carry_its_own_promises_and_objects() {
    let mut w = World::new("a");
    w.on("a.go", "send o+0 back(o+1,p+1,o+0)->p+2; subscribe p+2");
    w.on("a.back", "resolve p+2=$o+1");
    w.call("a.go");
    w.check(expect![[r#"
        a: o+0.go()->p-60
        a: o+0.back(o+1,p+1,o+0)->p+2
        a: dropExports o+1
        a: retireExports o+1"#]]);
}

#[test]
fn a_promise_that_waits_for_itself_stays_for_ever_and_harms_nobody() {
    let mut w = World::of([("a", pipelining())]);
    w.on("a.go", "send p+1 hi()->p+1");
    w.call("a.go");
    w.check(expect!["a: o+0.go()->p-60"]);
    assert_eq!(w.stray_promises(), 1);
}

#[test]
fn what_is_sent_in_one_delivery_is_accepted_in_order_before_the_next() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 one(); send o-51 two(); send o-50 three()");
    w.on("b.one", "send o+0 four()");
    w.call("a.go(b,c)");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        b: o+0.one()
        c: o+0.two()
        b: o+0.three()
        b: o+0.four()"#]]);
}

#[test]
fn acceptance_looks_at_the_target_when_the_crank_ends_not_when_the_message_was_sent() {
    let mut w = World::new("a b");
    // The message is sent to an unresolved promise; by the end of the same delivery that is a presence.
    w.on("a.go", "send p+1 hi(); resolve p+1=$o-50");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.hi()"#]]);
    assert_eq!(w.stray_promises(), 0);
}

#[test]
fn a_message_accepted_for_a_live_vat_splats_when_that_is_dead_at_delivery() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 die(); send o-50 hi()->p+1; subscribe p+1");
    w.on("b.die", "trap boom");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.die()
        b faulted: boom
        a: notify p+1!Error(vat terminated)"#]]);
}

#[test]
fn a_message_accepted_for_a_pipelining_decider_waits_when_that_gave_the_promise_away_meanwhile() {
    let mut w = World::of([("a", plain()), ("b", pipelining()), ("c", plain())]);
    w.on("a.go", "send o-50 get(o-51)->p+1");
    w.call("a.go(b,c)");
    w.run();
    // Both reach b's queue; with the first b gives the promise away, so that the second has nobody to go to yet.
    w.on("a.more", "send o-50 give(); send p+1 hi()->p+2");
    w.on("b.give", "send o-50 get()->p-60");
    w.on("c.get", "resolve p-60=$o+5");
    w.call("a.more");
    w.check(expect![[r#"
        a: o+0.more()->p-61
        b: o+0.give()
        c: o+0.get()->p-60
        c: o+5.hi()->p-61"#]]);
}

#[test]
fn several_resolutions_in_one_batch_are_settled_in_order() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 take(p+1,p+2,p+3)");
    w.on("b.take", "subscribe p-60; subscribe p-61; subscribe p-62");
    w.on("a.now", "resolve p+3=three p+1=one p+2!two");
    w.call("a.go(b)");
    w.run();
    w.call("a.now");
    w.check(expect![[r#"
        a: o+0.now()->p-61
        b: notify p-62=three
        b: notify p-60=one
        b: notify p-61!two"#]]);
}

#[test]
fn results_of_messages_from_outside_are_kept_presence_data_rejection_or_pending() {
    let mut w = World::new("a");
    let outcomes = [
        ("resolve p-60=$o+1", "=$ko21"),
        ("resolve p-61=data", "=data"),
        ("resolve p-62!bad", "!bad"),
        ("", "pending"),
    ];
    for (script, outcome) in outcomes {
        w.on("a.go", script);
        w.call("a.go");
        w.run();
        assert_eq!(w.last(), outcome, "{script}");
    }
}

fn reject_with(policy: Policy) -> World {
    let mut w = World::new("a");
    let result = w.call("a.go");
    w.outside(|crank| crank.set_policy(result, policy));
    w.on("a.go", "resolve p-60!bad");
    w
}

#[test]
fn a_rejection_that_is_to_be_ignored_is() {
    let mut w = reject_with(Policy::Ignore);
    w.run();
    assert_eq!(w.slog("promise-rejected"), [""; 0]);
}

#[test]
fn a_rejection_that_is_to_be_logged_is_in_the_slog() {
    let mut w = reject_with(Policy::Log);
    w.run();
    assert_eq!(
        w.slog("promise-rejected"),
        [r##"{"type":"promise-rejected","crankNum":1,"kpid":"kp40","data":{"body":"#\"bad\"","slots":[]}}"##]
    );
}

#[test]
fn a_rejection_that_must_not_be_halts_the_host() {
    let panic = reject_with(Policy::Panic).panics();
    assert_eq!(panic.invariant, "promise.policy");
}

#[test]
fn a_fulfilment_satisfies_every_policy() {
    let mut w = World::new("a");
    let result = w.call("a.go");
    w.outside(|crank| crank.set_policy(result, Policy::Panic));
    w.on("a.go", "resolve p-60=fine");
    w.run();
    assert_eq!(w.last(), "=fine");
}

#[test]
fn a_message_may_be_addressed_to_a_promise_from_outside() {
    let mut w = World::new("a b");
    let promise = w.call("a.get");
    w.outside(|crank| {
        crank.queue_from_outside(KRef::Promise(promise), vathost::model::value::CapData::plain("#[\"hi\",[]]"), None)
    });
    w.on("a.now", "resolve p-60=$o-50");
    w.run();
    w.call("a.now(b)");
    w.check(expect![[r#"
        a: o+0.now(o-50)->p-61
        b: o+0.hi()"#]]);
}
