//! `dev`: a vat that is built, run and upgraded on every change.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::cli::Place;

/// Answers every message with a text, keeps a key, and writes a line to its console.
const VAT: &str = r##"(module
  (import "vat1" "input_read" (func $input (param i32 i32 i32)))
  (import "vat1" "resolve" (func $resolve (param i32 i32)))
  (import "vat1" "vatstore_set" (func $set (param i32 i32 i32 i32)))
  (import "vat1" "console" (func $console (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "#\22ANSWER\22")
  (data (i32.const 2056) "\00\00\00\00\00\04\00\00\09\00\00\00")
  (func (export "vat_deliver") (param $len i32)
    (call $input (i32.const 0) (i32.const 0) (local.get $len))
    START
    (br_if 0 (i32.ne (i32.load (i32.const 0)) (i32.const 1)))
    (call $console (i32.const 1) (i32.const 1026) (i32.const 6))
    (call $set (i32.const 1026) (i32.const 3) (i32.const 1026) (i32.const 3))
    (i64.store (i32.const 2048) (i64.load (i32.const 16)))
    (call $resolve (i32.const 2048) (i32.const 1))))"##;

const SCENARIO: &str = "[vats.it]\nbundle = \"it.wat\"\n[[send]]\nto = \"it\"\nmethod = \"ask\"\n[[send]]\nto = \"it\"\nmethod = \"again\"\n";

/// What the build does: a compiler that finds the word `wrong`.
const BUILD: &str = "#!/bin/sh
if grep -n wrong src/it.source >&2; then echo 'error: that is wrong' >&2; exit 3; fi
if grep -q slow src/it.source; then sleep 1000 & echo $! > pid; wait; fi
cp src/it.source it.wasm
";

fn vat(answer: &str, start: &str) -> String {
    assert_eq!(answer.len(), "ANSWER".len());
    VAT.replace("ANSWER", answer).replace("START", start)
}

/// A `dev` at work, and what it says.
struct Running<'a> {
    place: &'a Place,
    child: Child,
}

