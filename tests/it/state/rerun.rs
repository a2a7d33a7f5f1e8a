//! Replay.

use super::*;

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
    assert!(one.out.starts_with("delivery-0 to v1: startVat {}\n  "), "{}", one.out);
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
