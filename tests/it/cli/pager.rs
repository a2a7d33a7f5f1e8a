//! Lists on a terminal go through a pager, and nothing else does.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Place;

/// Writes 3,000 keys when it is started.
const HOARDER: &str = r#"(module
    (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (func (export "vat_deliver") (param i32)
        (local $key i32)
        (local $left i32)
        (local $digit i32)
        (memory.fill (i32.const 4096) (i32.const 65) (i32.const 100))
        (loop $more
            (local.set $left (local.get $key))
            (local.set $digit (i32.const 1028))
            (loop $digits
                (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
                (i32.store8 (local.get $digit) (i32.add (i32.const 48) (i32.rem_u (local.get $left) (i32.const 10))))
                (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
                (br_if $digits (i32.gt_u (local.get $digit) (i32.const 1024))))
            (call $set (i32.const 1024) (i32.const 4) (i32.const 4096) (i32.const 100))
            (local.set $key (i32.add (local.get $key) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $key) (i32.const 3000))))))"#;

/// A pager that leaves a mark on each line.
const MARKS: &str = "sed s/^/paged:/";

fn place() -> Place {
    let place = Place::new();
    place.write("hoarder.wat", HOARDER);
    place.write("vat.toml", "[vats.hoarder]\nbundle = \"hoarder.wat\"\n");
    let run = place.command("run @. --state @st --slog @run.slog").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    place
}

/// What a verb writes to a terminal, with what it writes to stderr if that is none, and its exit code.
fn on_terminal(mut command: Command, stderr_too: bool) -> (String, String, i32) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs: OwnedFd = File::options().read(true).write(true).open(name).unwrap().into();
    let err = if stderr_too { Stdio::from(theirs.try_clone().unwrap()) } else { Stdio::piped() };
    command.stdin(Stdio::null()).stderr(err).stdout(theirs);
    let child = command.spawn().unwrap();
    // The last copies of their side in this process.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut ours, mut read, mut piece) = (File::from(ours), Vec::new(), [0; 4096]);
        // It ends with an error once nobody has the other side.
        while let Ok(length @ 1..) = ours.read(&mut piece) {
            read.extend_from_slice(&piece[..length]);
        }
        read
    });
    let output = child.wait_with_output().unwrap();
    let [out, err] = [reader.join().unwrap(), output.stderr].map(|it| String::from_utf8(it).unwrap());
    (out.replace("\r\n", "\n"), err, output.status.code().unwrap())
}

fn paged(place: &Place, words: &str, pager: &str) -> (String, String, i32) {
    let mut command = place.command(words);
    command.env("PAGER", pager);
    on_terminal(command, false)
}

#[test]
fn a_list_goes_through_the_pager_on_a_terminal_alone_and_if_somebody_wants_one() {
    let place = place();
    let lists = [
        "inspect @st",
        "inspect @st kv hoarder --limit 3",
        "vats @st",
        "slog summary @run.slog",
        "slog last @run.slog",
    ];
    for words in lists {
        let plain = String::from_utf8(place.command(words).env("PAGER", MARKS).output().unwrap().stdout).unwrap();
        assert!(!plain.is_empty() && !plain.contains("paged:"), "{words}: {plain}");
        let marked: String = plain.lines().map(|it| format!("paged:{it}\n")).collect();
        let (out, _, code) = paged(&place, words, MARKS);
        assert_eq!((out, code), (marked.clone(), 0), "{words}");
        // What only a shell understands.
        assert_eq!(paged(&place, words, "sed 's/^/paged:/' | cat").0, marked);
        for pager in ["", "  ", "cat", "no-such-program-anywhere -x"] {
            assert_eq!(paged(&place, words, pager).0, plain, "{words} with `{pager}`");
        }
        assert_eq!(paged(&place, &format!("{words} --no-pager"), MARKS).0, plain);
        let (json, _, code) = paged(&place, &format!("{words} --json"), MARKS);
        assert!(code == 0 && json.starts_with(['{', '[']), "{json}");
        // Without `less` there is none.
        let mut command = place.command(words);
        command.env_remove("PAGER").env("PATH", "/nowhere");
        assert_eq!(on_terminal(command, false).0, plain);
    }
    // What is no list is not paged, and neither is an error.
    let (out, _, code) = paged(&place, "verify @st", MARKS);
    assert!(code == 0 && !out.contains("paged:"), "{out}");
    let (out, err, code) = paged(&place, "inspect @st vat nobody", MARKS);
    assert!(code == 2 && out.is_empty() && err.contains("nobody"), "{out} {err}");
}

#[test]
fn who_leaves_the_pager_early_ends_the_verb_and_it_ended_well() {
    let place = place();
    // More than a pipe holds.
    let whole = place.command("inspect @st kv hoarder").output().unwrap().stdout;
    assert!(whole.len() > 200_000, "{}", whole.len());
    for words in ["inspect @st kv hoarder", "inspect @st transcript hoarder", "slog last @run.slog"] {
        let (out, err, code) = paged(&place, words, "head -n 1");
        assert_eq!((out.lines().count(), &*err, code), (1, "", 0), "{words}");
        // One that never reads.
        let (out, err, code) = paged(&place, words, "true");
        assert_eq!((&*out, &*err, code), ("", "", 0), "{words}");
    }
}

#[test]
fn notes_go_to_the_pager_too_if_they_would_go_to_the_terminal() {
    let place = place();
    let note = "3 rows; a larger --limit shows more";
    let words = "inspect @st kv hoarder --limit 3";
    let (out, err, _) = paged(&place, words, MARKS);
    assert!(!out.contains(note) && err.contains(note), "{out} {err}");
    let mut command = place.command(words);
    command.env("PAGER", MARKS);
    let (out, ..) = on_terminal(command, true);
    assert!(out.contains(&format!("paged:{note}")), "{out}");
    // An error comes when the pager is closed.
    let mut command = place.command("inspect @st vat nobody");
    command.env("PAGER", MARKS);
    let (out, _, code) = on_terminal(command, true);
    assert!(code == 2 && out.contains("error") && !out.contains("paged:"), "{out}");
}
