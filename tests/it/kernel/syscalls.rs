//! What a vat may not ask for. Each row is a fault of the vat that tried, and of nobody else.

use vathost::{
    model::{
        blame::Fault,
        limits,
        value::{Bytes, CapData, Resolution, Syscall},
    },
    state::table::Options,
};

use super::{World, pipelining, plain, syscall, vref};

/// The world of each row: `b` holds `o-50` (reachable), `o-51` (dropped), decides `p-60` and `p-61` (its own result), was shown `p-62`, which `a`
/// decides; its `o+1` is reached, its `o+2` is dropped, its `o+3` was never used.
fn prepared(options: Options) -> World {
    let mut w = World::of([("a", plain()), ("b", options)]);
    w.on("a.one", "send o-50 first(o+1,o+2)->p+1");
    w.on("b.first", "drop o-51; send o-50 keep(o+1,o+2)");
    w.on("a.keep", "drop o-52");
    w.on("a.two", "send o-50 second(p+2)->p+3");
    w.call("a.one(b)");
    w.run();
    w.call("a.two");
    w.step();
    w
}

/// Makes the syscall, and returns what became of the vat.
fn attempt(options: Options, attempt: impl FnOnce() -> Syscall<vathost::model::id::VRef> + 'static) -> String {
    let mut w = prepared(options);
    w.on_code("b.second", move |syscalls| syscalls.call(attempt()).map(drop));
    let ran = w.step().unwrap();
    let (a, b) = (w.vat("a"), w.vat("b"));
    assert!(w.tables().is_alive(a));
    assert_eq!(ran.delivery.unwrap().0, b);
    w.run();
    match ran.ended {
        None => "legal".to_owned(),
        Some(ended) => {
            assert!(ended.aborted && !w.tables().is_alive(b));
            ended.fault.unwrap().to_string()
        }
    }
}

