//! What caused what.

use super::*;
use vathost::inspect::recording::{Subject, trace};

fn traced(path: &Path, subject: &str) -> vathost::inspect::recording::Trace {
    let subject = match subject.parse() {
        Ok(crank) => Subject::Crank(crank),
        Err(_) => Subject::Reference(subject.to_owned()),
    };
    trace(path, &subject, 1_000, Indexing::default()).unwrap().unwrap()
}

fn cranks(trace: &vathost::inspect::recording::Trace) -> Vec<u64> {
    trace.steps.iter().map(|it| it.place.crank).collect()
}

#[test]
fn a_promise_is_followed_from_the_message_outside_to_whom_was_told() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog.zst");
    lab.check(
        "slog trace kp41 a.slog.zst",
        expect![[r#"
            kp41
              crank 2: introduced by v1 (alice)
              crank 2, syscall 0: made, as the result of a message, by v1 (alice)
              crank 3: introduced to v2 (bob)
              crank 3: its message delivered to v2 (bob)
              crank 3, syscall 0: fulfilled by v2 (bob)
              crank 3: not known any more to v2 (bob)
              crank 4: not known any more to v1 (alice)
              crank 4: told to v1 (alice)

            from outside, or from before the recording
            crank 2, v1 (alice) delivery 1: message ko20 ask(<bob ko21>) result kp40
              syscall 0: send ko21 hello() result kp41
              syscall 1: subscribe kp41
            crank 3, v2 (bob) delivery 1: message ko21 hello() result kp41
              syscall 0: resolve [kp41 fulfilled "done"]
            crank 4, v1 (alice) delivery 2: notify [kp41 fulfilled "done"]
        "#]],
    );
}

#[test]
fn the_message_from_outside_is_a_promises_own_beginning() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog");
    lab.check(
        "slog trace kp40 a.slog",
        expect![[r#"
            kp40
              crank 2: introduced to v1 (alice)
              crank 2: its message delivered to v1 (alice)
              crank 2, syscall 2: fulfilled by v1 (alice)
              crank 2: not known any more to v1 (alice)

            from outside, or from before the recording
            crank 2, v1 (alice) delivery 1: message ko20 ask(<bob ko21>) result kp40
              syscall 0: send ko21 hello() result kp41
              syscall 2: resolve [kp40 fulfilled "done"]
            crank 3, v2 (bob) delivery 1: message ko21 hello() result kp41
              syscall 0: resolve [kp41 fulfilled "done"]
            crank 4, v1 (alice) delivery 2: notify [kp41 fulfilled "done"]
        "#]],
    );
}

#[test]
fn a_crank_has_its_causes_above_it_and_all_that_it_led_to_below() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    let path = lab.record("a.slog");
    // 0 and 1 start the vats, 2 asks, 3 is asked, 4 is told: each is one of the chain, from wherever it is seen.
    for crank in ["2", "3", "4"] {
        assert_eq!(cranks(&traced(&path, crank)), [2, 3, 4], "{crank}");
    }
    assert_eq!(cranks(&traced(&path, "0")), [0]);
    lab.check(
        "slog trace --crank 3 a.slog",
        expect![[r#"
            from outside, or from before the recording
            crank 2, v1 (alice) delivery 1: message ko20 ask(<bob ko21>) result kp40
              syscall 0: send ko21 hello() result kp41
            crank 3, v2 (bob) delivery 1: message ko21 hello() result kp41
              syscall 0: resolve [kp41 fulfilled "done"]
            crank 4, v1 (alice) delivery 2: notify [kp41 fulfilled "done"]
        "#]],
    );
}

#[test]
fn an_object_is_known_by_who_made_it_who_got_it_and_who_called_it() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog");
    lab.check(
        "slog trace ko21 a.slog",
        expect![[r#"
            ko21
              crank 2: introduced to v1 (alice)
              crank 2, syscall 0: sent a message by v1 (alice)
              crank 3: a message to it delivered to v2 (bob)

            from outside, or from before the recording
            crank 2, v1 (alice) delivery 1: message ko20 ask(<bob ko21>) result kp40
              syscall 0: send ko21 hello() result kp41
            crank 3, v2 (bob) delivery 1: message ko21 hello() result kp41
        "#]],
    );
}

#[test]
fn what_the_kernel_settles_is_tied_to_the_crank_in_which_it_did() {
    // Carol keeps what alice waits for, and dies of what alice sends her then: both promises are rejected by the kernel.
    let lab = Lab::new("alice carol", "alice wait @carol, alice poke @carol");
    let path = lab.record("a.slog");
    lab.check("slog trace kp42 a.slog", expect![[r##"
        kp42
          crank 2: introduced by v1 (alice)
          crank 2, syscall 0: made, as the result of a message, by v1 (alice)
          crank 4: introduced to v2 (carol)
          crank 4: its message delivered to v2 (carol)
          crank 6: not known any more to v2 (carol)
          crank 8: not known any more to v1 (alice)
          crank 8: told to v1 (alice)

        from outside, or from before the recording
        crank 2, v1 (alice) delivery 1: message ko20 wait(<carol ko21>) result kp40
          syscall 0: send ko21 keep() result kp42
          syscall 1: subscribe kp42
        crank 4, v2 (carol) delivery 1: message ko21 keep() result kp42
        from outside, or from before the recording
        crank 3, v1 (alice) delivery 2: message ko20 poke(<carol ko21>) result kp41
          syscall 0: send ko21 trap() result kp43
            crank 5, v2 (carol) delivery 2: message ko21 trap() result kp43; failed: trap: wasm trap: wasm `unreachable` instruction executed; v2 ended; all of it was undone
              by the kernel
            crank 8, v1 (alice) delivery 3: notify [kp42 rejected Error: vat terminated]
            crank 7, no delivery: {"msg":{"methargs":{"body":"#[\"trap\",[]]","slots":[]},"result":"kp43"},"target":"ko21","type":"send"}
    "##]]);
    lab.check("slog trace kp43 a.slog", expect![[r##"
        kp43
          crank 3: introduced by v1 (alice)
          crank 3, syscall 0: made, as the result of a message, by v1 (alice)
          crank 5: introduced to v2 (carol)
          crank 5: its message delivered to v2 (carol)
          crank 9: not known any more to v1 (alice)
          crank 9: told to v1 (alice)

        from outside, or from before the recording
        crank 3, v1 (alice) delivery 2: message ko20 poke(<carol ko21>) result kp41
          syscall 0: send ko21 trap() result kp43
            crank 5, v2 (carol) delivery 2: message ko21 trap() result kp43; failed: trap: wasm trap: wasm `unreachable` instruction executed; v2 ended; all of it was undone
              by the kernel
            crank 6, v2 (carol), no delivery: {"type":"cleanup-terminated-vat","vatID":"v2"}
            crank 7, no delivery: {"msg":{"methargs":{"body":"#[\"trap\",[]]","slots":[]},"result":"kp43"},"target":"ko21","type":"send"}
              by the kernel
            crank 9, v1 (alice) delivery 4: notify [kp43 rejected Error: vat terminated]
          syscall 1: subscribe kp43
    "##]]);
    let all = traced(&path, "kp42");
    let told = all.facts.iter().find(|it| it.what == vathost::inspect::recording::What::Told).unwrap();
    let dies = all.steps.iter().find(|it| it.undone).unwrap();
    assert_eq!(dies.terminated, ["v2"]);
    let step = all.steps.iter().find(|it| it.place.crank == told.place.crank).unwrap();
    assert_eq!(step.cause, Some(vathost::inspect::recording::StepCause { crank: dies.place.crank, syscall: None }));
}

#[test]
fn what_was_lost_with_a_host_is_not_traced() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    let path = lab.record("a.slog");
    let once = traced(&path, "kp41");
    // As if no block of the first time was committed, and its end was never written.
    let text = fs::read_to_string(&path).unwrap();
    let cut = text.find("\"crankNum\":3,").unwrap();
    fs::write(&path, text[..text[..cut].rfind('\n').unwrap() + 1].to_owned() + &text).unwrap();
    let twice = traced(&path, "kp41");
    assert_eq!((cranks(&once), once.facts.len()), (cranks(&twice), twice.facts.len()));
}

#[test]
fn a_chain_is_the_same_from_whichever_of_its_cranks_it_is_seen() {
    let lab = Lab::busy();
    let run = lab.vathost(&format!("run {}/vats/bank --slog bank.slog -q", env!("CARGO_MANIFEST_DIR")));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let path = lab.path("bank.slog");
    let all = events(&path);
    let last = all.iter().rev().find(|it| is(it, "crank-start")).unwrap()["crankNum"].as_u64().unwrap();
    let mut seen = 0;
    for crank in 0..=last {
        let trace = traced(&path, &crank.to_string());
        // One root; every other step stands behind its cause, which did what is said.
        let roots: Vec<_> = trace.steps.iter().filter(|it| it.cause.is_none()).collect();
        assert_eq!(roots.len(), 1, "{crank}: {roots:?}");
        assert!(cranks(&trace).contains(&crank));
        for step in &trace.steps {
            let Some(cause) = step.cause else { continue };
            let by = trace.steps.iter().find(|it| it.place.crank == cause.crank).unwrap();
            assert!(cause.crank < step.place.crank);
            assert!(cause.syscall.is_none_or(|it| by.acts.iter().any(|act| act.number == it)), "{step:?}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn more_than_was_asked_for_is_said_to_be_there() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog");
    let text = lab.vathost("slog trace --crank 2 a.slog --limit 1").stdout;
    assert!(text.contains("crank 3") && !text.contains("crank 4") && text.contains("--limit 1 is reached"), "{text}");
}

#[test]
fn what_cannot_be_traced_is_refused() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog");
    let said = ["kp999 a.slog", "--crank 999 a.slog", "alice a.slog", "a.slog", "kp41 --crank 1 a.slog"].map(|it| {
        let output = lab.vathost(&format!("slog trace {it}"));
        format!("{:?} {}{}", output.code, output.stdout, output.stderr)
    });
    expect![[r#"
        Some(1) kp999 does not occur: the file has cranks 0 to 4
        Some(1) crank 999 is not recorded: the file has cranks 0 to 4
        Some(2) error: `alice` is no promise and no object: `alice` is not a kernel reference like `ko20`, `kp41` or `kd30`
        hint: the kernel's names are like kp41 (a promise) and ko20 (an object); a crank is crank-60
        Some(2) error: name what to trace, and the recording
        hint: as in `slog trace kp41 FILE`, or `slog trace --crank 12 FILE`
        Some(2) error: name what to trace, and the recording
        hint: as in `slog trace kp41 FILE`, or `slog trace --crank 12 FILE`
    "#]].assert_eq(&said.concat());
}

#[test]
fn a_recording_without_syscalls_ties_nothing() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.run(Slog::new(Detail::Deliveries, Writer::append(&lab.path("a.slog")).unwrap()));
    let output = lab.vathost("slog trace --crank 3 a.slog");
    assert_eq!(output.code, Some(0));
    assert!(output.stdout.contains("no syscall is recorded"), "{}", output.stdout);
}
