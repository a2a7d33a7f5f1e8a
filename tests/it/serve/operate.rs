//! A served host and its operator: the log, the service manager, recordings, the mailbox, the secret, the command line beside it.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vathost::slog::Reader;

use super::server::{PATIENCE, Served};
use crate::cli::Place;

/// The lines that it said, each of them JSON.
#[track_caller]
fn events(said: &[String]) -> Vec<Value> {
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
    said.iter().map(read).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|it| it["event"] == name).collect()
}

#[test]
fn each_line_of_the_log_is_an_object_and_no_token_stands_in_it() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state -v --calls-max 0");
    let token = "A".repeat(43);
    assert_eq!(host.call(&format!("/cap/{token}"), "balance", json!([])).status, 429);
    assert_eq!(host.get(&format!("/promise/{token}")).status, 404);
    assert_eq!(host.request("POST", "/cap/market", &[], "{").status, 400);
    let body = json!({ "method": "report" }).to_string();
    assert_eq!(host.request("POST", "/cap/market", &[("Prefer", "respond-async")], &body).status, 202);
    let before = host.said();
    let status = host.get("/status").body;
    let (code, said) = host.end_by("-TERM");
    assert_eq!(code, Some(0), "{said:?}");
    let said: Vec<String> = before.into_iter().chain(said).collect();
    assert!(!said.iter().any(|it| it.contains(&token)), "{said:?}");
    let all = events(&said);
    for event in &all {
        assert!(event["time"].as_f64().is_some_and(|it| it > 1.7e9), "{event}");
        assert!(["debug", "info", "warn", "error"].contains(&event["level"].as_str().unwrap()), "{event}");
    }
    let opened = named(&all, "opened")[0];
    assert_eq!((&opened["height"], &opened["level"]), (&json!(0), &json!("info")));
    assert_eq!(named(&all, "serving")[0]["exports"], json!(["market", "north", "south"]));
    let limited = named(&all, "limited")[0];
    assert_eq!((&limited["what"], &limited["client"]), (&json!("requests"), &json!("127.0.0.1")));
    let refused = named(&all, "refused");
    let told: Vec<_> =
        refused.iter().map(|it| (it["route"].as_str().unwrap(), it["problem"].as_str().unwrap())).collect();
    assert_eq!(told, [("GET /promise", "no-capability"), ("POST /cap", "malformed")]);
    let blocks = named(&all, "block");
    let last = blocks.last().unwrap();
    assert_eq!(
        (&last["height"], &last["stateHash"], &last["level"]),
        (&status["height"], &status["stateHash"], &json!("debug"))
    );
    let stopped = all.last().unwrap();
    assert_eq!((&stopped["event"], &stopped["height"]), (&json!("stopped"), &status["height"]));
    // Without -v blocks are not told.
    let host = Served::start(&place, "@state");
    host.call("/cap/market", "report", json!([]));
    let before = host.said();
    let (_, said) = host.end_by("-TERM");
    let all = events(&before.into_iter().chain(said).collect::<Vec<_>>());
    assert!(named(&all, "block").is_empty() && named(&all, "opened").len() == 1, "{all:?}");
}

#[test]
fn a_refusal_to_start_and_a_halt_are_objects_too() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let second = place.vathost("serve vats/bank --state @state --listen 127.0.0.1:0 --log json").code(74);
    let all = events(&second.stderr.lines().map(str::to_owned).collect::<Vec<_>>());
    let text = named(&all, "error")[0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("another process has it open"), "{text}");
    let height = host.get("/status").body["height"].as_u64().unwrap();
    assert_eq!(host.end_by("-TERM").0, Some(0));
    place.write("stop.directives", &format!("block-{}: halt\n", height + 3));
    let host = Served::start(&place, "@state --directives @stop.directives");
    // It halts with a request under way, or between two.
    let serves = |_: &i32| host.try_request("POST", "/cap/north", &[], MAKE).is_ok_and(|it| it.status == 200);
    let served = (0..20).take_while(serves).count();
    assert!(served < 20, "{}", host.get("/status").body);
    let (code, said) = host.ended();
    assert_eq!(code, Some(3), "{said:?}");
    let all = events(&said);
    let halted = named(&all, "halted")[0];
    assert_eq!(
        (&halted["kind"], &halted["exitCode"], &halted["level"]),
        (&json!("directive"), &json!(3), &json!("error"))
    );
}

