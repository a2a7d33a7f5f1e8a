//! States as things to move, check, copy, compare and run again: `export`, `import`, `verify`, `fork`, `diff`, `replay`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::{Connection, params};
use serde_json::Value;
use tempfile::TempDir;
use vathost::{
    archive::{self, ArchiveError},
    block::Block,
    controller::{Controller, Open, Policy},
    difference,
    scenario::Scenario,
    slog::Slog,
    store::Database,
    table::Tables,
    vat::Warehouse,
    verify,
};

fn vats(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vats").join(name)
}

fn code_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("state-cache/vathost")
}

fn open(dir: &Path) -> Controller {
    let state = Some(dir.to_owned());
    Controller::open(Open { state, code_cache: Some(code_cache()), ..Open::default() }).unwrap()
}

/// Runs up to this many blocks of so many cranks. Returns the state hash.
fn go_on(controller: &mut Controller, blocks: usize, cranks: u64) -> String {
    let policy = Policy { cranks, ..Policy::default() };
    for _ in 0..blocks {
        if !controller.is_quiescent().unwrap() {
            controller.run_block(&policy, &mut |_| true).unwrap();
        }
    }
    controller.report().unwrap().state_hash
}

const ALL: usize = usize::MAX;

/// A state made of a scenario, run for this many blocks of ten cranks.
fn make(scenario: &str, dir: &Path, blocks: usize) -> String {
    let mut controller = open(dir);
    controller.install(&Scenario::read(&vats(scenario)).unwrap()).unwrap();
    // `ALL` blocks end when nothing is left.
    let mut hash = go_on(&mut controller, blocks.min(3), 10);
    while blocks == ALL && !controller.is_quiescent().unwrap() {
        hash = go_on(&mut controller, 3, 10);
    }
    hash
}

fn finish(dir: &Path) -> String {
    let mut controller = open(dir);
    let mut hash = go_on(&mut controller, 1, 10);
    while !controller.is_quiescent().unwrap() {
        hash = go_on(&mut controller, 3, 10);
    }
    hash
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{} {}", self.out, self.err))
    }
}

