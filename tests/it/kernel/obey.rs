//! Directives as the kernel obeys them. In what is ordered here, `crank+N` is the Nth crank from the next one.

use expect_test::expect;
use vathost::{
    directive::DirectiveSet,
    model::{
        blame::{Fault, Halted},
        id::{BlockHeight, BundleId, DeliveryNum, PromiseId},
        kernel_version,
        value::{Bytes, CapData, Message, Syscall},
    },
    state::{
        table::{OnFault, Options},
        transcript::End,
    },
};

use super::{World, plain, vref};

mod effects;
mod entry;
mod faults;
mod rest;

impl World {
    fn next_crank(&self) -> u64 {
        self.tables().globals().next_crank.0
    }

    /// Puts these lines in force, in place of all others.
    #[track_caller]
    fn order(&mut self, lines: &str) {
        let next = self.next_crank();
        let text = (0..10)
            .fold(lines.to_owned(), |text, n| text.replace(&format!("crank+{n}"), &format!("crank-{}", next + n)));
        let mut set = DirectiveSet::default();
        set.read("test", text.as_bytes()).unwrap_or_else(|err| panic!("{err}"));
        self.block.as_mut().unwrap().set_directives(set);
    }

    /// Runs until a directive halts the host.
    #[track_caller]
    fn halts(&mut self) -> Halted {
        loop {
            match self.try_step() {
                Ok(Some(_)) => (),
                Ok(None) => panic!("the host did not halt"),
                Err(halt) => match halt.fault {
                    Fault::Halted(halted) => return *halted,
                    other => panic!("not a directive: {other}"),
                },
            }
        }
    }

    /// The numbers of the deliveries to a vat that were skipped.
    fn skipped(&self, name: &str) -> Vec<u64> {
        let entries = self.block().transcript(self.vat(name), DeliveryNum(0)).unwrap().map(|it| it.unwrap());
        entries.filter(|it| it.end == End::Skipped).map(|it| it.number.0).collect()
    }

    /// The lines of the directives that were obeyed, as the slog has them.
    fn obeyed(&self) -> Vec<String> {
        let lines = self.slog("directive");
        let line =
            |it: &String| serde_json::from_str::<serde_json::Value>(it).unwrap()["line"].as_str().unwrap().to_owned();
        lines.iter().map(line).collect()
    }

    /// Runs, and returns the state hash after each crank.
    fn hashes(&mut self) -> Vec<String> {
        let mut hashes = vec![];
        while self.step().is_some() {
            hashes.push(self.block().state_hash().expect("hashes").to_string());
        }
        hashes
    }

    /// The state hash now.
    fn hash(&self) -> String {
        self.block().state_hash().expect("hashes").to_string()
    }

    /// All rows but those about directives.
    fn rows(&self) -> String {
        let t = self.tables();
        format!(
            "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
            t.globals(),
            t.vats.iter().collect::<Vec<_>>(),
            t.tallies.iter().collect::<Vec<_>>(),
            t.clist.iter().collect::<Vec<_>>(),
            t.objects.iter().collect::<Vec<_>>(),
            t.promises.iter().collect::<Vec<_>>(),
            t.queue.iter().collect::<Vec<_>>(),
            t.gc.iter().collect::<Vec<_>>(),
            t.vatstore.iter().collect::<Vec<_>>(),
            t.outside.iter().collect::<Vec<_>>(),
        )
    }
}

/// `a` has sent to `b` a message with an object of its own, and waits for the answer.
fn asked() -> World {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi(o+1)->p+1; subscribe p+1");
    w.call("a.go(b)");
    w.step();
    w.log();
    w
}

/// Five messages to `b` from outside, which are its deliveries 1 to 5.
fn five() -> World {
    let mut w = World::new("a b");
    for n in 0..5 {
        w.call(&format!("b.m{n}"));
    }
    w
}

// ---- skip

