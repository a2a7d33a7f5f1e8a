//! What one vat can make the kernel keep, copy or tell: shared, split, or refused past a limit.

use expect_test::expect;
use vathost::{
    kernel::Syscalls,
    model::{
        id::VRef,
        limits,
        value::{Bytes, CapData, Message, Resolution, Syscall},
    },
    state::table::Options,
};

use super::{World, plain};

fn vref(text: &str) -> VRef {
    text.parse().unwrap()
}

/// A smallcaps text of so many bytes in all.
fn text(bytes: usize) -> Bytes {
    Bytes::from(format!("#\"{}\"", "x".repeat(bytes - 3)))
}

fn settle(syscalls: &mut Syscalls, promise: &str, rejected: bool, data: CapData<VRef>) {
    syscalls.call(Syscall::Resolve(vec![Resolution { promise: vref(promise), rejected, data }])).unwrap();
}

#[test]
fn a_rejection_is_kept_once_however_many_messages_meet_it() {
    let mut w = World::new("a b");
    w.on_code("b.hold", |it| {
        settle(it, "p-60", true, CapData { body: text(1 << 20), slots: vec![vref("o+7")] });
        Ok(())
    });
    let sends: String = (2..50).map(|it| format!("send p+1 hi()->p+{it}; ")).collect();
    w.on("a.go", &format!("send o-50 hold()->p+1; {sends}"));
    w.call("a.go(b)");
    w.run();
    assert_eq!((w.tables().promises.len(), w.tables().settlements.len()), (50, 1), "p+1 to p+49, and go's answer");
    let held = w.object("b", "o+7");
    assert_eq!(w.counts(held), Some((1, 1)), "held by the settlement, once");
    w.terminate("a");
    w.run();
    assert_eq!(w.tables().settlements.len(), 1, "it goes with the last promise that shares it");
    assert_eq!(w.counts(held), None);
}

#[test]
fn a_promise_that_was_settled_alike_is_told_alike() {
    let mut w = World::new("a b");
    w.on("b.hold", "resolve p-60!no");
    w.on("a.go", "send o-50 hold()->p+1; send p+1 hi()->p+2; subscribe p+2; subscribe p+1");
    w.call("a.go(b)");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        b: o+0.hold()->p-60
        a: notify p+1!no
        a: notify p+2!no"#]]);
}

#[test]
fn what_a_promise_leads_to_is_told_in_notifies_of_a_bounded_size() {
    let mut w = World::new("a b");
    w.on_code("b.hold", |it| {
        let names: Vec<String> = (1..6).map(|it| format!("p+{it}")).collect();
        let body = Bytes::from(format!("#[{}]", (0..5).map(|it| format!("\"&{it}\"")).collect::<Vec<_>>().join(",")));
        settle(it, "p-60", false, CapData { body, slots: names.iter().map(|it| vref(it)).collect() });
        for name in &names {
            settle(it, name, false, CapData::plain(text(900 << 10)));
        }
        Ok(())
    });
    w.on("a.go", "send o-50 hold()->p+1; subscribe p+1");
    w.call("a.go(b)");
    let log = w.run();
    let told: Vec<usize> =
        log.lines().filter_map(|it| it.strip_prefix("a: notify ")).map(|it| it.matches('=').count()).collect();
    assert_eq!(told, [3, 1, 1, 1], "the first with two of a megabyte each; the rest one by one");
    assert!(w.clist("a").matches("p-").count() == 1, "all are told, and forgotten: {}", w.clist("a"));
}

#[test]
fn a_notify_of_many_promises_is_split_too() {
    let mut w = World::new("a b");
    w.on_code("b.hold", |it| {
        let names: Vec<VRef> = (1..=2_500).map(|it| vref(&format!("p+{it}"))).collect();
        let marks: Vec<String> = (0..names.len()).map(|it| format!("\"&{it}\"")).collect();
        let body = Bytes::from(format!("#[{}]", marks.join(",")));
        settle(it, "p-60", false, CapData { body, slots: names.clone() });
        let all = |promise| Resolution { promise, rejected: false, data: CapData::plain("#1") };
        it.call(Syscall::Resolve(names.into_iter().map(all).collect())).unwrap();
        Ok(())
    });
    w.on("a.go", "send o-50 hold()->p+1; subscribe p+1");
    w.call("a.go(b)");
    let log = w.run();
    let told: usize = log.lines().filter(|it| it.starts_with("a: notify ")).map(|it| it.matches('=').count()).sum();
    let most = log.lines().map(|it| it.matches('=').count()).max();
    assert_eq!((told, most), (2_501, Some(limits::NOTIFY_RESOLUTIONS_MAX)));
}