/// A message to a bank.
const MAKE: &str = "{\"method\":\"makePurse\",\"args\":[1]}";

/// A service manager that keeps what it is told.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    /// Waits until it is told this, and returns the message.
    #[track_caller]
    fn wait_for(&self, word: &str) -> String {
        let mut seen = Vec::new();
        let mut bytes = [0; 4_096];
        while let Ok(count) = self.0.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.lines().any(|line| line.starts_with(word)) {
                return text;
            }
            seen.push(text);
        }
        panic!("the manager was not told {word}: {seen:?}")
    }
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let place = Place::new();
    let manager = Manager::at(&place.path("notify"));
    let socket = place.path("notify").display().to_string();
    let settings = [("NOTIFY_SOCKET", &*socket), ("WATCHDOG_USEC", "400000")];
    let host = Served::start_with(&place, "vats/bank --state @state", &settings);
    let ready = manager.wait_for("READY=1");
    let status = format!("STATUS=serving at {}, height ", host.address);
    assert!(ready.lines().any(|line| line.starts_with(&status)), "{ready}");
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("WATCHDOG=1");
    host.call("/cap/market", "report", json!([]));
    let height = host.get("/status").body["height"].as_u64().unwrap();
    assert_eq!(host.end_by("-TERM").0, Some(0));
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.lines().any(|line| line == format!("STATUS=stopping at height {height}")), "{stopping}");
}

#[test]
fn the_unit_in_the_reference_is_one() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/serve.md")).unwrap();
    let unit = page.split("```ini\n").nth(1).and_then(|it| it.split("```").next()).unwrap();
    for line in ["Type=notify", "RestartPreventExitStatus=2 3 70 75", "Restart=on-failure"] {
        assert!(unit.contains(line), "{line}");
    }
    let place = Place::new();
    // The program and the user are those of this machine.
    let text =
        unit.replace("/usr/local/bin/vathost", env!("CARGO_BIN_EXE_vathost")).replace("User=vathost", "User=root");
    place.write("vathost-bank.service", &text);
    let command =
        std::process::Command::new("systemd-analyze").arg("verify").arg(place.path("vathost-bank.service")).output();
    let Ok(checked) = command else { return eprintln!("skipped: there is no systemd-analyze here") };
    let said = String::from_utf8_lossy(&checked.stderr);
    let about_it: Vec<&str> = said.lines().filter(|it| it.contains("vathost-bank")).collect();
    assert!(about_it.is_empty(), "{said}");
}

#[test]
fn a_recording_of_a_served_host_is_rotated_and_whole_after_every_kill() {
    let place = Place::new();
    let words = "vats/bank --state @state --slog @bank.slog.zst --slog-max 4KiB,3";
    for round in 0..4 {
        let host = Served::start(&place, words);
        for _ in 0..12 {
            host.call("/cap/north", "makePurse", json!([1]));
        }
        if round < 3 { host.kill() } else { drop(host.end_by("-TERM")) }
    }
    let names = fs::read_dir(place.path("")).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut parts: Vec<String> = names.filter(|it| it.starts_with("bank.0")).collect();
    parts.sort();
    assert_eq!(parts.len(), 3, "{parts:?}");
    for part in &parts {
        // Any tool can read it, and it ends with a block.
        zstd::decode_all(fs::File::open(place.path(part)).unwrap()).unwrap();
        let all: Vec<Value> = Reader::open(&place.path(part)).unwrap().map(|it| it.unwrap().value).collect();
        assert_eq!(all.last().unwrap()["type"], "commit-finish", "{part}");
        place.vathost(&format!("slog summary @{part}")).ok();
    }
    let heights: Vec<u64> = Reader::open(&place.path("bank.slog.zst"))
        .unwrap()
        .map(|it| it.unwrap().value)
        .filter(|it| it["type"] == "commit-finish")
        .map(|it| it["blockHeight"].as_u64().unwrap())
        .collect();
    assert!(heights.len() > 3 && heights.is_sorted(), "{heights:?}");
    let last: Value = serde_json::from_str(&place.vathost("slog last @bank.slog.zst --json").ok().stdout).unwrap();
    assert_eq!(last["status"], "clean");
}

