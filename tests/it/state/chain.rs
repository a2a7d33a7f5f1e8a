//! What the state hash depends on: on what was done and where blocks end, and on nothing about how the host lived.

use super::*;

/// A way to live: whether the block is interrupted after a crank, and whether the host then begins anew from its disk.
#[derive(Clone, Copy)]
struct Life {
    interrupts: fn(u64) -> bool,
    restarts: fn(u64) -> bool,
}

/// The state hash at the end of each block of five cranks, and the marks of all cranks.
fn live(life: Life) -> (Vec<(u64, String)>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut host = open(&state);
    host.install(&Scenario::read(&vats("bank")).unwrap()).unwrap();
    host.send("north", "makePurse", [70.into()]).unwrap();
    let policy = BlockPolicy { cranks: 5, ..BlockPolicy::default() };
    let mut blocks = vec![];
    while !host.is_quiescent().unwrap() {
        let mut last = 0;
        let end = host.run_block(&policy, &mut |ran| {
            last = ran.crank.0;
            !(life.interrupts)(last)
        });
        let end = end.unwrap();
        if end.closed {
            blocks.push((end.height.0, end.state_hash.to_string()));
        }
        if (life.restarts)(last) {
            drop(host);
            host = open(&state);
        }
    }
    drop(host);
    let marks = Database::open_read_only(&state).unwrap().crank_marks().unwrap();
    (blocks, marks.values().map(ToString::to_string).collect())
}

#[test]
fn an_interrupted_block_ends_with_the_hash_of_an_undisturbed_one() {
    let undisturbed = live(Life { interrupts: |_| false, restarts: |_| false });
    assert!(undisturbed.0.len() > 4 && undisturbed.1.len() > 20, "{undisturbed:?}");
    let lives = [
        Life { interrupts: |_| true, restarts: |_| false },
        Life { interrupts: |_| true, restarts: |_| true },
        Life { interrupts: |_| false, restarts: |_| true },
        Life { interrupts: |crank| crank % 3 == 1, restarts: |crank| crank % 2 == 0 },
    ];
    for (number, life) in lives.into_iter().enumerate() {
        assert_eq!(live(life), undisturbed, "life {number}");
    }
}
