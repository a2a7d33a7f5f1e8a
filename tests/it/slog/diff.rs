//! Two recordings compared.

use super::*;
use vathost::inspect::recording::{Ending, Evidence, parting};

/// The recording with each of these replaced.
fn changed(path: &Path, name: &str, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = path.with_file_name(name);
    fs::write(&path, text).unwrap();
    path
}

/// Without the hashes of cranks, as SwingSet's older recordings are.
fn unhashed(path: &Path, name: &str) -> PathBuf {
    let lines = fs::read_to_string(path).unwrap();
    let lines = lines.lines().map(|it| {
        let mut event: Value = serde_json::from_str(it).unwrap();
        event.as_object_mut().unwrap().retain(|name, _| !name.ends_with("hash"));
        event.to_string() + "\n"
    });
    let path = path.with_file_name(name);
    fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

#[test]
fn two_recordings_of_one_run_are_equal_whatever_the_clock_said() {
    let lab = Lab::busy();
    let (a, b) = (lab.record("a.slog"), lab.record("b.slog.zst"));
    assert_eq!(parting(&a, &b).unwrap().end, Ending::Equal);
    assert_eq!(parting(&unhashed(&a, "c.slog"), &b).unwrap().end, Ending::Equal);
    let output = lab.vathost("slog diff a.slog b.slog.zst");
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "equal: 17 cranks from crank 0 on\n"));
}

