//! Devices of the program that embeds the host: called by vats, told of inputs, undone with a crank, told to the world
//! after the commit, and the same after a restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use vathost::{
    Audit, BlockPolicy, Device, DeviceState, Host, HostFault, HostOptions, Options, Outcome, Scenario, StaticVat,
    model::blame::Fault, state::block::Block,
};

/// Notes by name. What leaves is noted here, with its number.
#[derive(Debug, Default)]
struct Notes {
    left: Mutex<Vec<(u64, Value)>>,
    is_stuck: bool,
    /// The state in which others must find each message that leaves.
    durable_in: Option<PathBuf>,
}

impl Device for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn call(&self, state: &mut DeviceState<'_>, method: &str, args: &[Value]) -> Result<Value, String> {
        let name = args.first().and_then(Value::as_str).ok_or("a note has a name")?;
        match method {
            "put" if name == "bomb" => panic!("the device is broken"),
            "put" => {
                let note = args.get(1).and_then(Value::as_str).ok_or("a note is a text")?;
                state.set(name, format!("{note} ({})", state.time()))?;
                state.send(&json!(name))?;
                Ok(json!(state.rows().count()))
            }
            "get" => Ok(state.get(name).map_or(Value::Null, |it| String::from_utf8_lossy(it).into())),
            other => Err(format!("notes have no method {other}")),
        }
    }

    fn input(&self, state: &mut DeviceState<'_>, input: &Value) -> Vec<Value> {
        state.set("last input", input.to_string()).unwrap();
        vec![input.clone(), json!("and once more")]
    }

    fn leave(&self, number: u64, message: &Value) -> Result<(), String> {
        if self.is_stuck {
            return Err("the world is away".to_owned());
        }
        if let Some(dir) = &self.durable_in {
            let block = Block::open_read_only(dir).unwrap();
            assert!(block.tables().device_messages.iter().any(|((_, it), _)| *it == number), "message {number}");
        }
        self.left.lock().unwrap().push((number, message.clone()));
        Ok(())
    }
}

fn open(dir: &TempDir, notes: &Arc<Notes>) -> Host {
    open_with(dir, notes, HostOptions::default())
}

fn open_with(dir: &TempDir, notes: &Arc<Notes>, options: HostOptions) -> Host {
    let devices: Vec<Arc<dyn Device>> = vec![notes.clone()];
    let code_cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bridge-cache/vathost"));
    let options =
        HostOptions { state: Some(dir.path().join("state")), code_cache, devices, audit: Audit::EACH, ..options };
    let mut host = Host::open(options).unwrap();
    if host.is_new() {
        let wasm = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/keeper.wasm")).unwrap();
        let keeper = StaticVat { name: "keeper".into(), wasm, options: Options::default(), parameters: "#{}".into() };
        let scenario = Scenario { vats: vec![keeper], bootstrap: Some("keeper".into()), ..Scenario::default() };
        host.install(&scenario).unwrap();
    }
    host
}

fn run(host: &mut Host) {
    while !host.run_block(&BlockPolicy { block_time: 5, ..BlockPolicy::default() }, &mut |_| true).unwrap().quiescent {}
}

fn ask(host: &mut Host, method: &str, args: &[&str]) -> String {
    let args: Vec<_> = args.iter().map(|it| (*it).into()).collect();
    let sent = host.send("keeper", method, args).unwrap();
    run(host);
    let (Outcome::Fulfilled(data) | Outcome::Rejected(data)) = host.outcome(sent).unwrap() else { panic!("pending") };
    data.body.as_text().unwrap().to_owned()
}

#[test]
fn a_device_answers_from_its_rows_and_what_it_sends_leaves_once_after_the_commit() {
    let (dir, notes) = (tempfile::tempdir().unwrap(), Arc::new(Notes::default()));
    let mut host = open(&dir, &notes);
    assert_eq!(ask(&mut host, "keep", &["tea", "at five"]), "#1");
    assert_eq!(ask(&mut host, "keep", &["milk", "two pints"]), "#2");
    assert_eq!(*notes.left.lock().unwrap(), [(1, json!("tea")), (2, json!("milk"))]);
    // Of a delivery that is undone nothing is left, and nothing leaves.
    let broken = ask(&mut host, "forget_at_once", &["gone", "soon"]);
    assert!(broken.contains("#error"), "{broken}");
    drop(host);
    let again = Arc::new(Notes::default());
    let mut host = open(&dir, &again);
    run(&mut host);
    assert_eq!(*notes.left.lock().unwrap(), [(1, json!("tea")), (2, json!("milk"))]);
    assert_eq!(*again.left.lock().unwrap(), []);
    assert_eq!(host.block().unwrap().tables().device_rows.len(), 2);
}

#[test]
fn what_a_device_sends_leaves_when_its_block_is_durable_though_other_blocks_are_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Arc::new(Notes { durable_in: Some(dir.path().join("state")), ..Notes::default() });
    let mut host = open_with(&dir, &notes, HostOptions { handed_over_min: Some(0), ..HostOptions::default() });
    let names: Vec<String> = (0..20).map(|it| format!("note {it}")).collect();
    for name in &names {
        host.send("keeper", "keep", [name.as_str().into(), "text".into()]).unwrap();
    }
    let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
    while !host.is_quiescent().unwrap() {
        host.run_blocks(&policy, u64::MAX, &mut |_| true, &mut |_| true).unwrap();
    }
    let left: Vec<(u64, Value)> = (1..).zip(names).map(|(number, name)| (number, json!(name))).collect();
    assert_eq!(*notes.left.lock().unwrap(), left);
}

