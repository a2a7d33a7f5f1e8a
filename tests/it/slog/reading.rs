//! What is read.

use std::io::Write;

use super::*;

/// Cuts a file short.
pub(super) fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

#[test]
fn a_recording_that_breaks_off_anywhere_is_read_to_there() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    let plain = lab.record("a.slog");
    let all = events(&plain);
    let text = fs::read(&plain).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&text).unwrap();
    let packed =
        [("a.slog", text.clone()), ("zst", zstd::encode_all(&text[..], 0).unwrap()), ("gz", gzip.finish().unwrap())];
    for (name, bytes) in packed {
        let path = lab.path(name);
        for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1, bytes.len()]) {
            fs::write(&path, &bytes[..length]).unwrap();
            let read = events(&path);
            assert_eq!(read, all[..read.len()], "{name} of {length}");
            assert!(length < bytes.len() || read.len() == all.len(), "{name}");
        }
    }
}

#[test]
fn what_is_written_after_a_recording_was_opened_is_not_read() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    for name in ["a.slog", "a.slog.zst"] {
        let path = lab.record(name);
        let all = events(&path).len();
        let reader = Reader::open(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&bytes).unwrap();
        assert_eq!(reader.count(), all, "{name}");
        assert_eq!(events(&path).len(), 2 * all, "{name}");
    }
}

#[test]
fn a_recording_that_broke_off_anywhere_can_be_gone_on_with() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    for name in ["a.slog", "a.slog.zst"] {
        let path = lab.record(name);
        let bytes = fs::read(&path).unwrap();
        let all = events(&path).len();
        for length in (0..bytes.len()).step_by(bytes.len() / 23).chain([bytes.len() - 1]) {
            fs::write(&path, &bytes).unwrap();
            cut(&path, length as u64);
            let before = events(&path);
            lab.record(name);
            let after = events(&path);
            // A line that lacks nothing but its end gets it.
            assert!(after.len() - before.len() == all, "{name} of {length}: {} and {}", before.len(), after.len());
            assert_eq!(after[..before.len()], before[..], "{name} of {length}");
        }
    }
}

#[test]
fn a_host_that_dies_within_a_compressed_block_leaves_the_blocks_before_it() {
    let lab = Lab::busy();
    let path = lab.path("a.slog.zst");
    let run = |cranks| {
        let slog = Slog::new(Detail::Syscalls, Writer::append(&path).unwrap());
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
        controller.run_block(&BlockPolicy { cranks, ..BlockPolicy::default() }, &mut |_| true).unwrap();
        // Dies: the frame is not finished.
        std::mem::forget(controller);
    };
    // Another process goes on, so the lock of the dead one, which this process still has, is not in the way.
    run(2);
    let length = fs::metadata(&path).unwrap().len();
    let dead = lab.path("dead.slog.zst");
    fs::copy(&path, &dead).unwrap();
    cut(&dead, length - 5);
    let before = events(&dead);
    assert!(is(before.last().unwrap(), "commit-finish") && before.last().unwrap()["blockHeight"] == 0);
    lab.record("dead.slog.zst");
    let after = events(&dead);
    assert_eq!(after[..before.len()], before[..]);
    assert!(is(&after[before.len()], "host-start"));
    assert!(is(after.last().unwrap(), "commit-finish"));
    zstd::decode_all(fs::File::open(&dead).unwrap()).unwrap();
}

#[test]
fn garbage_in_the_middle_is_an_error_that_names_the_line() {
    let lab = Lab::busy();
    let path = lab.record("a.slog");
    let text = fs::read_to_string(&path).unwrap();
    let broken = |garbage: &str| {
        let lines: Vec<_> = text.lines().enumerate().map(|(at, it)| if at == 6 { garbage } else { it }).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let output = lab.vathost("slog summary a.slog");
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
        output.stderr
    };
    expect![[r#"
        error: a.slog:7: not JSON: EOF while parsing a string at column 12
        hint: only the end of a recording may be torn: is this one, and is it whole?
        error: a.slog:7: no event: it has no `type`
        hint: only the end of a recording may be torn: is this one, and is it whole?
        error: nowhere: No such file or directory (os error 2)
        hint: `vathost run SCENARIO --slog FILE` makes a recording
    "#]]
    .assert_eq(&(broken("{\"type\":\"del") + &broken("[1]") + &lab.vathost("slog last nowhere").stderr));
}

#[test]
fn swingsets_own_recordings_are_read_and_unknown_events_pass() {
    let lab = Lab::busy();
    let lines = [
        r#"{"type":"import-kernel-start","time":1,"monotime":0.5}"#,
        r#"{"type":"create-vat","vatID":"v9","name":"zoe","dynamic":false,"time":1,"monotime":1}"#,
        r#"{"type":"cosmic-swingset-begin-block","blockHeight":17,"blockTime":1,"time":2,"monotime":2}"#,
        r#"{"type":"slogger-confused","anything":{"goes":[]},"time":2,"monotime":2}"#,
        r#"{"type":"deliver","crankNum":"4","vatID":"v9","deliveryNum":0,"replay":false,"kd":["notify",[]],"vd":["notify",[]],"time":2,"monotime":3}"#,
        r#"{"type":"syscall","crankNum":4,"vatID":"v9","deliveryNum":0,"syscallNum":0,"replay":false,"ksc":["vatstoreGet","v9","k"],"vsc":["vatstoreGet","k"],"time":2,"monotime":3}"#,
        r#"{"type":"deliver-result","crankNum":4,"vatID":"v9","deliveryNum":0,"replay":false,"dr":["ok",null,{"compute":77}],"time":2,"monotime":3.25}"#,
        r#"{"type":"deliver-result","crankNum":4,"vatID":"v9","deliveryNum":0,"replay":true,"dr":["ok",null,{"compute":9999}],"time":2,"monotime":9}"#,
        r#"{"type":"cosmic-swingset-commit-finish","blockHeight":17,"time":3,"monotime":4}"#,
    ];
    fs::write(lab.path("their.slog"), lines.join("\n")).unwrap();
    let sums = vathost::inspect::recording::summary(Reader::open(&lab.path("their.slog")).unwrap()).unwrap();
    assert_eq!((sums.events, sums.blocks, sums.height, sums.deliveries, sums.fuel), (9, 1, Some(17), 1, 77));
    assert_eq!((sums.vats[0].name.as_deref(), sums.vats[0].seconds), (Some("zoe"), 0.25));
    assert_eq!(sums.syscalls["vatstoreGet"], 1);
    assert_eq!(
        vathost::inspect::recording::last(&lab.path("their.slog"), Indexing::default()).unwrap().status,
        Status::Clean
    );
}

#[test]
fn what_must_be_read_twice_is_no_pipe() {
    let lab = Lab::busy();
    for (words, why) in [("slog show /dev/null --crank 1", "not a pipe"), ("slog last /dev/null", "it is a device")] {
        let output = lab.vathost(words);
        assert_eq!(output.code, Some(2));
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
}