#[track_caller]
fn table(options: Options, rows: &[(&str, &str)]) {
    let mut wrong = vec![];
    for (words, expected) in rows {
        let owned = (*words).to_owned();
        let actual = attempt(options.clone(), move || syscall(&owned));
        let actual = actual.strip_prefix("illegal syscall ").unwrap_or(&actual);
        if actual != *expected {
            wrong.push(format!("{words}\n  expected {expected}\n  actual   {actual}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_illegal_syscall_is_a_fault_that_names_what_is_wrong() {
    table(
        plain(),
        &[
            // send
            ("send o-99 hi()", "send: o-99 is not in the c-list"),
            ("send p-99 hi()", "send: p-99 is not in the c-list"),
            ("send o-51 hi()", "send: o-51 was dropped"),
            ("send d-70 hi()", "send: d-70 is a device"),
            ("send d+1 hi()", "send: d+1 is a device"),
            ("send o-50 hi(o-99)", "send: o-99 is not in the c-list"),
            ("send o-50 hi(o-51)", "send: o-51 was dropped"),
            ("send o-50 hi(p-99)", "send: p-99 is not in the c-list"),
            ("send o-50 hi(d-70)", "send: d-70 is not in the c-list"),
            ("send o-50 hi(d+1)", "send: d+1: a vat has no devices of its own"),
            ("send o-50 hi()->o+5", "send: result o+5 is not a promise"),
            ("send o-50 hi()->o-50", "send: result o-50 is not a promise"),
            ("send o-50 hi()->d-70", "send: result d-70 is not a promise"),
            ("send o-50 hi()->p-99", "send: p-99 is not in the c-list"),
            ("send o-50 hi()->p-60", "send: result p-60 is already in use"),
            ("send o-50 hi()->p-61", "send: result p-61 is already in use"),
            ("send o-50 hi(p+5)->p+5", "send: result p+5 is already in use"),
            ("send p+5 hi()->p+5", "send: result p+5 is already in use"),
            // subscribe
            ("subscribe p-99", "subscribe: p-99 is not in the c-list"),
            ("subscribe o-50", "subscribe: o-50 is not a promise"),
            ("subscribe d-70", "subscribe: d-70 is not a promise"),
            // resolve
            ("resolve p-99=x", "resolve: p-99 is not in the c-list"),
            ("resolve o-50=x", "resolve: o-50 is not a promise"),
            ("resolve o+5=x", "resolve: o+5 is not a promise"),
            ("resolve p-61=x", "resolve: the vat does not decide p-61"),
            ("resolve p-61!x", "resolve: the vat does not decide p-61"),
            ("resolve p+5=x p+5=y", "resolve: p+5 twice"),
            ("resolve p-60=x p-60!y", "resolve: p-60 twice"),
            ("resolve p-60=&p-61", "resolve: cannot resolve to a promise"),
            ("resolve p-60=&p-60", "resolve: cannot resolve to a promise"),
            ("resolve p-60=$o-51", "resolve: o-51 was dropped"),
            ("resolve p-60=$o-99", "resolve: o-99 is not in the c-list"),
            ("resolve p-60![o-99]", "resolve: o-99 is not in the c-list"),
            ("resolve p-60=#\"$0\"", "resolve: there is no slot 0 at line 1 column 4"),
            ("resolve p-60=#", "resolve: EOF while parsing a value at line 1 column 0"),
            ("resolve p-60=#{", "resolve: EOF while parsing an object at line 1 column 1"),
            // exit
            ("exit [o-99]", "exit: o-99 is not in the c-list"),
            ("exit-failure [o-51]", "exit: o-51 was dropped"),
            ("exit [d-70]", "exit: d-70 is not in the c-list"),
            // garbage
            ("drop o-99", "dropImports: o-99 is not in the c-list"),
            ("drop o+1", "dropImports: o+1 is of the wrong kind"),
            ("drop p-60", "dropImports: p-60 is of the wrong kind"),
            ("drop d-70", "dropImports: d-70 is of the wrong kind"),
            ("retire-imports o-99", "retireImports: o-99 is not in the c-list"),
            ("retire-imports o-50", "retireImports: o-50 is still reachable"),
            ("retire-imports o+2", "retireImports: o+2 is of the wrong kind"),
            ("retire-imports p-60", "retireImports: p-60 is of the wrong kind"),
            ("retire-imports o-51 o-51", "retireImports: o-51 twice"),
            ("retire-exports o+3", "retireExports: o+3 is not in the c-list"),
            ("retire-exports o+1", "retireExports: o+1 is still reachable"),
            ("retire-exports o+0", "retireExports: o+0 is still reachable"),
            ("retire-exports o-51", "retireExports: o-51 is of the wrong kind"),
            ("retire-exports p+5", "retireExports: p+5 is of the wrong kind"),
            ("retire-exports o+2 o+2", "retireExports: o+2 twice"),
            ("abandon o+3", "abandonExports: o+3 is not in the c-list"),
            ("abandon o-50", "abandonExports: o-50 is of the wrong kind"),
            ("abandon p-60", "abandonExports: p-60 is of the wrong kind"),
            ("abandon o+1 o+1", "abandonExports: o+1 twice"),
            // devices
            ("call d-70", "callNow: d-70 is not in the c-list"),
            ("call d+1", "callNow: d+1: a vat has no devices of its own"),
            ("call o-50", "callNow: o-50 is not a device"),
            ("call p-60", "callNow: p-60 is not a device"),
        ],
    );
}

#[test]
fn their_legal_neighbours_are_no_faults() {
    let legal = [
        "send o-50 hi(o-50,o+3,p+5,p-60,p-61)->p+6",
        "send o+1 hi(o+2)",
        "send o+3 hi()",
        "send p-61 hi()->p+5",
        "send p+5 hi()->p+6",
        "subscribe p-60",
        "subscribe p-61",
        "subscribe p+5",
        "resolve p-60=x p+5!y",
        "resolve p-60=[p-60]",
        "resolve p-60![o+9]",
        "resolve p-60!#not-json",
        "drop o-50",
        "drop o-51",
        "drop o-50 o-50",
        "drop",
        "retire-imports o-51",
        "retire-exports o+2",
        "abandon o+1 o+2",
        "abandon o+0",
        "get missing",
        "delete missing",
        "scan   0",
    ];
    for words in legal {
        assert_eq!(attempt(plain(), move || syscall(words)), "legal", "{words}");
    }
}

#[test]
fn a_pipelining_vat_may_not_give_away_what_it_does_not_decide() {
    table(
        pipelining(),
        &[
            ("send o-50 hi()->p-61", "send: the vat does not decide p-61"),
            ("send o-50 hi()->p-99", "send: p-99 is not in the c-list"),
            ("send o-50 hi()->p-60", "legal"),
            ("send p+5 hi()->p+5", "legal"),
        ],
    );
}

fn capdata(body: usize, slots: usize) -> CapData<vathost::model::id::VRef> {
    CapData { body: Bytes::from(vec![b'x'; body]), slots: vec![vref("o-50"); slots] }
}

/// At the limit it is legal; one past it the fault names the limit.
fn limited(what: &str, limit: u32, make: impl Fn(usize) -> Syscall<vathost::model::id::VRef> + Copy + 'static) {
    let max = limit as usize;
    assert_eq!(attempt(plain(), move || make(max)), "legal", "{what}");
    let fault = attempt(plain(), move || make(max + 1));
    assert!(fault.ends_with(&format!("{what} of {}, the limit is {max}", max + 1)), "{fault}");
}

fn send(methargs: CapData<vathost::model::id::VRef>) -> Syscall<vathost::model::id::VRef> {
    Syscall::Send { target: vref("o-50"), message: vathost::model::value::Message { methargs, result: None } }
}

#[test]
fn every_size_is_legal_at_its_limit_and_a_fault_one_past_it() {
    limited("body", limits::BODY_BYTES_MAX, |n| send(capdata(n, 0)));
    limited("slots", limits::SLOTS_MAX, |n| send(capdata(0, n)));
    let reject = |data| Syscall::Resolve(vec![Resolution { promise: vref("p-60"), rejected: true, data }]);
    limited("body", limits::BODY_BYTES_MAX, move |n| reject(capdata(n, 0)));
    limited("slots", limits::SLOTS_MAX, move |n| reject(capdata(0, n)));
    let key = |n| Bytes::from(vec![b'k'; n]);
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreGet(key(n)));
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreDelete(key(n)));
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreGetNextKey(key(n)));
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreSet(key(n), "v".into()));
    limited("value", limits::VALUE_BYTES_MAX, move |n| Syscall::VatstoreSet("k".into(), key(n)));
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreScan { prefix: key(n), after: key(0), max: 9 });
    limited("key", limits::KEY_BYTES_MAX, move |n| Syscall::VatstoreScan { prefix: key(0), after: key(n), max: 9 });
    let scan = move |n: usize| Syscall::VatstoreScan { prefix: key(0), after: key(0), max: u32::try_from(n).unwrap() };
    limited("answer", limits::SCAN_BYTES_MAX, scan);
    limited("references", limits::REFS_MAX, |n| Syscall::DropImports(vec![vref("o-50"); n]));
    let resolutions = |n: usize| {
        let one = |at| Resolution {
            promise: format!("p+{at}").parse().unwrap(),
            rejected: false,
            data: CapData::plain("#0"),
        };
        Syscall::Resolve((0..n).map(one).collect())
    };
    limited("resolutions", limits::REFS_MAX, resolutions);
}