#[test]
fn the_first_event_that_differs_is_shown_on_both_sides() {
    let (alice, other) = (
        Lab::busy(),
        Lab::new("alice bob carol dave erin", "alice ask @bob, bob bytes, carol exit, dave forge, erin exit"),
    );
    alice.record("a.slog");
    fs::copy(other.record("b.slog"), alice.path("b.slog")).unwrap();
    let output = alice.vathost("slog diff a.slog b.slog");
    assert_eq!(output.code, Some(1));
    let text =
        output.stdout.lines().filter(|it| !it.starts_with("  A ") && !it.starts_with("  B ") || it.contains("line"));
    expect![[r##"
        parted at crank 0; the same before: no crank
        it did the same, but the hash of all before differs: they parted earlier, or between two cranks
        it shows in crank 7
        the hash of what it did differs
        the first event that differs
          A line 76: crank-start {"crankType":"delivery","message":{"msg":{"methargs":{"body":"#[\"trap\",[]]","slots":[]},"result":"kp42"},"target":"ko22","type":"send"},"messageType":"send"}
          B line 76: crank-start {"crankType":"delivery","message":{"msg":{"methargs":{"body":"#[\"exit\",[]]","slots":[]},"result":"kp42"},"target":"ko22","type":"send"},"messageType":"send"}
    "##]]
    .assert_eq(&(text.collect::<Vec<_>>().join("\n") + "\n"));
}

#[test]
fn without_hashes_the_events_decide() {
    let lab = Lab::busy();
    let a = unhashed(&lab.record("whole.slog"), "a.slog");
    changed(&a, "b.slog", &[("\"about to work", "\"about to rest")]);
    lab.vathost("slog diff a.slog a.slog").ok();
    let output = lab.vathost("slog diff a.slog b.slog");
    assert_eq!(output.code, Some(1));
    expect![[r#"
        parted at crank 5; the same before: 5 cranks from crank 0 on
        no hash is recorded in both; its events differ
        the first event that differs
          A line 52: v1 delivery 1 console {"args":["about to work\u001b[31m"],"level":"info","source":"vat"}
          B line 52: v1 delivery 1 console {"args":["about to rest\u001b[31m"],"level":"info","source":"vat"}
    "#]]
    .assert_eq(&output.stdout);
}

#[test]
fn restarts_replays_and_blocks_that_ran_again_are_no_difference() {
    let lab = Lab::busy();
    let run = |name: &str, more: &str| {
        lab.vathost(&format!("run . --state {name}.state --slog {name} --cranks-per-block 7 -q {more}")).ok();
    };
    run("straight.slog", "");
    for _ in 0..3 {
        run("stops.slog", "--blocks 1");
    }
    let [straight, stops] = ["straight.slog", "stops.slog"].map(|it| lab.path(it));
    assert!(events(&stops).iter().any(|it| is(it, "start-replay")));
    assert_eq!(parting(&straight, &stops).unwrap().end, Ending::Equal);
    // A host that was killed in the middle of a block, after some of its cranks: they come again.
    let text = fs::read_to_string(&straight).unwrap();
    let killed = text.find("\"crankNum\":5,").unwrap();
    let again = text[..text[..killed].rfind('\n').unwrap() + 1].to_owned() + &text;
    fs::write(lab.path("killed.slog"), again).unwrap();
    for (a, b) in [(&straight, &lab.path("killed.slog")), (&lab.path("killed.slog"), &stops)] {
        assert_eq!(parting(a, b).unwrap().end, Ending::Equal);
    }
}

#[test]
fn blocks_of_another_size_part_the_hashes_and_are_named() {
    let lab = Lab::busy();
    for (name, cranks) in [("a.slog", 7), ("b.slog", 8)] {
        lab.vathost(&format!("run . --slog {name} --cranks-per-block {cranks} -q")).ok();
    }
    let output = lab.vathost("slog diff a.slog b.slog");
    assert_eq!(output.code, Some(1));
    expect![[r#"
        parted at crank 7; the same before: 7 cranks from crank 0 on
        its block differs: height, time
          A [2,10]
          B [1,5]
    "#]]
    .assert_eq(&output.stdout);
}

#[test]
fn the_beginning_of_a_recording_is_said_to_be_that() {
    let lab = Lab::busy();
    let a = lab.record("a.slog");
    let text = fs::read_to_string(&a).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for count in 0..lines.len() {
        let b = lab.path("b.slog");
        fs::write(&b, lines[..count].concat()).unwrap();
        let begun = lines[..count].iter().any(|it| it.contains("\"crank-start\""));
        // After the last crank come only the end of the block and its commit.
        let whole = lines[..count].iter().filter(|it| it.contains("\"crank-finish\"")).count() == 17;
        let expected = match (begun, whole) {
            (false, _) => Ending::NothingInCommon,
            (true, false) => Ending::Prefix { first: false },
            (true, true) => Ending::Equal,
        };
        assert_eq!(parting(&a, &b).unwrap().end, expected, "{count}");
    }
    fs::write(lab.path("b.slog"), lines[..40].concat()).unwrap();
    let output = lab.vathost("slog diff b.slog a.slog");
    assert_eq!(output.code, Some(1));
    expect![[r#"
        A is the beginning of B: it ends after 3 cranks from crank 0 on, all the same
    "#]]
    .assert_eq(&output.stdout);
}

#[test]
fn a_recording_that_begins_later_is_compared_from_there() {
    let lab = Lab::busy();
    lab.vathost("run . --state s --slog a.slog --cranks-per-block 7 --blocks 1 -q").ok();
    lab.vathost("run . --state s --slog b.slog --cranks-per-block 7 -q").ok();
    lab.vathost("run . --slog whole.slog --cranks-per-block 7 -q").ok();
    let [a, b, whole] = ["a.slog", "b.slog", "whole.slog"].map(|it| lab.path(it));
    let later = parting(&whole, &b).unwrap();
    assert_eq!((later.from, later.end), (Some(7), Ending::Equal));
    assert_eq!(parting(&a, &b).unwrap().end, Ending::NothingInCommon);
}

#[test]
fn less_detail_in_one_is_no_difference() {
    let lab = Lab::busy();
    let a = unhashed(&lab.record("whole.slog"), "a.slog");
    lab.run(Slog::new(Detail::Deliveries, Writer::append(&lab.path("less.slog")).unwrap()));
    let b = unhashed(&lab.path("less.slog"), "b.slog");
    assert_eq!(parting(&a, &b).unwrap().end, Ending::Equal);
    let parted = changed(&b, "c.slog", &[("wasm `unreachable` instruction", "another")]);
    let Ending::Parted(parted) = parting(&a, &parted).unwrap().end else { panic!() };
    assert_eq!((parted.by, parted.crank), (Evidence::Events, 7));
}
