//! Devices: what they answer, when they speak, what they hold, and what leaves by them.

use expect_test::{Expect, expect};
use serde_json::json;
use vathost::{
    model::{
        id::{BlockHeight, KRef, VRef},
        limits,
        value::{Answer, CapData, Syscall},
    },
    state::{
        block::Printed,
        table::{DeviceRow, Outgoing},
    },
};

use super::World;

/// Vats that know the device as `d-70`.
fn with(device: DeviceRow, names: &str) -> World {
    let mut w = World::new(names);
    let id = w.outside(|crank| Ok(crank.add_device(device)));
    for name in names.split(' ') {
        w.call(&format!("{name}.meet({id})"));
    }
    w.run();
    w
}

fn timer(names: &str) -> World {
    with(DeviceRow::Timer, names)
}

fn mailbox(names: &str) -> World {
    with(DeviceRow::named("mailbox").unwrap(), names)
}

fn block(w: &mut World, height: u64, time: u64) {
    w.outside(|crank| crank.begin_block(BlockHeight(height), time));
}

#[track_caller]
fn outbox(w: &World, expect: Expect) {
    let rows = w.tables().outbox.iter().map(|(number, it)| format!("{number} {}", it.as_text().unwrap()));
    expect.assert_eq(&rows.collect::<Vec<_>>().join("\n"));
}

fn state(w: &World) -> String {
    format!("{:?}", w.tables().devices.iter().next().unwrap().1)
}

