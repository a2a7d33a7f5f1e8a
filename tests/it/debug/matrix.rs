//! Off by one: every place, seen from both sides, in a live run, a restarted one, a replay, and a session.

use serde_json::Value;

use super::{BANK, answers, debug, hash, mark, place_of, untouched};
use crate::cli::Place;

/// What a straight run recorded.
struct Straight {
    /// The mark before each crank; behind the last one that of the end.
    marks: Vec<String>,
    /// The state hash at the end of each block, and the number of cranks up to there.
    blocks: Vec<(usize, String)>,
    /// Crank, vat and number of each delivery.
    deliveries: Vec<(u64, String, u64)>,
}

fn straight() -> Straight {
    let place = untouched();
    let mut marks = vec![mark(&answers(&place, "", "")[0]).to_owned()];
    let (mut blocks, mut deliveries) = (vec![], vec![]);
    place.vathost(&format!("{BANK} --slog @slog")).ok();
    for line in std::fs::read_to_string(place.path("slog")).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        match record["type"].as_str().unwrap() {
            "crank-finish" => marks.push(record["activityhash"].as_str().unwrap().to_owned()),
            "end-block-finish" => blocks.push((marks.len() - 1, record["stateHash"].as_str().unwrap().to_owned())),
            "deliver" => deliveries.push((
                record["crankNum"].as_u64().unwrap(),
                record["vatID"].as_str().unwrap().to_owned(),
                record["deliveryNum"].as_u64().unwrap(),
            )),
            _ => (),
        }
    }
    Straight { marks, blocks, deliveries }
}

#[test]
fn the_mark_before_each_crank_is_that_of_a_straight_run_forwards_and_backwards() {
    let (place, straight) = (untouched(), straight());
    let last = straight.marks.len() - 1;
    let forwards = answers(&place, "", &"next\n".repeat(last));
    let seen: Vec<_> = forwards.iter().map(|it| mark(it).to_owned()).collect();
    assert_eq!(seen, straight.marks);
    assert_eq!(forwards[last]["place"], "end");
    assert!(straight.blocks.len() > 3, "{:?}", straight.blocks);
    for (cranks, state_hash) in &straight.blocks {
        assert_eq!(hash(&forwards[*cranks]), state_hash, "after {cranks} cranks");
    }
    let script = format!("next {last}\n{}", "back\n".repeat(last));
    let mut backwards: Vec<_> = answers(&place, "", &script)[1..].iter().map(|it| mark(it).to_owned()).collect();
    backwards.reverse();
    assert_eq!(backwards, straight.marks);
    debug(&place, "", "next 3\nback 4").code(2).says("committed up to crank-0");
    debug(&place, "", "next 3\nback 3").ok();
}

#[test]
fn a_crank_is_come_to_first_last_before_at_after_and_never() {
    let (place, straight) = (untouched(), straight());
    let last = straight.marks.len() as u64 - 1;
    for crank in [0, 1, 4, 5, 6, 9, 10, last - 1] {
        let at = answers(&place, &format!("--at crank-{crank}"), "where");
        assert_eq!(place_of(&at[0])["next"]["crank"], crank);
        assert_eq!(mark(&at[0]), straight.marks[usize::try_from(crank).unwrap()], "crank {crank}");
        assert_eq!(mark(&at[0]), mark(&at[1]));
    }
    for crank in [last, last + 1, 1_000] {
        let at = answers(&place, &format!("--at crank-{crank}"), "where");
        assert_eq!((&at[0]["place"], &at[0]["reply"]["stop"]), (&"end".into(), &"end".into()), "crank {crank}");
        assert_eq!(at[0]["reply"]["why"], format!("crank-{crank} was not reached"));
        assert_eq!(mark(&at[0]), straight.marks.last().unwrap());
    }
    debug(&place, "", "next 5\nuntil crank-5").code(2).says("this is crank-5");
    debug(&place, "", "next 5\nuntil crank-4").code(2).says("lies behind");
    debug(&place, "", "next 5\nuntil crank-6").ok();
}