#[test]
fn a_delivery_may_make_so_many_syscalls_and_not_one_more() {
    let run = |n: u32| {
        let mut w = World::new("a");
        w.on_code("a.go", move |syscalls| {
            (0..n).try_for_each(|_| syscalls.call(Syscall::VatstoreGet("k".into())).map(drop))
        });
        w.call("a.go");
        w.step().unwrap().ended.map(|it| it.fault.unwrap().to_string())
    };
    assert_eq!(run(limits::SYSCALLS_MAX), None);
    let fault = format!("illegal syscall vatstoreGet: more than {} in a delivery", limits::SYSCALLS_MAX);
    assert_eq!(run(limits::SYSCALLS_MAX + 1), Some(fault));
}

#[test]
fn the_vatstore_reads_back_in_byte_order_and_to_each_vat_its_own() {
    let mut w = World::new("a b");
    w.on("b.go", "set a0 other; set zz other");
    w.on("a.go", "set b 2; set a 1; set a1 11; set ab 12; set c 3; delete c; delete c; get a; get c; get zz");
    w.on("a.more", "next ; next a; next ab; next b; scan a  100; scan a a1 100; scan a  20; scan  b 100; scan a zz 100; scan b a 100");
    w.call("b.go");
    w.call("a.go");
    w.call("a.more");
    w.check(expect_test::expect![[r#"
        b: o+0.go()->p-60
        a: o+0.go()->p-60
        a> get a = "1"
        a> get c = "nothing"
        a> get zz = "nothing"
        a: o+0.more()->p-61
        a> next = "a"
        a> next a = "a1"
        a> next ab = "b"
        a> next b = "nothing"
        a> scan a  100 = "\u{1}\0\0\0\u{1}\0\0\0a1\u{2}\0\0\0\u{2}\0\0\0a111\u{2}\0\0\0\u{2}\0\0\0ab12"
        a> scan a a1 100 = "\u{2}\0\0\0\u{2}\0\0\0ab12"
        a> scan a  20 = "\u{1}\0\0\0\u{1}\0\0\0a1"
        a> scan  b 100 = ""
        a> scan a zz 100 = ""
        a> scan b a 100 = "\u{1}\0\0\0\u{1}\0\0\0b2""#]]);
}

#[test]
fn an_empty_value_counts_as_none_and_the_empty_key_is_never_the_next() {
    let mut w = World::new("a");
    w.on_code("a.go", |syscalls| {
        syscalls.call(Syscall::VatstoreSet("".into(), "x".into()))?;
        syscalls.call(Syscall::VatstoreSet("k".into(), "".into())).map(drop)
    });
    w.on("a.more", "get ; get k; next ; next k");
    w.call("a.go");
    w.call("a.more");
    w.check(expect_test::expect![[r#"
        a: o+0.go()->p-60
        a: o+0.more()->p-61
        a> get = "x"
        a> get k = "nothing"
        a> next = "k"
        a> next k = "nothing""#]]);
}

#[test]
fn what_is_no_syscall_at_all_is_a_fault_of_the_vat() {
    let mut w = World::new("a");
    w.on_code("a.go", |syscalls| {
        let fault = syscalls.malformed("send", "bits that name nothing");
        assert!(matches!(fault, Fault::Vat(_)));
        Ok(())
    });
    w.call("a.go");
    w.check(expect_test::expect![[r#"
        a: o+0.go()->p-60
        a faulted: illegal syscall send: bits that name nothing"#]]);
}
