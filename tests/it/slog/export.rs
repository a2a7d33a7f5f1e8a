//! A recording in the formats of others.

use super::*;

fn chrome(lab: &Lab, args: &str) -> Vec<Value> {
    let output = lab.vathost(&format!("slog export {args} --format chrome-trace"));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args}");
    let trace: Value = serde_json::from_str(&output.stdout).unwrap();
    trace["traceEvents"].as_array().unwrap().clone()
}

fn of<'a>(events: &'a [Value], ph: &str) -> Vec<&'a Value> {
    events.iter().filter(|it| it["ph"] == ph).collect()
}

#[test]
fn a_chrome_trace_has_what_perfetto_needs_of_every_event() {
    let lab = Lab::busy();
    lab.record("a.slog.zst");
    let events = chrome(&lab, "a.slog.zst");
    for it in &events {
        assert!(it["ph"].is_string() && it["name"].is_string() && it["pid"].is_u64() && it["tid"].is_u64(), "{it}");
        assert!(it["ts"].as_f64().unwrap() >= 0.0, "{it}");
        assert!(it["ph"] != "X" || it["dur"].as_f64().unwrap() >= 0.0, "{it}");
        assert!(it["ph"] != "i" || ["t", "p", "g"].contains(&it["s"].as_str().unwrap()), "{it}");
    }
    let tracks: Vec<_> = of(&events, "M")
        .into_iter()
        .filter(|it| it["name"] == "thread_name")
        .map(|it| it["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(tracks, ["kernel", "v1 alice", "v2 bob", "v3 carol", "v4 dave", "v5 erin"]);
    assert_eq!(of(&events, "i").iter().filter(|it| it["name"] == "terminate").count(), 3);
}

#[test]
fn a_chrome_trace_has_a_slice_for_each_delivery_and_within_it_one_for_each_syscall() {
    let lab = Lab::busy();
    let recorded = events(&lab.record("a.slog"));
    let exported = chrome(&lab, "a.slog");
    let slices = of(&exported, "X");
    let (deliveries, rest): (Vec<_>, Vec<_>) = slices.into_iter().partition(|it| it["args"]["delivery"].is_u64());
    let (syscalls, blocks): (Vec<_>, Vec<_>) = rest.into_iter().partition(|it| it["args"]["ksc"].is_string());
    assert_eq!(deliveries.len(), recorded.iter().filter(|it| is(it, "deliver")).count());
    assert_eq!(syscalls.len(), recorded.iter().filter(|it| is(it, "syscall")).count());
    assert_eq!(
        blocks.iter().map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["block 0", "commit", "block 1", "commit"]
    );
    let end = |it: &Value| it["ts"].as_f64().unwrap() + it["dur"].as_f64().unwrap();
    for syscall in syscalls {
        let within = |it: &&&Value| {
            it["tid"] == syscall["tid"] && it["ts"].as_f64() <= syscall["ts"].as_f64() && end(it) + 0.01 >= end(syscall)
        };
        assert_eq!(deliveries.iter().filter(within).count(), 1, "{syscall}");
    }
}

#[test]
fn every_arrow_leaves_one_slice_and_ends_in_another() {
    let lab = Lab::busy();
    lab.record("a.slog");
    let events = chrome(&lab, "a.slog");
    let (starts, ends) = (of(&events, "s"), of(&events, "f"));
    // Alice asks bob, and is told.
    let arrows: Vec<_> = starts.iter().map(|it| (it["name"].as_str().unwrap(), it["tid"].as_u64().unwrap())).collect();
    assert_eq!(arrows, [("send", 1), ("notify", 2)]);
    for (start, end) in starts.iter().zip(&ends) {
        assert_eq!((&start["id"], &start["name"], &start["cat"]), (&end["id"], &end["name"], &end["cat"]));
        assert!(start["ts"].as_f64() < end["ts"].as_f64());
        for arrow in [start, end] {
            let at = arrow["ts"].as_f64().unwrap();
            let holds = |it: &&&Value| {
                let from = it["ts"].as_f64().unwrap();
                it["tid"] == arrow["tid"]
                    && it["args"]["delivery"].is_u64()
                    && from <= at
                    && at <= from + it["dur"].as_f64().unwrap()
            };
            assert_eq!(of(&events, "X").iter().filter(holds).count(), 1, "{arrow}");
        }
    }
    assert_eq!(starts.len(), ends.len());
}

#[test]
fn what_never_ended_is_exported_to_where_the_recording_breaks_off() {
    let lab = Lab::busy();
    let path = lab.record("a.slog");
    let text = fs::read_to_string(&path).unwrap();
    let end = text.find("\"type\":\"syscall-result\"").unwrap();
    fs::write(&path, &text[..text[..end].rfind('\n').unwrap() + 1]).unwrap();
    let events = chrome(&lab, "a.slog");
    let unfinished: Vec<_> = of(&events, "X")
        .into_iter()
        .filter(|it| it["args"]["unfinished"] == true)
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(unfinished, ["block 1", "ask", "send"]);
}

#[test]
fn a_range_of_cranks_limits_what_is_exported() {
    let lab = Lab::busy();
    lab.record("a.slog");
    let deliveries = |args: &str| {
        let events = chrome(&lab, args);
        let cranks = of(&events, "X")
            .into_iter()
            .filter(|it| it["args"]["delivery"].is_u64())
            .map(|it| it["args"]["crank"].as_u64().unwrap());
        cranks.collect::<Vec<_>>()
    };
    assert_eq!(deliveries("a.slog --crank 2..4"), [2, 3, 4]);
    assert_eq!(deliveries("a.slog --crank 2"), [2]);
    assert_eq!(deliveries("a.slog --crank ..1"), [0, 1]);
    for (args, why) in [("a.slog --crank 4..2", "4 lies behind 2"), ("a.slog --crank x", "no number of a crank")] {
        let output = lab.vathost(&format!("slog export {args} --format dot"));
        assert_eq!(output.code, Some(2));
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
}

#[test]
fn a_graph_says_who_called_whom_and_how_often() {
    let lab = Lab::new("alice bob", "alice ask @bob, alice ask @bob, bob hello");
    lab.record("a.slog");
    lab.check(
        "slog export a.slog --format dot",
        expect![[r#"
        digraph vats {
          node [shape=box];
          outside [shape=ellipse];
          v1 [label="v1\nalice"];
          v2 [label="v2\nbob"];
          outside -> v1 [label="ask 2", weight=2];
          outside -> v2 [label="hello 1", weight=1];
          v1 -> v2 [label="hello 1", weight=1];
        }
    "#]],
    );
    lab.vathost("slog export a.slog --format dot --out a.dot").ok();
    let file = fs::read_to_string(lab.path("a.dot")).unwrap();
    assert_eq!(file, lab.vathost("slog export a.slog --format dot").stdout);
}

#[test]
fn a_vats_words_stay_within_their_quotes() {
    let lab = Lab::new("alice", "alice x");
    let path = lab.record("a.slog");
    let text = fs::read_to_string(&path).unwrap().replace(r##""#[\"x\","##, r##""#[\"x\\\"]; evil -> v1 [\\n\","##);
    fs::write(&path, text).unwrap();
    let dot = lab.vathost("slog export a.slog --format dot").stdout;
    assert!(dot.contains(r#"[label="x\"]; evil -> v1 ["#), "{dot}");
    assert_eq!(dot.lines().filter(|it| it.contains("evil")).count(), 1, "{dot}");
}
