//! A recording that goes on in new files: whole parts, read alone and in sequence.

use std::{cell::Cell, rc::Rc};

use vathost::slog::{Record, Rotation};

use super::*;

/// Runs the busy lab crank by crank, so that each is a block, and records it in files of about this size.
fn record(lab: &Lab, name: &str, rotation: Option<Rotation>) -> PathBuf {
    let path = lab.path(name);
    let mut writer = Writer::append(&path).unwrap();
    if let Some(rotation) = rotation {
        writer = writer.rotated(rotation).unwrap();
    }
    let slog = Slog::new(Detail::Syscalls, writer);
    let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
    controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
    let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
    while !controller.run_block(&policy, &mut |_| true).unwrap().quiescent {}
    controller.slog().flush().unwrap();
    path
}

const SMALL: Rotation = Rotation { max_bytes: 2_000, keep: None };

/// The parts of a recording by their names, the oldest first.
fn parts(lab: &Lab, stem: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(lab.0.path()).unwrap().map(|it| it.unwrap().path());
    let is_part = |it: &PathBuf| it.file_name().unwrap().to_str().unwrap().starts_with(&format!("{stem}.0"));
    let mut found: Vec<PathBuf> = files.filter(is_part).collect();
    found.sort();
    found
}

/// All but the heads of parts.
fn without_heads(events: &[Value]) -> Vec<Value> {
    let is_head = |it: &&Value| is(it, "slog-continued") || it["earlier"] == true;
    events.iter().filter(|it| !is_head(it)).map(redacted).collect()
}

#[test]
fn each_part_is_whole_and_together_they_are_the_recording() {
    let lab = Lab::busy();
    let whole: Vec<Value> = events(&record(&lab, "whole.slog", None)).iter().map(redacted).collect();
    for name in ["a.slog", "b.slog.zst"] {
        let path = record(&lab, name, Some(SMALL));
        let parts = parts(&lab, &name[..1]);
        assert!(parts.len() > 3, "{parts:?}");
        let mut one_by_one = Vec::new();
        // The last one by another name, by which it is read alone.
        let last = lab.path("last");
        fs::copy(&path, &last).unwrap();
        for (at, part) in parts.iter().chain([&last]).enumerate() {
            let part_events = events(part);
            let first = if at == 0 { "host-start" } else { "slog-continued" };
            assert!(is(&part_events[0], first), "{name} {at}: {}", part_events[0]);
            assert_eq!(part_events[0].get("part"), (at > 0).then(|| Value::from(at + 1)).as_ref());
            if part != &last {
                assert!(is(part_events.last().unwrap(), "commit-finish"), "{name} {at}");
                assert!(fs::metadata(part).unwrap().len() >= SMALL.max_bytes);
            }
            // Vats that live have their names in each.
            let named = part_events.iter().any(|it| is(it, "create-vat") && it["name"] == "alice");
            assert!(named, "{name} {at}");
            one_by_one.extend(part_events);
        }
        assert_eq!(without_heads(&one_by_one), whole, "{name}");
        assert_eq!(without_heads(&events(&path)), whole, "{name}: by its own name it is all of them");
    }
    // As text or as compressed frames, the files one behind the other are a recording, too.
    let glued: Vec<u8> =
        parts(&lab, "b").iter().chain([&lab.path("b.slog.zst")]).flat_map(|it| fs::read(it).unwrap()).collect();
    fs::write(lab.path("glued.zst"), glued).unwrap();
    assert_eq!(without_heads(&events(&lab.path("glued.zst"))), whole);
}

#[test]
fn every_tool_reads_the_parts_in_sequence_and_each_alone() {
    let lab = Lab::busy();
    record(&lab, "whole.slog", None);
    record(&lab, "a.slog", Some(SMALL));
    let json = |args: &str| -> Value {
        let output = lab.vathost(args);
        output.ok();
        serde_json::from_str(&output.stdout).unwrap_or_else(|err| panic!("{args}: {err}: {output:?}"))
    };
    let sums = |file: &str| {
        let mut sums = json(&format!("slog summary {file} --json"));
        let left: Vec<Value> = [
            "blocks",
            "height",
            "cranks",
            "cranksAgain",
            "deliveries",
            "fuel",
            "sessions",
            "terminated",
            "torn",
            "syscalls",
        ]
        .map(|it| sums[it].take())
        .into();
        let vats: Vec<(Value, Value, Value)> = sums["vats"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["vatID"].clone(), it["name"].clone(), it["deliveries"].clone()))
            .collect();
        (left, vats)
    };
    assert_eq!(sums("a.slog"), sums("whole.slog"));
    for args in [
        "slog show FILE --crank 6",
        "slog trace FILE --crank 6",
        "slog trace kp41 FILE",
        "slog last FILE",
        "slog grep work FILE",
    ] {
        let [rotated, whole] = ["a.slog", "whole.slog"].map(|it| lab.vathost(&args.replace("FILE", it)));
        assert_eq!(redacted_text(&rotated.stdout), redacted_text(&whole.stdout), "{args}: {}", rotated.stderr);
        assert!(rotated.code == Some(0) && !rotated.stdout.is_empty(), "{args}: {rotated:?}");
    }
    let diff = lab.vathost("slog diff a.slog whole.slog");
    assert_eq!(diff.code, Some(0), "{diff:?}");
    for format in ["chrome-trace", "dot"] {
        lab.vathost(&format!("slog export a.slog --format {format} --out {format}")).ok();
    }
    for part in parts(&lab, "a") {
        let part = part.display();
        for args in ["summary PART", "last PART", "grep - PART", "export PART --format chrome-trace --out PART.json"] {
            let output = lab.vathost(&format!("slog {}", args.replace("PART", &part.to_string())));
            assert!(output.code == Some(0) && output.stderr.is_empty(), "{args}: {output:?}");
        }
        assert!(lab.vathost(&format!("slog last {part}")).stdout.starts_with("ended cleanly"));
        assert_eq!(json(&format!("slog summary {part} --json"))["torn"], 0);
    }
}