#[test]
fn a_delivery_is_come_to_where_a_live_run_makes_it() {
    let (place, straight) = (untouched(), straight());
    let script: String =
        straight.deliveries.iter().skip(1).map(|(_, vat, number)| format!("until {vat}/delivery-{number}\n")).collect();
    let at = answers(&place, "--at v1/delivery-0", &script);
    for (answer, (crank, vat, number)) in at.iter().zip(&straight.deliveries) {
        let next = &place_of(answer)["next"];
        assert_eq!(
            (next["crank"].as_u64(), next["vatID"].as_str(), next["delivery"].as_u64()),
            (Some(*crank), Some(&**vat), Some(*number))
        );
    }
    assert_eq!(at.len(), straight.deliveries.len());
    let after = answers(&place, "--at v1/delivery-1000", "").pop().unwrap();
    assert_eq!((&after["place"], &after["reply"]["why"]), (&"end".into(), &"v1/delivery-1000 was not reached".into()));
    assert_eq!(answers(&place, "--at v99/delivery-0", "")[0]["place"], "end");
}

/// One place in four ways: a halt there in a live run and in a restarted one, the session, the replay of what was done.
#[test]
fn live_restarted_debugged_and_replayed_are_of_one_mind() {
    let straight = straight();
    let done = Place::new();
    done.vathost(&format!("{BANK} --state @state")).ok();
    let of = |vat: &str| straight.deliveries.iter().filter(|(_, it, _)| it == vat).cloned().collect::<Vec<_>>();
    for vat in ["v1", "v2"] {
        let all = of(vat);
        let (first, last) = (all[0].clone(), all[all.len() - 1].clone());
        for (crank, vat, number) in [first, all[3].clone(), last] {
            for trigger in [format!("crank-{crank}"), format!("{vat}/delivery-{number}")] {
                let line = format!("{trigger}: halt");
                let place = untouched();
                // One of the two meets it after a restart.
                if trigger.starts_with('v') && crank >= 5 {
                    place.vathost("run --state @state --blocks 1 --cranks-per-block 5").ok();
                }
                place.write("d", &line);
                let live = place.vathost("run --state @state --cranks-per-block 5 --directives @d").code(3);
                live.says(&format!("halted before crank-{crank} by `{line}`"));
                // From where that left it, and past it by nothing.
                let at = answers(&place, &format!("--at {trigger}"), "");
                assert_eq!(place_of(&at[0])["next"]["crank"], crank, "{line}");
                assert_eq!(mark(&at[0]), straight.marks[usize::try_from(crank).unwrap()], "{line}");
            }
            let replayed = answers(&done, &format!("--at {vat}/delivery-{number}"), "delivery\nnext\nwhere");
            assert_eq!(replayed[0]["place"], format!("{vat}/delivery-{number}"));
            assert_eq!(replayed[1]["reply"]["delivery"], number);
            assert_eq!(replayed[3]["place"], format!("{vat}/delivery-{}", number + 1));
        }
        let beyond = all.len();
        let never = answers(&done, &format!("--at {vat}/delivery-{beyond}"), "");
        assert_eq!(never[0]["reply"]["why"], format!("{vat}/delivery-{beyond} was not reached"));
    }
}

#[test]
fn an_interrupted_block_is_gone_on_with_as_its_host_would() {
    let (place, straight) = (untouched(), straight());
    // A directive that halts leaves whole blocks only: the library interrupts.
    use vathost::host::controller::{BlockPolicy, Host, HostOptions};
    let open = HostOptions { state: Some(place.path("state")), ..HostOptions::default() };
    let mut left = 7;
    let mut controller = Host::open(open).unwrap();
    let policy = BlockPolicy { cranks: 5, ..BlockPolicy::default() };
    while left > 0 {
        controller
            .run_block(&policy, &mut |_| {
                left -= 1;
                left > 0
            })
            .unwrap();
    }
    drop(controller);
    let at = answers(&place, "--cranks-per-block 5", "next\nnext\nnext\nnext");
    let seen: Vec<_> = at.iter().map(|it| mark(it).to_owned()).collect();
    assert_eq!(seen, straight.marks[7..12]);
}