#[test]
fn a_skipped_message_rejects_its_result_and_releases_what_it_holds() {
    let mut w = asked();
    w.order("crank+0: skip v2");
    w.check(expect![[r#"
        a: dropExports o+1
        a: retireExports o+1
        a: notify p+1!Error(delivery skipped by directive)"#]]);
    assert_eq!(w.skipped("b"), [1]);
    // What is left is the answer that `a` still owes to the outside.
    assert_eq!((&*w.clist("a"), &*w.clist("b"), w.stray_promises()), ("o-50:ko21 p-60:kp40", "", 0));
}

#[test]
fn a_skipped_message_without_a_result_is_just_gone() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi()");
    w.call("a.go(b)");
    w.order("crank+1: skip");
    w.check(expect!["a: o+0.go(o-50)->p-60"]);
    assert_eq!((w.skipped("b"), w.clist("b"), w.stray_promises()), (vec![1], String::new(), 0));
}

#[test]
fn a_skipped_message_rejects_what_was_sent_on_to_its_result() {
    let mut w = World::new("a b");
    w.on("a.go", "send o-50 hi()->p+1; send p+1 more()->p+2; subscribe p+2");
    w.call("a.go(b)");
    w.order("crank+1: skip v2");
    w.check(expect![[r#"
        a: o+0.go(o-50)->p-60
        a: notify p+2!Error(delivery skipped by directive)"#]]);
}

#[test]
fn a_skipped_notify_is_forgotten_as_a_delivered_one_would_be() {
    let run = |orders: &str| {
        let mut w = asked();
        w.on("b.hi", "resolve p-60=[o+7]");
        w.step();
        w.order(orders);
        (w.run(), w)
    };
    let (told, _) = run("");
    let (nothing, w) = run("crank+0: skip v1");
    assert!(told.contains("a: notify p+1="), "{told}");
    assert!(!nothing.contains("notify"), "{nothing}");
    assert_eq!(w.skipped("a"), [2]);
    assert!(!w.clist("a").contains("p+1"), "{}", w.clist("a"));
    assert_eq!(w.stray_promises(), 0);
}

#[test]
fn skipped_news_of_garbage_leaves_the_c_lists_as_delivered_news_does() {
    // Which GC delivery is skipped, and the vat that it is to.
    for (kind, to) in [("dropExports", "v1"), ("retireExports", "v1"), ("retireImports", "v2")] {
        let run = |skip: bool| {
            let mut w = World::new("a b");
            w.on("a.go", "send o-50 take(o+1)");
            w.on("a.leave", "abandon o+1");
            w.on("b.forget", "drop o-50");
            w.on("b.retire", "retire-imports o-50");
            w.call("a.go(b)");
            w.run();
            match kind {
                "dropExports" => drop(w.call("b.forget")),
                "retireExports" => {
                    w.call("b.forget");
                    w.run();
                    w.call("b.retire");
                }
                _ => {
                    w.call("a.leave");
                    w.call("b.forget");
                    w.step();
                }
            }
            w.step();
            w.log();
            if skip {
                w.order(&format!("crank+0: skip {to}"));
            }
            (w.run(), w)
        };
        let ((told, control), (nothing, w)) = (run(false), run(true));
        assert!(told.contains(kind), "{kind}: {told}");
        assert!(!nothing.contains(kind), "{kind}: {nothing}");
        assert_eq!((w.clist("a"), w.clist("b")), (control.clist("a"), control.clist("b")), "{kind}");
        assert_eq!(w.skipped(if to == "v1" { "a" } else { "b" }).len(), 1, "{kind}");
    }
}

#[test]
fn a_skipped_bring_out_your_dead_is_queued_again_when_it_is_due_again() {
    let mut w = World::of([("a", Options { reap_interval: Some(1), ..plain() })]);
    w.call("a.one");
    w.step();
    w.order("crank+0: skip v1");
    w.check(expect!["a: o+0.one()->p-60"]);
    assert_eq!(w.skipped("a").len(), 1);
    w.call("a.two");
    w.check(expect![[r#"
        a: o+0.two()->p-61
        a: bringOutYourDead"#]]);
}

/// `a` has made `v2`, and is about to have it upgraded: `v2`'s deliveries 1 and 2.
fn upgrading() -> World {
    let mut w = World::new("a");
    w.outside(|crank| {
        crank.name_bundle("code", BundleId::of(b"code"));
        Ok(())
    });
    let admin = w.outside(|crank| crank.vat_admin());
    let send = |target: &'static str, body: &'static str, result: &'static str| {
        move |syscalls: &mut vathost::kernel::Syscalls| {
            let methargs = CapData { body: Bytes::from(body), slots: vec![] };
            let message = Message { methargs, result: Some(vref(result)) };
            syscalls.call(Syscall::Send { target: vref(target), message })?;
            syscalls.call(Syscall::Subscribe(vref(result))).map(drop)
        }
    };
    w.on_code("a.go", send("o-50", r##"#["createVat",["code"]]"##, "p+1"));
    w.on_code("a.upgrade", send("o-52", r##"#["upgrade",["code"]]"##, "p+2"));
    w.call(&format!("a.go({admin})"));
    w.run();
    w.call("a.upgrade");
    w
}

#[test]
fn an_upgrade_is_skipped_as_a_whole_by_either_of_its_numbers() {
    let mut delivered = upgrading();
    let told = delivered.run();
    assert!(
        told.contains("bringOutYourDead") && told.contains(r##"a: notify p+2=#{"incarnationNumber":1}"##),
        "{told}"
    );
    let v2 = "v2".parse().unwrap();
    for number in [1, 2] {
        let mut w = upgrading();
        w.order(&format!("v2/delivery-{number}: skip"));
        let told = w.run();
        assert!(!told.contains("bringOutYourDead"), "{number}: {told}");
        assert!(told.contains("a: notify p+2!Error(delivery skipped by directive)"), "{number}: {told}");
        assert_eq!(w.tables().vats.get(&v2).unwrap().incarnation, 0);
        let entries = w.block().transcript(v2, DeliveryNum(1)).unwrap().map(|it| it.unwrap());
        let ends: Vec<_> = entries.map(|it| (it.number.0, it.end)).collect();
        assert_eq!(ends, [(1, End::Skipped), (2, End::Skipped)], "{number}");
        assert_eq!(w.stray_promises(), 0, "{number}");
    }
    let mut w = upgrading();
    w.order("v2/delivery-3: skip");
    w.run();
    assert_eq!(w.hash(), delivered.hash(), "there is no such delivery");
}

#[test]
fn replay_passes_over_a_skipped_delivery() {
    let mut w = five();
    w.on("b.m0", "set a 1");
    w.on("b.m1", "set a 2");
    w.on("b.m2", "set b 3");
    w.order("v2/delivery-2: skip");
    w.run();
    assert_eq!(w.stored("b"), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())]);
    // Each script is replayed for the delivery that it was used by: an entry more, or less, would be an anachronism.
    w.actors.evict_all();
    w.call("b.last");
    w.check(expect!["b: o+0.last()->p-64"]);
    assert_eq!(w.skipped("b"), [2]);
}

#[test]
fn a_guard_that_does_not_match_halts_before_anything_ran() {
    for (line, why) in [
        ("crank+0: skip v1", "the delivery is to v2"),
        ("crank+0: skip v2 expect 0123456789", "the message hash is "),
        ("crank+0: skip v9", "the delivery is to v2"),
        ("crank+0: pause v9", "there is no v9"),
        ("crank+0: terminate v9", "there is no v9"),
        ("crank+0: resume v9", "there is no v9"),
        ("crank+0: upgrade v9 bundle 01234567", "there is no v9"),
        ("expect state 0123456789 before crank+0", "the state hash is "),
        ("crank+0: halt", ""),
    ] {
        let mut w = asked();
        let next = w.next_crank();
        w.order(line);
        let halted = w.halts();
        assert_eq!(halted.crank.0, next, "{line}");
        assert_eq!(halted.line, line.replace("crank+0", &format!("crank-{next}")));
        let told = halted.why.unwrap_or_default();
        assert!(told.starts_with(why) && told.is_empty() == why.is_empty(), "{line}: {told}");
        assert_eq!(w.log(), "", "{line}");
    }
}

#[test]
fn the_hash_that_a_halt_tells_is_the_one_to_expect() {
    let hash_of = |line: &str| {
        let mut w = asked();
        w.order(line);
        w.halts().why.unwrap().split(' ').next_back().unwrap().to_owned()
    };
    let message = hash_of("crank+0: skip expect 0123456789");
    let state = hash_of("expect state 0123456789 before crank+0");
    let mut w = asked();
    w.order(&format!("crank+0: skip v2 expect {}\nexpect state {state} before crank+0", &message[..8]));
    w.run();
    assert_eq!(w.skipped("b"), [1]);
}

#[test]
fn start_vat_cannot_be_skipped() {
    for line in ["crank+0: skip", "v2/delivery-0: skip"] {
        let mut w = World::new("a");
        w.outside(|crank| crank.create_vat("b", BundleId::of(b"script"), plain(), CapData::plain("#{}")).map(drop));
        w.order(line);
        assert_eq!(w.halts().why.unwrap(), "startVat cannot be skipped: terminate the vat instead", "{line}");
    }
}

#[test]
fn the_cleanup_of_a_dead_vat_cannot_be_skipped() {
    let mut w = World::new("a b");
    w.terminate("b");
    // Its cleanup.
    w.order("crank+0: skip");
    assert_eq!(w.halts().why.unwrap(), "the removal of rows of the dead v2 cannot be skipped");
}

#[test]
fn two_directives_that_contradict_only_in_the_crank_halt_there() {
    let mut w = asked();
    w.order("crank+0: skip\nv2/delivery-1: pause");
    assert!(w.halts().why.unwrap().contains("a delivery is either skipped or kept for later"));
    assert_eq!(w.log(), "");
    let mut w = asked();
    w.order("crank+0: pause v1\nv2/delivery-1: skip");
    w.run();
    assert_eq!(w.skipped("b"), [1], "they are about two vats");
}

// ---- pause and resume

#[test]
fn a_paused_vat_gets_nothing_while_others_go_on_and_then_all_in_order() {
    let mut w = World::new("a b c");
    w.on("a.go", "send o-50 one(); send o-51 x(); send o-50 two(); send o-50 three()");
    w.call("a.go(b,c)");
    w.order("crank+1: pause v2");
    w.check(expect![[r#"
        a: o+0.go(o-50,o-51)->p-60
        c: o+0.x()"#]]);
    w.call("b.four");
    w.check(expect![[r#""#]]);
    w.call("c.y");
    w.call("b.five");
    w.order("crank+0: resume v2");
    w.check(expect![[r#"
        c: o+0.y()->p-60
        b: o+0.one()
        b: o+0.two()
        b: o+0.three()
        b: o+0.four()->p-60
        b: o+0.five()->p-61"#]]);
}

#[test]
fn a_machine_of_which_every_vat_is_paused_goes_on_by_a_directive() {
    let mut w = five();
    w.order("crank+0: pause v2");
    w.check(expect![""]);
    w.order("crank+1: resume v2");
    w.check(expect![""]);
    w.order("crank+0: resume v2");
    w.check(expect![[r#"
        b: o+0.m0()->p-60
        b: o+0.m1()->p-61
        b: o+0.m2()->p-62
        b: o+0.m3()->p-63
        b: o+0.m4()->p-64"#]]);
}

#[test]
fn resumed_by_its_own_newest_message_a_vat_still_gets_the_oldest_first() {
    let mut w = five();
    w.order("crank+0: pause\ncrank+4: resume v2");
    w.check(expect![[r#"
        b: o+0.m0()->p-60
        b: o+0.m1()->p-61
        b: o+0.m2()->p-62
        b: o+0.m3()->p-63
        b: o+0.m4()->p-64"#]]);
    assert!(w.skipped("b").is_empty());
}

#[test]
fn notifies_and_garbage_wait_for_a_paused_vat_too() {
    let mut w = asked();
    w.on("b.hi", "resolve p-60=ok; drop o-50; retire-imports o-50");
    w.order("crank+0: pause v1");
    w.check(expect!["b: o+0.hi(o-50)->p-60"]);
    w.call("b.other");
    w.order("crank+0: resume v1");
    w.check(expect![[r#"
        b: o+0.other()->p-61
        a: dropExports o+1
        a: retireExports o+1
        a: notify p+1=ok"#]]);
}

#[test]
fn pausing_twice_and_resuming_what_runs_change_nothing_that_is_delivered() {
    let mut w = five();
    w.order("crank+0: pause\ncrank+1: pause v2\ncrank+3: resume v2\ncrank+5: resume v2");
    w.check(expect![[r#"
        b: o+0.m0()->p-60
        b: o+0.m1()->p-61
        b: o+0.m2()->p-62
        b: o+0.m3()->p-63
        b: o+0.m4()->p-64"#]]);
    assert_eq!(w.obeyed().len(), 4);
}

#[test]
fn a_paused_vat_can_be_terminated() {
    let mut w = asked();
    w.order("crank+0: pause v2");
    w.check(expect![[""]]);
    w.call("a.other");
    w.order("crank+0: terminate v2");
    w.check(expect![[r#"
        a: o+0.other()->p-61
        a: dropExports o+1
        a: retireExports o+1
        a: notify p+1!Error(vat terminated)"#]]);
    assert!(!w.tables().is_alive(w.vat("b")));
}

// ---- terminate

#[test]
fn terminate_comes_to_what_a_host_that_terminates_there_comes_to() {
    let world = || {
        let mut w = World::new("a b c");
        w.on(
            "a.go",
            "send o-50 make()->p+1; send o-50 hi(o+1)->p+2; send o-51 take(p+1); subscribe p+1; subscribe p+2",
        );
        w.on("b.make", "send o-50 made(o+5)->p+9; set k v");
        w.call("a.go(b,c)");
        w.step();
        w
    };
    for steps in 0..4 {
        let (mut host, mut w) = (world(), world());
        for _ in 0..steps {
            host.step();
            w.step();
        }
        host.terminate("b");
        let told = host.run();
        w.order("crank+0: terminate v2 reason \"enough\"");
        assert_eq!(w.run(), told, "after {steps}");
        assert!(!w.tables().is_alive(w.vat("b")));
        assert_eq!(w.rows(), host.rows(), "after {steps}");
    }
}

#[test]
fn the_delivery_of_a_terminated_vat_meets_a_dead_vat() {
    let mut w = asked();
    w.order("v2/delivery-1: terminate");
    w.check(expect![[r#"
        a: dropExports o+1
        a: retireExports o+1
        a: notify p+1!Error(vat terminated)"#]]);
    assert_eq!(w.obeyed(), ["v2/delivery-1: terminate"]);
}

// ---- upgrade

fn upgradable() -> (World, String) {
    let mut w = asked();
    let bundle = BundleId::of(b"code");
    w.outside(|crank| {
        crank.name_bundle("code", bundle);
        Ok(())
    });
    (w, format!("crank+0: upgrade v2 bundle {}", &bundle.to_string()[..8]))
}

#[test]
fn an_upgrade_by_directive_runs_just_before_the_delivery() {
    let (mut w, line) = upgradable();
    w.on("b.hi", "set k v; resolve p-60=new");
    w.order(&line);
    w.check(expect![[r#"
        b: bringOutYourDead
        b: o+0.hi(o-50)->p-60
        a: notify p+1=new"#]]);
    let row = w.tables().vats.get(&w.vat("b")).unwrap();
    assert_eq!((row.incarnation, row.bundle, row.first_delivery.0), (1, BundleId::of(b"code"), 2));
}

#[test]
fn an_upgrade_by_directive_that_fails_halts() {
    for event in ["b.bringOutYourDead", "b.startVat"] {
        let (mut w, line) = upgradable();
        w.on(event, "trap no");
        w.order(&line);
        assert_eq!(w.halts().why.unwrap(), "the upgrade failed: no", "{event}");
    }
}

#[test]
fn an_upgrade_by_directive_of_a_dead_vat_halts() {
    let (mut w, line) = upgradable();
    w.terminate("b");
    w.order(&line);
    assert_eq!(w.halts().why.unwrap(), "v2 is dead");
}

// ---- replace-kernel

#[test]
fn another_kernel_holds_from_the_first_crank_of_its_block_on() {
    // How much garbage version 1 leaves in block 1: see `what_loses_its_last_hold_only_while_its_crank_collects_…`.
    let garbage = |orders: &str| {
        let mut w = World::new("a");
        w.on("a.go", "resolve p+1=[o+1] p+2=[o+2,p+1]");
        w.block = Some(w.block.take().unwrap().commit(false).unwrap());
        w.outside(|crank| {
            crank.begin_block(BlockHeight(1), 5)?;
            Ok(())
        });
        w.order(orders);
        w.call("a.go");
        w.run();
        (w.stray_promises(), w.tables().globals().kernel_version, w.obeyed().len())
    };
    assert_eq!(garbage(""), (1, 1, 0));
    assert_eq!(garbage("block-1: replace-kernel 2"), (0, 2, 1));
    assert_eq!(garbage("block-1: replace-kernel 1"), (1, 1, 1));
    assert_eq!(garbage("block-2: replace-kernel 2"), (1, 1, 0));
}

#[test]
fn a_kernel_that_this_binary_lacks_halts() {
    let mut w = World::new("a");
    w.block = Some(w.block.take().unwrap().commit(false).unwrap());
    w.outside(|crank| {
        crank.begin_block(BlockHeight(1), 5)?;
        Ok(())
    });
    w.order("block-1: replace-kernel 99");
    w.call("a.go");
    assert_eq!(w.halts().why.unwrap(), format!("this binary can run {}", kernel_version::known()));
}

// ---- when

#[test]
fn a_delivery_is_named_by_its_number_and_no_other_is_meant() {
    let plain = {
        let mut w = five();
        w.run();
        w.hash()
    };
    // Its startVat, which is past, and one that never comes.
    for number in [0, 6] {
        let mut w = five();
        w.order(&format!("v2/delivery-{number}: skip"));
        w.run();
        assert_eq!(w.hash(), plain, "{number}");
    }
    for number in 1..=5 {
        let mut w = five();
        w.order(&format!("v2/delivery-{number}: skip"));
        let told = w.run();
        let missing: Vec<_> = (0..5).filter(|n| !told.contains(&format!("m{n}("))).collect();
        assert_eq!((missing, w.skipped("b")), (vec![number - 1], vec![number]));
    }
}

#[test]
fn a_crank_is_named_by_its_number_and_no_other_is_meant() {
    let straight = {
        let mut w = five();
        w.run();
        w.hash()
    };
    let first = five().next_crank();
    for crank in [first - 1, first + 5] {
        let mut w = five();
        w.order(&format!("crank-{crank}: skip"));
        w.run();
        assert_eq!(w.hash(), straight, "{crank}");
    }
    for n in 0..5 {
        let mut w = five();
        w.order(&format!("crank-{}: skip", first + n));
        let told = w.run();
        let missing: Vec<_> = (0..5).filter(|n| !told.contains(&format!("m{n}("))).collect();
        assert_eq!(missing, [n]);
    }
}

#[test]
fn the_numbers_count_what_was_skipped_and_what_was_not() {
    let mut w = five();
    w.order("v2/delivery-1: skip\nv2/delivery-2: skip\nv2/delivery-5: skip");
    w.check(expect![[r#"
        b: o+0.m2()->p-60
        b: o+0.m3()->p-61"#]]);
    assert_eq!(w.skipped("b"), [1, 2, 5]);
}

#[test]
fn what_is_outside_consensus_changes_no_hash() {
    let straight = five().hashes();
    let state = {
        let mut w = five();
        w.step();
        w.hash()
    };
    let mut pending = String::new();
    (0..1_000).for_each(|n| pending += &format!("crank-{}: skip\nv9/delivery-{n}: terminate\n", 1_000_000 + n));
    for orders in [
        "crank+0: break\ncrank+4: break".to_owned(),
        "v2/delivery-3: break".to_owned(),
        format!("expect state {state} before crank+1"),
        "crank+5: halt".to_owned(),
        pending,
    ] {
        let mut w = five();
        w.order(&orders);
        assert_eq!(w.hashes(), straight, "{}", orders.lines().next().unwrap());
    }
}

#[test]
fn a_break_is_told_to_the_recorder_and_leaves_no_row() {
    let mut w = five();
    w.order("crank+1: break\nv2/delivery-4: break");
    w.run();
    assert_eq!((w.obeyed().len(), w.tables().applied.iter().count()), (2, 0));
}

#[test]
fn a_directive_asks_nothing_of_a_crank_that_another_one_holds_back() {
    // The delivery is held, so it takes no number, and the line waits for it.
    let mut w = five();
    w.order("crank+0: pause\nv2/delivery-2: skip\ncrank+4: resume v2");
    let told = w.run();
    assert_eq!((w.skipped("b"), told.contains("m1(")), (vec![2], false), "{told}");
}

#[test]
fn what_is_in_consensus_changes_the_hash_of_that_very_crank() {
    let straight = five().hashes();
    for action in ["skip", "pause v1", "resume v1", "terminate v1", "pause", "terminate"] {
        for n in 0..5 {
            let mut w = five();
            w.order(&format!("crank+{n}: {action}"));
            let hashes = w.hashes();
            assert_eq!(hashes[..n], straight[..n], "{action} at {n}");
            assert!(hashes[n..].iter().zip(&straight[n..]).all(|(it, other)| it != other), "{action} at {n}");
        }
    }
}

#[test]
fn equal_orders_give_equal_hashes_and_another_reason_another() {
    let run = |line: &str| {
        let mut w = five();
        w.order(line);
        w.hashes()
    };
    assert_eq!(run("crank+2: terminate v1"), run("crank+2: terminate v1"));
    assert_ne!(run("crank+2: pause v1"), run("crank+2: pause v1 reason \"why\""));
}

#[test]
fn several_at_one_crank_are_obeyed_in_the_documented_order() {
    let mut w = World::new("a b c d");
    w.outside(|crank| {
        crank.name_bundle("code", BundleId::of(b"code"));
        Ok(())
    });
    let (state, code) = (w.hash(), BundleId::of(b"code").to_string());
    w.call("b.hi");
    let state_now = w.hash();
    assert_ne!(state, state_now);
    w.order(&format!(
        "crank+0: skip\ncrank+0: terminate v3\ncrank+0: pause v1\ncrank+0: upgrade v4 bundle {code}\ncrank+0: break\n\
         expect state {state_now} before crank+0"
    ));
    w.run();
    let verbs: Vec<String> = w.obeyed().iter().map(|it| verb(it)).collect();
    assert_eq!(verbs, ["expect", "break", "upgrade", "pause", "terminate", "skip"]);
}

/// The verb of a line.
fn verb(line: &str) -> String {
    let rest = line.split_once(": ").map_or(line, |it| it.1);
    rest.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_fault_in_the_same_crank_does_not_undo_what_was_ordered() {
    for on_fault in [OnFault::Terminate, OnFault::Pause, OnFault::Reject] {
        let mut w = World::of([("a", plain()), ("b", Options { on_fault, ..plain() })]);
        w.on("b.hi", "set k v; trap boom");
        w.call("b.hi");
        w.order("crank+0: pause v1");
        w.run();
        assert!(w.tables().is_paused(w.vat("a")), "{on_fault:?}");
        assert_eq!(w.stored("b"), [], "{on_fault:?}");
        assert_eq!(w.tables().applied.iter().count(), 1, "{on_fault:?}");
    }
}

#[test]
fn a_record_says_where_and_by_which_file_it_was_obeyed() {
    let mut w = five();
    let next = w.next_crank();
    w.order("crank+2: skip v2 # a comment\n\nv2/delivery-5: pause");
    let digest = w.block().directives().digest();
    w.run();
    let records: Vec<_> = w.tables().applied.iter().map(|(_, it)| it.clone()).collect();
    let told: Vec<_> = records.iter().map(|it| (it.crank.0, &*it.text, it.digest)).collect();
    let skip = format!("crank-{}: skip v2", next + 2);
    assert_eq!(told, [(next + 2, &*skip, digest), (next + 4, "v2/delivery-5: pause", digest)]);
}
