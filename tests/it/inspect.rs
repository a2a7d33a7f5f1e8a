//! What `inspect` says of the state of a small scenario, `inspect/vat.toml`. Its vats are written in wat, so that nothing else moves
//! what is printed.

mod special;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::cli::{Place, Ran};

/// The state after so many blocks of one crank; after all of them, nothing is left to do.
fn state(blocks: u64) -> Place {
    let place = Place::new();
    place.vathost(&format!("run tests/it/inspect --state @state --cranks-per-block 1 --blocks {blocks}")).ok();
    place
}

const ALL: u64 = 100;

fn inspect(place: &Place, words: &str) -> Ran {
    place.vathost(&format!("inspect --state @state {words}"))
}

#[track_caller]
fn check(place: &Place, words: &str, expect: Expect) {
    inspect(place, words).ok().prints(expect);
}

fn array(place: &Place, words: &str) -> Vec<Value> {
    inspect(place, &format!("{words} --json")).ok().json().as_array().expect("an array").clone()
}

#[test]
fn the_overview_says_where_the_state_stands() {
    let place = state(ALL);
    check(
        &place,
        "",
        expect![[r#"
            height                 9 (time 45), nothing left to do
            state hash             <hash>
            state digest           <hash>
            scenario               <hash>
            versions               kernel 4, engine 2
            runtime                wasmtime-48.0.8 cranelift x86_64-linux
            blocks                 1 crank a block, 5 s apart, since block-1
            cranks                 9, 5 of them deliveries
            vats                   3, 0 of them paused, 1 terminated
            queued                 0 cleanup, 0 gc, 0 reap, 0 run, 1 waiting for promises, 0 for paused vats
            objects                4
            promises               4, 2 of them unresolved
            c-list entries         7
            vatstore keys          4
            messages from outside  3
            answers to them        kept until they are forgotten
            meters                 0
            directives applied     0
            devices                none
        "#]],
    );
    let overview = inspect(&place, "--json").ok().json();
    let run = place.vathost("run --state @state --json").ok().json();
    for name in [
        "height",
        "stateHash",
        "stateDigest",
        "engine",
        "engineVersion",
        "kernelVersion",
        "cranks",
        "deliveries",
        "quiescent",
    ] {
        assert_eq!(overview[name], run[name], "{name}");
    }
    assert_eq!(overview["open"], false);
    let counts = &overview["counts"];
    for (table, words) in
        [("vats", "vats"), ("objects", "objects"), ("promises", "promises"), ("queuePromises", "queue")]
    {
        assert_eq!(counts[table], array(&place, words).len(), "{table}");
    }
    let sum = |words: [&str; 3]| words.iter().map(|it| array(&place, it).len()).sum::<usize>();
    assert_eq!(counts["clist"], sum(["clist v1", "clist v2", "clist v3"]));
    assert_eq!(counts["vatstore"], sum(["kv v1", "kv v2", "kv v3"]));
    assert_eq!([&counts["vatsTerminated"], &counts["promisesUnresolved"], &counts["outside"]], [1, 2, 3]);
}

#[test]
fn a_state_in_the_middle_has_more_to_do() {
    let place = state(6);
    let overview = inspect(&place, "--json").ok().json();
    assert_eq!(
        [&overview["height"], &overview["cranks"], &overview["quiescent"]],
        [&json!(6), &json!(6), &json!(false)]
    );
    let queue = array(&place, "queue");
    assert_eq!(queue.last().unwrap()["waitsFor"], "kp43");
    let of = |name: &str| queue.iter().filter(|it| it["queue"] == name).count();
    let counts = &overview["counts"];
    assert_eq!(
        [&counts["queueRun"], &counts["queueCleanup"], &counts["queuePromises"]],
        [of("run"), of("cleanup"), of("promise")]
    );
    assert_eq!(queue.len(), of("run") + of("cleanup") + of("promise"));
    assert!(of("run") > 1 && of("promise") == 1, "{queue:?}");
    let first = &array(&state(3), "queue")[0];
    assert_eq!([&first["queue"], &first["kind"], &first["by"]], ["run", "cleanup", "v3"]);
}

#[test]
fn vats_are_listed_in_order_of_their_numbers() {
    let place = state(ALL);
    check(
        &place,
        "vats",
        expect![[r#"
            vat  name    deliveries  syscalls     fuel  memory  c-list  keys  queued  status
            v1   alice            2         8  605,466  64 KiB       4     2       0  running
            v2   bob              3         4  567,569  64 KiB       3     2       0  running
            v3   broken           0         0        0     0 B       0     0       0  terminated: trap: wasm trap: wasm `unreachable` instruction executed
        "#]],
    );
    let vats = array(&place, "vats");
    assert_eq!(vats.iter().map(|it| it["id"].as_str().unwrap()).collect::<Vec<_>>(), ["v1", "v2", "v3"]);
    let run = place.vathost("run --state @state --json").ok().json();
    for vat in &vats {
        for (name, value) in run["vats"][vat["name"].as_str().unwrap()].as_object().unwrap() {
            assert_eq!(vat[name], *value, "{name}");
        }
    }
}

#[test]
fn one_vat_is_shown_whole_by_number_or_name() {
    let place = state(ALL);
    check(
        &place,
        "vat alice",
        expect![[r#"
            vat                  v1
            name                 alice
            status               running
            incarnation          0, since delivery-0
            bundle               <hash> (546 B)
            deliveries           2, 2 of them in the transcript
            syscalls             8
            fuel                 605,466
            memory               64 KiB
            c-list               4 (exports 2, imports 1, promises 1)
            promises it decides  0
            next ids             o-51, p-61
            vatstore keys        2
            since the last reap  deliveries 1, GC references 0
            awaited by           nobody
            queued               0
            option               critical = false
            option               fuel_per_delivery = 1000000000
            option               memory_max = 67108864
            option               on_fault = "terminate"
            option               pipelining = false
            option               queued_bytes_max = 67108864
            option               queued_max = 65536
            option               reap_gc_krefs = 20
            option               reap_interval = 1000
            option               refs_max = 1000000
            option               snapshot_interval = 200
            option               store_max = 268435456
            option               vats_max = 65536
            option               weight = 1
        "#]],
    );
    check(
        &place,
        "vat v3",
        expect![[r#"
            vat                  v3
            name                 broken
            status               terminated: trap: wasm trap: wasm `unreachable` instruction executed
            incarnation          0, since delivery-0
            bundle               <hash> (57 B)
            deliveries           0, 0 of them in the transcript
            syscalls             0
            fuel                 0
            memory               0 B
            c-list               0 (exports 0, imports 0, promises 0)
            promises it decides  0
            next ids             o-50, p-60
            vatstore keys        0
            since the last reap  deliveries 0, GC references 0
            awaited by           nobody
            queued               0
            option               critical = false
            option               fuel_per_delivery = 1000000000
            option               memory_max = 67108864
            option               on_fault = "terminate"
            option               pipelining = false
            option               queued_bytes_max = 67108864
            option               queued_max = 65536
            option               reap_gc_krefs = 20
            option               reap_interval = 1000
            option               refs_max = 1000000
            option               snapshot_interval = 200
            option               store_max = 268435456
            option               vats_max = 65536
            option               weight = 1
        "#]],
    );
    let bob = inspect(&place, "vat bob --json").ok().json();
    assert_eq!(bob, inspect(&place, "vat v2 --json").ok().json());
    assert_eq!([&bob["keys"], &bob["transcript"], &bob["clist"], &bob["decides"]], [2, 3, 3, 2]);
    assert_eq!([&bob["options"]["reapInterval"], &bob["options"]["memoryMax"]], [&Value::Null, &json!(1 << 20)]);
    assert_eq!([&bob["nextImport"], &bob["nextPromiseImport"]], ["o-50", "p-62"]);
    assert_eq!(inspect(&place, "vat broken --json").ok().json()["cleaned"], true);
}

#[test]
fn queues_show_who_is_to_get_what() {
    check(
        &state(3),
        "queue",
        expect![[r#"
        queue  kind      made by    target  goes to    method    result
        run    cleanup   v3 broken  -       v3 broken  -         -
        run    startVat  -          -       v3 broken  -         -
        run    send      -          ko20    v1 alice   meet      kp40
        run    send      -          ko21    v2 bob     idle      kp41
        run    send      -          ko22    -          anything  kp42
    "#]],
    );
    check(
        &state(6),
        "queue",
        expect![[r#"
            queue  kind  made by   target  goes to  method    result
            run    send  v1 alice  ko21    v2 bob   wait      kp43
            run    send  -         ko21    v2 bob   idle      kp41
            run    send  -         ko22    -        anything  kp42
            kp43   send  v1 alice  kp43    -        later     -
        "#]],
    );
    check(
        &state(ALL),
        "queue",
        expect![[r#"
            queue  kind  made by   target  goes to  method  result
            kp43   send  v1 alice  kp43    -        later   -
        "#]],
    );
    let waiting = array(&state(ALL), "queue");
    let later = json!({
        "queue": "promise", "waitsFor": "kp43", "kind": "send", "by": "v1", "target": "kp43", "destination": null,
        "method": "later", "body": "#[\"later\",[]]", "slots": [], "result": null,
    });
    assert_eq!(waiting, [later]);
}

#[test]
fn promises_and_objects_show_who_holds_them() {
    let place = state(ALL);
    check(
        &place,
        "promises",
        expect![[r#"
            promise  state       decider  subscribers  refs  queued  settled with
            kp40     fulfilled   -        -               1       0  <thing ko23>
            kp41     unresolved  v2 bob   -               2       0
            kp42     rejected    -        -               1       0  Error: vat terminated
            kp43     unresolved  v2 bob   v1              3       1
        "#]],
    );
    check(
        &place,
        "objects",
        expect![[r#"
        object  owner     export  reachable  recognizable  pinned  importers
        ko20    v1 alice  o+0             1             1  yes     -
        ko21    v2 bob    o+0             2             2  yes     v1 o-50
        ko22    -         -               1             1  yes     -
        ko23    v1 alice  o+1             1             1  no      -
    "#]],
    );
    let promises = array(&place, "promises");
    let met = json!({
        "promise": "kp40", "state": "fulfilled", "decider": null, "subscribers": [], "refs": 1, "queued": 0, "policy": "ignore",
        "body": "#\"$0.Alleged: thing\"", "slots": ["ko23"],
    });
    assert_eq!(promises[0], met);
    let wait = promises.iter().find(|it| it["promise"] == "kp43").unwrap();
    assert_eq!([&wait["subscribers"], &wait["decider"], &wait["queued"]], [&json!(["v1"]), &json!("v2"), &json!(1)]);
    assert_eq!(wait.get("body"), None);
    let bob = &array(&place, "objects")[1];
    assert_eq!(bob["importers"], json!([{ "vat": "v1", "vref": "o-50", "reachable": true }]));
    assert_eq!([&bob["object"], &bob["owner"], &bob["export"]], ["ko21", "v2", "o+0"]);
}

#[test]
fn a_clist_shows_both_names_of_everything() {
    let place = state(ALL);
    check(
        &place,
        "clist alice",
        expect![[r#"
        vat's  kernel's  kind     reachable  about
        o-50   ko21      import   yes        of v2 bob
        o+0    ko20      export   yes        of v1 alice
        o+1    ko23      export   yes        of v1 alice
        p+1    kp43      promise  yes        decided by v2 bob
    "#]],
    );
    assert_eq!(array(&place, "clist broken"), [] as [Value; 0]);
    let root = json!({ "vref": "o+0", "kref": "ko21", "kind": "export", "reachable": true });
    assert!(array(&place, "clist bob").contains(&root));
}

#[test]
fn a_transcript_shows_each_delivery_with_its_syscalls() {
    let place = state(ALL);
    check(
        &place,
        "transcript alice",
        expect![[r#"
            delivery-0 startVat { side: "left" }
              vatstoreSet k.one = k.one\u{1b}[2J\n
              vatstoreSet 0xfffe = 0xfffe
              vatstoreGet k.one -> k.one\u{1b}[2J\n
              vatstoreGet k -> nothing
              done, fuel 556,691
            delivery-1 message o+0 meet(<bob o-50>) result p-60
              send o-50 wait() result p+1
              send p+1 later()
              subscribe p+1
              resolve p-60 fulfilled <thing o+1>
              done, fuel 48,775
        "#]],
    );
    let all = array(&place, "transcript bob");
    let numbers = |words: &str| {
        let entries = array(&place, words);
        entries.iter().map(|it| it["delivery"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers("transcript bob"), [0, 1, 2]);
    assert_eq!(numbers("transcript bob --from 1"), [1, 2]);
    assert_eq!(numbers("transcript bob --from 1 --to 1"), [1]);
    assert_eq!(numbers("transcript bob --to 1"), [0, 1]);
    assert_eq!(numbers("transcript bob --from 3"), [0; 0]);
    assert_eq!(all[0]["syscalls"][2]["vsc"], json!(["vatstoreGet", "k.one"]));
    assert_eq!(all[0]["syscalls"][2]["vsr"], json!(["ok", "k.one\u{1b}[2J\n"]));
    assert_eq!(all[0]["syscalls"][1]["vsc"], json!(["vatstoreSet", { "base64": "//4=" }, { "base64": "//4=" }]));
    assert_eq!(
        [&all[1]["kind"], &all[1]["outcome"], &all[1]["fault"]],
        [&json!("message"), &json!("done"), &Value::Null]
    );
    let fuel: u64 = all.iter().map(|it| it["fuel"].as_u64().unwrap()).sum();
    assert_eq!(inspect(&place, "vat bob --json").ok().json()["fuel"], fuel);
    // A dead vat's transcript is gone.
    assert_eq!(numbers("transcript broken"), [0; 0]);
}

#[test]
fn keys_and_values_are_shown_whatever_their_bytes() {
    let place = state(ALL);
    check(
        &place,
        "kv bob",
        expect![[r#"
        key     bytes  value
        k.one      10  k.one\u{1b}[2J\n
        0xfffe      2  0xfffe
    "#]],
    );
    let binary = json!({ "base64": "//4=" });
    let one = json!({ "key": "k.one", "value": "k.one\u{1b}[2J\n", "valueBytes": 10 });
    assert_eq!(array(&place, "kv bob"), [one.clone(), json!({ "key": binary, "value": binary, "valueBytes": 2 })]);
    assert_eq!(array(&place, "kv bob --prefix k."), [one]);
    assert_eq!(array(&place, "kv bob --prefix k.t"), [] as [Value; 0]);
}

#[test]
fn a_limit_says_how_much_it_leaves_out() {
    let place = state(ALL);
    assert_eq!(array(&place, "objects --limit 2").len(), 2);
    assert_eq!(array(&place, "transcript bob --limit 1").len(), 1);
    let ran = inspect(&place, "vats --limit 1").ok().says("1 of 3; a larger --limit shows more");
    assert_eq!(ran.stdout.lines().count(), 2);
    assert_eq!(inspect(&place, "vats --limit 3").ok().stderr, "");
}

#[test]
fn what_is_not_there_is_told_so() {
    let place = state(1);
    inspect(&place, "vat v9").code(2).says("there is no vat `v9`").says("hint: ");
    inspect(&place, "clist carol").code(2).says("there is no vat `carol`");
    inspect(&place, "everything").code(2).says("`everything` is nothing to look at").says("--help` lists");
    inspect(&place, "vat").code(2).says("<VAT>");
    place.vathost("inspect vats").code(2).says("no state is given").says("hint: name its folder");
    place.vathost("inspect --state @none").code(2).says("there is no state in").says("hint: ");
    assert!(!place.path("none").exists());
}

#[test]
fn to_look_changes_nothing_and_takes_no_lock() {
    let place = state(3);
    std::fs::remove_file(place.path("state/lock")).unwrap();
    let bytes = std::fs::read(place.path("state/state.sqlite")).unwrap();
    for words in ["", "vats", "vat v1", "queue", "promises", "objects", "clist v1", "transcript v1", "kv v1"] {
        inspect(&place, words).ok();
    }
    assert_eq!(bytes, std::fs::read(place.path("state/state.sqlite")).unwrap());
    assert!(!place.path("state/lock").exists());
}
