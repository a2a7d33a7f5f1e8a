//! An aborted crank leaves no trace but its number: not in the rows, not in memory, not in what ids come next.

use vathost::{model::id::CrankNum, state::table::Options};

use super::{World, pipelining, plain};

/// All rows but the counters of cranks and deliveries, as text.
fn rows(w: &World) -> String {
    let t = w.tables();
    let globals = t.globals();
    format!(
        "{:?} {:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        globals.next_object,
        globals.next_promise,
        t.clist.iter().collect::<Vec<_>>(),
        t.tallies.iter().collect::<Vec<_>>(),
        t.objects.iter().collect::<Vec<_>>(),
        t.promises.iter().collect::<Vec<_>>(),
        t.queue.iter().collect::<Vec<_>>(),
        t.gc.iter().collect::<Vec<_>>(),
        t.vatstore.iter().collect::<Vec<_>>(),
        t.outside.iter().collect::<Vec<_>>(),
    )
}

/// What `b` does before it faults; the rows afterwards must be as if it had faulted at once.
fn leaves_nothing(options: Options, script: &str) {
    let run = |script: &str| {
        let mut w = World::of([("a", plain()), ("b", options.clone())]);
        w.on("a.go", "send o-50 hi(o+1,o+2,p+3)->p+1; subscribe p+1");
        w.on("b.ready", "set old value; set gone value; subscribe p+7; send o-50 first(o+8)");
        w.call("b.ready(a)");
        w.on("b.hi", script);
        w.call("a.go(b)");
        let ended = std::iter::from_fn(|| w.step()).find_map(|ran| ran.ended).unwrap();
        assert_eq!(ended.fault.unwrap().to_string(), "boom", "{script}");
        w
    };
    let (w, control) = (run(&format!("{script}; trap boom")), run("trap boom"));
    assert!(!w.tables().is_alive(w.vat("b")));
    assert_eq!(rows(&w), rows(&control), "{script}");
    assert_eq!(w.block().state_hash().expect("hashes"), control.block().state_hash().expect("hashes"), "{script}");
}

#[test]
fn everything_that_a_delivery_did_before_its_fault_is_undone() {
    for script in [
        "",
        "send o-50 hi()",
        "send o-50 hi(o+5,p+5)->p+6",
        "send o-51 hi(o-52)",
        "subscribe p-61",
        "subscribe p+9",
        "resolve p-62=$o+5",
        "resolve p+5=data p-62![o+6,p-60,p-61]",
        "resolve p+7=[p-62]",
        "set new value",
        "set old other",
        "delete gone",
        "set new value; delete new",
        "drop o-51",
        "drop o-51 o-52; retire-imports o-51 o-52",
        "abandon o+8",
        "abandon o+0",
        "get old; next old; scan old  100",
        "exit bye",
        "exit-failure [o+9]",
        "resolve p-62=yes; send o-50 hi()->p+1; drop o-51; set a b; abandon o+8",
    ] {
        leaves_nothing(plain(), script);
    }
    for script in ["send o-50 hi()->p-62", "send p+9 hi()->p+9"] {
        leaves_nothing(pipelining(), script);
    }
}

#[test]
fn a_crank_that_aborts_keeps_its_number() {
    let mut w = World::new("a");
    w.on("a.hi", "trap boom");
    w.call("a.hi");
    let before = w.tables().globals().next_crank;
    let ran = w.step().unwrap();
    assert_eq!((ran.crank, w.tables().globals().next_crank), (before, before.next()));
    assert_ne!(before, CrankNum(0));
}

#[test]
fn an_aborted_delivery_is_not_in_the_transcript() {
    let mut w = World::new("a");
    w.on("a.good", "set k v");
    w.on("a.hi", "set l w; trap boom");
    w.call("a.good");
    w.call("a.hi");
    w.step();
    w.step();
    let entries: Vec<_> =
        w.block().transcript(w.vat("a"), vathost::model::id::DeliveryNum(0)).unwrap().map(|it| it.unwrap()).collect();
    let kinds: Vec<(u64, &str, usize)> =
        entries.iter().map(|it| (it.number.0, it.delivery.as_ref().unwrap().kind(), it.syscalls.len())).collect();
    assert_eq!(kinds, [(0, "startVat", 0), (1, "message", 1)]);
}

#[test]
fn exit_with_failure_leaves_no_more_than_a_fault_does() {
    let run = |script: &str| {
        let mut w = World::new("a b");
        w.on("b.hi", script);
        w.call("b.hi(a)");
        w.step();
        w
    };
    let failed = run("send o-50 hi(o+1); set k v; resolve p-60=$o+2; exit-failure bad");
    assert_eq!(rows(&failed), rows(&run("trap boom")));
}
