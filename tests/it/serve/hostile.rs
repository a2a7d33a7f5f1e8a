//! Clients that mean no good: each is refused or bounded, and others do not notice.

use std::{io::Write as _, time::Instant};

use serde_json::json;

use super::server::Served;
use crate::cli::Place;

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn malformed_requests_are_refused_by_name_and_nothing_is_done() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let before = host.get("/status").body;
    let deep = format!("{{\"method\":\"m\",\"args\":[{}{}]}}", "[".repeat(5_000), "]".repeat(5_000));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"args\":[]}",
        "{\"method\":1}",
        "{\"method\":\"m\",\"args\":{}}",
        "{\"method\":\"m\",\"more\":1}",
        "{\"method\":\"m\",\"args\":[99999999999999999999]}",
        "{\"method\":\"m\",\"args\":[{\"@cap\":\"javascript:alert(1)\"}]}",
        "{\"method\":\"m\",\"args\":[{\"@what\":1}]}",
        &deep,
    ] {
        let (status, kind) = host.request("POST", "/cap/market", &[], body).problem();
        assert_eq!((status, &*kind), (400, "malformed"), "{body:.60}");
    }
    let text = host.raw(
        &[
            &b"POST /cap/market HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"[..],
            b"\"\xff\xfe\"",
        ]
        .concat(),
    );
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"GET\r\n\r\n", b"POST /cap/market HTTP/9.9\r\n\r\n"] {
        let text = host.raw(bytes);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400") || text.starts_with("HTTP/1.0 400"), "{text}");
    }
    assert_eq!(host.get("/status").body["stateHash"], before["stateHash"]);
}

#[test]
fn bodies_heads_and_headers_have_bounds() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --body-max 10000");
    let large = json!({ "method": "m", "args": ["x".repeat(20_000)] }).to_string();
    assert_eq!(host.request("POST", "/cap/market", &[], &large).problem(), (413, "too-large".to_owned()));
    // One that says that it is large is refused before it is sent.
    let said = host.raw(
        b"POST /cap/market HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000000000\r\n\r\n{",
    );
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    let many: String = (0..100).map(|it| format!("X-{it}: 1\r\n")).collect();
    assert!(host.raw(&post("/cap/market", &many, "{}")).starts_with("HTTP/1.1 431"));
    let long = format!("X: {}\r\n", "x".repeat(100_000));
    assert!(host.raw(&post("/cap/market", &long, "{}")).starts_with("HTTP/1.1 431"));
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
}

#[test]
fn slow_bodies_and_half_open_connections_are_ended_and_others_are_served() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --patience 1 --connections-max 20");
    let mut half_open: Vec<_> = (0..10).map(|_| host.connect()).collect();
    for it in half_open.iter_mut().take(5) {
        it.write_all(b"POST /cap/market HTTP/1.1\r\nHost: loc").unwrap();
    }
    let begun = Instant::now();
    let said = host.raw(b"POST /cap/market HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"method\": ");
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(begun.elapsed().as_secs() < 20);
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
    for mut it in half_open {
        let mut rest = Vec::new();
        // Ended by the host, with or without a word.
        let _ = std::io::Read::read_to_end(&mut it, &mut rest);
    }
}

