//! Every verb on a state with large vatstores: none needs more memory for it, and none writes more, without a reason that the table
//! tells.

use std::{
    io::Read,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::*;

/// How a verb may grow with the vatstores of the state that it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Growth {
    /// Not at all.
    Flat,
    /// It writes as much as there is: a copy, or all that goes.
    Writes,
    /// It keeps them in memory, on purpose: experiments go back to any place.
    InMemory,
    /// The same, and it runs a copy of the state on a disk that fails.
    OnDisk,
}

use Growth::{Flat, InMemory, OnDisk, Writes};

/// Each verb that takes a state, as it is called. STATE is a copy of the state, OTHER a second one, ARCHIVE an export of it, OUT is not there
/// yet, SCENARIO is the state's own.
const VERBS: &[(&str, Growth)] = &[
    ("run --state STATE --blocks 1 --quiet", Flat),
    ("send STATE hoarder go", Flat),
    ("call STATE hoarder go", Flat),
    ("pause STATE hoarder", Flat),
    ("resume STATE hoarder", Flat),
    ("terminate STATE hoarder", Flat),
    ("install STATE SCENARIO/more", Flat),
    ("upgrade STATE SCENARIO", Flat),
    ("inspect STATE", Flat),
    ("inspect STATE vats", Flat),
    ("inspect STATE vat hoarder", Flat),
    ("inspect STATE queue", Flat),
    ("inspect STATE promises", Flat),
    ("inspect STATE objects", Flat),
    ("inspect STATE clist hoarder", Flat),
    ("inspect STATE transcript hoarder --from 3 --to 3", Flat),
    ("inspect STATE size", Flat),
    ("inspect STATE kv hoarder", Flat),
    ("inspect STATE kv hoarder --json", Flat),
    ("vats STATE", Flat),
    ("verify STATE", Flat),
    ("export STATE OUT", Flat),
    ("prune STATE", Writes),
    ("import ARCHIVE OUT", Writes),
    ("fork STATE OUT", Writes),
    ("diff STATE OTHER", Flat),
    ("diff STATE OTHER --limit 3 --json", Flat),
    ("replay STATE --vat hoarder --from 4", Flat),
    ("replay STATE --vat hoarder --delivery 67", Flat),
    ("debug STATE --commands SCENARIO/commands", Flat),
    ("debug STATE --at hoarder/delivery-2 --commands SCENARIO/past", Flat),
    ("directives check STATE SCENARIO/later.directives", Flat),
    ("directives plan STATE --add BREAK --blocks 3", Flat),
    ("fault remedy STATE --blocks 3", Flat),
    ("fault points STATE", OnDisk),
    ("fault init STATE --out OUT", InMemory),
    ("fault one STATE FAULT", InMemory),
    ("fault shrink STATE FAULT", InMemory),
];

/// Verbs that are given no state, or one through what the table has; `serve` stays up, and holds a host as `run` does.
const OTHERS: &[&str] = &[
    "serve",
    "check",
    "new",
    "dev",
    "slog",
    "bench",
    "demo",
    "conformance",
    "completions",
    "help",
    "directives grammar",
    "directives help",
    "fault plan",
    "fault run",
    "fault show",
    "fault report",
    "fault repro",
    "fault grammar",
    "fault help",
    "inspect help",
];

/// More memory than this, or more bytes written, is growth: less than half of what the vatstores of the large state have.
const SLACK: u64 = 34 << 20;

/// Calls that are made before the state is looked at, and calls that are left.
const CALLS: usize = 64;
const LEFT: usize = 4;

/// A state of some kind of size, and what verbs are told of it.
struct Place {
    scenario: TempDir,
    state: TempDir,
    archive: PathBuf,
}

