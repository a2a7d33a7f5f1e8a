//! The lines of a schedule, and its token.

use expect_test::{Expect, expect};
use vathost::{
    directive::DirectiveSet,
    lab::Schedule,
    lab::experiment::{BaseId, Build, Token, TokenError},
};

fn check(text: &str, expect: Expect) {
    let schedule = Schedule::read("faults", text).map_or_else(|refused| refused.to_string(), |it| it.to_string());
    expect.assert_eq(&format!("{schedule}\n"));
}

const ALL: &str = "\
v12/delivery-1234: terminate            # the line that everybody tries first
v3/delivery every 7: skip
v2/syscall:vatstoreGet #5: error absent   # the design's spelling
v2/syscall-vatstoreGet-6: value \"a # b\"
v2/delivery-3/syscall-0: error illegal
v2/delivery-3/syscall-1: value 0x00FF
v2/delivery-3/syscall-2: kernel-panic 'promise.decider'
v2/delivery-4: trap after 1000 fuel
v2/delivery-5: flip v3 memory bit random
v2/delivery-5: flip v2 memory bit 1048576.7
v2/delivery-6 end: terminate reason \"late\"
crank-9: delay 3 cranks
crank-10: duplicate
crank-11: plant poison-queue
crank-12: kernel-panic object.counts
crank-13: kill -9
commit-2: lose unsynced
commit-3: tear at 512
commit-4/store-op-9: eio
commit-5/store-op-1: enospc
commit-6: kill -9
crank-14: pause v3
crank-15: resume v3
crank-16: upgrade v3 bundle 41d0c7e2
";

