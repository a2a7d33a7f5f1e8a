//! Fork and diff.

use super::*;

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
    let sql = "UPDATE vatstore SET value = x'030141' WHERE key = (SELECT min(key) FROM vatstore);
               DELETE FROM outside WHERE key = (SELECT max(key) FROM outside)";
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
        (&"outside".into(), &"message for kp45".into(), &Value::Null),
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
    // The block of one ended after four cranks, which are the same; the other's fifth stands in another block.
    let expected =
        serde_json::json!({ "block": 3, "crank": null, "from": crank, "to": { "a": crank + 4, "b": crank + 10 } });
    assert_eq!(parted["parted"], expected);
    let text = vathost(&["diff"], &[&a, &b]).out;
    assert!(text.contains(&format!("parted in block-3, between crank-{crank} and its end")), "{text}");
    go_on(&mut open(&a), 1, 4);
    let found = vathost(&["diff"], &[&a, &b]).out;
    assert!(found.contains(&format!("parted in block-3, at crank-{}", crank + 4)), "{found}");
}

#[test]
fn diff_names_the_crank_at_which_a_replica_did_something_else() {
    let dir = TempDir::new().unwrap();
    let [a, b] = ["a", "b"].map(|it| dir.path().join(it));
    make("pingpong", &a, 0);
    assert_eq!(vathost(&["fork"], &[&a, &b]).code, 0);
    let play = |state: &Path, lines: &str, keep: Keep| {
        let mut controller = Host::open(HostOptions { keep, ..options(state) }).unwrap();
        let mut set = vathost::directive::DirectiveSet::default();
        set.read("test", lines.as_bytes()).unwrap();
        controller.set_directives(set, false).unwrap();
        // A block that is interrupted is stored in parts.
        controller
            .run_block(&BlockPolicy { cranks: 30, ..BlockPolicy::default() }, &mut |ran| ran.crank.0 != 7)
            .unwrap();
        controller.run_block(&BlockPolicy { cranks: 30, ..BlockPolicy::default() }, &mut |_| true).unwrap();
        go_on(&mut controller, 2, 30);
    };
    play(&a, "", Keep::All);
    play(&b, "crank-41: skip", IN_CHUNKS);
    let found = vathost(&["diff", "--json"], &[&a, &b]).json();
    assert_eq!((&found["parted"]["block"], &found["parted"]["crank"]), (&2.into(), &41.into()), "{found}");
    let text = vathost(&["diff"], &[&a, &b]).out;
    assert!(text.contains("parted in block-2, at crank-41: the marks after it differ"), "{text}");
    // One that remembers only cranks of later blocks does not take the first of them for it.
    sqlite(&b).execute_batch("DELETE FROM crank_mark WHERE first < 60").unwrap();
    let text = vathost(&["diff"], &[&a, &b]).out;
    assert!(text.contains("parted in block-2, between crank-30 and its end, before crank-60"), "{text}");
    // A state that remembers no cranks is told apart by its blocks.
    sqlite(&b).execute_batch("DELETE FROM crank_mark").unwrap();
    let text = vathost(&["diff"], &[&a, &b]).out;
    assert!(text.contains("parted in block-2, between crank-30 and its end, before crank-60"), "{text}");
    go_on(&mut open(&b), 1, 30);
    assert_eq!(findings(&b), None);
}