impl Place {
    fn new(value_bytes: usize) -> Place {
        let (scenario, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let at = |name: &str| scenario.path().join(name);
        let vat = |name: &str, sends: usize| {
            let send = format!("[[send]]\nto = \"{name}\"\nmethod = \"go\"\n");
            format!("[vats.{name}]\nbundle = \"{name}.wat\"\n{}", send.repeat(sends))
        };
        fs::write(at("vat.toml"), vat("hoarder", CALLS + LEFT)).unwrap();
        fs::write(at("hoarder.wat"), hoarder(value_bytes, "")).unwrap();
        fs::create_dir(at("more")).unwrap();
        fs::write(at("more/vat.toml"), vat("other", 1)).unwrap();
        fs::write(at("more/other.wat"), hoarder(1, "")).unwrap();
        fs::write(at("commands"), "where\nvats\nnext 3\nkv hoarder \\u0001\nback 2\nnext 5\nvat hoarder\n").unwrap();
        fs::write(at("past"), "delivery\nnext 2\nback 1\n").unwrap();
        fs::write(at("later.directives"), "crank-1000000: break\n").unwrap();
        let mut host = open(state.path());
        host.install(&Scenario::read(scenario.path()).unwrap()).unwrap();
        go_on(&mut host, CALLS / 4, 4);
        drop(host);
        let archive = at("archive");
        assert_eq!(vathost(&["export"], &[state.path(), &archive]).code, 0);
        Place { scenario, state, archive }
    }

    /// Runs a verb on a copy of the state. Returns the most memory that it had, and how many bytes it wrote to files.
    fn measure(&self, words: &str) -> (u64, u64) {
        let (copies, cache) = ([TempDir::new().unwrap(), TempDir::new().unwrap()], code_cache());
        for copy in &copies {
            fs::copy(self.state.path().join("state.sqlite"), copy.path().join("state.sqlite")).unwrap();
        }
        let out = copies[0].path().join("out");
        let text = |it: &Path| it.to_str().unwrap().to_owned();
        let word = |word: &str| match word {
            "STATE" => text(copies[0].path()),
            "OTHER" => text(copies[1].path()),
            "ARCHIVE" => text(&self.archive),
            "OUT" => text(&out),
            "BREAK" => "crank-1000000: break".to_owned(),
            "FAULT" => "crank-66: delay 2 cranks".to_owned(),
            word => word.replace("SCENARIO", &text(self.scenario.path())),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
        command.env("XDG_CACHE_HOME", cache.parent().unwrap()).args(words.split(' ').map(word));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (peak, written, said) = watch(child);
        assert!([0, 1].contains(&said.code), "{words}: {} {}", said.code, said.err);
        (peak, written)
    }
}

/// Waits for the end of a process. Returns the most memory that it was seen to have, the bytes that it wrote to other than its output,
/// and what it said.
fn watch(mut child: Child) -> (u64, u64, Said) {
    let id = child.id();
    let read = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let (out, err) = (read(Box::new(child.stdout.take().unwrap())), read(Box::new(child.stderr.take().unwrap())));
    let of = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let number = |text: &str, field: &str| {
        let line = text.lines().find_map(|it| it.strip_prefix(field)).unwrap_or("0");
        line.split_whitespace().next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut peak = 0;
    // Dead, and not yet forgotten: what it wrote is known till then, and its memory no longer.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(Pid::from_child(&child)), ended).unwrap().is_none() {
        let status = of("status");
        // Before it is that program, it has this one's memory.
        if status.starts_with("Name:\tvathost\n") {
            peak = peak.max(number(&status, "VmHWM:") << 10);
        }
        thread::sleep(Duration::from_micros(500));
    }
    let written = number(&of("io"), "wchar:");
    let (code, out, err) = (child.wait().unwrap().code().unwrap(), out.join().unwrap(), err.join().unwrap());
    (peak, written.saturating_sub((out.len() + err.len()) as u64), Said { code, out, err })
}

#[test]
fn no_verb_grows_with_the_vatstores_without_need() {
    let (small, large) = (Place::new(1), Place::new(4 << 10));
    let bytes = |it: &Place| fs::metadata(it.state.path().join("state.sqlite")).unwrap().len();
    assert!(bytes(&large) > bytes(&small) + 2 * SLACK, "{} {}", bytes(&large), bytes(&small));
    let mut grown = Vec::new();
    for (words, growth) in VERBS {
        let [a, b] = [&small, &large].map(|it| it.measure(words));
        let more = [b.0.saturating_sub(a.0), b.1.saturating_sub(a.1)];
        println!("{words}: {} and {} KiB of memory, {} and {} KiB written", a.0 >> 10, b.0 >> 10, a.1 >> 10, b.1 >> 10);
        let may = [matches!(growth, InMemory | OnDisk), matches!(growth, Writes | OnDisk)];
        if more.iter().zip(may).any(|(more, may)| *more > SLACK && !may) {
            grown.push(format!("{words}: {more:?} bytes more of memory, and written"));
        }
    }
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}

/// The commands that a help text lists.
fn listed(verb: &[&str]) -> Vec<String> {
    let said = vathost(&[verb, &["--help"]].concat(), &[]);
    let behind = said.out.lines().skip_while(|it| *it != "Commands:").skip(1);
    let lines = behind.take_while(|it| it.starts_with(' '));
    let names = lines.filter(|it| it.starts_with("  ") && !it.starts_with("   "));
    names.map(|it| it.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn every_verb_is_in_the_table() {
    let known = |name: &str| {
        OTHERS.contains(&name)
            || VERBS.iter().any(|(words, _)| {
                let words = words.replace(" STATE", "");
                words == name || words.starts_with(&format!("{name} "))
            })
    };
    let mut verbs = listed(&[]);
    assert!(verbs.len() > 25, "{verbs:?}");
    for verb in ["inspect", "directives", "fault"] {
        let inner = listed(&[verb]);
        assert!(inner.len() > 2, "{verb}: {inner:?}");
        verbs.extend(inner.iter().map(|it| format!("{verb} {it}")));
    }
    let unknown: Vec<_> = verbs.iter().filter(|it| !known(it)).collect();
    assert!(unknown.is_empty(), "put these into the table, with how they may grow: {unknown:?}");
}