#[test]
fn the_oldest_parts_go_and_a_later_host_numbers_on() {
    let lab = Lab::busy();
    let keep = Rotation { keep: Some(2), ..SMALL };
    let numbers = || {
        let names = parts(&lab, "a").into_iter().map(|it| it.file_name().unwrap().to_str().unwrap().to_owned());
        names.map(|it| it.split('.').nth(1).unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let path = record(&lab, "a.slog", Some(keep));
    let first = numbers();
    assert!(first.len() == 2 && first[1] == first[0] + 1 && first[0] > 1, "{first:?}");
    record(&lab, "a.slog", Some(keep));
    let second = numbers();
    assert!(second.len() == 2 && second[0] > first[1], "{second:?}");
    // What is left is read from the oldest on.
    let left = events(&path);
    assert!(is(&left[0], "slog-continued") && left[0]["part"] == second[0], "{}", left[0]);
    assert_eq!(left[0]["after"], format!("a.{:06}.slog", second[0] - 1));
}

#[test]
fn a_host_that_died_at_any_point_of_a_rotation_goes_on() {
    let lab = Lab::busy();
    for name in ["a.slog", "b.slog.zst"] {
        let path = record(&lab, name, Some(SMALL));
        let before = events(&path);
        // Between the two names: there is no file until the next host makes it.
        let last = lab.path(&format!("{}.000900.{}", &name[..1], &name[2..]));
        fs::rename(&path, &last).unwrap();
        assert_eq!(events(&path), before, "{name}");
        lab.vathost(&format!("slog summary {name}")).ok();
        record(&lab, name, Some(SMALL));
        let after = events(&path);
        assert_eq!(after[..before.len()], before[..], "{name}");
        assert!(is(&after[before.len()], "host-start"), "{name}");
        // In the middle of a line or a block: the file is mended, and its parts are untouched.
        let length = fs::metadata(&path).unwrap().len();
        reading::cut(&path, length - 5);
        let before = events(&path);
        record(&lab, name, Some(SMALL));
        let after = events(&path);
        assert_eq!(after[..before.len()], before[..], "{name}");
        let again = after[before.len()..].iter().position(|it| is(it, "host-start"));
        assert!(again.is_some_and(|at| at <= 1), "{name}: {:?}", after.get(before.len()));
    }
}

#[test]
fn a_recording_is_followed_from_part_to_part() {
    let lab = Lab::busy();
    for name in ["a.slog", "b.slog.zst"] {
        let path = lab.path(name);
        let writer = Writer::append(&path).unwrap().rotated(SMALL).unwrap();
        let slog = Slog::new(Detail::Syscalls, writer);
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
        let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
        // More than one rotation between two looks, now and then.
        let seen = Rc::new(Cell::new(0));
        let (mut looks, mut before) = (0, 0);
        let wait = {
            let seen = seen.clone();
            move || {
                // What was written until the look before is read, whichever file it is in.
                assert!(looks == 0 || seen.get() > before, "look {looks}: {before} events");
                before = seen.get();
                looks += 1;
                (0..1 + looks % 5).all(|_| controller.run_block(&policy, &mut |_| true).is_ok_and(|it| !it.quiescent))
            }
        };
        let count = |record: Record| {
            seen.set(seen.get() + 1);
            record.value
        };
        let followed: Vec<Value> = Reader::follow(&path, wait).unwrap().map(|it| count(it.unwrap())).collect();
        assert!(parts(&lab, &name[..1]).len() > 3, "{name}");
        assert_eq!(followed, events(&path), "{name}");
    }
}

#[test]
fn the_command_line_says_when_to_rotate_and_how_much_to_keep() {
    let lab = Lab::busy();
    lab.vathost("run . --cranks-per-block 1 --slog a.slog --slog-max 2000,3").ok();
    assert_eq!(parts(&lab, "a").len(), 3);
    lab.vathost("run . --cranks-per-block 1 --slog b.slog.zst --slog-max 1KiB").ok();
    assert!(parts(&lab, "b").len() > 3);
    for (words, why) in [
        ("run . --slog-max 1MiB", "--slog <FILE>"),
        ("run . --slog c.slog --slog-max much", "unknown unit"),
        ("run . --slog c.slog --slog-max 1MiB,few", "is no number of files"),
        ("run . --slog /dev/null --slog-max 1MiB", "it is no file"),
    ] {
        let output = lab.vathost(words);
        assert!(output.code != Some(0) && output.stderr.contains(why), "{words}: {output:?}");
    }
}

#[test]
fn a_file_that_cannot_be_rotated_is_written_on_and_that_is_told_once() {
    let lab = Lab::busy();
    let path = lab.path("a.slog");
    let slog = Slog::new(Detail::Syscalls, Writer::append(&path).unwrap().rotated(SMALL).unwrap());
    let mut controller = Host::open(HostOptions { slog: slog.clone(), ..HostOptions::default() }).unwrap();
    controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
    // Somebody renames it away: it has no name to be rotated from.
    fs::rename(&path, lab.path("elsewhere")).unwrap();
    let mut told = Vec::new();
    let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
    while !controller.run_block(&policy, &mut |_| true).unwrap().quiescent {
        told.extend(slog.news());
    }
    assert!(matches!(told[0], News::NotRotated(_)), "{told:?}");
    let blocks = events(&lab.path("elsewhere")).iter().filter(|it| is(it, "commit-finish")).count();
    assert!(told.len() < blocks && blocks > 10, "{} {blocks}", told.len());
}