#[test]
fn an_input_is_taken_in_by_the_device_and_reaches_the_handler_of_the_vats() {
    let (dir, notes) = (tempfile::tempdir().unwrap(), Arc::new(Notes::default()));
    let mut host = open(&dir, &notes);
    run(&mut host);
    host.tell_device("notes", json!({ "amount": 70 })).unwrap();
    run(&mut host);
    assert_eq!(ask(&mut host, "count", &[]), "#2");
    assert_eq!(ask(&mut host, "read", &["last input"]), r##"#"{\"amount\":70}""##);
    let fault = host.tell_device("bridge", json!(1)).unwrap_err();
    assert!(fault.to_string().contains("the state has no `bridge`"), "{fault}");
}

#[test]
fn what_did_not_leave_leaves_when_the_state_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = Arc::new(Notes { is_stuck: true, ..Notes::default() });
    let mut host = open(&dir, &stuck);
    let sent = host.send("keeper", "keep", ["tea".into(), "at five".into()]).unwrap();
    let halt = loop {
        match host.run_block(&BlockPolicy::default(), &mut |_| true) {
            Ok(end) => assert!(!end.quiescent),
            Err(halt) => break halt,
        }
    };
    assert!(halt.to_string().contains("let message 1 of `notes` leave: the world is away"), "{halt}");
    drop(host);
    let notes = Arc::new(Notes::default());
    let mut host = open(&dir, &notes);
    run(&mut host);
    assert_eq!(*notes.left.lock().unwrap(), [(1, json!("tea"))]);
    assert!(matches!(host.outcome(sent).unwrap(), Outcome::Fulfilled(_)));
}

#[test]
fn nothing_that_did_not_leave_is_forgotten_by_an_upgrade_and_no_input_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = Arc::new(Notes { is_stuck: true, ..Notes::default() });
    let mut host = open(&dir, &stuck);
    host.send("keeper", "keep", ["tea".into(), "at five".into()]).unwrap();
    while host.run_block(&BlockPolicy::default(), &mut |_| true).is_ok() {}
    let wasm = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/counter.wasm")).unwrap();
    let other = StaticVat { name: "keeper".into(), wasm, options: Options::default(), parameters: "#{}".into() };
    let scenario = Scenario { vats: vec![other], ..Scenario::default() };
    // It would begin the next block.
    let halt = host.upgrade(&scenario, &BlockPolicy::default()).unwrap_err();
    assert!(halt.to_string().contains("let message 1 of `notes` leave"), "{halt}");
    host.tell_device("notes", json!("late")).unwrap();
    host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
    drop(host);
    let notes = Arc::new(Notes::default());
    let mut host = open(&dir, &notes);
    run(&mut host);
    assert_eq!(*notes.left.lock().unwrap(), [(1, json!("tea"))]);
    // To look at a state lets nothing leave.
    drop(host);
    let looking = Arc::new(Notes::default());
    let devices: Vec<Arc<dyn Device>> = vec![looking.clone()];
    let options =
        HostOptions { state: Some(dir.path().join("state")), read_only: true, devices, ..HostOptions::default() };
    let _ = Host::open(options).unwrap().run_block(&BlockPolicy::default(), &mut |_| true);
    assert_eq!(*looking.left.lock().unwrap(), []);
}

#[test]
fn a_device_that_is_missing_named_twice_or_broken_is_a_fault_of_the_machine() {
    let (dir, notes) = (tempfile::tempdir().unwrap(), Arc::new(Notes::default()));
    let mut host = open(&dir, &notes);
    run(&mut host);
    host.send("keeper", "keep", ["bomb".into(), "tick".into()]).unwrap();
    let halt = host.run_block(&BlockPolicy::default(), &mut |_| true).unwrap_err();
    assert!(matches!(halt.fault, Fault::Host(_)), "{halt}");
    assert!(halt.to_string().contains("ask the device `notes`: it panicked: the device is broken"), "{halt}");
    drop(host);
    let state = || Some(dir.path().join("state"));
    let refused = |open: HostOptions| -> HostFault { Host::open(open).unwrap_err() };
    let missing = refused(HostOptions { state: state(), ..HostOptions::default() });
    assert!(missing.to_string().contains("open a state with the device `notes`"), "{missing}");
    let twice: Vec<Arc<dyn Device>> = vec![notes.clone(), notes];
    let twice = refused(HostOptions { devices: twice, ..HostOptions::default() });
    assert!(twice.to_string().contains("there is another device of this name"), "{twice}");
    // To look at it nothing is needed.
    Host::open(HostOptions { state: state(), read_only: true, ..HostOptions::default() }).unwrap();
}

#[test]
fn replicas_with_the_same_device_reach_one_hash_whether_they_restart_or_not() {
    let hash = |restarts: bool| {
        let (dir, notes) = (tempfile::tempdir().unwrap(), Arc::new(Notes::default()));
        let mut host = open(&dir, &notes);
        for number in 0..6 {
            host.send("keeper", "keep", [format!("note {number}").into(), "text".into()]).unwrap();
            host.tell_device("notes", json!(number)).unwrap();
            run(&mut host);
            if restarts {
                drop(host);
                host = open(&dir, &notes);
            }
        }
        host.standing().state_hash.clone()
    };
    assert_eq!(hash(true), hash(false));
}