fn vathost(args: &[&str], paths: &[&Path]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vathost"));
    command.env("XDG_CACHE_HOME", code_cache().parent().unwrap()).args(&args[..1]).args(paths).args(&args[1..]);
    let output = command.output().unwrap();
    let text = |it: Vec<u8>| String::from_utf8(it).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

fn sqlite(dir: &Path) -> Connection {
    Connection::open(dir.join("state.sqlite")).unwrap()
}

fn read_archive(path: &Path) -> Result<archive::Summary, ArchiveError> {
    archive::read(path, &mut Database::memory(&Tables::names()).unwrap(), &mut |_, _| ())
}

#[test]
fn an_exported_state_is_imported_with_proof_and_goes_on_to_the_same_end() {
    let dir = TempDir::new().unwrap();
    let [a, b, file] = ["a", "b", "bank.vathost"].map(|it| dir.path().join(it));
    let hash = make("bank", &a, 2);
    let exported = vathost(&["export", "--json"], &[&a, &file]);
    assert_eq!((exported.code, exported.json()["stateHash"].as_str()), (0, Some(&*hash)), "{}", exported.err);
    let imported = vathost(&["import", "--json"], &[&file, &b]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    for name in ["stateHash", "stateDigest", "height", "rows", "scenario", "engine"] {
        assert_eq!(imported.json()[name], exported.json()[name], "{name}");
    }
    let verified = vathost(&["verify", "--replay", "--json"], &[&b]);
    assert_eq!((verified.code, &verified.json()["ok"]), (0, &Value::Bool(true)), "{}", verified.out);
    assert_eq!(vathost(&["diff"], &[&a, &file]).code, 0);
    assert_eq!(finish(&b), finish(&a));
    assert_ne!(finish(&a), hash, "there was something left to do");
}

#[test]
fn nothing_is_overwritten_and_what_is_no_archive_is_refused() {
    let dir = TempDir::new().unwrap();
    let [a, file, text, none] = ["a", "f", "text", "none"].map(|it| dir.path().join(it));
    make("globals", &a, 1);
    assert_eq!(vathost(&["export"], &[&a, &file]).code, 0);
    fs::write(&text, "a diary").unwrap();
    let refused = [
        (vathost(&["export"], &[&a, &file]), "exists"),
        (vathost(&["export"], &[&none, &dir.path().join("new")]), "there is no state"),
        (vathost(&["import"], &[&file, &a]), "something is in it"),
        (vathost(&["import"], &[&file, &text]), "something is in it"),
        (vathost(&["import"], &[&none, &none]), "there is no file"),
        (vathost(&["import"], &[&text, &none]), "no archive of a vathost state"),
        (vathost(&["import"], &[&vats("bank.wasm"), &none]), "no archive of a vathost state"),
        (vathost(&["fork"], &[&a, &a]), "something is in it"),
        (vathost(&["fork"], &[&none, &none]), "there is no state"),
        (vathost(&["verify"], &[&none]), "there is no state"),
        (vathost(&["diff"], &[&a, &none]), "there is no state"),
    ];
    for (said, why) in refused {
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(why), "{} should say: {why}", said.err);
    }
    assert!(!none.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left behind");
}

#[test]
fn every_damage_to_an_archive_is_found_and_says_where() {
    let dir = TempDir::new().unwrap();
    let [a, good, bad] = ["a", "good", "bad"].map(|it| dir.path().join(it));
    make("globals", &a, ALL);
    assert_eq!(vathost(&["export"], &[&a, &good]).code, 0);
    let bytes = fs::read(&good).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        read_archive(&bad).expect_err("damage is accepted").to_string()
    };
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 700) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let why = refusal(&damaged);
        assert!(at < 4 || why.contains("damaged at"), "byte {at}: {why}");
        assert!(refusal(&bytes[..at]).contains(if at < 8 { "no archive" } else { "ends there" }), "{at}");
    }
    let more = [&bytes[..], b"more"].concat();
    assert!(refusal(&more).contains("stand behind its end"));
    // A whole piece is gone, and its frame with it: every hash that is left is right.
    let marks: Vec<_> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(&0x184D_2A56_u32.to_le_bytes())).collect();
    let without = [&bytes[..marks[1]], &bytes[marks[2]..]].concat();
    assert!(refusal(&without).contains("damaged at its end"), "{}", refusal(&without));
    // A piece of a table that has a name.
    let at = bytes.windows(8).position(|it| it == b"\"object\"").unwrap();
    let next = *marks.iter().find(|it| **it > at).unwrap();
    let mut damaged = bytes.clone();
    damaged[next - 1] ^= 1;
    assert!(refusal(&damaged).contains("a piece of table `object`"));
    read_archive(&good).unwrap();
}

#[test]
fn a_damaged_archive_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let [a, into, file] = ["a", "into", "f"].map(|it| dir.path().join(it));
    make("globals", &a, ALL);
    assert_eq!(vathost(&["export"], &[&a, &file]).code, 0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    fs::create_dir(&into).unwrap();
    let said = vathost(&["import"], &[&file, &into.join("state")]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("damaged at bytes"), "{}", said.err);
    assert!(is_empty(&into));
}

#[test]
fn verify_finds_nothing_after_any_scenario() {
    let mut scenarios = 0;
    for entry in fs::read_dir(vats("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let dir = TempDir::new().unwrap();
        make(path.file_name().unwrap().to_str().unwrap(), dir.path(), ALL);
        let database = Database::open_read_only(dir.path()).unwrap();
        let found = verify::verify(&database).unwrap();
        assert!(found.is_ok() && found.0.iter().all(|it| it.skipped.is_none()), "{}: {found:#?}", path.display());
        let block = Block::over(database, Slog::default()).unwrap();
        let mut deliveries = 0;
        let mut workers = Warehouse::new(Some(&code_cache())).unwrap();
        let replayed = verify::replay(&block, &mut workers, &mut || deliveries += 1).unwrap();
        assert!(replayed.is_ok() && deliveries > 0, "{}: {replayed:#?}", path.display());
        scenarios += 1;
    }
    assert!(scenarios >= 10);
}

/// What `verify` says, with the first finding.
fn findings(dir: &Path) -> Option<String> {
    let database = match Database::open_read_only(dir) {
        Ok(database) => database,
        Err(err) => return Some(format!("file: {err}")),
    };
    verify::verify(&database).unwrap().first_finding().map(|(check, text)| format!("{check}: {text}"))
}

#[test]
fn every_bit_of_every_row_is_guarded() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 2);
    assert_eq!(findings(dir.path()), None);
    let sqlite = sqlite(dir.path());
    let mut columns: Vec<(&str, &str)> = Tables::names().iter().flat_map(|it| [(*it, "key"), (*it, "value")]).collect();
    columns.extend([
        ("meta", "value"),
        ("bundle", "wasm"),
        ("bundle", "hash"),
        ("transcript", "entries"),
        ("transcript", "checksum"),
    ]);
    let mut flips = 0;
    for (table, column) in columns {
        let rows = format!("SELECT DISTINCT {column} FROM \"{table}\" WHERE length({column}) > 0 LIMIT 3");
        let rows: Vec<Vec<u8>> =
            sqlite.prepare(&rows).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        for good in rows {
            let update = format!("UPDATE \"{table}\" SET {column} = ? WHERE {column} = ?");
            for at in (0..good.len()).step_by(1 + good.len() / 12) {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                if sqlite.execute(&update, params![bad, good]).is_err() {
                    continue; // another row has that key
                }
                let found = findings(dir.path());
                assert!(found.is_some(), "{table}.{column} byte {at} of {good:?}");
                sqlite.execute(&update, params![good, bad]).unwrap();
                flips += 1;
            }
        }
    }
    assert!(flips > 200, "{flips}");
    assert_eq!(findings(dir.path()), None, "all is as it was");
}

