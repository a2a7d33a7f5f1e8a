//! A recording that is read while it is written. Nothing here waits: the reader's waiting is what writes more.

use std::{cell::RefCell, io::Write, rc::Rc};

use super::*;

#[test]
fn a_file_that_grows_by_any_bytes_is_read_event_by_event() {
    let lab = Lab::busy();
    for name in ["a.slog", "a.slog.zst"] {
        let whole = lab.record(name);
        let (bytes, all) = (fs::read(&whole).unwrap(), events(&whole));
        for step in [1, 7, 1_000, 100_000] {
            let path = lab.path("growing");
            let mut file = fs::File::create(&path).unwrap();
            let mut chunks: Vec<Vec<u8>> = bytes.chunks(step).rev().map(<[u8]>::to_vec).collect();
            let wait = move || {
                let Some(chunk) = chunks.pop() else { return false };
                file.write_all(&chunk).unwrap();
                true
            };
            let read: Vec<_> = Reader::follow(&path, wait).unwrap().map(|it| it.unwrap().value).collect();
            assert_eq!(read, all, "{name} by {step}");
        }
    }
}

#[test]
fn what_is_written_with_the_last_breath_is_read_too() {
    let lab = Lab::busy();
    let bytes = fs::read(lab.record("whole.slog")).unwrap();
    let path = lab.path("a.slog");
    let mut file = fs::File::create(&path).unwrap();
    let all = bytes.clone();
    let wait = move || {
        file.write_all(&all).unwrap();
        false
    };
    assert_eq!(Reader::follow(&path, wait).unwrap().count(), events(&lab.path("whole.slog")).len());
}

#[test]
fn deliveries_come_as_a_host_commits_them() {
    let lab = Lab::busy();
    for name in ["a.slog", "a.slog.zst"] {
        let path = lab.path(name);
        let slog = Slog::new(Detail::Syscalls, Writer::append(&path).unwrap());
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
        let height = Rc::new(RefCell::new(0));
        let wait = {
            let height = height.clone();
            move || {
                *height.borrow_mut() += 1;
                controller
                    .run_block(&BlockPolicy { cranks: 3, ..BlockPolicy::default() }, &mut |_| true)
                    .is_ok_and(|it| !it.quiescent)
            }
        };
        let mut seen = Vec::new();
        for shown in vathost::inspect::recording::follow(Reader::follow(&path, wait).unwrap()) {
            let shown = shown.unwrap();
            // It is seen before the next block is run.
            assert_eq!(shown.block_height, Some(*height.borrow()), "{name}");
            seen.push(shown.place.crank);
        }
        assert_eq!(seen, (0..17).collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn following_ends_with_the_host_that_records() {
    let lab = Lab::busy();
    lab.record("a.slog");
    let followed = lab.vathost("slog show a.slog --follow");
    assert_eq!((followed.code, followed.stderr.as_str()), (Some(0), ""));
    let deliveries = |it: &str| it.lines().filter(|it| it.starts_with("crank ")).count();
    assert_eq!(deliveries(&followed.stdout), events(&lab.path("a.slog")).iter().filter(|it| is(it, "deliver")).count());
    lab.check(
        "slog show a.slog --follow --vat v2",
        expect![[r#"
            crank 1 of block 1: delivery 0 to v2 (bob)
            what    startVat {}
            ok, fuel F T s
            crank 6 of block 1: delivery 1 to v2 (bob)
            what    message ko21=o+0 bytes() result kp41=p-60
              info: about to work\u{1b}[31m
              0 vatstoreSet key {"base64":"//4="} → ok
              1 vatstoreGet key → ok {"base64":"//4="}
              2 resolve [kp41=p-60 fulfilled "done"] → ok
              c-list of v2: import kp41=p-60
              c-list of v2: drop kp41=p-60
            ok, fuel F T s
            crank 15 of block 1: delivery 2 to v2 (bob)
            what    message ko21=o+0 hello() result kp45=p-61
              info: about to work\u{1b}[31m
              0 resolve [kp45=p-61 fulfilled "done"] → ok
              c-list of v2: import kp45=p-61
              c-list of v2: drop kp45=p-61
            ok, fuel F T s
        "#]],
    );
    let json = lab.vathost("slog show a.slog --follow --vat v2 --json").stdout;
    assert!(json.lines().all(|it| serde_json::from_str::<Value>(it).unwrap()["vatID"] == "v2"), "{json}");
    assert_eq!(lab.vathost("slog show a.slog --follow --crank 2").code, Some(2));
}
