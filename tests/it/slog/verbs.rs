//! What the verbs say.

use super::reading::cut;
use super::*;

#[test]
fn summary_sums_up_vat_by_vat() {
    let lab = Lab::busy();
    lab.record("a.slog.zst");
    let sums = vathost::inspect::recording::summary(Reader::open(&lab.path("a.slog.zst")).unwrap()).unwrap();
    let report: Value = serde_json::from_str(&lab.vathost("run . --json").stdout).unwrap();
    for vat in &sums.vats {
        let same = &report["vats"][vat.name.as_ref().unwrap()];
        assert_eq!(same["id"], vat.vat);
        assert_eq!(same["status"], if vat.terminated { "terminated" } else { "running" });
        assert_eq!(same["fuel"], vat.fuel);
        assert_eq!(same["deliveries"], vat.deliveries - vat.failed);
        assert!(
            vat.latency.p50 <= vat.latency.p99 && vat.latency.p99 <= vat.latency.max && vat.latency.max <= vat.seconds
        );
    }
    assert_eq!((sums.cranks, sums.blocks, sums.terminated), (report["cranks"].as_u64().unwrap(), 2, 3));
    let columns = |text: &str| {
        let table = text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>());
        table
            .map(|it| if it.len() > 9 && it[0] != "vat" { it[..4].join(" ") } else { it.join(" ") })
            .collect::<Vec<_>>()
            .join("\n")
    };
    let text = lab.vathost("slog summary a.slog.zst").stdout;
    expect![[r#"
        vat name deliveries failed fuel F p50 p99 max status
        v1 alice 3 0
        v2 bob 3 0
        v3 carol 2 1
        v4 dave 2 1
        v5 erin 2 0

        vat name exit resolve send subscribe vatstoreGet vatstoreSet
        v1 alice 0 1 1 1 0 0
        v2 bob 0 2 0 0 1 1
        v3 carol 0 0 0 0 0 1
        v4 dave 0 0 0 1 0 1
        v5 erin 1 1 0 0 0 0

        2 blocks, 17 cranks,
        5 vats, 3 terminated;
    "#]]
    .assert_eq(&redacted_text(&columns(&text)));
}

#[test]
fn the_json_of_the_verbs_is_one_object() {
    let lab = Lab::busy();
    lab.record("a.slog");
    for verb in ["summary a.slog", "last a.slog", "show a.slog --crank 5", "show a.slog --crank 500"] {
        let output = lab.vathost(&format!("slog {verb} --json")).stdout;
        let value: Value = serde_json::from_str(&output).unwrap();
        assert!(value.is_object(), "{verb}: {value}");
        assert_eq!(output.lines().count(), 1);
    }
    let shown: Value = serde_json::from_str(&lab.vathost("slog show a.slog --crank 5 --json").stdout).unwrap();
    let mut of_crank: Vec<_> = events(&lab.path("a.slog"))
        .into_iter()
        .skip_while(|it| !is(it, "crank-start") || it["crankNum"] != 5)
        .collect();
    of_crank.truncate(of_crank.iter().position(|it| is(it, "crank-finish")).unwrap() + 1);
    assert_eq!(shown["events"], Value::from(of_crank));
}

#[test]
fn a_recording_that_ended_well_has_nothing_under_way() {
    let lab = Lab::busy();
    lab.record("a.slog");
    lab.check(
        "slog last a.slog",
        expect![[r#"
        ended cleanly: block 1 is committed, nothing is under way
    "#]],
    );
}

#[test]
fn last_names_the_delivery_that_never_ended() {
    let lab = Lab::busy();
    let path = lab.record("a.slog");
    let text = fs::read_to_string(&path).unwrap();
    let ends = |kind: &str, vat: &str| {
        let line = text
            .lines()
            .find(|it| {
                it.contains(&format!("\"type\":\"{kind}\"")) && it.contains(vat) && it.contains("deliveryNum\":1")
            })
            .unwrap();
        text.find(line).unwrap() + line.len()
    };
    // In carol's syscall, and in the middle of the event after it.
    cut(&path, ends("syscall", "\"v3\"") as u64 + 40);
    lab.check(
        "slog last a.slog",
        expect![[r#"
            in flight: crank 7 of block 1; block 0 is committed
              vat       v3 (carol)
              delivery  1, message
                        message ko22 trap() result kp42
              syscalls  0 answered
              in        syscall 0, vatstoreSet key key
            last lines of v3 (carol)
              crank 7 info: about to work\u{1b}[31m
            the recording breaks off in the middle of an event
        "#]],
    );
    // After carol's trap, before its consequences.
    fs::write(&path, &text[..ends("deliver-result", "\"v3\"")]).unwrap();
    lab.check(
        "slog last a.slog",
        expect![[r#"
            in flight: crank 7 of block 1; block 0 is committed
              vat       v3 (carol)
              delivery  1, message
                        message ko22 trap() result kp42
              syscalls  1 answered
              outcome   error: trap: wasm trap: wasm `unreachable` instruction executed, but the crank has not ended
            last lines of v3 (carol)
              crank 7 info: about to work\u{1b}[31m
        "#]],
    );
    // Between two cranks.
    let between = text.find("{\"type\":\"crank-start\",\"crankType\":\"delivery\",\"crankNum\":4").unwrap();
    fs::write(&path, &text[..between]).unwrap();
    lab.check(
        "slog last a.slog",
        expect![[r#"
        between cranks of block 1: crank 3 had ended; block 0 is committed
    "#]],
    );
    // And every event that a recording can end with is told apart from a clean end.
    let all: Vec<_> = text.split_inclusive('\n').collect();
    let clean = (0..=all.len()).filter(|count| {
        fs::write(&path, all[..*count].concat()).unwrap();
        vathost::inspect::recording::last(&path, Indexing::default()).unwrap().status == Status::Clean
    });
    let clean: Vec<_> = clean.map(|it| events_of(all[it - 1])).collect();
    assert_eq!(clean, ["host-start", "import-kernel-finish", "commit-finish", "commit-finish"]);
}

fn events_of(line: &str) -> String {
    serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
}

#[test]
fn last_tells_the_epitaph_after_a_kernel_panic() {
    let lab = Lab::new("!alice", "alice trap");
    assert_eq!(lab.vathost("run . --slog a.slog").code, Some(70));
    let text = lab.vathost("slog last a.slog").stdout;
    let stable = text.lines().filter(|it| {
        !["engine", "version", "location", "kernelVersion", "directivesDigest", "messageHash", "stateHash"]
            .iter()
            .any(|name| it.trim_start().starts_with(name))
    });
    expect![[r##"
        kernel panic: crank 1 of block 1; block 0 is committed
          vat       v1 (alice)
          delivery  1, message
                    message ko20 trap() result kp40
          syscalls  1 answered
          outcome   error: trap: wasm trap: wasm `unreachable` instruction executed, but the crank has not ended
        epitaph
          block: 1
          crank: 1
          delivery: 1
          detail: v1 (alice) ended: "#{\"#error\":\"trap: wasm trap: wasm `unreachable` instruction executed\",\"name\":\"Error\"}"
          directives: []
          dispatch: message
          invariant: vat.critical
          method: trap
          run: {"audit":null,"blockTime":5,"cranksPerBlock":1000,"fuelPerBlock":null,"plants":[]}
          syscall: 0
          syscallKind: vatstoreSet
          vatID: v1
        last lines of v1 (alice)
          crank 1 info: about to work\u{1b}[31m
    "##]]
    .assert_eq(&(stable.collect::<Vec<_>>().join("\n") + "\n"));
}

#[test]
fn show_tells_what_a_delivery_came_from_did_and_led_to() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    lab.record("a.slog.zst");
    lab.check(
        "slog show a.slog.zst --vat v1 --delivery 1",
        expect![[r#"
            crank 2 of block 1: delivery 1 to v1 (alice)
            from    outside, or from before the recording
            what    message ko20=o+0 ask(<bob ko21=o-50>) result kp40=p-60
              info: about to work\u{1b}[31m
              0 send ko21=o-50 hello() result kp41=p+5 → ok
                  → crank 3, v2 delivery 1
              1 subscribe kp41=p+5 → ok
              2 resolve [kp40=p-60 fulfilled "done"] → ok
              c-list of v1: import ko21=o-50
              c-list of v1: import kp40=p-60
              c-list of v1: export kp41=p+5
              c-list of v1: drop kp40=p-60
            ok, fuel F T s
        "#]],
    );
    lab.check(
        "slog show a.slog.zst --vat v2 --delivery 1",
        expect![[r#"
            crank 3 of block 1: delivery 1 to v2 (bob)
            from    crank 2, v1 delivery 1, syscall 0, send
            what    message ko21=o+0 hello() result kp41=p-60
              info: about to work\u{1b}[31m
              0 resolve [kp41=p-60 fulfilled "done"] → ok
                  → crank 4, v1 delivery 2
              c-list of v2: import kp41=p-60
              c-list of v2: drop kp41=p-60
            ok, fuel F T s
        "#]],
    );
    lab.check(
        "slog show a.slog.zst --vat v1 --delivery 2",
        expect![[r#"
            crank 4 of block 1: delivery 2 to v1 (alice)
            from    crank 3, v2 delivery 1, syscall 0, resolve
            what    notify [kp41=p+5 fulfilled "done"]
              c-list of v1: drop kp41=p+5
            ok, fuel F T s
        "#]],
    );
}

#[test]
fn show_tells_of_what_was_undone_and_of_cranks_without_deliveries() {
    let lab = Lab::busy();
    lab.record("a.slog");
    lab.check(
        "slog show a.slog --vat v4 --delivery 1",
        expect![[r#"
            crank 10 of block 1: delivery 1 to v4 (dave)
            from    outside, or from before the recording
            what    message ko23=o+0 forge() result kp43=p-60
              info: about to work\u{1b}[31m
              0 vatstoreSet key key → ok
              1 subscribe p-99 → error: illegal syscall subscribe: p-99 is not in the c-list
              terminated v4: Error: syscall translation error: prepare to die
              c-list of v4: import kp43=p-60
            error: illegal syscall subscribe: p-99 is not in the c-list, T s; all of it was undone
        "#]],
    );
    let cleanup =
        events(&lab.path("a.slog")).into_iter().find(|it| it["messageType"] == "cleanup-terminated-vat").unwrap();
    lab.check(
        &format!("slog show a.slog --crank {}", cleanup["crankNum"]),
        expect![[r#"
            crank 8 of block 1: no delivery
            from    the kernel: the vat is terminated
            what    {"type":"cleanup-terminated-vat","vatID":"v3"}
              rows of v3 removed: 1
              c-list of v3: drop ko22=o+0
            done, without a delivery
        "#]],
    );
}

#[test]
fn show_says_what_there_is_when_it_finds_nothing() {
    let lab = Lab::busy();
    lab.record("a.slog");
    let missing = ["--crank 999", "--vat v2 --delivery 999", "--vat v99 --delivery 0"].map(|it| {
        let output = lab.vathost(&format!("slog show a.slog {it}"));
        assert_eq!(output.code, Some(1), "{output:?}");
        output.stdout
    });
    expect![[r#"
        crank 999 is not recorded: the file has cranks 0 to 16
        delivery 999 to v2 is not recorded: of that vat, the file has deliveries 0 to 2
        delivery 0 to v99 is not recorded: of that vat, the file has no deliveries
    "#]]
    .assert_eq(&missing.concat());
    assert_eq!(lab.vathost("slog show a.slog").code, Some(2));
    assert_eq!(lab.vathost("slog show a.slog --vat v2").code, Some(2));
}

#[test]
fn cranks_that_ran_again_are_counted_and_shown_as_such() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    let path = lab.record("a.slog");
    let cranks = events(&path).iter().filter(|it| is(it, "crank-finish")).count() as u64;
    // The same from the beginning: as if no block of the first time was ever committed.
    lab.record("a.slog");
    let sums = vathost::inspect::recording::summary(Reader::open(&path).unwrap()).unwrap();
    assert_eq!((sums.sessions, sums.cranks, sums.cranks_again), (2, 2 * cranks, cranks));
    let shown = lab.vathost("slog show a.slog --crank 2").stdout;
    assert!(shown.contains("recorded 2 times"), "{shown}");
}

#[test]
fn what_a_vat_writes_cannot_move_the_cursor() {
    let lab = Lab::busy();
    lab.record("a.slog");
    let text = lab.vathost("slog show a.slog --vat v1 --delivery 1").stdout;
    assert!(text.contains("about to work\\u{1b}[31m"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}