#[test]
fn verify_says_what_is_damaged() {
    let source = TempDir::new().unwrap();
    make("bank", source.path(), 2);
    let cases = [
        ("UPDATE object SET value = CAST(x'01' || value AS BLOB)", "records: table `object`, key 0000000000000014"),
        ("UPDATE object SET value = x'0102' WHERE key = (SELECT min(key) FROM object)", "records: table `object`"),
        ("DELETE FROM clist WHERE key = (SELECT min(key) FROM clist)", "invariants: `audit."),
        ("DELETE FROM vatstore WHERE key = (SELECT min(key) FROM vatstore)", "digest: the rows have digest"),
        ("UPDATE bundle SET wasm = CAST(wasm || x'00' AS BLOB)", "bundles: read bundle"),
        ("DELETE FROM bundle", "is needed, and missing"),
        (
            "UPDATE transcript SET entries = CAST(entries || x'00' AS BLOB) WHERE vat = 2",
            "transcripts: read the transcript of v2",
        ),
        ("DELETE FROM transcript WHERE vat = 2 AND first > 0", "transcripts: v2: its tally"),
        ("DELETE FROM transcript WHERE vat = 2 AND first = 0", "deliveries are missing"),
        ("UPDATE transcript SET vat = 77 WHERE vat = 2", "there is a transcript of v77, and no such vat"),
        ("UPDATE object SET value = 'text'", "records: read table `object`: Invalid type"),
        ("UPDATE meta SET value = CAST(value || x'00' AS BLOB)", "facts: read the state's facts"),
        ("DELETE FROM meta", "facts: there is no committed block"),
        ("DELETE FROM block WHERE height = 1", "blocks: block-0 ends before"),
        ("UPDATE block SET state_hash = zeroblob(32)", "blocks: block-2 has hash 0000"),
        ("CREATE TABLE stranger (it)", "tables: table `stranger` is not known"),
        ("DROP TABLE gc", "tables: table `gc`"),
        ("PRAGMA user_version = 9", "file: open the state: it has schema version 9"),
    ];
    for (sql, expected) in cases {
        let dir = TempDir::new().unwrap();
        Database::copy(source.path(), &dir.path().join("state.sqlite")).unwrap();
        sqlite(dir.path()).execute_batch(sql).unwrap();
        let said = vathost(&["verify"], &[dir.path()]);
        let found = findings(dir.path()).unwrap_or_default();
        assert_eq!(said.code, 1, "{sql}: {}{}", said.out, said.err);
        assert!(found.contains(expected), "{sql}: {found}");
        assert!(said.out.contains(expected.split_once(": ").map_or(expected, |(_, it)| it)), "{sql}: {}", said.out);
    }
}

#[test]
fn no_flip_of_a_bit_on_a_page_of_the_file_is_a_panic_or_goes_unnoticed() {
    let source = TempDir::new().unwrap();
    make("counter", source.path(), 2);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.sqlite");
    Database::copy(source.path(), &file).unwrap();
    let good = fs::read(&file).unwrap();
    let original = Database::open_read_only(source.path()).unwrap();
    let mut noticed = 0;
    for at in (0..good.len()).step_by(1013) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&file, bad).unwrap();
        match findings(dir.path()) {
            Some(_) => noticed += 1,
            // Only what no row uses may be damaged without a finding.
            None => {
                let damaged = Database::open_read_only(dir.path()).unwrap();
                assert!(difference::compare(&original, &damaged, 1).unwrap().is_none(), "byte {at}");
            }
        }
    }
    for length in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(findings(dir.path()).is_some(), "cut to {length} bytes");
    }
    assert!(noticed > 20, "{noticed}");
}