#[test]
fn the_timer_tells_the_time_of_the_block_and_wakes_in_order_of_time() {
    let mut w = timer("a b");
    block(&mut w, 1, 5);
    w.on(
        "a.go",
        "call d-70 #[\"getLastPolled\",[]]; call d-70 #[\"setWakeup\",[\"+20\",\"$0\"]] o+1; call d-70 #[\"setWakeup\",[20,\"$0\"]] o+2; call d-70 #[\"setWakeup\",[7,\"$0\"]] o+3",
    );
    w.call("a.go");
    w.check(expect![[r##"
        a: o+0.go()->p-61
        a> call d-70 #["getLastPolled",[]] = #"+5"
        a> call d-70 #["setWakeup",["+20","$0"]] o+1 = #"+20"
        a> call d-70 #["setWakeup",[20,"$0"]] o+2 = #"+20"
        a> call d-70 #["setWakeup",[7,"$0"]] o+3 = #"+7""##]]);
    block(&mut w, 2, 6);
    w.check(expect![[""]]);
    block(&mut w, 3, 19);
    w.check(expect![[r#"
        a: o+3.wake()
        a: dropExports o+3
        a: retireExports o+3"#]]);
    block(&mut w, 4, 20);
    w.check(expect![[r#"
        a: o+1.wake()
        a: dropExports o+1
        a: retireExports o+1
        a: o+2.wake()
        a: dropExports o+2
        a: retireExports o+2"#]]);
    assert!(w.tables().wakeups.is_empty());
}

#[test]
fn a_wakeup_of_the_past_comes_with_the_next_block_and_one_that_is_removed_does_not() {
    let mut w = timer("a");
    block(&mut w, 1, 50);
    w.on("a.go", "call d-70 #[\"setWakeup\",[1,\"$0\"]] o+1; call d-70 #[\"setWakeup\",[60,\"$0\"]] o+2; call d-70 #[\"setWakeup\",[70,\"$0\"]] o+2");
    w.on("a.stop", "call d-70 #[\"removeWakeup\",[\"$0\"]] o+2; call d-70 #[\"removeWakeup\",[\"$0\"]] o+2");
    w.call("a.go");
    w.run();
    w.call("a.stop");
    w.check(expect![[r##"
        a: o+0.stop()->p-62
        a> call d-70 #["removeWakeup",["$0"]] o+2 = #["+60","+70"]
        a> call d-70 #["removeWakeup",["$0"]] o+2 = #[]
        a: dropExports o+2
        a: retireExports o+2"##]]);
    block(&mut w, 2, 100);
    w.check(expect![[r#"
        a: o+1.wake()
        a: dropExports o+1
        a: retireExports o+1"#]]);
}

#[test]
fn a_wakeup_holds_its_handler_for_another_vat_too_and_outlives_who_asked() {
    let mut w = timer("a b");
    w.on("b.give", "send o-50 take(o+1)");
    w.on("a.take", "call d-70 #[\"setWakeup\",[10,\"$0\"]] o-50; drop o-50; retire-imports o-50");
    w.call("b.give(a)");
    w.run();
    let handler = w.object("b", "o+1");
    assert_eq!(w.counts(handler), Some((1, 1)));
    w.on("a.end", "exit bye");
    w.call("a.end");
    w.run();
    block(&mut w, 1, 10);
    w.check(expect![[r#"
        b: o+1.wake()
        b: dropExports o+1
        b: retireExports o+1"#]]);
}

#[test]
fn a_wakeup_whose_handler_died_wakes_nobody() {
    let mut w = timer("a");
    w.on("a.go", "call d-70 #[\"setWakeup\",[10,\"$0\"]] o+1; exit bye");
    w.call("a.go");
    w.run();
    block(&mut w, 1, 10);
    w.check(expect![[""]]);
    assert!(w.tables().wakeups.is_empty());
}

#[test]
fn what_a_device_was_asked_is_undone_with_its_crank() {
    let mut w = timer("a b");
    w.on("a.go", "call d-70 #[\"setWakeup\",[10,\"$0\"]] o+1; trap oops");
    w.call("a.go");
    w.run();
    assert!(w.tables().wakeups.is_empty());
    assert!(w.tables().devices.iter().count() == 1);
}

#[test]
fn a_device_refuses_what_it_does_not_understand_and_the_vat_goes_on() {
    let mut w = timer("a");
    w.on(
        "a.go",
        "call d-70 #[\"fly\",[]]; call d-70 nonsense; call d-70 #[\"setWakeup\",[-1,\"$0\"]] o+1; call d-70 #[\"setWakeup\",[1,\"$0\"]] p+5; call d-70 #[\"setWakeup\",[1]]; set k v; get k",
    );
    w.call("a.go");
    w.check(expect![[r##"
        a: o+0.go()->p-61
        a> call d-70 #["fly",[]] ! #{"#error":"device timer has no method fly","name":"Error"}
        a> call d-70 nonsense ! #{"#error":"the message is not smallcaps","name":"Error"}
        a> call d-70 #["setWakeup",[-1,"$0"]] o+1 ! #{"#error":"argument 0 must be a whole number","name":"Error"}
        a> call d-70 #["setWakeup",[1,"$0"]] p+5 ! #{"#error":"argument 1 must be an object","name":"Error"}
        a> call d-70 #["setWakeup",[1]] ! #{"#error":"argument 1 must be an object","name":"Error"}
        a> get k = "v""##]]);
}

#[test]
fn a_device_that_a_vat_was_not_given_is_a_fault_as_is_a_message_to_one() {
    for (script, why) in [
        ("call d-71 #[\"getLastPolled\",[]]", "d-71 is not in the c-list"),
        ("call d+70 #[\"getLastPolled\",[]]", "d+70: a vat has no devices of its own"),
        ("call o-50 #[\"getLastPolled\",[]]", "o-50 is not a device"),
        ("send d-70 hi()", "d-70 is a device"),
        ("drop d-70", "d-70"),
    ] {
        let mut w = timer("a");
        w.on("a.go", script);
        w.call("a.go");
        let log = w.run();
        assert!(log.contains("faulted: illegal") && log.contains(why), "{script}: {log}");
    }
}

#[test]
fn a_device_passes_from_vat_to_vat() {
    let mut w = timer("a b");
    w.on("a.go", "send o-50 take(d-70)");
    w.on("b.take", "call d-70 #[\"getLastPolled\",[]]");
    w.call("a.go(b)");
    w.check(expect![[r##"
        a: o+0.go(o-50)->p-61
        b: o+0.take(d-70)
        b> call d-70 #["getLastPolled",[]] = #"+0""##]]);
    assert_eq!(w.clist("b").matches("kd30").count(), 1);
}

#[test]
fn mail_comes_in_once_and_in_order_and_only_to_a_handler() {
    let mut w = mailbox("a");
    let receive = |w: &mut World, number| w.outside(|crank| crank.receive_mail(number, &json!({ "say": "+hi" })));
    assert!(!receive(&mut w, 1));
    w.on("a.go", "call d-70 #[\"registerInboundHandler\",[\"$0\"]] o+1");
    w.call("a.go");
    w.run();
    assert!(!receive(&mut w, 2));
    assert!(receive(&mut w, 1));
    assert!(!receive(&mut w, 1));
    assert!(receive(&mut w, 2));
    w.on(
        "a.deliverInbound",
        "call d-70 #[\"ackInbound\",[2]]; call d-70 #[\"ackInbound\",[1]]; call d-70 #[\"ackInbound\",[3]]",
    );
    w.check(expect![[r##"
        a: o+1.deliverInbound()
        a> call d-70 #["ackInbound",[2]] = #"#undefined"
        a> call d-70 #["ackInbound",[1]] = #"#undefined"
        a> call d-70 #["ackInbound",[3]] ! #{"#error":"message 3 has not come in","name":"Error"}
        a: o+1.deliverInbound()"##]]);
    assert_eq!(state(&w), "Mailbox(Mailbox { handler: Some(ko21), received: 2, acknowledged: 2, sent: 0, taken: 0 })");
    let slog = w.slog("crank-start").join("");
    assert!(slog.contains(r#"deliverInbound\",[\"+1\",{\"say\":\"!+hi\"}]"#), "{slog}");
}

#[test]
fn another_handler_takes_over_and_the_first_is_let_go() {
    let mut w = mailbox("a");
    w.on("a.go", "call d-70 #[\"registerInboundHandler\",[\"$0\"]] o+1");
    w.on("a.again", "call d-70 #[\"registerInboundHandler\",[\"$0\"]] o+2");
    w.call("a.go");
    w.call("a.again");
    w.check(expect![[r##"
        a: o+0.go()->p-61
        a> call d-70 #["registerInboundHandler",["$0"]] o+1 = #"#undefined"
        a: o+0.again()->p-62
        a> call d-70 #["registerInboundHandler",["$0"]] o+2 = #"#undefined"
        a: dropExports o+1
        a: retireExports o+1"##]]);
    assert_eq!(w.counts(w.object("a", "o+2")), Some((1, 1)));
}

#[test]
fn mail_goes_out_as_json_and_is_kept_until_it_is_acknowledged() {
    let mut w = mailbox("a");
    w.on(
        "a.go",
        "call d-70 #[\"add\",[{\"a\":[\"+5\",\"!$x\"]}]]; call d-70 #[\"add\",[\"$0\"]] o+1; call d-70 #[\"add\",[]]",
    );
    w.call("a.go");
    w.check(expect![[r##"
        a: o+0.go()->p-61
        a> call d-70 #["add",[{"a":["+5","!$x"]}]] = #"+1"
        a> call d-70 #["add",["$0"]] o+1 ! #{"#error":"only plain data leaves by the mailbox: `$0` is not plain data","name":"Error"}
        a> call d-70 #["add",[]] = #"+2""##]]);
    outbox(
        &w,
        expect![[r#"
        1 {"a":[5,"$x"]}
        2 null"#]],
    );
    w.outside(|crank| {
        crank.acknowledge_mail(1);
        Ok(())
    });
    outbox(&w, expect![["2 null"]]);
    w.outside(|crank| {
        crank.acknowledge_mail(u64::MAX);
        Ok(())
    });
    outbox(&w, expect![[""]]);
    assert_eq!(state(&w), "Mailbox(Mailbox { handler: None, received: 0, acknowledged: 0, sent: 2, taken: 2 })");
}

#[test]
fn the_console_shows_what_was_committed_and_nothing_that_was_undone() {
    let mut w = with(DeviceRow::Console, "a b");
    w.on(
        "a.go",
        "call d-70 #[\"log\",[\"!+x\",[\"+5\"],\"$0\"]] o+1; call d-70 #[\"warn\",[]]; call d-70 #[\"shout\",[\"x\"]]",
    );
    w.on("b.go", "call d-70 #[\"log\",[\"never\"]]; trap oops");
    w.call("a.go");
    w.call("b.go");
    let log = w.run();
    assert!(log.contains("device console has no method shout"), "{log}");
    let vat = w.vat("a");
    let line = |level, text: &str| Printed { vat, level, text: text.to_owned() };
    assert_eq!(w.printed(), [line("log", "+x [5] \"$0\""), line("warn", "")]);
    assert_eq!(w.printed(), []);
}

#[test]
fn there_is_one_device_of_a_kind() {
    let mut w = timer("a");
    let again = w.outside(|crank| Ok([crank.add_device(DeviceRow::Timer), crank.add_device(DeviceRow::Console)]));
    assert_eq!(again.map(|it| KRef::from(it).to_string()), ["kd30", "kd31"]);
}

/// Calls the device as a vat would, so often, from one delivery; the answers.
fn calls(w: &mut World, name: &str, bodies: Vec<String>) -> Vec<String> {
    let answers = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let seen = answers.clone();
    w.on_code(&format!("{name}.go"), move |syscalls| {
        for body in bodies {
            let slots = vec![VRef::ROOT];
            let device = "d-70".parse().unwrap();
            let answer = syscalls.call(Syscall::CallNow { device, methargs: CapData { body: body.into(), slots } })?;
            let Answer::Device(told) = answer else { panic!("{answer:?}") };
            let (Ok(told) | Err(told)) = told;
            seen.lock().unwrap().push(told.as_text().unwrap().to_owned());
        }
        Ok(())
    });
    w.call(&format!("{name}.go"));
    w.run();
    let answers = answers.lock().unwrap();
    answers.clone()
}

fn wakeup(at: u64) -> String {
    format!("#[\"setWakeup\",[\"+{at}\",\"$0\"]]")
}

#[test]
fn a_wakeup_lies_within_the_horizon_and_time_stands_still_at_its_end() {
    for now in [0, 1_000, u64::MAX - 1, u64::MAX] {
        let mut w = timer("a");
        block(&mut w, 1, now);
        let last = now.saturating_add(limits::WAKEUP_HORIZON);
        let answers = calls(&mut w, "a", vec![wakeup(last), wakeup(last.saturating_add(1)), wakeup(u64::MAX)]);
        let given = format!("#\"+{last}\"");
        assert_eq!(answers[0], given);
        if last < u64::MAX {
            assert!(answers[1].contains(&format!("at most {} seconds ahead: it is {now} now", limits::WAKEUP_HORIZON)));
        }
        assert_eq!(answers[2] == given, last == u64::MAX, "{now}: {answers:?}");
        // Nothing else is to do: the clock goes there, and no further than it can.
        let opened = vathost::kernel::begin_block(w.block.take().unwrap().commit(false).unwrap(), 5).unwrap();
        assert_eq!(opened.tables().globals().time, last.max(now.saturating_add(5)));
        w.block = Some(opened);
        assert!(w.run().contains("a: o+0.wake()"));
    }
}

#[test]
fn a_vat_waits_for_so_many_wakeups_and_takes_none_from_another() {
    let mut w = timer("a b");
    let many = usize::try_from(limits::WAKEUPS_MAX).unwrap();
    let answers = calls(&mut w, "a", (0..=many).map(|it| wakeup(it as u64 % 7 + 1)).collect());
    assert!(answers[..many].iter().all(|it| it.starts_with("#\"+")));
    assert!(
        answers[many].contains("4096 wakeups are still to come, and a vat may wait for no more"),
        "{}",
        answers[many]
    );
    assert_eq!(calls(&mut w, "b", vec![wakeup(3)]), ["#\"+3\""]);
    assert_eq!(w.tables().wakeups.asked_by(w.vat("a")), limits::WAKEUPS_MAX);
    // What was waited for, or is no longer, makes room.
    block(&mut w, 1, 1);
    w.run();
    assert!(w.tables().wakeups.asked_by(w.vat("a")) < limits::WAKEUPS_MAX);
    assert_eq!(calls(&mut w, "a", vec![wakeup(9)]), ["#\"+9\""]);
    calls(&mut w, "a", vec!["#[\"removeWakeup\",[\"$0\"]]".to_owned()]);
    assert_eq!((w.tables().wakeups.asked_by(w.vat("a")), w.tables().wakeups.len()), (0, 1));
}

#[test]
fn what_nobody_acknowledges_fills_the_outbox_and_no_more() {
    let fill = |add: String, times: usize| {
        let mut w = mailbox("a");
        let answers = calls(&mut w, "a", (0..times).map(|_| add.clone()).collect());
        (w, answers)
    };
    let text = "x".repeat(1 << (20 - 6));
    let (mut w, _) = fill("#[\"add\",[1]]".to_owned(), 3);
    for (sent, answer) in [(3, "#\"+4\""), (4, "#\"+5\"")] {
        assert_eq!(calls(&mut w, "a", vec!["#[\"add\",[2]]".to_owned()]), [answer]);
        assert_eq!(w.tables().outbox.len(), sent + 1);
    }
    let big = format!("#[\"add\",[\"{text}\"]]");
    let fits = usize::try_from(limits::OUTBOX_BYTES_MAX).unwrap() / (text.len() + 2);
    let mut w = mailbox("a");
    let mut answers = vec![];
    while answers.len() <= fits {
        answers.extend(calls(&mut w, "a", vec![big.clone(); 1_000.min(fits + 1 - answers.len())]));
    }
    assert!(
        answers[..fits].iter().all(|it| it.starts_with("#\"+")),
        "{:?}",
        answers.iter().position(|it| it.contains("error"))
    );
    assert!(answers[fits].contains("the outbox is full"), "{}", answers[fits]);
    assert!(w.tables().outbox.bytes() <= limits::OUTBOX_BYTES_MAX);
    w.outside(|crank| {
        crank.acknowledge_mail(1);
        Ok(())
    });
    assert_eq!(calls(&mut w, "a", vec![big]), [format!("#\"+{}\"", fits + 1)]);
}

#[test]
fn mail_that_is_refused_counts_and_is_answered_so() {
    let mut w = mailbox("a");
    assert!(!w.outside(|crank| Ok(crank.refuse_mail(1, "why"))), "nobody is there");
    w.on("a.go", "call d-70 #[\"registerInboundHandler\",[\"$0\"]] o+1; call d-70 #[\"add\",[\"!!1forged\"]]");
    w.call("a.go");
    w.run();
    let long = "x".repeat(limits::BODY_BYTES_MAX as usize);
    assert!(!w.outside(|crank| Ok(crank.refuse_mail(2, "not the next"))));
    assert!(w.outside(|crank| Ok(crank.refuse_mail(1, "it is not UTF-8 from byte 1 on"))));
    assert!(w.outside(|crank| crank.receive_mail(2, &json!(long))));
    assert!(w.outside(|crank| crank.receive_mail(3, &json!("ok"))));
    w.check(expect!["a: o+1.deliverInbound()"]);
    let said: Vec<_> = w.tables().outbox.iter().map(|(number, row)| (*number, Outgoing::of(row))).collect();
    let why = "it is 1048605 bytes long for a vat, which is given 1048576 at the most";
    assert_eq!(
        said,
        [
            (1, Outgoing::Message("\"!1forged\"")),
            (2, Outgoing::Refused { number: 1, why: "it is not UTF-8 from byte 1 on" }),
            (3, Outgoing::Refused { number: 2, why }),
        ]
    );
}

#[test]
fn nobody_is_given_mail_whose_handler_is_gone() {
    for end in ["exit bye", "abandon o+1"] {
        let mut w = mailbox("a");
        w.on("a.go", "call d-70 #[\"registerInboundHandler\",[\"$0\"]] o+1");
        w.call("a.go");
        w.run();
        assert!(w.outside(|crank| crank.receive_mail(1, &json!(1))), "{end}");
        w.on("a.end", end);
        w.call("a.end");
        w.run();
        assert!(!w.outside(|crank| crank.receive_mail(2, &json!(1))), "{end}");
        assert!(!w.outside(|crank| Ok(crank.refuse_mail(2, "why"))), "{end}");
        assert!(state(&w).contains("received: 1,"), "{end}: {}", state(&w));
    }
}
