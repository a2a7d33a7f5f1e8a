//! What a file is told that cannot be used.

use expect_test::{Expect, expect};
use vathost::{
    directive::{Action, Directive, DirectiveSet, Trigger},
    model::id::CrankNum,
};

use super::{one, read};

/// What a file that cannot be used is told.
fn check_refused(bytes: impl AsRef<[u8]>, expect: Expect) {
    let mut set = DirectiveSet::default();
    let refused = set.read("recover.directives", bytes.as_ref()).expect_err("the file is wrong");
    assert!(set.is_empty(), "a file that is refused leaves nothing behind");
    expect.assert_eq(&format!("{refused}\n"));
}

#[test]
fn a_place_that_is_none_is_shown_with_what_was_meant() {
    check_refused(
        "crank 7890: skip\nCrank-7890: skip\ncrank-007: skip\ncrnk-5: halt\nv56/crank-1: skip\nv56/1234: skip\n\
         v56 delivery 1234: skip\nv56-delivery-1234: skip\nv56: skip\ndelivery-1234: skip\nblok-120: halt\nbanana: halt\n\
         crank-18446744073709551616: halt",
        expect![[r#"
            recover.directives:1:1: unexpected `crank`
            1 | crank 7890: skip
              | ^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `crank-7890`?

            recover.directives:2:1: unexpected `Crank-7890`
            2 | Crank-7890: skip
              | ^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `crank-7890`?

            recover.directives:3:1: unexpected `crank-007`
            3 | crank-007: skip
              | ^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `crank-7`?

            recover.directives:4:1: unexpected `crnk-5`
            4 | crnk-5: halt
              | ^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `crank-5`?

            recover.directives:5:1: unexpected `v56/crank-1`
            5 | v56/crank-1: skip
              | ^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = a crank is not one vat's: did you mean `crank-1`, or the vat's own count, `v56/delivery-1`?

            recover.directives:6:1: unexpected `v56/1234`
            6 | v56/1234: skip
              | ^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `v56/delivery-1234`?

            recover.directives:7:1: unexpected `v56`
            7 | v56 delivery 1234: skip
              | ^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `v56/delivery-1234`?

            recover.directives:8:1: unexpected `v56-delivery-1234`
            8 | v56-delivery-1234: skip
              | ^^^^^^^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = did you mean `v56/delivery-1234`?

            recover.directives:9:1: unexpected `v56`
            9 | v56: skip
              | ^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
              = `v56` is a vat, not a place: did you mean `v56/delivery-` and a number?

            recover.directives:10:1: unexpected `delivery-1234`
            10 | delivery-1234: skip
               | ^^^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
               = a delivery number is one vat's: name the vat, as in `v56/delivery-1234`

            recover.directives:11:1: unexpected `blok-120`
            11 | blok-120: halt
               | ^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
               = did you mean `block-120`?

            recover.directives:12:1: unexpected `banana`
            12 | banana: halt
               | ^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`

            recover.directives:13:1: unexpected `crank-18446744073709551616`
            13 | crank-18446744073709551616: halt
               | ^^^^^^^^^^^^^^^^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234` or `block-120`) or `expect`
               = a number is 18446744073709551615 at the most
        "#]],
    );
}

#[test]
fn a_missing_colon_is_asked_for() {
    check_refused(
        "crank-7890 skip v56\ncrank-7890 banana\ncrank-7890   # later\n",
        expect![[r#"
        recover.directives:1:12: unexpected `skip`
        1 | crank-7890 skip v56
          |            ^^^^ expected a colon
          = did you mean `crank-7890: skip`?

        recover.directives:2:12: unexpected `banana`
        2 | crank-7890 banana
          |            ^^^^^^ expected a colon
          = what to do there follows a colon, as in `crank-7890: halt`

        recover.directives:3:11: the line ends too early
        3 | crank-7890   # later
          |           ^ expected a colon
    "#]],
    );
}

#[test]
fn a_verb_that_is_none_is_shown_with_what_was_meant() {
    check_refused(
        "crank-1: skp\ncrank-1: Skip v1\ncrank-1: kill v12\ncrank-1: banana v12\ncrank-1:\ncrank-1: expect state 5f3a9c01",
        expect![[r#"
            recover.directives:1:10: unexpected `skp`
            1 | crank-1: skp
              |          ^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`
              = did you mean `skip`?

            recover.directives:2:10: unexpected `Skip`
            2 | crank-1: Skip v1
              |          ^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`
              = did you mean `skip`?

            recover.directives:3:10: unexpected `kill`
            3 | crank-1: kill v12
              |          ^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`
              = did you mean `terminate`?

            recover.directives:4:10: unexpected `banana`
            4 | crank-1: banana v12
              |          ^^^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`

            recover.directives:5:9: the line ends too early
            5 | crank-1:
              |         ^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`

            recover.directives:6:10: unexpected `expect`
            6 | crank-1: expect state 5f3a9c01
              |          ^^^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt`, `replace-kernel` or `replace-engine`
              = an expectation begins its line: `expect state HASH before crank-1`
        "#]],
    );
}

#[test]
fn arguments_that_are_none_are_shown_with_what_was_meant() {
    check_refused(
        "crank-1: skip delivery\ncrank-1: skip 56\ncrank-1: skip V56\ncrank-1: skip vat 56\ncrank-1: skip 5f3a9c01\n\
         crank-1: skip exptect 5f3a9c01\ncrank-1: terminate v12 v13\ncrank-1: halt // now\ncrank-1: resume bank\n\
         crank-1: upgrade v56\nblock-1: replace-kernel two\nblock-1: replace-kernel 02\ncrank-1: break v1",
        expect![[r#"
            recover.directives:1:15: unexpected `delivery`
            1 | crank-1: skip delivery
              |               ^^^^^^^^ expected a vat like `v56`, `expect` or the end of the line
              = `skip` alone is about the delivery of that place: leave `delivery` out

            recover.directives:2:15: unexpected `56`
            2 | crank-1: skip 56
              |               ^^ expected a vat like `v56`, `expect` or the end of the line
              = did you mean `v56`?

            recover.directives:3:15: unexpected `V56`
            3 | crank-1: skip V56
              |               ^^^ expected a vat like `v56`, `expect` or the end of the line
              = did you mean `v56`?

            recover.directives:4:15: unexpected `vat`
            4 | crank-1: skip vat 56
              |               ^^^ expected a vat like `v56`, `expect` or the end of the line
              = did you mean `v56`?

            recover.directives:5:15: unexpected `5f3a9c01`
            5 | crank-1: skip 5f3a9c01
              |               ^^^^^^^^ expected a vat like `v56`, `expect` or the end of the line
              = did you mean `expect 5f3a9c01`?

            recover.directives:6:15: unexpected `exptect`
            6 | crank-1: skip exptect 5f3a9c01
              |               ^^^^^^^ expected a vat like `v56`, `expect` or the end of the line
              = did you mean `expect`?

            recover.directives:7:24: unexpected `v13`
            7 | crank-1: terminate v12 v13
              |                        ^^^ expected `reason` or the end of the line
              = the whole form: terminate [vat] [why]

            recover.directives:8:15: unexpected `//`
            8 | crank-1: halt // now
              |               ^^ expected the end of the line
              = a comment begins with `#`

            recover.directives:9:17: unexpected `bank`
            9 | crank-1: resume bank
              |                 ^^^^ expected a vat like `v56`
              = a vat is named by its number, not by its name in the scenario

            recover.directives:10:21: the line ends too early
            10 | crank-1: upgrade v56
               |                     ^ expected `bundle`
               = the whole form: upgrade vat "bundle" hex [why]

            recover.directives:11:25: unexpected `two`
            11 | block-1: replace-kernel two
               |                         ^^^ expected the number of a kernel version
               = the whole form: replace-kernel num

            recover.directives:12:25: unexpected `02`
            12 | block-1: replace-kernel 02
               |                         ^^ expected the number of a kernel version
               = the whole form: replace-kernel num

            recover.directives:13:16: unexpected `v1`
            13 | crank-1: break v1
               |                ^^ expected the end of the line
               = the whole form: break
        "#]],
    );
}

#[test]
fn a_hash_that_is_too_short_too_long_or_none_is_refused() {
    let long = "a".repeat(65);
    check_refused(
        format!(
            "crank-1: skip expect 5f3a\nexpect state 9be1… before crank-7890\nexpect 9be1c44a before crank-1\n\
             crank-1: upgrade v1 bundle 41d0c7ex\ncrank-1: upgrade v1 bundle {long}\ncrank-1: skip expect"
        ),
        expect![[r#"
            recover.directives:1:22: `5f3a` is no prefix of a hash: 4 hexadecimal digits are too few: 8 at the least
            1 | crank-1: skip expect 5f3a
              |                      ^^^^ expected at least 8 hexadecimal digits of a hash

            recover.directives:2:14: `9be1…` is no prefix of a hash: 4 hexadecimal digits are too few: 8 at the least
            2 | expect state 9be1… before crank-7890
              |              ^^^^^ expected at least 8 hexadecimal digits of a hash

            recover.directives:3:8: unexpected `9be1c44a`
            3 | expect 9be1c44a before crank-1
              |        ^^^^^^^^ expected `state`
              = did you mean `state 9be1c44a`?

            recover.directives:4:28: `41d0c7ex` is no prefix of a hash: `x` is no hexadecimal digit
            4 | crank-1: upgrade v1 bundle 41d0c7ex
              |                            ^^^^^^^^ expected at least 8 hexadecimal digits of a hash

            recover.directives:5:28: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is no prefix of a hash: 65 hexadecimal digits are too many: a hash has 64
            5 | crank-1: upgrade v1 bundle aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
              |                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected at least 8 hexadecimal digits of a hash

            recover.directives:6:21: the line ends too early
            6 | crank-1: skip expect
              |                     ^ expected at least 8 hexadecimal digits of a hash
              = the whole form: skip [vat] [ "expect" hex ]
        "#]],
    );
}

#[test]
fn a_reason_without_quotes_or_without_an_end_is_refused() {
    check_refused(
        "crank-1: pause v1 reason waiting\ncrank-1: pause v1 reason \"waiting # for\ncrank-1: pause \"waiting\"\n\
         crank-1: pause v1 reason “waiting”\ncrank-1: pause v1 reason \"\\q\"\ncrank-1: pause v1 reason",
        expect![[r#"
            recover.directives:1:26: unexpected `waiting`
            1 | crank-1: pause v1 reason waiting
              |                          ^^^^^^^ expected a text in double quotes
              = did you mean `"waiting"`?

            recover.directives:2:26: a text without an end
            2 | crank-1: pause v1 reason "waiting # for
              |                          ^^^^^^^^^^^^^^ expected a closing `"` before the end of the line

            recover.directives:3:16: unexpected `"waiting"`
            3 | crank-1: pause "waiting"
              |                ^^^^^^^^^ expected a vat like `v56`, `reason` or the end of the line
              = did you mean `reason "waiting"`?

            recover.directives:4:26: unexpected `“waiting”`
            4 | crank-1: pause v1 reason “waiting”
              |                          ^^^^^^^^^ expected a text in double quotes
              = did you mean `"waiting"`?

            recover.directives:5:26: "\q" is no text
            5 | crank-1: pause v1 reason "\q"
              |                          ^^^^ expected escapes as in JSON: `\"`, `\\`, `\n`, `\u00e9`

            recover.directives:6:25: the line ends too early
            6 | crank-1: pause v1 reason
              |                         ^ expected a text in double quotes
              = the whole form: pause [vat] [why]
        "#]],
    );
}

#[test]
fn bytes_that_are_no_text_and_signs_that_hide_are_refused() {
    check_refused(
        b"# fine\ncrank-1: \xff halt\ncrank-1:\xc2\xa0halt\n# a\rcrank-1: halt\ncrank-1: halt \x1b[2K",
        expect![[r#"
            recover.directives:2:10: bytes that are no text
            2 | crank-1: � halt
              |          ^ expected UTF-8

            recover.directives:3:9: a blank of another kind (U+00A0)
            3 | crank-1: halt
              |         ^ expected an ordinary blank

            recover.directives:4:4: a control character (U+000D) in the text
            4 | # a crank-1: halt
              |    ^ expected none, not even in a comment

            recover.directives:5:15: a control character (U+001B) in the text
            5 | crank-1: halt  [2K
              |               ^ expected none, not even in a comment
        "#]],
    );
}

#[test]
fn a_directive_at_a_place_where_it_makes_no_sense_is_refused() {
    check_refused(
        "block-0: halt\ncrank-7: replace-kernel 2\nv1/delivery-0: replace-kernel 2\n\
         v56/delivery-1: skip v57\nv56/delivery-1: upgrade v57 bundle 41d0c7e2\nv56/delivery-1: terminate v57 # no",
        expect![[r#"
            recover.directives:1:1: this makes no sense
            1 | block-0: halt
              | ^^^^^^^ block 0 is the genesis, it runs no crank

            recover.directives:2:1: this makes no sense
            2 | crank-7: replace-kernel 2
              | ^^^^^^^ the kernel is replaced between two blocks: name the block, as in `block-120`

            recover.directives:3:1: this makes no sense
            3 | v1/delivery-0: replace-kernel 2
              | ^^^^^^^^^^^^^ the kernel is replaced between two blocks: name the block, as in `block-120`

            recover.directives:4:22: this makes no sense
            4 | v56/delivery-1: skip v57
              |                      ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place

            recover.directives:5:25: this makes no sense
            5 | v56/delivery-1: upgrade v57 bundle 41d0c7e2
              |                         ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place

            recover.directives:6:27: this makes no sense
            6 | v56/delivery-1: terminate v57 # no
              |                           ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place
        "#]],
    );
}

#[test]
fn directives_that_contradict_are_refused_with_both_lines() {
    check_refused(
        "crank-7: skip v56\ncrank-7: pause\ncrank-7: terminate v56\ncrank-7: skip v56   # again\ncrank-7: skip v57\n\
         v1/delivery-2: upgrade v1 bundle 41d0c7e2\nv1/delivery-2: upgrade v1 bundle 41d0c7e3\nv1/delivery-2: terminate\n\
         v2/delivery-2: pause\nv2/delivery-2: pause v2 reason \"x\"\nv2/delivery-2: resume v2\nv2/delivery-2: skip\n\
         block-5: replace-kernel 2\nblock-5: replace-kernel 3\nexpect state 9be1c44a before crank-1\n\
         expect state 9be1c44b before crank-1\nv3/delivery-1: skip expect 9be1c44a\nv3/delivery-1: skip expect 9be1c44b",
        expect![[r#"
            recover.directives:2:10: this contradicts line 1, `crank-7: skip v56`
            2 | crank-7: pause
              |          ^^^^^ a delivery is either skipped or kept for later

            recover.directives:3:10: this contradicts line 1, `crank-7: skip v56`
            3 | crank-7: terminate v56
              |          ^^^^^^^^^ a delivery is either skipped or meets a dead vat

            recover.directives:4:10: this contradicts line 1, `crank-7: skip v56`
            4 | crank-7: skip v56   # again
              |          ^^^^ it is the same line twice

            recover.directives:5:10: this contradicts line 1, `crank-7: skip v56`
            5 | crank-7: skip v57
              |          ^^^^ both guards cannot hold: one of the two would halt the host

            recover.directives:7:16: this contradicts line 6, `v1/delivery-2: upgrade v1 bundle 41d0c7e2`
            7 | v1/delivery-2: upgrade v1 bundle 41d0c7e3
              |                ^^^^^^^ a vat is upgraded once at one place

            recover.directives:8:16: this contradicts line 6, `v1/delivery-2: upgrade v1 bundle 41d0c7e2`
            8 | v1/delivery-2: terminate
              |                ^^^^^^^^^ a vat is either upgraded or dead

            recover.directives:10:16: this contradicts line 9, `v2/delivery-2: pause`
            10 | v2/delivery-2: pause v2 reason "x"
               |                ^^^^^ one line, with one reason, will do

            recover.directives:11:16: this contradicts line 9, `v2/delivery-2: pause`
            11 | v2/delivery-2: resume v2
               |                ^^^^^^ a vat is either paused or resumed

            recover.directives:12:16: this contradicts line 9, `v2/delivery-2: pause`
            12 | v2/delivery-2: skip
               |                ^^^^ a delivery is either skipped or kept for later

            recover.directives:14:10: this contradicts line 13, `block-5: replace-kernel 2`
            14 | block-5: replace-kernel 3
               |          ^^^^^^^^^^^^^^ one block runs one version of the kernel

            recover.directives:16:1: this contradicts line 15, `expect state 9be1c44a before crank-1`
            16 | expect state 9be1c44b before crank-1
               | ^^^^^^ no hash begins with both

            recover.directives:18:16: this contradicts line 17, `v3/delivery-1: skip expect 9be1c44a`
            18 | v3/delivery-1: skip expect 9be1c44b
               |                ^^^^ both guards cannot hold: one of the two would halt the host
        "#]],
    );
}

#[test]
fn a_program_is_refused_what_a_file_is_refused() {
    let mut set = read("v1/delivery-2: skip");
    let before = set.clone();
    let refused = set.insert(one("v1/delivery-2: pause")).expect_err("contradicts");
    expect!["`v1/delivery-2: pause` contradicts `v1/delivery-2: skip`: a delivery is either skipped or kept for later"]
        .assert_eq(&refused.to_string());
    let nonsense = Directive { trigger: Trigger::Crank(CrankNum(1)), action: Action::ReplaceKernel(2) };
    let refused = set.insert(nonsense).expect_err("makes no sense");
    expect!["`crank-1: replace-kernel 2` makes no sense: the kernel is replaced between two blocks: name the block, as in `block-120`"]
        .assert_eq(&refused.to_string());
    assert_eq!(set, before);
}

#[test]
fn a_second_file_may_not_contradict_the_first() {
    let mut set = read("v1/delivery-2: skip");
    let refused = set.read("second", b"crank-1: halt\nv1/delivery-2: pause\n").expect_err("contradicts");
    expect![[r#"
        second:2:16: this contradicts `v1/delivery-2: skip`
        2 | v1/delivery-2: pause
          |                ^^^^^ a delivery is either skipped or kept for later"#]]
    .assert_eq(&refused.to_string());
    assert_eq!(set, read("v1/delivery-2: skip"));
}
