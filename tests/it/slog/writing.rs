//! What is written.

use super::*;

#[test]
fn every_event_has_a_type_and_two_times_in_order() {
    let lab = Lab::busy();
    let text = fs::read_to_string(lab.record("a.slog")).unwrap();
    let mut before = 0.0;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(line.starts_with("{\"type\":\""), "{line}");
        assert!(event["time"].as_f64().unwrap() > 1.7e9, "{line}");
        let monotime = event["monotime"].as_f64().unwrap();
        assert!(monotime >= before, "{line}");
        before = monotime;
    }
    assert!(text.lines().count() > 50);
}

#[test]
fn the_end_of_what_takes_time_says_how_long_it_took() {
    let lab = Lab::busy();
    let (mut with, mut without) = (BTreeSet::new(), BTreeSet::new());
    for event in events(&lab.record("a.slog")) {
        let kind = event["type"].as_str().unwrap().to_owned();
        match event.get("seconds") {
            Some(seconds) => {
                assert!((0.0..60.0).contains(&seconds.as_f64().unwrap()), "{event}");
                with.insert(kind)
            }
            None => without.insert(kind),
        };
    }
    expect![[r#"
        with: {"commit-finish", "crank-finish", "deliver-result", "end-block-finish", "syscall-result", "vat-startup-finish"}
        without: {"begin-block", "clist", "console", "crank-start", "create-vat", "deliver", "end-block-start", "host-start", "import-kernel-finish", "syscall", "terminate", "vat-cleanup", "vat-cleanup-complete", "vat-startup-start"}
    "#]]
    .assert_eq(&format!("with: {with:?}\nwithout: {without:?}\n"));
}

#[test]
fn a_crank_takes_as_long_as_its_delivery_or_longer() {
    let lab = Lab::busy();
    let mut delivery = 0.0;
    let mut compared = 0;
    for event in events(&lab.record("a.slog")) {
        match event["type"].as_str().unwrap() {
            "crank-start" => delivery = 0.0,
            "deliver-result" => delivery = event["seconds"].as_f64().unwrap(),
            "crank-finish" => {
                assert!(event["seconds"].as_f64().unwrap() >= delivery);
                compared += usize::from(delivery > 0.0);
            }
            _ => (),
        }
    }
    assert!(compared >= 10);
}

#[test]
fn the_events_have_swingsets_shapes() {
    let lab = Lab::new("alice bob", "alice ask @bob");
    let events = events(&lab.record("a.slog"));
    let lines: Vec<_> = events.iter().map(|it| redacted(it).to_string()).collect();
    expect![[r##"
        {"directivesDigest":null,"engine":"…","engineVersion":1,"height":0,"kernelVersion":4,"stateHash":"…","type":"host-start","version":"…"}
        {"type":"import-kernel-finish"}
        {"blockHeight":0,"blockTime":0,"type":"begin-block"}
        {"bundle":"…","dynamic":false,"managerType":"wasm","name":"alice","type":"create-vat","vatID":"v1","vatParameters":{"body":"#{}","slots":[]}}
        {"crankNum":0,"kobj":"ko20","mode":"export","type":"clist","vatID":"v1","vobj":"o+0"}
        {"bundle":"…","dynamic":false,"managerType":"wasm","name":"bob","type":"create-vat","vatID":"v2","vatParameters":{"body":"#{}","slots":[]}}
        {"crankNum":0,"kobj":"ko21","mode":"export","type":"clist","vatID":"v2","vobj":"o+0"}
        {"blockHeight":0,"blockTime":0,"type":"end-block-start"}
        {"blockHeight":0,"blockTime":0,"cranks":0,"stateHash":"…","type":"end-block-finish"}
        {"blockHeight":0,"blockTime":0,"stateHash":"…","type":"commit-finish"}
        {"blockHeight":1,"blockTime":5,"type":"begin-block"}
        {"crankNum":0,"crankType":"delivery","message":{"type":"startVat","vatID":"v1","vatParameters":{"body":"#{}","slots":[]}},"messageType":"startVat","type":"crank-start"}
        {"type":"vat-startup-start","vatID":"v1"}
        {"crankNum":0,"deliveryNum":0,"dispatch":"startVat","kd":["startVat",{"body":"#{}","slots":[]}],"replay":false,"type":"deliver","vatID":"v1","vd":["startVat",{"body":"#{}","slots":[]}]}
        {"crankNum":0,"deliveryNum":0,"dispatch":"startVat","dr":["ok",null,{"compute":"…"}],"replay":false,"type":"deliver-result","vatID":"v1"}
        {"type":"vat-startup-finish","vatID":"v1"}
        {"activityhash":"…","crankNum":0,"crankhash":"…","type":"crank-finish"}
        {"crankNum":1,"crankType":"delivery","message":{"type":"startVat","vatID":"v2","vatParameters":{"body":"#{}","slots":[]}},"messageType":"startVat","type":"crank-start"}
        {"type":"vat-startup-start","vatID":"v2"}
        {"crankNum":1,"deliveryNum":0,"dispatch":"startVat","kd":["startVat",{"body":"#{}","slots":[]}],"replay":false,"type":"deliver","vatID":"v2","vd":["startVat",{"body":"#{}","slots":[]}]}
        {"crankNum":1,"deliveryNum":0,"dispatch":"startVat","dr":["ok",null,{"compute":"…"}],"replay":false,"type":"deliver-result","vatID":"v2"}
        {"type":"vat-startup-finish","vatID":"v2"}
        {"activityhash":"…","crankNum":1,"crankhash":"…","type":"crank-finish"}
        {"crankNum":2,"crankType":"delivery","message":{"msg":{"methargs":{"body":"#[\"ask\",[\"$0.Alleged: bob\"]]","slots":["ko21"]},"result":"kp40"},"target":"ko20","type":"send"},"messageType":"send","type":"crank-start"}
        {"crankNum":2,"kobj":"ko21","mode":"import","type":"clist","vatID":"v1","vobj":"o-50"}
        {"crankNum":2,"kobj":"kp40","mode":"import","type":"clist","vatID":"v1","vobj":"p-60"}
        {"crankNum":2,"deliveryNum":1,"dispatch":"message","kd":["message","ko20",{"methargs":{"body":"#[\"ask\",[\"$0.Alleged: bob\"]]","slots":["ko21"]},"result":"kp40"}],"replay":false,"type":"deliver","vatID":"v1","vd":["message","o+0",{"methargs":{"body":"#[\"ask\",[\"$0.Alleged: bob\"]]","slots":["o-50"]},"result":"p-60"}]}
        {"args":["about to work\u001b[31m"],"crankNum":2,"deliveryNum":1,"level":"info","source":"vat","type":"console","vatID":"v1"}
        {"crankNum":2,"kobj":"kp41","mode":"export","type":"clist","vatID":"v1","vobj":"p+5"}
        {"crankNum":2,"deliveryNum":1,"ksc":["send","ko21",{"methargs":{"body":"#[\"hello\",[]]","slots":[]},"result":"kp41"}],"replay":false,"syscall":"send","syscallNum":0,"type":"syscall","vatID":"v1","vsc":["send","o-50",{"methargs":{"body":"#[\"hello\",[]]","slots":[]},"result":"p+5"}]}
        {"crankNum":2,"deliveryNum":1,"ksr":["ok",null],"replay":false,"syscallNum":0,"type":"syscall-result","vatID":"v1","vsr":["ok",null]}
        {"crankNum":2,"deliveryNum":1,"ksc":["subscribe","kp41"],"replay":false,"syscall":"subscribe","syscallNum":1,"type":"syscall","vatID":"v1","vsc":["subscribe","p+5"]}
        {"crankNum":2,"deliveryNum":1,"ksr":["ok",null],"replay":false,"syscallNum":1,"type":"syscall-result","vatID":"v1","vsr":["ok",null]}
        {"crankNum":2,"deliveryNum":1,"ksc":["resolve",[["kp40",false,{"body":"#\"done\"","slots":[]}]]],"replay":false,"syscall":"resolve","syscallNum":2,"type":"syscall","vatID":"v1","vsc":["resolve",[["p-60",false,{"body":"#\"done\"","slots":[]}]]]}
        {"crankNum":2,"kobj":"kp40","mode":"drop","type":"clist","vatID":"v1","vobj":"p-60"}
        {"crankNum":2,"deliveryNum":1,"ksr":["ok",null],"replay":false,"syscallNum":2,"type":"syscall-result","vatID":"v1","vsr":["ok",null]}
        {"crankNum":2,"deliveryNum":1,"dispatch":"message","dr":["ok",null,{"compute":"…"}],"replay":false,"type":"deliver-result","vatID":"v1"}
        {"activityhash":"…","crankNum":2,"crankhash":"…","type":"crank-finish"}
        {"crankNum":3,"crankType":"delivery","message":{"msg":{"methargs":{"body":"#[\"hello\",[]]","slots":[]},"result":"kp41"},"target":"ko21","type":"send"},"messageType":"send","type":"crank-start"}
        {"crankNum":3,"kobj":"kp41","mode":"import","type":"clist","vatID":"v2","vobj":"p-60"}
        {"crankNum":3,"deliveryNum":1,"dispatch":"message","kd":["message","ko21",{"methargs":{"body":"#[\"hello\",[]]","slots":[]},"result":"kp41"}],"replay":false,"type":"deliver","vatID":"v2","vd":["message","o+0",{"methargs":{"body":"#[\"hello\",[]]","slots":[]},"result":"p-60"}]}
        {"args":["about to work\u001b[31m"],"crankNum":3,"deliveryNum":1,"level":"info","source":"vat","type":"console","vatID":"v2"}
        {"crankNum":3,"deliveryNum":1,"ksc":["resolve",[["kp41",false,{"body":"#\"done\"","slots":[]}]]],"replay":false,"syscall":"resolve","syscallNum":0,"type":"syscall","vatID":"v2","vsc":["resolve",[["p-60",false,{"body":"#\"done\"","slots":[]}]]]}
        {"crankNum":3,"kobj":"kp41","mode":"drop","type":"clist","vatID":"v2","vobj":"p-60"}
        {"crankNum":3,"deliveryNum":1,"ksr":["ok",null],"replay":false,"syscallNum":0,"type":"syscall-result","vatID":"v2","vsr":["ok",null]}
        {"crankNum":3,"deliveryNum":1,"dispatch":"message","dr":["ok",null,{"compute":"…"}],"replay":false,"type":"deliver-result","vatID":"v2"}
        {"activityhash":"…","crankNum":3,"crankhash":"…","type":"crank-finish"}
        {"crankNum":4,"crankType":"delivery","message":{"kpid":"kp41","type":"notify","vatID":"v1"},"messageType":"notify","type":"crank-start"}
        {"crankNum":4,"kobj":"kp41","mode":"drop","type":"clist","vatID":"v1","vobj":"p+5"}
        {"crankNum":4,"deliveryNum":2,"dispatch":"notify","kd":["notify",[["kp41",false,{"body":"#\"done\"","slots":[]}]]],"replay":false,"type":"deliver","vatID":"v1","vd":["notify",[["p+5",false,{"body":"#\"done\"","slots":[]}]]]}
        {"crankNum":4,"deliveryNum":2,"dispatch":"notify","dr":["ok",null,{"compute":"…"}],"replay":false,"type":"deliver-result","vatID":"v1"}
        {"activityhash":"…","crankNum":4,"crankhash":"…","type":"crank-finish"}
        {"blockHeight":1,"blockTime":5,"type":"end-block-start"}
        {"blockHeight":1,"blockTime":5,"cranks":5,"stateHash":"…","type":"end-block-finish"}
        {"blockHeight":1,"blockTime":5,"stateHash":"…","type":"commit-finish"}
    "##]]
    .assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn bytes_that_are_no_text_are_base64_and_faults_are_told() {
    let lab = Lab::busy();
    let events = events(&lab.record("a.slog"));
    let told = events.iter().filter(|it| match it["type"].as_str().unwrap() {
        "syscall" => it["ksc"].is_null() || it.to_string().contains("base64"),
        "syscall-result" => it["ksr"][0] == "error" || it.to_string().contains("base64"),
        "deliver-result" => it["dr"][0] == "error",
        "terminate" | "vat-cleanup" | "vat-cleanup-complete" => true,
        _ => false,
    });
    let lines: Vec<_> = told.map(|it| redacted(it).to_string()).collect();
    expect![[r##"
        {"crankNum":6,"deliveryNum":1,"ksc":["vatstoreSet","key",{"base64":"//4="}],"replay":false,"syscall":"vatstoreSet","syscallNum":0,"type":"syscall","vatID":"v2","vsc":["vatstoreSet","key",{"base64":"//4="}]}
        {"crankNum":6,"deliveryNum":1,"ksr":["ok",{"base64":"//4="}],"replay":false,"syscallNum":1,"type":"syscall-result","vatID":"v2","vsr":["ok",{"base64":"//4="}]}
        {"crankNum":7,"deliveryNum":1,"dispatch":"message","dr":["error","trap: wasm trap: wasm `unreachable` instruction executed",null],"replay":false,"type":"deliver-result","vatID":"v3"}
        {"info":{"body":"#{\"#error\":\"trap: wasm trap: wasm `unreachable` instruction executed\",\"name\":\"Error\"}","slots":[]},"shouldReject":true,"type":"terminate","vatID":"v3"}
        {"rows":1,"type":"vat-cleanup","vatID":"v3"}
        {"type":"vat-cleanup-complete","vatID":"v3"}
        {"crankNum":10,"deliveryNum":1,"ksc":null,"replay":false,"syscall":"subscribe","syscallNum":1,"type":"syscall","vatID":"v4","vsc":["subscribe","p-99"]}
        {"crankNum":10,"deliveryNum":1,"ksr":["error","illegal syscall subscribe: p-99 is not in the c-list"],"replay":false,"syscallNum":1,"type":"syscall-result","vatID":"v4","vsr":["error","illegal syscall subscribe: p-99 is not in the c-list"]}
        {"crankNum":10,"deliveryNum":1,"dispatch":"message","dr":["error","illegal syscall subscribe: p-99 is not in the c-list",null],"replay":false,"type":"deliver-result","vatID":"v4"}
        {"info":{"body":"#{\"#error\":\"syscall translation error: prepare to die\",\"name\":\"Error\"}","slots":[]},"shouldReject":true,"type":"terminate","vatID":"v4"}
        {"rows":1,"type":"vat-cleanup","vatID":"v4"}
        {"type":"vat-cleanup-complete","vatID":"v4"}
        {"info":{"body":"#\"done\"","slots":[]},"shouldReject":false,"type":"terminate","vatID":"v5"}
        {"rows":1,"type":"vat-cleanup","vatID":"v5"}
        {"type":"vat-cleanup-complete","vatID":"v5"}
    "##]]
    .assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn recording_changes_no_hash_and_each_detail_adds_its_events() {
    let lab = Lab::busy();
    let unrecorded = lab.run(Slog::default());
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut added = BTreeMap::new();
    for detail in [Detail::None, Detail::Cranks, Detail::Deliveries, Detail::Syscalls] {
        let path = lab.path(&format!("{detail:?}.slog"));
        let hash = lab.run(Slog::new(detail, Writer::append(&path).unwrap()));
        assert_eq!(hash, unrecorded, "{detail:?}");
        let kinds: BTreeSet<_> = events(&path).iter().map(|it| it["type"].as_str().unwrap().to_owned()).collect();
        assert!(kinds.is_superset(&seen), "{detail:?}");
        added.insert(detail, kinds.difference(&seen).cloned().collect::<Vec<_>>().join(" "));
        seen = kinds;
    }
    let lines: Vec<_> = added.into_iter().map(|(detail, kinds)| format!("{detail:?}: {kinds}\n")).collect();
    expect![[r#"
        None: 
        Cranks: begin-block commit-finish crank-finish crank-start create-vat end-block-finish end-block-start host-start import-kernel-finish terminate vat-cleanup vat-cleanup-complete vat-startup-finish vat-startup-start
        Deliveries: console deliver deliver-result
        Syscalls: clist syscall syscall-result
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn a_compressed_recording_holds_the_same_and_any_tool_can_read_it() {
    let lab = Lab::busy();
    let (plain, packed) = (lab.record("a.slog"), lab.record("a.slog.zst"));
    let redacted_all = |path: &Path| events(path).iter().map(redacted).collect::<Vec<_>>();
    assert_eq!(redacted_all(&plain), redacted_all(&packed));
    let text = zstd::decode_all(fs::File::open(&packed).unwrap()).unwrap();
    assert_eq!(text.iter().filter(|it| **it == b'\n').count(), events(&plain).len());
    assert!(fs::metadata(&packed).unwrap().len() * 3 < fs::metadata(&plain).unwrap().len());
}

#[test]
fn a_block_that_is_committed_can_be_read_while_its_host_lives() {
    let lab = Lab::busy();
    for name in ["a.slog", "a.slog.zst"] {
        let path = lab.path(name);
        let slog = Slog::new(Detail::Syscalls, Writer::append(&path).unwrap());
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
        controller.run_block(&BlockPolicy { cranks: 3, ..BlockPolicy::default() }, &mut |_| true).unwrap();
        let live = events(&path);
        assert!(is(live.last().unwrap(), "commit-finish"), "{name}");
        // As after `std::process::exit`: nothing is dropped.
        controller.run_block(&BlockPolicy { cranks: 3, ..BlockPolicy::default() }, &mut |_| true).unwrap();
        controller.slog().flush().unwrap();
        std::mem::forget(controller);
        assert_eq!(events(&path).iter().filter(|it| is(it, "crank-finish")).count(), 6, "{name}");
    }
}

#[test]
fn a_host_that_panics_leaves_all_that_it_recorded() {
    let lab = Lab::busy();
    for name in ["a.slog", "a.slog.zst"] {
        let slog = Slog::new(Detail::Syscalls, Writer::append(&lab.path(name)).unwrap());
        let mut controller = Host::open(HostOptions { slog, ..HostOptions::default() }).unwrap();
        controller.install(&Scenario::read(lab.0.path()).unwrap()).unwrap();
        let run = move || {
            let mut each =
                |ran: &Ran| if ran.crank.0 == 3 { std::panic::resume_unwind(Box::new("a bug")) } else { true };
            let _ = controller.run_block(&BlockPolicy::default(), &mut each);
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        let events = events(&lab.path(name));
        let last = events.last().unwrap();
        assert!(is(last, "crank-finish") && last["crankNum"] == 3, "{name}: {last}");
    }
}

#[test]
fn whoever_ends_the_process_can_flush_on_the_way_out() {
    let lab = Lab::busy();
    let path = lab.path("a.slog.zst");
    let mut slog = Slog::new(Detail::Cranks, Writer::append(&path).unwrap());
    let flush = slog.last_flush();
    slog.record(Detail::Cranks, || Event::ImportKernelFinish);
    assert_eq!(events(&path).len(), 0);
    std::thread::scope(|scope| scope.spawn(&flush).join().unwrap());
    assert_eq!(events(&path).len(), 1);
    slog.record(Detail::Cranks, || Event::ImportKernelFinish);
    drop(slog);
    // It does not hold the recorder: that was dropped, and wrote the rest.
    assert_eq!(events(&path).len(), 2);
    flush();
}

#[test]
fn a_state_that_goes_on_goes_on_with_its_recording() {
    let lab = Lab::busy();
    for name in ["a.slog", "a.slog.zst"] {
        let run = format!("run --state {name}.state --slog {name} --cranks-per-block 7 --blocks 1 -q");
        let first = lab.vathost(&format!("{run} ."));
        assert_eq!(first.code, Some(0), "{first:?}");
        let before = events(&lab.path(name));
        assert_eq!(lab.vathost(&run).code, Some(0));
        let after = events(&lab.path(name));
        assert_eq!(after[..before.len()], before[..], "{name}");
        let went_on = &after[before.len()..];
        assert!(is(&went_on[0], "host-start"), "{name}: {}", went_on[0]);
        assert_eq!(went_on[0]["height"], 1);
        let replays: Vec<_> = went_on.iter().filter(|it| it["type"].as_str().unwrap().ends_with("-replay")).collect();
        assert!(replays.len() >= 2, "{name}");
        for pair in replays.chunks(2) {
            assert!(is(pair[0], "start-replay") && is(pair[1], "finish-replay"), "{pair:?}");
            assert_eq!((&pair[0]["vatID"], &pair[0]["deliveries"]), (&pair[1]["vatID"], &pair[1]["deliveries"]));
            assert!(pair[1]["seconds"].is_f64());
        }
    }
}

#[test]
fn the_last_event_before_a_kernel_panic_is_the_epitaph() {
    let lab = Lab::new("!alice", "alice trap");
    let run = lab.vathost("run . --slog a.slog.zst --json");
    assert_eq!(run.code, Some(70), "{run:?}");
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    let events = events(&lab.path("a.slog.zst"));
    let last = events.last().unwrap();
    assert!(is(last, "kernel-panic"));
    for (name, value) in printed["panic"].as_object().unwrap() {
        assert_eq!(&last[name], value, "{name}");
    }
}

#[test]
fn a_full_disk_costs_the_recording_and_nothing_else() {
    let lab = Lab::busy();
    let (good, full) = (lab.vathost("run . --json"), lab.vathost("run . --json --slog /dev/full"));
    assert_eq!((full.code, &full.stdout), (Some(0), &good.stdout));
    expect![[r#"
        warning: the slog is incomplete: No space left on device (os error 28)
    "#]]
    .assert_eq(&full.stderr);
}

#[test]
fn a_recording_that_cannot_be_written_is_told_of_once_while_the_host_runs_and_however_quiet() {
    let lab = Lab::busy();
    for quiet in ["", "-q"] {
        let full = lab.vathost(&format!("run . --cranks-per-block 3 --slog /dev/full {quiet}"));
        assert_eq!(full.stderr.matches("the slog is incomplete").count(), 1, "{}", full.stderr);
    }
    let mut controller = Host::open(HostOptions {
        slog: Slog::new(Detail::Syscalls, Writer::append(Path::new("/dev/full")).unwrap()),
        ..HostOptions::default()
    })
    .unwrap();
    controller.install(&Scenario::read(&lab.path("vat.toml")).unwrap()).unwrap();
    let told = controller.slog().news();
    assert!(matches!(&told, Some(News::Broken(err)) if err.kind() == std::io::ErrorKind::StorageFull), "{told:?}");
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    assert!(controller.slog().news().is_none(), "once");
    controller.slog().flush().unwrap();
}

#[test]
fn a_recording_that_another_host_writes_to_is_refused() {
    let lab = Lab::busy();
    let first = Writer::append(&lab.path("a.slog")).unwrap();
    let second = Writer::append(&lab.path("a.slog")).unwrap_err().to_string();
    assert!(second.ends_with("another process is recording to it"), "{second}");
    drop(first);
    Writer::append(&lab.path("a.slog")).unwrap();
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let lab = Lab::busy();
    fs::write(lab.path("a.zst"), "plain\n").unwrap();
    fs::write(lab.path("a.slog"), zstd::encode_all(&b"{}\n"[..], 0).unwrap()).unwrap();
    for (name, why) in [("a.zst", "is plain, not Zstandard"), ("a.slog", "is Zstandard, not plain")] {
        let before = fs::read(lab.path(name)).unwrap();
        let refused = Writer::append(&lab.path(name)).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(fs::read(lab.path(name)).unwrap(), before);
    }
}

#[test]
fn the_start_of_a_host_names_the_directives_that_it_obeys() {
    let lab = Lab::busy();
    fs::write(lab.path("d"), "crank-900: halt\n").unwrap();
    lab.vathost("run . --slog a.slog --directives d").ok();
    lab.vathost("run . --slog a.slog").ok();
    let checked: Value = serde_json::from_str(&lab.vathost("directives check d --json").stdout).unwrap();
    let events = events(&lab.path("a.slog"));
    let starts: Vec<_> = events.iter().filter(|it| is(it, "host-start")).map(|it| &it["directivesDigest"]).collect();
    assert_eq!(starts, [&checked["digest"], &Value::Null]);
    assert!(is(&events[0], "host-start"));
}