#[test]
fn every_place_and_action_is_read_and_has_a_canonical_form() {
    check(
        ALL,
        expect![[r#"
            crank-9: delay 3 cranks
            crank-10: duplicate
            crank-11: plant poison-queue
            crank-12: kernel-panic object.counts
            crank-13: kill -9
            crank-14: pause v3
            crank-15: resume v3
            crank-16: upgrade v3 bundle 41d0c7e2
            v2/delivery-4: trap after 1000 fuel
            v2/delivery-5: flip v2 memory bit 1048576.7
            v2/delivery-5: flip v3 memory bit random
            v12/delivery-1234: terminate
            v3/delivery every 7: skip
            v2/delivery-6 end: terminate reason "late"
            v2/delivery-3/syscall-0: error illegal
            v2/delivery-3/syscall-1: value 0x00ff
            v2/delivery-3/syscall-2: kernel-panic promise.decider
            v2/syscall-vatstoreGet-5: error absent
            v2/syscall-vatstoreGet-6: value "a # b"
            commit-2: lose unsynced
            commit-3: tear at 512
            commit-6: kill -9
            commit-4/store-op-9: eio
            commit-5/store-op-1: enospc
        "#]],
    );
    let schedule = Schedule::read("faults", ALL).unwrap();
    assert_eq!(schedule.len(), 24);
    assert_eq!(Schedule::read("again", &schedule.to_string()).unwrap(), schedule);
    let json = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
}

#[test]
fn a_line_that_is_no_fault_is_shown_with_what_was_meant() {
    check(
        "v2/syscall-vatstoreGot-5: error absent\nv2/delivery-1: kernel-panic object.count\nv2/delivery-1: trp after 5 fuel\n\
         v2/delivery-1: halt\ncommit-3: eioo\nv2/delivery-1/syscall-2: skip\nv2/delivery-1: error absent\n\
         v2/syscall-send-1: value \"x\"\nv2/delivery every 0: skip\ncommit-0: kill -9\nv2/delivery-1: eio\n\
         v2/delivery-1: flip v2 memory bit 7.8\ncommit-1: tear at 700\ncommit-1/store-op-0: lose unsynced\nv1/delivery every: skip\n\
         v2/delivery-9: delay 1 cranks\nv2/delivery-9: skip\nv2/delivery-3: error nothing\nblock-3: duplicate",
        expect![[r#"
            faults:1:1: unexpected `v2/syscall-vatstoreGot-5`
            1 | v2/syscall-vatstoreGot-5: error absent
              | ^^^^^^^^^^^^^^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234`, `v56/delivery-1234/syscall-3`, `commit-4`, …)

            faults:2:29: unexpected `object.count`
            2 | v2/delivery-1: kernel-panic object.count
              |                             ^^^^^^^^^^^^ expected the name of an invariant of the kernel
              = did you mean `object.counts`?

            faults:3:16: unexpected `trp`
            3 | v2/delivery-1: trp after 5 fuel
              |                ^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `plant`, `kernel-panic`, `flip`, `trap`, `error`, `value`, `delay`, `duplicate`, `kill`, `lose`, `tear`, `eio` or `enospc`
              = did you mean `trap`?

            faults:4:16: this is not for this file
            4 | v2/delivery-1: halt
              |                ^^^^ this is no fault: it is for the directive file of a host

            faults:5:11: unexpected `eioo`
            5 | commit-3: eioo
              |           ^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `plant`, `kernel-panic`, `flip`, `trap`, `error`, `value`, `delay`, `duplicate`, `kill`, `lose`, `tear`, `eio` or `enospc`
              = did you mean `eio`?

            faults:6:1: this makes no sense
            6 | v2/delivery-1/syscall-2: skip
              | ^^^^^^^^^^^^^^^^^^^^^^^ this cannot be done at a syscall

            faults:7:1: this makes no sense
            7 | v2/delivery-1: error absent
              | ^^^^^^^^^^^^^ this happens at a syscall, as in `v2/delivery-7/syscall-0` or `v2/syscall-vatstoreGet-5`

            faults:8:1: this makes no sense
            8 | v2/syscall-send-1: value "x"
              | ^^^^^^^^^^^^^^^^^ a syscall of this kind answers with nothing

            faults:9:1: this makes no sense
            9 | v2/delivery every 0: skip
              | ^^^^^^^^^^^^^^^^^^^ every 0th is none

            faults:10:1: this makes no sense
            10 | commit-0: kill -9
               | ^^^^^^^^ block 0 is the genesis: an experiment begins after its commit

            faults:11:1: this makes no sense
            11 | v2/delivery-1: eio
               | ^^^^^^^^^^^^^ this happens in a commit, as in `commit-4`

            faults:12:35: unexpected `7.8`
            12 | v2/delivery-1: flip v2 memory bit 7.8
               |                                   ^^^ expected `random` or an address and the number of a bit, as in `1048576.3`
               = the whole form: flip vat "memory" "bit" ( "random" | num "." num )

            faults:13:19: unexpected `700`
            13 | commit-1: tear at 700
               |                   ^^^ expected the size of a sector, a power of two from 512 to 65536
               = the whole form: tear "at" num

            faults:14:1: this makes no sense
            14 | commit-1/store-op-0: lose unsynced
               | ^^^^^^^^^^^^^^^^^^^ the operations of a commit are counted from 1

            faults:15:18: unexpected `:`
            15 | v1/delivery every: skip
               |                  ^ expected a number

            faults:17:16: this contradicts line 16, `v2/delivery-9: delay 1 cranks`
            17 | v2/delivery-9: skip
               |                ^^^^ a delivery is either skipped or made, late or twice

            faults:18:22: unexpected `nothing`
            18 | v2/delivery-3: error nothing
               |                      ^^^^^^^ expected `absent`, `illegal` or `out-of-fuel`
               = the whole form: error ( "absent" | "illegal" | "out-of-fuel" )

            faults:19:1: this makes no sense
            19 | block-3: duplicate
               | ^^^^^^^ a fault happens in a crank, a delivery, a syscall or a commit: a block is none
        "#]],
    );
}

#[test]
fn a_host_refuses_what_only_an_experiment_does() {
    let mut set = DirectiveSet::default();
    let text = b"v2/delivery-3: trap after 5 fuel\nv2/delivery-3 end: terminate\ncommit-4: kill -9\nv2/syscall:vatstoreGet #5: skip";
    let refused = set.read("recover.directives", text).unwrap_err();
    assert!(set.is_empty());
    expect![[r#"
        recover.directives:1:16: this is not for this file
        1 | v2/delivery-3: trap after 5 fuel
          |                ^^^^ only an experiment does this, on a copy of a state: `vathost fault one STATE LINE`

        recover.directives:2:1: this is not for this file
        2 | v2/delivery-3 end: terminate
          | ^^^^^^^^^^^^^^^^^ only an experiment does this, on a copy of a state: `vathost fault one STATE LINE`

        recover.directives:3:1: this is not for this file
        3 | commit-4: kill -9
          | ^^^^^^^^ only an experiment does this, on a copy of a state: `vathost fault one STATE LINE`

        recover.directives:4:1: this is not for this file
        4 | v2/syscall:vatstoreGet #5: skip
          | ^^^^^^^^^^^^^^^^^^^^^^^^^ only an experiment does this, on a copy of a state: `vathost fault one STATE LINE`
    "#]]
    .assert_eq(&format!("{refused}\n"));
}

#[test]
fn a_token_holds_the_experiment_and_notices_a_wrong_letter() {
    let schedule = Schedule::read("faults", ALL).unwrap();
    let (base, build) = (BaseId([7; 32]), Build([9; 32]));
    let token = Token::new(base, build, 42, "vats/bank", &schedule);
    let text = token.to_string();
    assert!(text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_'), "{text}");
    let again: Token = text.parse().unwrap();
    assert_eq!(again, token);
    assert!(again.is_of(base) && again.is_by(build) && !again.is_of(BaseId([8; 32])));
    for at in 4..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert!(matches!(wrong.parse::<Token>(), Err(TokenError::Damaged)), "at {at}");
    }
    assert!(matches!("hello".parse::<Token>(), Err(TokenError::NotOne(_))));
    let short = Schedule::read("faults", "v12/delivery-1234: terminate").unwrap();
    assert!(Token::new(base, build, 7, "vats/bank", &short).to_string().len() < 100);
}