/// Sends one byte after the other, each well within the time-out, until the host has had enough; how long it took, and what it said.
fn trickle(host: &Served, head: &[u8]) -> (f64, String) {
    let mut stream = host.connect();
    let begun = Instant::now();
    stream.write_all(head).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    let mut said = Vec::new();
    while begun.elapsed().as_secs() < 30 {
        let mut bytes = [0; 1_024];
        match std::io::Read::read(&mut stream, &mut bytes) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&bytes[..count]),
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => (),
            Err(_) => break,
        }
        if stream.write_all(b"a").is_err() {
            break;
        }
    }
    (begun.elapsed().as_secs_f64(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn heads_and_bodies_that_come_byte_by_byte_are_ended_by_time_outs_of_their_own() {
    let place = Place::new();
    // The other time-outs are longer than the test waits.
    let host = Served::start(&place, "vats/bank --state @state --patience 600 --head-time 1");
    let (took, _) = trickle(&host, b"POST /cap/market HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    assert!((0.9..20.0).contains(&took), "{took}");
    // A connection that is silent between two requests, too.
    let mut silent = host.connect();
    silent.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let begun = Instant::now();
    let mut said = Vec::new();
    let _ = std::io::Read::read_to_end(&mut silent, &mut said);
    assert!(said.starts_with(b"HTTP/1.1 200") && begun.elapsed().as_secs() < 20, "{begun:?}");
    drop(host);
    let host = Served::start(&place, "@state --patience 600 --body-time 1");
    let head = b"POST /cap/market HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{";
    let (took, said) = trickle(&host, head);
    assert!((0.9..20.0).contains(&took) && said.starts_with("HTTP/1.1 408"), "{took} {said}");
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
}

#[test]
fn a_client_that_never_reads_its_answers_is_cut_off_and_one_that_reads_slowly_is_not() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --patience 600 --write-time 1");
    let connections = || {
        let text = host.get("/metrics").body.as_str().unwrap().to_owned();
        let line = text.lines().find(|it| it.starts_with("vathost_connections ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // It asks on, and reads nothing, until the host takes no more.
    let mut deaf = host.connect();
    deaf.set_write_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let mut slow = host.connect();
    slow.write_all(ask.repeat(3_000).as_bytes()).unwrap();
    slow.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let is_full = (0..10_000).any(|_| deaf.write_all(ask.repeat(1_000).as_bytes()).is_err());
    assert!(is_full, "its buffers are never full");
    let mut bytes = vec![0; 256 << 10];
    let ended = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        match std::io::Read::read(&mut slow, &mut bytes) {
            // It has read all of them.
            Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::WouldBlock, "whoever reads is served"),
            Ok(count) => assert!(count > 0, "whoever reads is served"),
        }
        // The slow one, the deaf one, and this one.
        connections() <= 2
    });
    assert!(ended, "{}", connections());
}

#[test]
fn connections_and_calls_that_are_too_many_are_refused_and_the_rest_is_served() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state --connections-max 3");
    let held: Vec<_> = (0..3).map(|_| host.connect()).collect();
    let refused = host.try_request("GET", "/healthz", &[], "");
    assert!(refused.is_err(), "{refused:?}");
    drop(held);
    let served = (0..200).any(|_| host.try_request("GET", "/healthz", &[], "").is_ok());
    assert!(served);
    drop(host);
    let host = Served::start(&place, "@state --calls-max 0");
    let busy = host.call("/cap/market", "report", json!([]));
    assert_eq!(busy.problem(), (429, "busy".to_owned()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    let body = json!({ "method": "report" }).to_string();
    assert_eq!(host.request("POST", "/cap/market", &[("Prefer", "respond-async")], &body).status, 202);
}

#[test]
fn web_pages_are_refused_whatever_name_they_come_by_unless_they_are_named() {
    let place = Place::new();
    let host =
        Served::start(&place, "vats/bank --state @state --host bank.example --allow-origin https://shop.example");
    let ask = |headers: &[(&str, &str)]| host.request("GET", "/healthz", headers, "");
    assert_eq!(ask(&[]).status, 200);
    assert_eq!(ask(&[("Host", "localhost:7100")]).status, 200);
    assert_eq!(ask(&[("Host", "bank.example")]).status, 200);
    assert_eq!(ask(&[("Host", "evil.example:7100")]).problem(), (403, "foreign-host".to_owned()));
    assert_eq!(ask(&[("Origin", "https://evil.example")]).problem(), (403, "foreign-origin".to_owned()));
    let allowed = ask(&[("Origin", "https://shop.example")]);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, Some("https://shop.example")));
    assert_eq!(ask(&[]).header("access-control-allow-origin"), None);
    assert_eq!(ask(&[]).header("cache-control"), Some("no-store"));
    let preflight = host.request("OPTIONS", "/cap/market", &[("Origin", "https://shop.example")], "");
    assert_eq!(preflight.status, 204);
}

#[test]
fn an_address_of_a_network_opens_no_names_unless_that_is_wanted() {
    let place = Place::new();
    // The command line's later address is the one that counts for the gate.
    let host = Served::start_at(&place, "vats/bank --state @state", "0.0.0.0:0");
    assert_eq!(host.call("/cap/market", "report", json!([])).problem(), (404, "no-capability".to_owned()));
    drop(host);
    let host = Served::start_at(&place, "@state --open-exports", "0.0.0.0:0");
    assert_eq!(host.call("/cap/market", "report", json!([])).status, 200);
}

#[test]
fn guessed_and_foreign_tokens_name_nothing() {
    let place = Place::new();
    let host = Served::start(&place, "vats/bank --state @state");
    let purse = host.call("/cap/north", "makePurse", json!([7])).value()["@cap"].as_str().unwrap().to_owned();
    let token = purse.strip_prefix("/cap/").unwrap();
    for guess in 0..40 {
        let mut other = token.to_owned();
        let at = guess % 42;
        let letter = if &token[at..=at] == "A" { "B" } else { "A" };
        other.replace_range(at..=at, letter);
        assert_eq!(host.call(&format!("/cap/{other}"), "balance", json!([])).status, 404);
    }
    // What is kept is its hash: the token stands in no file of the state.
    drop(host);
    for entry in std::fs::read_dir(place.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let raw = base64_of(token);
        assert!(!contains(&bytes, token.as_bytes()) && !contains(&bytes, &raw), "{}", path.display());
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

/// The bytes of a token.
fn base64_of(token: &str) -> Vec<u8> {
    let digit = |it: u8| match it {
        b'A'..=b'Z' => it - b'A',
        b'a'..=b'z' => it - b'a' + 26,
        b'0'..=b'9' => it - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = token.bytes().flat_map(|it| (0..6).rev().map(move |bit| digit(it) >> bit & 1)).collect();
    bits.chunks_exact(8).map(|it| it.iter().fold(0, |sum, bit| sum << 1 | bit)).collect()
}