impl Running<'_> {
    fn start<'a>(place: &'a Place, words: &str) -> Running<'a> {
        let [out, err] = ["out", "err"].map(|it| fs::File::create(place.path(it)).unwrap());
        let mut command = place.command(words);
        Running { place, child: command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap() }
    }

    fn text(&self, name: &str) -> String {
        let mut text = String::new();
        fs::File::open(self.place.path(name)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until it has said this so often on stderr, and waits for a change.
    #[track_caller]
    fn says(&mut self, what: &str, times: usize) -> String {
        for _ in 0..3_000 {
            let said = self.text("err");
            if said.matches(what).count() >= times {
                return said;
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "it has ended:\n{said}");
            sleep(Duration::from_millis(20));
        }
        panic!("it does not say `{what}` {times} times:\n{}{}", self.text("err"), self.text("out"));
    }

    /// ^C, and what it ends with.
    fn interrupt(&mut self) -> Option<i32> {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WAITS: &str = "waiting for a change";

#[test]
fn a_changed_vat_is_upgraded_in_the_state_that_exists_and_its_messages_are_sent_again() {
    let place = Place::new();
    place.write("v/vat.toml", SCENARIO);
    place.write("v/it.wat", &vat("before", ""));
    let mut dev = Running::start(&place, "dev @v");
    dev.says(WAITS, 1);
    let first = "it.ask fulfilled \"before\"\nit.again fulfilled \"before\"\n";
    assert_eq!(dev.text("out"), first);
    let said = dev.says("it info: before", 2);
    assert!(said.contains("a new state: it"), "{said}");

    place.write("v/it.wat", &vat("behind", ""));
    let said = dev.says(WAITS, 2);
    assert!(said.contains("it (v1) is upgraded, incarnation 1: it keeps its root and 1 key of its vatstore"), "{said}");
    assert!(said.contains("sent 2 messages of the scenario again"), "{said}");
    let second = first.replace("before", "behind");
    assert_eq!(dev.text("out"), format!("{first}{second}"));

    // A file that is written anew with what was in it is no change; one that cannot start leaves the old code.
    place.write("v/it.wat", &vat("behind", ""));
    place.write("v/it.wat", &vat("broken", "(unreachable)"));
    let said = dev.says(WAITS, 3);
    assert!(said.contains("it (v1) is not upgraded, and goes on with the code that it had"), "{said}");
    assert_eq!(dev.text("out"), format!("{first}{second}"));

    place.write("v/it.wat", "(module");
    let said = dev.says(WAITS, 4);
    assert!(said.contains("error: ") && said.contains("it.wat"), "{said}");

    // Options are no matter of upgrades.
    place.write("v/it.wat", &vat("mended", ""));
    place.write("v/vat.toml", &SCENARIO.replace("\"it.wat\"\n", "\"it.wat\"\noptions = { weight = 2 }\n"));
    let said = dev.says("a new state, since no upgrade does it: `it` has other options", 1);
    assert!(!said.contains("panic"), "{said}");
    dev.says("it info: mended", 2);
    assert_eq!(dev.interrupt(), Some(130));
    assert!(dev.text("err").contains("nothing is left of it"));
    let mut left: Vec<_> = fs::read_dir(place.path("v")).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["it.wat", "vat.toml"]);
}

#[test]
fn a_build_that_fails_shows_what_the_compiler_says_and_the_next_change_mends_it() {
    let place = Place::new();
    place.write("v/vat.toml", &SCENARIO.replace("it.wat", "it.wasm"));
    place.write("v/src/it.source", "wrong");
    place.write("v/build.sh", BUILD);
    executable(&place.path("v/build.sh"));
    let mut dev = Running::start(&place, "dev @v --fresh");
    let said = dev.says(WAITS, 1);
    assert!(said.contains("building: ./build.sh\n1:wrong\nerror: that is wrong\n"), "{said}");
    assert!(said.contains("the build failed: nothing runs yet"), "{said}");
    fs::write(place.path("v/src/it.source"), wat::parse_str(vat("before", "")).unwrap()).unwrap();
    dev.says(WAITS, 2);
    fs::write(place.path("v/src/it.source"), wat::parse_str(vat("behind", "")).unwrap()).unwrap();
    let said = dev.says(WAITS, 3);
    assert!(said.contains("a new state (--fresh)") && !said.contains("upgraded"), "{said}");
    assert!(dev.text("out").ends_with("it.again fulfilled \"behind\"\n"));
    // A build that was under way ends with it.
    place.write("v/src/it.source", "slow");
    let pid = place.path("v/pid");
    for _ in 0..3_000 {
        if fs::read_to_string(&pid).is_ok_and(|it| it.ends_with('\n')) {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let child = Path::new("/proc").join(fs::read_to_string(&pid).unwrap().trim());
    assert!(child.exists());
    assert_eq!(dev.interrupt(), Some(130));
    let is_gone = || !child.exists() || fs::read_to_string(child.join("stat")).is_ok_and(|it| it.contains(") Z"));
    assert!(
        (0..500).any(|_| is_gone() || {
            sleep(Duration::from_millis(10));
            false
        }),
        "the build goes on"
    );
}

#[test]
fn a_state_that_was_named_stays_and_the_next_dev_upgrades_it() {
    let place = Place::new();
    place.write("v/vat.toml", SCENARIO);
    place.write("v/it.wat", &vat("before", ""));
    let mut dev = Running::start(&place, "dev @v --state @v/state");
    dev.says(WAITS, 1);
    assert_eq!(dev.interrupt(), Some(130));
    place.write("v/it.wat", &vat("behind", ""));
    let mut dev = Running::start(&place, "dev @v --state @v/state");
    let said = dev.says(WAITS, 1);
    assert!(said.contains("the state that exists, at height 1") && said.contains("it (v1) is upgraded"), "{said}");
    assert_eq!(dev.text("out"), "it.ask fulfilled \"behind\"\nit.again fulfilled \"behind\"\n");
    assert_eq!(dev.interrupt(), Some(130));
    let report = place.vathost("run @v --state @v/state --json").ok().json();
    assert_eq!(report["vats"]["it"]["incarnation"], 1);
    place.vathost("verify @v/state").ok();
    place.vathost("dev @v --state @v/state --fresh").code(2).says("cannot be used with");
    place.vathost("dev @v/state").code(2).says("is the folder of a state");
    place.vathost("dev @").code(2).says("there is no vat.toml").says("vathost new");
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
