//! Clients that are broken, malicious, or gone: none reaches the host or the outcome.

use std::io::Write;

use super::{
    DOUBLER,
    client::Client,
    greeted, instructions,
    stand::{debugged, undebugged},
    wasm,
};

#[test]
fn packets_that_make_no_sense_are_refused_and_change_nothing() {
    let wasm = wasm(DOUBLER);
    let outcome = debugged(&wasm, |address| {
        let mut client = greeted(address);
        for (packet, begins) in [
            ("", ""),
            ("qNonsense", ""),
            ("vNonsense;1", ""),
            ("\u{fffd}\u{1f980}", ""),
            ("m", "E"),
            ("m0", "E"),
            ("m,", "E"),
            ("m0,zz", "E"),
            ("mffffffffffffffff,ffffffffffffffff", "E"),
            ("m123456789abcdef01,1", "E"),
            ("m8000000000000000,10", "E"),
            ("m10000,1", "E"),
            ("m40000000ffffffff,ffffffffffffffff", "E"),
            ("qWasmLocal", "E"),
            ("qWasmLocal:", "E"),
            ("qWasmLocal:0", "E"),
            ("qWasmLocal:0;4294967296", "E"),
            ("qWasmLocal:0;99", "E"),
            ("qWasmLocal:18446744073709551615;0", "E"),
            ("qWasmStackValue:0;0", "E"),
            ("qWasmStackValue:7;0", "E"),
            ("qWasmGlobal:0;4294967295", "E"),
            ("qXfer:libraries:read::ffffffffffffffff,ffffffffffffffff", "l"),
            ("qXfer:libraries:read::x,y", "E"),
            ("qXfer:memory-map:read::0,100", "E"),
            ("Z0,", "E"),
            ("Z0,40,1", "E"),
            ("Z0,4000000000000000,1", "E"),
            ("Z0,40000000ffffffff,1", "E"),
            ("Z0,ffffffffffffffff,1", "E"),
            ("Z2,40,4", ""),
            ("vCont;q", "E"),
            ("vCont", "E"),
            // A guest is not changed.
            ("M40,3:000000", "E"),
            ("X40,3:abc", "E"),
            ("P0=0000000000000000", "E"),
            ("G00", "E"),
        ] {
            let answer = client.ask(packet);
            let right = if begins.is_empty() { answer.is_empty() } else { answer.starts_with(begins) };
            assert!(right, "{packet}: {answer}");
        }
        assert!(client.ask("M40,3:000000").ends_with(&super::hex("the other replicas would not have it so")));
        let much = client.ask("m0,ffffffffffffffff");
        assert!(much.len() <= 0x4000, "{}", much.len());
        assert_eq!(client.ask("c"), "W00");
    });
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn a_wrong_checksum_is_asked_for_again() {
    let wasm = wasm(DOUBLER);
    let outcome = debugged(&wasm, |address| {
        let mut client = Client::connect(address);
        let mut byte = [0];
        for bad in ["$?#00", "$?#zz", "$c#00"] {
            client.stream.write_all(bad.as_bytes()).unwrap();
            std::io::Read::read_exact(&mut client.stream, &mut byte).unwrap();
            assert_eq!(byte[0], b'-', "{bad}");
        }
        assert!(client.ask("?").starts_with("T05"));
        client.stream.write_all(b"-").unwrap();
        assert!(client.packet().unwrap().starts_with("T05"), "the last is sent again");
        assert_eq!(client.ask("c"), "W00");
    });
    assert_eq!(outcome, undebugged(&wasm));
}

#[test]
fn wherever_a_client_goes_away_the_delivery_comes_to_the_same() {
    let wasm = wasm(DOUBLER);
    let (double, expected) = (instructions(&wasm, 0), undebugged(&wasm));
    type Stage = fn(&mut Client, u64);
    let stages: [Stage; 9] = [
        |_, _| (),
        |client, _| client.stream.write_all(b"$qSuppor").unwrap(),
        |client, _| client.shake_hands(),
        |client, _| client.send("qWasmCallStack:1"),
        |client, at| {
            client.shake_hands();
            client.breakpoint(true, at);
            assert!(client.ask("c").starts_with("T05"));
        },
        |client, at| {
            client.shake_hands();
            client.breakpoint(true, at);
            client.send("c");
        },
        |client, _| {
            client.shake_hands();
            client.send("s");
        },
        |client, _| client.send("k"),
        |client, _| assert_eq!(client.ask("vKill;1"), "OK"),
    ];
    for (number, stage) in stages.into_iter().enumerate() {
        let outcome = debugged(&wasm, |address| {
            let mut client = Client::connect(address);
            stage(&mut client, double[0]);
            drop(client);
            // Who said nothing was no client: another is waited for.
            if number < 2 {
                Client::connect(address).send("k");
            }
        });
        assert_eq!(outcome, expected, "stage {number}");
    }
}

#[test]
fn a_flood_of_bytes_is_read_to_its_end_and_forgotten() {
    let wasm = wasm(DOUBLER);
    let outcome = debugged(&wasm, |address| {
        let mut client = Client::connect(address);
        // It may hang up in the middle.
        let _ = client.stream.write_all(&vec![b'$'; 1 << 20]);
        let _ = client.stream.write_all(&vec![3; 1 << 16]);
        let _ = client.stream.write_all(&vec![0xff; 1 << 20]);
        let _ = client.stream.write_all(&b"$a#00".repeat(1_000));
        drop(client);
        Client::connect(address).send("k");
    });
    assert_eq!(outcome, undebugged(&wasm));
}
