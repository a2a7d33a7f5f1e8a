//! A served host's life: its beginning and end, its time, what is seen of it, and who administrates it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use serde_json::{Value, json};

use super::server::Served;
use crate::cli::Place;

/// The mode of each file in a folder, and of the folder, by name.
fn modes(dir: &Path) -> Vec<(String, u32)> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let mut found: Vec<_> = files.map(|it| (it.file_name().unwrap().to_str().unwrap().to_owned(), mode(&it))).collect();
    found.push((".".to_owned(), mode(dir)));
    found.sort();
    found
}

#[test]
fn signals_end_it_after_the_block_and_the_same_command_goes_on() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    host.call("/cap/market", "report", json!([]));
    let (code, said) = host.end_by("-TERM");
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.last().unwrap().contains("\"stopped\""), "{said:?}");
    assert!(!place.path("state/control.sock").exists());
    // From the state alone: it knows what is open.
    let host = Served::start(&place, "@state");
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
    assert_eq!(host.end_by("-INT").0, Some(130));
}

#[test]
fn nothing_runs_while_there_is_nothing_to_do_and_a_blocks_time_is_the_clocks() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    host.call("/cap/market", "report", json!([]));
    let before = host.get("/status").body;
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(host.get("/status").body["height"], before["height"]);
    host.call("/cap/market", "report", json!([]));
    let after = host.get("/status").body;
    assert_eq!(after["height"], before["height"].as_u64().unwrap() + 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let times = [before["time"].as_u64().unwrap(), after["time"].as_u64().unwrap()];
    assert!(times[0] <= times[1] && times[1] <= now && now - times[0] < 600, "{times:?} {now}");
}

#[test]
fn a_wakeup_comes_by_the_clock_without_any_request() {
    let place = Place::new();
    let text = "bootstrap = \"clock\"\n[vats.clock]\nbundle = \"VATS/clock.wasm\"\nparameters = { every = 1, rings = 3 }\n\
                [devices]\ntimer = {}\nconsole = {}\n";
    place.write("clock/vat.toml", &text.replace("VATS", concat!(env!("CARGO_MANIFEST_DIR"), "/vats")));
    let host = Served::start(&place, "@clock --state @state");
    let ticked = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        host.get("/status").body["deliveries"].as_u64().unwrap() >= 5
    });
    assert!(ticked, "{:?}", host.get("/status"));
}

#[test]
fn its_health_its_standing_and_its_numbers_are_seen() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    host.call("/cap/market", "report", json!([]));
    assert_eq!(host.get("/healthz").body, json!({ "status": "ok" }));
    let status = host.get("/status").body;
    assert_eq!(status["exports"], json!(["market", "north", "south"]));
    assert_eq!(status["notRunning"][0]["name"], "west");
    let metrics = host.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.body.as_str().unwrap();
    for line in [
        "vathost_vats{kind=\"terminated\"} 1",
        "vathost_answers_total{kind=\"fulfilled\"} 1",
        "vathost_call_seconds_count 1",
        "vathost_block_seconds_bucket",
        "vathost_bytes{kind=\"state-file\"}",
        "vathost_last_directive_crank -1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let height = format!("vathost_height {}", status["height"]);
    assert!(text.contains(&height), "{height}: {text}");
}

