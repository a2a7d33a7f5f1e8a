//! Cases of `drop_imports`, `retire_imports`, `retire_exports` and `abandon_exports`: many references at a time, of objects that a peer
//! gives to the guest or gets from it.

use super::Case;
use crate::bench::guest::*;
use crate::model::limits::REFS_MAX;

/// The peer's root, as the guest knows it.
const PEER: &str = "(i64.const 50)";
/// The address at which references are gathered.
const HEAP: &str = "(i32.const 0x200000)";

/// Makes a peer that sends 4,096 new objects to whatever object it is given.
pub(super) fn giver() -> Guest {
    let other = format!("(call $objects (i32.const {ALL_SLOTS})) {}", send(HELD, ZERO, ZERO, ALL_SLOTS, NONE));
    Guest { other: when("(i32.load (i32.const 28))", &other), awake: true, ..Guest::default() }
}

/// Returns code that asks the peer for 4,096 objects.
pub(super) fn ask() -> String {
    format!("(call $slot {ZERO} {ROOT}) {}", send(PEER, ZERO, ZERO, 1, NONE))
}

/// Code that reads the slots of the present message to the place of slots.
const FETCH: &str =
    "(call $input_read (i32.const 0x10000) (i32.const 32) (i32.shl (i32.load (i32.const 28)) (i32.const 3)))";

fn nothing(group: &'static str) -> Case {
    let guest = Guest { go: times(&format!("(call ${group} {ZERO} {ZERO})")), ..Guest::default() };
    Case::new(group, "nothing", "no references at all", guest)
}

/// Makes a case that calls these imports with each 4,096 objects that the peer gives.
fn given(group: &'static str, name: &'static str, about: &'static str, calls: &[&str]) -> Case {
    let calls: String = calls.iter().map(|it| format!("(call ${it} {SLOTS} (i32.load (i32.const 28)))")).collect();
    let guest = Guest { go: times(&ask()), other: format!("{FETCH} {calls}"), ..Guest::default() };
    Case::new(group, name, about, guest).peer(giver()).in_a_delivery(100).at_most(4_096)
}

/// Makes a case that gathers references until there are as many as one call may name, and then gives them all up.
fn gathered(group: &'static str, name: &'static str, about: &'static str, calls: &[&str]) -> Case {
    let calls: String = calls.iter().map(|it| format!("(call ${it} {HEAP} (i32.const {REFS_MAX}))")).collect();
    let other = format!(
        "{FETCH}
         (memory.copy (i32.add {HEAP} (i32.shl (global.get $count) (i32.const 3))) {SLOTS}
           (i32.shl (i32.load (i32.const 28)) (i32.const 3)))
         (global.set $count (i32.add (global.get $count) (i32.load (i32.const 28))))
         {}",
        when(
            &format!("(i32.ge_u (global.get $count) (i32.const {REFS_MAX}))"),
            &format!("(global.set $count {ZERO}) {calls}")
        )
    );
    let go = times(&repeat(REFS_MAX / ALL_SLOTS, &ask()));
    let guest = Guest { go, other, pages: 128, ..Guest::default() };
    Case::new(group, name, about, guest).peer(giver()).in_a_delivery(4).at_most(64)
}

pub(super) fn drop_imports() -> Vec<Case> {
    const GROUP: &str = "drop_imports";
    vec![
        nothing(GROUP),
        given(GROUP, "4096", "4,096 objects of another's, which it is told of", &[GROUP]),
        gathered(GROUP, "65536", "65,536 objects of another's at once", &[GROUP]),
        paused(),
    ]
}

/// Makes the case of a paused peer, so that GC actions for it stay.
fn paused() -> Case {
    let mut peer = giver();
    peer.other = format!("{} {}", peer.other, when("(i32.eqz (i32.load (i32.const 28)))", "unreachable"));
    let gather = format!(
        "{FETCH}
         (memory.copy (i32.add {HEAP} (i32.shl (global.get $count) (i32.const 3))) {SLOTS}
           (i32.shl (i32.load (i32.const 28)) (i32.const 3)))
         (global.set $count (i32.add (global.get $count) (i32.load (i32.const 28))))"
    );
    let guest = Guest {
        setup: format!("{} {}", repeat(4, &ask()), send_empty(PEER, NONE)),
        go: format!(
            "{} {}",
            when(
                "(global.get $count)",
                &format!("(call $drop_imports {HEAP} (global.get $count)) (global.set $count {ZERO})")
            ),
            times(&send_empty(ROOT, NONE))
        ),
        other: when("(i32.load (i32.const 28))", &gather),
        ..Guest::default()
    };
    let options = crate::state::table::Options { on_fault: crate::state::table::OnFault::Pause, ..Default::default() };
    Case::new("drop_imports", "of-a-paused-vat", "messages, while news of 16,384 objects wait for a paused vat", guest)
        .peer_with(peer, options)
}

pub(super) fn retire_imports() -> Vec<Case> {
    const GROUP: &str = "retire_imports";
    vec![
        nothing(GROUP),
        given(GROUP, "4096", "4,096 objects of another's, dropped and retired", &["drop_imports", GROUP]),
        gathered(GROUP, "65536", "65,536 objects of another's, dropped and retired at once", &["drop_imports", GROUP]),
    ]
}

pub(super) fn retire_exports() -> Vec<Case> {
    const GROUP: &str = "retire_exports";
    let give = format!("(call $objects (i32.const {ALL_SLOTS})) {}", send(PEER, ZERO, ZERO, ALL_SLOTS, NONE));
    let dropped = format!(
        "(call $input_read (i32.const 0x10000) (i32.const 8) (i32.shl (i32.load (i32.const 4)) (i32.const 3)))
         (call $retire_exports {SLOTS} (i32.load (i32.const 4)))"
    );
    let guest = Guest {
        go: times(&give),
        garbage: when("(i32.eq (i32.load (i32.const 0)) (i32.const 3))", &dropped),
        ..Guest::default()
    };
    let peer = Guest {
        other: format!("{FETCH} (call $drop_imports {SLOTS} (i32.load (i32.const 28)))"),
        awake: true,
        ..Guest::default()
    };
    vec![
        nothing(GROUP),
        Case::new(GROUP, "4096", "4,096 objects that another has dropped, and is told of", guest)
            .peer(peer)
            .in_a_delivery(100)
            .at_most(4_096),
    ]
}

pub(super) fn abandon_exports() -> Vec<Case> {
    const GROUP: &str = "abandon_exports";
    let give = format!(
        "(call $objects (i32.const {ALL_SLOTS})) {} (call $abandon_exports {SLOTS} (i32.const {ALL_SLOTS}))",
        send(PEER, ZERO, ZERO, ALL_SLOTS, NONE)
    );
    let guest = Guest { go: times(&give), ..Guest::default() };
    let peer = Guest { awake: true, ..Guest::default() };
    vec![
        nothing(GROUP),
        Case::new(GROUP, "4096", "4,096 objects that another holds", guest)
            .peer(peer)
            .in_a_delivery(100)
            .at_most(4_096),
    ]
}