#[test]
fn the_files_of_the_mailbox_work_under_a_served_host() {
    let place = Place::new();
    let scenario = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/clerk/vat.toml")).unwrap();
    let vats = concat!("\"", env!("CARGO_MANIFEST_DIR"), "/vats/");
    place.write("clerk/vat.toml", &scenario.replace("\"../", vats));
    let host = Served::start(&place, "@clerk --state @state");
    let (inbound, outbound) = (place.path("clerk/in.jsonl"), place.path("clerk/out.jsonl"));
    let outbox = |wanted: usize| -> Vec<String> {
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&outbound).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.len() >= wanted || begun.elapsed() > PATIENCE {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // It comes by itself, without any request, to a host that waits.
    host.get("/status");
    std::thread::sleep(Duration::from_millis(300));
    fs::write(&inbound, "{\"num\":1,\"body\":{\"deposit\":50}}\n").unwrap();
    let first = outbox(2);
    assert!(first.iter().any(|it| it == "{\"ack\":1}") && first.len() >= 2, "{first:?}");
    let said: Value = serde_json::from_str(first.iter().find(|it| it.contains("\"num\":1,")).unwrap()).unwrap();
    host.kill();
    // What came while it was down is taken once, and what was said is not said again.
    fs::write(&inbound, "{\"num\":1,\"body\":{\"deposit\":50}}\n{\"num\":2,\"body\":{\"deposit\":7}}\n").unwrap();
    let host = Served::start(&place, "@clerk --state @state");
    let second = outbox(first.len() + 2);
    assert!(second.iter().any(|it| it == "{\"ack\":2}"), "{second:?}");
    assert_eq!(second.iter().filter(|it| it.contains("\"num\":1,")).count(), 1, "{second:?} {said}");
    let height = host.get("/status").body["height"].clone();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(host.get("/status").body["height"], height, "nothing runs at rest");
    assert_eq!(host.end_by("-TERM").0, Some(0));
    place.vathost("verify @state").code(0);
}

#[test]
fn a_lost_or_short_secret_is_told_with_the_way_out_and_a_kept_one_tells_answers_again() {
    let place = Place::new();
    let key = [("Idempotency-Key", "purse-1")];
    let body = json!({ "method": "makePurse", "args": [3] }).to_string();
    let host = Served::start(&place, "vats/bank --state @state");
    let first = host.request("POST", "/cap/north", &key, &body);
    let purse = first.value()["@cap"].as_str().unwrap().to_owned();
    assert_eq!(host.end_by("-TERM").0, Some(0));
    let secret = fs::read(place.path("state/serve.secret")).unwrap();
    assert_eq!(secret.len(), 32);
    let refused = |why: &str| {
        let ran = place.vathost("serve @state --listen 127.0.0.1:0").code(74);
        for part in [why, "serve.secret", "--new-secret", "bring the file back"] {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    };
    fs::write(place.path("state/serve.secret"), &secret[..31]).unwrap();
    refused("it has 31 bytes");
    fs::remove_file(place.path("state/serve.secret")).unwrap();
    refused("it is lost, and the state keeps 1 answers");
    fs::write(place.path("state/serve.secret"), &secret).unwrap();
    let host = Served::start(&place, "@state");
    assert_eq!(host.request("POST", "/cap/north", &key, &body).body, first.body);
    assert_eq!(host.end_by("-TERM").0, Some(0));
    // With a new one the key acts again; what was told before still names its purse.
    fs::remove_file(place.path("state/serve.secret")).unwrap();
    let host = Served::start(&place, "@state --new-secret");
    let again = host.request("POST", "/cap/north", &key, &body);
    assert_ne!(again.value()["@cap"], purse);
    assert_eq!(host.call(&purse, "balance", json!([])).value(), 3);
    assert_eq!(host.end_by("-TERM").0, Some(0));
    // A state whose host never took a key needs none.
    let host = Served::start(&place, "vats/bank --state @other");
    host.call("/cap/market", "report", json!([]));
    assert_eq!(host.end_by("-TERM").0, Some(0));
    fs::remove_file(place.path("other/serve.secret")).unwrap();
    assert_eq!(Served::start(&place, "@other").end_by("-TERM").0, Some(0));
}

#[test]
fn the_state_is_looked_at_and_exported_while_its_host_is_under_load() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    host.call("/cap/north", "makePurse", json!([1]));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(host.call("/cap/north", "makePurse", json!([1])).status, 200);
                }
            });
        }
        let height = |words: &str| -> u64 {
            let overview: Value = serde_json::from_str(&place.vathost(words).ok().stdout).unwrap();
            overview["height"].as_u64().unwrap()
        };
        let first = height("inspect @state --json");
        for what in ["vats", "vat north", "queue", "promises", "objects", "clist north", "transcript north", "kv north"]
        {
            let shown = place.vathost(&format!("inspect --state @state {what}")).ok();
            assert!(!shown.stdout.is_empty() || what == "queue", "{what}");
        }
        assert!(place.vathost("vats @state").ok().stdout.contains("market"));
        let listed: Value = serde_json::from_str(&place.vathost("vats @state --json").ok().stdout).unwrap();
        assert!(listed.as_array().unwrap().iter().any(|it| it["name"] == "north"), "{listed}");
        // Each archive is of one committed block, and the host goes on meanwhile.
        for at in 0..3 {
            let exported = height(&format!("export @state @archive-{at} --json"));
            assert!(exported >= first, "{exported} {first}");
            place.vathost(&format!("import @archive-{at} @copy-{at}")).ok();
            place.vathost(&format!("verify @copy-{at}")).code(0);
            assert_eq!(height(&format!("inspect @copy-{at} --json")), exported);
        }
        assert!(height("inspect @state --json") > first);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(host.end_by("-TERM").0, Some(0));
    place.vathost("verify @state").code(0);
    place.vathost("replay @copy-2 --vat north").code(0);
}

#[test]
fn unused_space_is_given_back_beside_a_running_host_and_at_rest_and_no_hash_changes() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    for _ in 0..20 {
        host.call("/cap/north", "makePurse", json!([1]));
    }
    let before = host.get("/status").body;
    let log = place.path("state/state.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let pruned: Value = serde_json::from_str(&place.vathost("prune @state --json").ok().stdout).unwrap();
    assert!(pruned["bytesAfter"].as_u64() < pruned["bytesBefore"].as_u64() && pruned["isHeld"] == false, "{pruned}");
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    let after = host.get("/status").body;
    assert_eq!((&after["height"], &after["stateHash"]), (&before["height"], &before["stateHash"]));
    // It goes on, also after kill -9.
    assert_eq!(host.call("/cap/north", "makePurse", json!([2])).status, 200);
    let hash = host.get("/status").body["stateHash"].clone();
    host.kill();
    place.vathost("prune @state").ok();
    place.vathost("verify @state").code(0);
    let host = Served::start(&place, "@state");
    assert_eq!(host.get("/status").body["stateHash"], hash);
    assert_eq!(place.vathost("prune @nowhere").code, 2);
}