#[test]
fn a_fork_is_the_last_commit_while_a_host_runs_on() {
    let dir = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|it| dir.path().join(it));
    make("bank", &a, 0);
    let mut controller = open(&a);
    let hash = go_on(&mut controller, 1, 10);
    let forked = vathost(&["fork", "--json"], &[&a, &b]);
    assert_eq!((forked.code, forked.json()["stateHash"].as_str()), (0, Some(&*hash)), "{}", forked.err);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let copies = std::thread::scope(|scope| {
        let copier = scope.spawn(|| {
            let mut copies = 0;
            while copies == 0 || !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let copy = TempDir::new().unwrap();
                Database::copy(&a, &copy.path().join("state.sqlite")).unwrap();
                assert_eq!(findings(copy.path()), None);
                copies += 1;
            }
            copies
        });
        while !controller.is_quiescent().unwrap() {
            go_on(&mut controller, 1, 1);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        copier.join().unwrap()
    });
    assert!(copies > 0);
    drop(controller);
    // Blocks of other lengths end at other hashes, with the same rows and another past.
    finish(&b);
    let found = vathost(&["diff", "--json"], &[&a, &b]).json();
    assert_eq!(found["parted"]["block"], 2, "{found}");
}

#[test]
fn diff_names_a_row_that_was_changed_by_hand() {
    let dir = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|it| dir.path().join(it));
    make("counter", &a, ALL);
    assert_eq!(vathost(&["fork"], &[&a, &b]).code, 0);
    let same = vathost(&["diff"], &[&a, &b]);
    assert_eq!(same.code, 0);
    assert!(same.out.starts_with("equal: state hash "), "{}", same.out);
    let sql = "UPDATE vatstore SET value = x'010141' WHERE key = (SELECT min(key) FROM vatstore);
               DELETE FROM outside WHERE key = x'0000000000000002'";
    sqlite(&b).execute_batch(sql).unwrap();
    let found = vathost(&["diff", "--json"], &[&a, &b]);
    assert_eq!(found.code, 1, "{}", found.err);
    let found = found.json();
    let row = &found["rows"][0];
    assert_eq!(
        (&row["table"], &row["vatID"], &row["b"]),
        (&"vatstore".into(), &"v1".into(), &"\"A\"".into()),
        "{found}"
    );
    assert_ne!(row["a"], row["b"]);
    let row = &found["rows"][1];
    assert_eq!(
        (&row["table"], &row["key"], &row["b"]),
        (&"outside".into(), &"message 2".into(), &Value::Null),
        "{found}"
    );
    assert_eq!(found["counts"], serde_json::json!({ "vatstore": 1, "outside": 1 }));
    let text = vathost(&["diff", "--limit", "1"], &[&a, &b]).out;
    assert!(text.contains("2 rows differ: outside 1, vatstore 1") && text.contains("and 1 more"), "{text}");
}

#[test]
fn diff_tells_a_past_from_a_parting() {
    let dir = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|it| dir.path().join(it));
    make("bank", &a, 2);
    assert_eq!(vathost(&["fork"], &[&a, &b]).code, 0);
    go_on(&mut open(&b), 1, 10);
    let later = vathost(&["diff", "--json"], &[&a, &b]).json();
    assert_eq!((&later["parted"]["past"], &later["parted"]["block"]), (&"a".into(), &2.into()), "{later}");
    let crank = later["parted"]["crank"].as_u64().unwrap();
    assert_eq!(vathost(&["diff", "--json"], &[&b, &a]).json()["parted"]["past"], "b");
    assert_eq!(later["deliveries"][0]["part"], "only one has it", "{later}");

    go_on(&mut open(&a), 1, 4);
    let parted = vathost(&["diff", "--json"], &[&a, &b]).json();
    let expected = serde_json::json!({ "block": 3, "from": crank, "to": { "a": crank + 4, "b": crank + 10 } });
    assert_eq!(parted["parted"], expected);
    let text = vathost(&["diff"], &[&a, &b]).out;
    assert!(text.contains(&format!("parted in block-3, between crank-{crank} and its end")), "{text}");
}

