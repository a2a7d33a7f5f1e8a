//! What comes of directives that have no effect or cannot have any, and of skips of rare kinds.

use super::{super::pipelining, *};

#[test]
fn a_bundle_that_the_state_does_not_hold_is_the_hosts_fault_and_named() {
    let mut w = asked();
    w.order("crank+0: upgrade v2 bundle 01234567");
    let halt = w.try_step().unwrap_err();
    let Fault::Host(fault) = halt.fault else { panic!("{halt}") };
    let said = fault.to_string();
    assert!(said.contains("begins with 01234567") && said.contains("--bundle FILE.wasm"), "{said}");
    assert_eq!(w.log(), "");
}

#[test]
fn what_has_no_effect_says_so() {
    let mut w = five();
    w.order("crank+0: pause v1\ncrank+1: pause v1\ncrank+2: resume v2\ncrank+3: terminate v1\ncrank+4: pause v1");
    w.run();
    let statuses = w.slog("directive").into_iter().map(|it| {
        let event: serde_json::Value = serde_json::from_str(&it).unwrap();
        format!("{}: {}", event["action"].as_str().unwrap(), event["status"].as_str().unwrap())
    });
    expect![[r#"
        pause: applied
        pause: no effect: already paused
        resume: no effect: not paused
        terminate: applied
        pause: no effect: already dead
    "#]]
    .assert_eq(&(statuses.collect::<Vec<_>>().join("\n") + "\n"));
    let rows: Vec<_> = w.tables().applied.iter().map(|(_, it)| it.effect.status()).collect();
    assert_eq!(rows.len(), 5);
}

#[test]
fn a_skipped_send_to_a_pipelining_vat_rejects_its_result() {
    let run = |order: &str| {
        let mut w = World::of([("a", plain()), ("b", pipelining())]);
        w.on("a.go", "send o-50 one()->p+1; send p+1 two(o+1)->p+2; subscribe p+2");
        w.call("a.go(b)");
        w.step();
        w.log();
        w.order(order);
        let told = w.run();
        (told, w.skipped("b"), w.stray_promises())
    };
    let (told, skipped, strays) = run("v2/delivery-2: skip");
    assert_eq!(skipped, [2]);
    expect![[r#"
        b: o+0.one()->p-60
        a: dropExports o+1
        a: retireExports o+1
        a: notify p+2!Error(delivery skipped by directive)"#]]
    .assert_eq(&told);
    let (plain, none, strays_of_plain) = run("");
    assert!(none.is_empty() && plain.contains(".two"), "{plain}");
    // The message held its target, its result and nothing else: all that is left is what `b` still decides.
    assert!(strays < strays_of_plain, "{strays} {strays_of_plain}");
}

#[test]
fn a_skipped_change_of_options_is_not_told_to_the_vat() {
    let changing = || {
        let mut w = upgrading();
        // Instead of the upgrade that is queued.
        w.run();
        w.on_code("a.change", |syscalls| {
            let body = r##"#["changeOptions",[{"reapInterval":3}]]"##;
            let methargs = CapData { body: Bytes::from(body), slots: vec![] };
            let message = Message { methargs, result: Some(vref("p+3")) };
            syscalls.call(Syscall::Send { target: vref("o-52"), message })?;
            syscalls.call(Syscall::Subscribe(vref("p+3"))).map(drop)
        });
        w.call("a.change");
        w
    };
    let told = changing().run();
    assert!(told.contains("changeOptions"), "{told}");
    let mut w = changing();
    let next = w.tables().tallies.get(&"v2".parse().unwrap()).unwrap().deliveries;
    w.order(&format!("v2/delivery-{next}: skip"));
    let told = w.run();
    assert!(!told.contains("changeOptions"), "{told}");
    assert_eq!(w.obeyed(), [format!("v2/delivery-{next}: skip")]);
    let entries = w.block().transcript("v2".parse().unwrap(), DeliveryNum(next)).unwrap().map(|it| it.unwrap().end);
    assert_eq!(entries.collect::<Vec<_>>(), [End::Skipped]);
    assert_eq!(w.stray_promises(), 0);
}