#[test]
fn a_states_folder_and_its_files_are_for_their_owner_alone() {
    let place = Place::new();
    let is_private = |dir: &str| {
        for (name, mode) in modes(&place.path(dir)) {
            let wanted = if name == "." { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{dir}: {name} {mode:o}");
        }
    };
    let host = Served::start(&place, "vats/bank --state @state");
    host.call("/cap/market", "report", json!([]));
    is_private("state");
    drop(host);
    assert_eq!(place.vathost("run vats/bank --state @ran").code, 0);
    is_private("ran");
    assert_eq!(place.vathost("fork @ran @forked").code, 0);
    is_private("forked");
    assert_eq!(place.vathost("export @ran @archive").code, 0);
    assert_eq!(place.vathost("import @archive @imported").code, 0);
    is_private("imported");
    // One that others could read is closed to them when it is opened to run.
    fs::set_permissions(place.path("ran"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("ran/state.sqlite"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.vathost("run @ran").code, 0);
    is_private("ran");
    // A panic's report and dump as well.
    assert_eq!(
        place.vathost("run vats/forger --state @broken --experimental --plant resolve-non-decider@crank-0").code,
        70
    );
    is_private("broken");
    // A folder that holds other things is left as it is, and its files are closed.
    place.write("home/notes", "mine");
    fs::set_permissions(place.path("home"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.vathost("run vats/bank --state @home").code, 0);
    let found = modes(&place.path("home"));
    assert!(
        found.contains(&(".".to_owned(), 0o755)) && found.contains(&("state.sqlite".to_owned(), 0o600)),
        "{found:?}"
    );
}

#[test]
fn the_command_line_speaks_to_a_running_host_and_does_the_same_at_rest() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let both = |words: &str| place.vathost(words);
    let called = both("call @state north makePurse 5");
    assert_eq!(
        (called.code, called.stdout.trim().starts_with("<Purse ko")),
        (0, true),
        "{} {}",
        called.stdout,
        called.stderr
    );
    let sent: Value = serde_json::from_str(&both("send @state north makePurse 6 --json").stdout).unwrap();
    assert_eq!((&sent["to"], &sent["method"]), (&json!("north"), &json!("makePurse")));
    assert_eq!(both("call @state nobody makePurse 5").code, 2);
    assert!(both("inspect @state vats").stdout.contains("market"));
    assert_eq!(both("pause @state north --reason testing").stdout, "paused v2 (north)\n");
    let status = host.get("/status").body;
    let north = status["notRunning"].as_array().unwrap().iter().find(|it| it["name"] == "north").unwrap();
    assert_eq!((&north["status"], &north["reason"]), (&json!("paused"), &json!("testing")));
    // What is sent to it waits.
    let body = json!({ "method": "makePurse", "args": [1] }).to_string();
    let waiting = host.request("POST", "/cap/north", &[("Prefer", "respond-async")], &body);
    let promise = waiting.body["promise"].as_str().unwrap().to_owned();
    assert_eq!(host.get(&promise).status, 202);
    assert_eq!(both("resume @state north").code, 0);
    assert_eq!(host.get(&format!("{promise}?wait=30")).status, 200);
    assert_eq!(both("upgrade @state vats/bank").code, 0);
    assert_eq!(both("install @state vats/bank").code, 0);
    assert_eq!(both("terminate @state south --reason enough").code, 0);
    assert_eq!(host.call("/cap/south", "makePurse", json!([1])).problem(), (410, "ended".to_owned()));
    assert_eq!(both("terminate @state south").code, 2);
    assert_eq!(host.end_by("-TERM").0, Some(0));
    assert_eq!(both("pause @state north").stdout, "paused v2 (north)\n");
    assert_eq!(both("resume @state v2 --json").stdout, "{\"done\":\"resumed\",\"vat\":\"v2\"}\n");
    assert_eq!(both("verify @state").code, 0);
    assert_eq!(both("replay @state --vat north").code, 0);
}

#[test]
fn a_second_host_is_refused_and_so_is_a_server_without_a_state() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let second = place.vathost("serve vats/bank --state @state --listen 127.0.0.1:0");
    assert_eq!(second.code, 74);
    assert!(second.stderr.contains("another process has it open"), "{}", second.stderr);
    let taken = place.vathost(&format!("serve vats/bank --state @other --listen {}", host.address));
    assert_eq!(taken.code, 74);
    assert!(taken.stderr.contains("listen at"), "{}", taken.stderr);
    assert_eq!(place.vathost("serve vats/bank").code, 2);
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
}