#[test]
fn every_vat_of_the_bank_replays_and_the_state_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    make("bank", dir.path(), 2);
    let before = fs::read(dir.path().join("state.sqlite")).unwrap();
    let state = ["--state", dir.path().to_str().unwrap()];
    let replay = |args: &[&str]| vathost(&[&["replay"], &state[..], args].concat(), &[]);
    for vat in ["market", "north", "south", "v4"] {
        let said = replay(&["--vat", vat, "--json"]);
        assert_eq!((said.code, &said.json()["ok"]), (0, &Value::Bool(true)), "{vat}: {}{}", said.out, said.err);
        assert!(said.json()["deliveries"].as_u64() > Some(0));
        assert_eq!(said.json()["fuel"], said.json()["recordedFuel"]);
    }
    let all = replay(&["--vat", "market", "--json"]).json();
    let some = replay(&["--vat", "market", "--from", "1", "--to", "2", "--json"]).json();
    assert_eq!(some["deliveries"], 2);
    let one = replay(&["--vat", "market", "--delivery", "0"]);
    assert!(one.out.starts_with("delivery-0 to v1\n  Some(StartVat("), "{}", one.out);
    // The next is not committed: it is run, and still not committed.
    let next = (all["to"].as_u64().unwrap() + 1).to_string();
    let said = replay(&["--vat", "market", "--delivery", &next, "--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let events = said.json()["events"].as_array().unwrap().clone();
    let deliver = events.iter().find(|it| it["type"] == "deliver").unwrap();
    assert_eq!(deliver["deliveryNum"].to_string(), next);
    for (args, why) in [
        (&["--vat", "nobody"][..], "there is no vat `nobody`"),
        (&["--vat", "v1", "--to", "99999"], "not 99999 to 99999"),
        (&["--vat", "v1", "--from", "2", "--to", "1"], "not 2 to 1"),
        (&["--vat", "v1", "--delivery", "99999"], "nothing is left to do before"),
        (&["--vat", "v1", "--wasm", "Cargo.toml"], "Cargo.toml"),
    ] {
        let said = replay(args);
        assert_eq!(said.code, 2, "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(why), "{args:?}: {}", said.err);
    }
    assert!(fs::read(dir.path().join("state.sqlite")).unwrap() == before);
    assert_eq!(findings(dir.path()), None);
}

#[test]
fn another_module_is_run_against_what_happened() {
    let dir = TempDir::new().unwrap();
    let (state, wasm) = (dir.path().join("state"), dir.path().join("new.wat"));
    make("globals", &state, ALL);
    let source = fs::read_to_string(vats("globals/globals.wat")).unwrap();
    let replay = |source: &str, json: &[&str]| {
        fs::write(&wasm, source).unwrap();
        let args = ["replay", "--vat", "v1", "--state", state.to_str().unwrap(), "--wasm", wasm.to_str().unwrap()];
        vathost(&[&args[..], json].concat(), &[])
    };
    // Slower, and otherwise the same.
    let slower = source.replace("(call $input_read", "(drop (i32.add (i32.const 1) (i32.const 2))) (call $input_read");
    let said = replay(&slower, &["--json"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.json()["fuel"].as_u64() > said.json()["recordedFuel"].as_u64());
    // It counts by two.
    let by_two = source.replace("(global.get $messages) (i64.const 1)", "(global.get $messages) (i64.const 2)");
    assert_ne!(by_two, source);
    let said = replay(&by_two, &[]);
    assert_eq!(said.code, 75, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("v1 differs in delivery 1: syscall 0\n  recorded Resolve("), "{}", said.out);
    let found = replay(&by_two, &["--json"]).json();
    assert_eq!((&found["what"], &found["delivery"]), (&"syscall 0".into(), &1.into()));
    assert!(
        found["recorded"].as_str().unwrap().contains("#1") && found["actual"].as_str().unwrap().contains("#2"),
        "{found}"
    );
    // It says nothing at all; it traps.
    let silent = source.replace("(call $resolve (i32.const 32) (i32.const 1))", "");
    assert_eq!(replay(&silent, &["--json"]).json()["actual"], "none: the delivery ended");
    let trap = source.replace("(call $resolve (i32.const 32) (i32.const 1))", "unreachable");
    let said = replay(&trap, &["--json"]);
    assert_eq!(said.code, 75, "{}", said.err);
    // What could not run as a vat is refused.
    let said = replay("(module)", &[]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("vat_deliver"), "{}", said.err);
}