#[test]
fn a_delivery_whose_record_grows_past_its_limit_ends_the_vat() {
    let mut w = World::new("a b");
    w.on_code("a.go", |it| {
        let value = text(1 << 20);
        (0..129).try_for_each(|_| it.call(Syscall::VatstoreSet(Bytes::from("key"), value.clone())).map(drop))
    });
    w.call("a.go(b)");
    let log = w.run();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("a faulted: limit of bytes of a transcript entry crossed: 134"), "{last}");
    assert!(last.ends_with("at most 134217728"), "{last}");
    w.call("b.hi");
    w.check(expect!["b: o+0.hi()->p-60"]);
}

#[test]
fn a_vatstore_holds_what_its_vats_option_says_and_not_a_byte_more() {
    let limited = |max| World::of([("a", Options { store_max: max, ..plain() })]);
    // Two keys of one byte with values of ten count for 2 × (64 + 1 + 10).
    let mut w = limited(150);
    w.on("a.go", "set a 0123456789; set b 0123456789; set a abcdefghij; set b 0; set b 0123456789");
    w.call("a.go");
    w.check(expect!["a: o+0.go()->p-60"]);
    w.on("a.go", "delete a; set c 0123456789");
    w.call("a.go");
    w.check(expect!["a: o+0.go()->p-61"]);
    assert_eq!(w.tables().vatstore.bytes(w.vat("a")), 150);
    w.on("a.go", "set b 0123456789x");
    w.call("a.go");
    w.check(expect![[r#"
        a: o+0.go()->p-62
        a faulted: limit of storeMax crossed: 151, at most 150"#]]);
}

#[test]
fn what_a_fault_undoes_of_a_vatstore_counts_no_more() {
    let mut w =
        World::of([("a", Options { on_fault: vathost::state::table::OnFault::Reject, store_max: 150, ..plain() })]);
    w.on("a.go", "set a 0123456789; set b 0123456789; trap oops");
    w.call("a.go");
    w.run();
    assert_eq!(w.tables().vatstore.bytes(w.vat("a")), 0);
    w.on("a.go", "set a 0123456789; set b 0123456789");
    w.call("a.go");
    w.run();
    assert_eq!(w.tables().vatstore.bytes(w.vat("a")), 150);
}

#[test]
fn a_vat_has_as_many_references_of_its_own_as_the_limit_says() {
    let mut w = World::new("a");
    let max = usize::try_from(limits::OWN_REFS_MAX).unwrap();
    w.on_code("a.go", move |it| {
        let root = vref("o+0");
        // The root counts, and so does everything that is named once.
        let names: Vec<VRef> = (1..=max).map(|it| vref(&format!("o+{it}"))).collect();
        for slots in names[..max - 1].chunks(limits::SLOTS_MAX as usize) {
            let methargs = CapData { body: Bytes::from("#[]"), slots: slots.to_vec() };
            it.call(Syscall::Send { target: root, message: Message { methargs, result: None } })?;
        }
        let methargs = CapData { body: Bytes::from("#[]"), slots: names[max - 1..].to_vec() };
        it.call(Syscall::Send { target: root, message: Message { methargs, result: None } }).map(drop)
    });
    w.call("a.go");
    let log = w.run();
    assert_eq!(log.lines().last(), Some("a faulted: limit of refsMax crossed: 1000001, at most 1000000"));
}

#[test]
fn one_gc_delivery_holds_a_bounded_number_of_references() {
    let mut w = World::new("a b");
    let count = limits::GC_REFS_PER_DELIVERY + 1;
    w.on_code("a.go", move |it| {
        let names: Vec<VRef> = (1..=count).map(|it| vref(&format!("o+{it}"))).collect();
        for slots in names.chunks(limits::SLOTS_MAX as usize) {
            let methargs = CapData { body: Bytes::from("#[\"take\",[]]"), slots: slots.to_vec() };
            it.call(Syscall::Send { target: vref("o-50"), message: Message { methargs, result: None } })?;
        }
        Ok(())
    });
    w.call("a.go(b)");
    w.run();
    w.on_code("b.go", move |it| {
        let all: Vec<VRef> = (50..50 + count).map(|it| vref(&format!("o-{it}"))).collect();
        it.call(Syscall::DropImports(all)).map(drop)
    });
    w.call("b.go");
    let log = w.run();
    let told: Vec<usize> =
        (log.lines().filter_map(|it| it.strip_prefix("a: dropExports "))).map(|it| it.split(',').count()).collect();
    assert_eq!(told, [limits::GC_REFS_PER_DELIVERY, 1]);
}

#[test]
fn the_reason_of_an_ending_is_cut_where_it_is_long() {
    let mut w = World::new("a");
    w.on_code("a.go", |it| it.call(Syscall::Exit { failure: false, info: CapData::plain(text(1 << 20)) }).map(drop));
    w.call("a.go");
    w.run();
    let row = w.tables().vats.get(&w.vat("a")).unwrap();
    let vathost::state::table::Status::Terminated { reason, .. } = &row.status else { panic!("{row:?}") };
    assert_eq!(reason.len(), limits::REASON_BYTES_MAX + '…'.len_utf8());
}
