//! Directives: what a file may say, what it is told when it says something else, and when a directive fires.

use expect_test::{Expect, expect};
use proptest::{collection::vec, option, prelude::*, sample::select};
use vathost::{
    directive::{Action, Applied, Class, Committed, Directive, DirectiveSet, GRAMMAR, HexPrefix, SetDigest, Trigger},
    id::{BlockHeight, CrankNum, DeliveryNum, VatId},
};

fn read(text: &str) -> DirectiveSet {
    let mut set = DirectiveSet::default();
    set.read("test", text.as_bytes()).unwrap_or_else(|err| panic!("{err}"));
    set
}

fn one(line: &str) -> Directive {
    let set = read(line);
    let [directive] = set.iter().collect::<Vec<_>>()[..] else { panic!("not one directive: {line}") };
    directive.clone()
}

/// What a file that cannot be used is told.
fn check_refused(bytes: impl AsRef<[u8]>, expect: Expect) {
    let mut set = DirectiveSet::default();
    let refused = set.read("recover.directives", bytes.as_ref()).expect_err("the file is wrong");
    assert!(set.is_empty(), "a file that is refused leaves nothing behind");
    expect.assert_eq(&format!("{refused}\n"));
}

/// The example of the design, with a hash prefix of 8 digits in its last line.
const EXAMPLE: &str = r#"# recover.directives
crank-12345: terminate v12                      # the seed's own line
crank-7890: skip v56                            # the vat is a guard: if crank 7890 is not a delivery to v56, halt
v56/delivery-1234: skip                         # (vat, delivery number) instead of a crank number
v56/delivery-1234: skip expect 5f3a9c01         # guard: prefix of the message hash; a mismatch halts
crank-7890: pause v7 reason "waiting for patch 12"
crank-9100: resume v7
v56/delivery-1234: upgrade v56 bundle 41d0c7e2  # replace the guest's code just before that delivery
crank-7890: break                               # into the debugger; ignored (and said so) unless one is attached
crank-8000: halt
block-120: replace-kernel 2                     # kernel version 2 from the first crank of block 120 on
expect state 9be1c44a… before crank-7890        # halt unless the state hash has this prefix there
"#;

#[test]
fn the_example_of_the_design_is_read_and_has_a_canonical_form() {
    expect![[r#"
        expect state 9be1c44a before crank-7890
        crank-7890: break
        crank-7890: pause v7 reason "waiting for patch 12"
        crank-7890: skip v56
        crank-8000: halt
        crank-9100: resume v7
        crank-12345: terminate v12
        v56/delivery-1234: upgrade v56 bundle 41d0c7e2
        v56/delivery-1234: skip
        v56/delivery-1234: skip expect 5f3a9c01
        block-120: replace-kernel 2
    "#]]
    .assert_eq(&read(EXAMPLE).to_string());
}

#[test]
fn the_line_of_the_seed_means_what_it_says() {
    let expected = Directive {
        trigger: Trigger::Crank(CrankNum(12345)),
        action: Action::Terminate { vat: Some(VatId(12)), why: None },
    };
    assert_eq!(one("crank-12345: terminate v12"), expected);
    assert_eq!(expected.to_string(), "crank-12345: terminate v12");
}

#[test]
fn the_lines_that_a_panic_report_offers_are_read() {
    for line in ["crank-7890: skip v56 expect 5f3a9c01", "crank-7890: terminate v56", "crank-7890: pause v56"] {
        assert_eq!(one(line).to_string(), line);
    }
}

#[test]
fn blanks_crlf_a_byte_order_mark_and_comments_do_not_matter() {
    let plain = read("crank-1: pause v2 reason \"a # b\"\ncrank-2: halt\n");
    let dressed = "\u{feff}\r\n\t crank-2 :halt#soon\r\n# nothing\r\n\r\ncrank-1:pause\tv2  reason \"a # b\"# why not";
    assert_eq!(read(dressed), plain);
    assert_eq!(read(dressed).digest(), plain.digest());
}

#[test]
fn a_reason_may_hold_anything_in_the_escapes_of_json() {
    let Action::Pause { why, .. } = one(r#"crank-1: pause reason "a \"b\" \\ \u00e9 # : é""#).action else { panic!() };
    assert_eq!(why.as_deref(), Some("a \"b\" \\ é # : é"));
}

#[test]
fn the_grammar_is_printed_as_the_design_has_it() {
    expect![[r#"
        file      = { line } ;            line   = [ directive | expect ] [ comment ] ;
        directive = when ":" action ;     when   = "crank-" num | vat "/delivery-" num | "block-" num ;
        action    = "skip" [vat] [ "expect" hex ] | "pause" [vat] [why] | "resume" vat | "terminate" [vat] [why]
                  | "upgrade" vat "bundle" hex [why] | "break" | "halt" | "replace-kernel" num ;
        expect    = "expect" "state" hex "before" when ;
        vat       = "v" num ;  why = "reason" string ;  hex = at least 8 hexadecimal digits of a hash
    "#]]
    .assert_eq(GRAMMAR);
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
              = `v56` is a vat, not a place: did you mean `v56/delivery-` and a number?

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
              |          ^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`
              = did you mean `skip`?

            recover.directives:2:10: unexpected `Skip`
            2 | crank-1: Skip v1
              |          ^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`
              = did you mean `skip`?

            recover.directives:3:10: unexpected `kill`
            3 | crank-1: kill v12
              |          ^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`
              = did you mean `terminate`?

            recover.directives:4:10: unexpected `banana`
            4 | crank-1: banana v12
              |          ^^^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`

            recover.directives:5:9: the line ends too early
            5 | crank-1:
              |         ^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`

            recover.directives:6:10: unexpected `expect`
            6 | crank-1: expect state 5f3a9c01
              |          ^^^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `break`, `halt` or `replace-kernel`
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
        "block-120: skip\nblock-0: halt\nblock-1: terminate v3\ncrank-7: replace-kernel 2\nv1/delivery-0: replace-kernel 2\n\
         v56/delivery-1: skip v57\nv56/delivery-1: upgrade v57 bundle 41d0c7e2\nv56/delivery-1: terminate v57 # no",
        expect![[r#"
            recover.directives:1:1: this makes no sense
            1 | block-120: skip
              | ^^^^^^^^^ this is done at a delivery, and a block is none: name a crank, or a vat and its delivery

            recover.directives:2:1: this makes no sense
            2 | block-0: halt
              | ^^^^^^^ block 0 is the genesis, it runs no crank

            recover.directives:3:1: this makes no sense
            3 | block-1: terminate v3
              | ^^^^^^^ this is done at a delivery, and a block is none: name a crank, or a vat and its delivery

            recover.directives:4:1: this makes no sense
            4 | crank-7: replace-kernel 2
              | ^^^^^^^ the kernel is replaced between two blocks: name the block, as in `block-120`

            recover.directives:5:1: this makes no sense
            5 | v1/delivery-0: replace-kernel 2
              | ^^^^^^^^^^^^^ the kernel is replaced between two blocks: name the block, as in `block-120`

            recover.directives:6:22: this makes no sense
            6 | v56/delivery-1: skip v57
              |                      ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place

            recover.directives:7:25: this makes no sense
            7 | v56/delivery-1: upgrade v57 bundle 41d0c7e2
              |                         ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place

            recover.directives:8:27: this makes no sense
            8 | v56/delivery-1: terminate v57 # no
              |                           ^^^ the place is a delivery to v56: name v56, or nobody, or a crank as the place
        "#]],
    );
}

#[test]
fn what_makes_sense_at_a_place_is_taken() {
    let text = "block-120: halt\nblock-120: break\nexpect state 9be1c44a before block-120\nexpect state 9be1c44a before v1/delivery-0\n\
                crank-7: skip\ncrank-8: pause\ncrank-9: terminate\nv56/delivery-1: pause\nv56/delivery-2: terminate v56\n\
                v56/delivery-3: upgrade v56 bundle 41d0c7e2\nv56/delivery-3: pause\nv56/delivery-4: upgrade v56 bundle 41d0c7e2\n\
                v56/delivery-4: skip v56\ncrank-1: skip v1\ncrank-1: terminate v2\ncrank-1: pause v3\ncrank-1: pause v4";
    assert_eq!(read(text).iter().count(), 17);
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

fn due(set: &DirectiveSet, crank: u64, delivery: Option<(u64, u64)>) -> Vec<String> {
    let delivery = delivery.map(|(vat, number)| (VatId(vat), DeliveryNum(number)));
    set.due(CrankNum(crank), delivery).map(Directive::to_string).collect()
}

#[test]
fn a_directive_fires_at_its_number_and_not_one_before_or_after() {
    let set = read(EXAMPLE);
    for (crank, count) in
        [(7889, 0), (7890, 4), (7891, 0), (8000, 1), (12344, 0), (12345, 1), (12346, 0), (u64::MAX, 0)]
    {
        assert_eq!(due(&set, crank, None).len(), count, "crank {crank}");
    }
    for (delivery, count) in [((56, 1233), 0), ((56, 1234), 3), ((56, 1235), 0), ((55, 1234), 0), ((57, 1234), 0)] {
        assert_eq!(due(&set, 0, Some(delivery)).len(), count, "{delivery:?}");
    }
    for (height, count) in [(119, 0), (120, 1), (121, 0)] {
        assert_eq!(set.due_at_block(BlockHeight(height)).count(), count, "block {height}");
    }
    assert!(due(&DirectiveSet::default(), 0, Some((0, 0))).is_empty());
}

#[test]
fn those_of_one_crank_fire_in_the_documented_order_however_they_are_written() {
    let set = read(
        "crank-5: skip v9\nv9/delivery-3: upgrade v9 bundle 41d0c7e2\ncrank-5: terminate v1\nv9/delivery-3: break\ncrank-5: pause v2\n\
         crank-5: resume v3\ncrank-5: upgrade v2 bundle 41d0c7e2\ncrank-5: halt\nexpect state 9be1c44a before v9/delivery-3\n\
         expect state 9be1c44a before crank-5",
    );
    expect![[r#"
        expect state 9be1c44a before crank-5
        expect state 9be1c44a before v9/delivery-3
        crank-5: halt
        v9/delivery-3: break
        crank-5: upgrade v2 bundle 41d0c7e2
        v9/delivery-3: upgrade v9 bundle 41d0c7e2
        crank-5: pause v2
        crank-5: resume v3
        crank-5: terminate v1
        crank-5: skip v9"#]]
    .assert_eq(&due(&set, 5, Some((9, 3))).join("\n"));
}

const RECORDED: SetDigest = SetDigest([0; 32]);

fn class_at(
    line: &str,
    next_crank: u64,
    next_delivery: u64,
    height: u64,
    kernel_version: u32,
    applied: &[Applied],
) -> Class {
    one(line).class(&Committed {
        next_crank: CrankNum(next_crank),
        height: BlockHeight(height),
        kernel_version,
        next_delivery: &|vat| DeliveryNum(if vat == VatId(56) { next_delivery } else { 0 }),
        applied,
    })
}

#[test]
fn a_directive_is_pending_until_its_place_is_behind_and_missed_from_then_on() {
    let crank = |next| class_at("crank-100: skip", next, 0, 0, 1, &[]);
    assert_eq!([99, 100, 101].map(crank), [Class::Pending, Class::Pending, Class::Missed]);
    let delivery = |next| class_at("v56/delivery-7: skip", 9999, next, 0, 1, &[]);
    assert_eq!([6, 7, 8].map(delivery), [Class::Pending, Class::Pending, Class::Missed]);
    let block = |height| class_at("block-120: replace-kernel 2", 9999, 0, height, 1, &[]);
    assert_eq!([118, 119, 120, 121].map(block), [Class::Pending, Class::Pending, Class::Missed, Class::Missed]);
    assert_eq!(class_at("v57/delivery-0: skip", 9999, 9999, 9, 1, &[]), Class::Pending, "a vat that is yet to come");
    assert_eq!(class_at("crank-0: halt", 0, 0, 0, 1, &[]), Class::Pending, "a new state");
}

#[test]
fn a_replaced_kernel_expires_once_the_state_has_that_version_or_a_later_one() {
    let at = |version, height| class_at("block-120: replace-kernel 2", 0, 0, height, version, &[]);
    assert_eq!([at(1, 119), at(2, 119), at(3, 119)], [Class::Pending, Class::Expired, Class::Expired]);
    assert_eq!([at(1, 120), at(2, 120), at(3, 120)], [Class::Missed, Class::Expired, Class::Expired]);
}

#[test]
fn a_record_makes_a_directive_applied_and_only_that_very_one() {
    let record = |text: &str| Applied { crank: CrankNum(100), text: text.to_owned(), digest: RECORDED };
    let applied = [record("crank-100: skip v5"), record("block-120: replace-kernel 2")];
    assert_eq!(class_at("crank-100: skip v5", 101, 0, 0, 1, &applied), Class::Applied(CrankNum(100)));
    assert_eq!(class_at("crank-100: skip", 101, 0, 0, 1, &applied), Class::Missed);
    assert_eq!(class_at("block-120: replace-kernel 2", 101, 0, 120, 2, &applied), Class::Applied(CrankNum(100)));
}

#[test]
fn a_start_is_refused_for_missed_directives_in_consensus_and_for_no_others() {
    let committed = Committed {
        next_crank: CrankNum(10_000),
        height: BlockHeight(119),
        kernel_version: 1,
        next_delivery: &|_| DeliveryNum(1234),
        applied: &[Applied { crank: CrankNum(7890), text: "crank-7890: skip v56".to_owned(), digest: RECORDED }],
    };
    let missed = read(EXAMPLE).refuse_missed(&committed).expect_err("some are missed");
    expect![[r#"
        the state is past these directives and has no record of them:
            crank-7890: pause v7 reason "waiting for patch 12"
            crank-9100: resume v7
          restore a state from before that place, or start with --accept-missed-directives to go on without"#]]
    .assert_eq(&missed.to_string());
    let outside = "crank-1: halt\ncrank-1: break\nexpect state 9be1c44a before crank-1\nv56/delivery-1: halt";
    assert_eq!(read(outside).refuse_missed(&committed), Ok(()));
    assert_eq!(read(outside).iter().map(|it| it.class(&committed)).collect::<Vec<_>>(), [Class::Missed; 4]);
}

fn hash() -> impl Strategy<Value = HexPrefix> {
    "[0-9a-fA-F]{8,64}".prop_map(|it| it.parse().expect("digits"))
}

/// Few numbers, so that places coincide, and some that are far out.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..6_u64, 1 => select(vec![u64::MAX, u64::MAX - 1, 1 << 32, 64, 128]), 1 => any::<u64>()]
}

fn directive() -> impl Strategy<Value = Directive> {
    let trigger = prop_oneof![
        number().prop_map(|it| Trigger::Crank(CrankNum(it))),
        (number(), number()).prop_map(|(vat, it)| Trigger::Delivery(VatId(vat), DeliveryNum(it))),
        number().prop_map(|it| Trigger::Block(BlockHeight(it))),
    ];
    let vat = || number().prop_map(VatId);
    let why = || option::of(".{0,12}|[\\x00-\\x20\"\\\\#:]{0,6}");
    let action = prop_oneof![
        hash().prop_map(|state| Action::Expect { state }),
        Just(Action::Halt),
        any::<u32>().prop_map(Action::ReplaceKernel),
        Just(Action::Break),
        (vat(), hash(), why()).prop_map(|(vat, bundle, why)| Action::Upgrade { vat, bundle, why }),
        (option::of(vat()), why()).prop_map(|(vat, why)| Action::Pause { vat, why }),
        vat().prop_map(Action::Resume),
        (option::of(vat()), why()).prop_map(|(vat, why)| Action::Terminate { vat, why }),
        (option::of(vat()), option::of(hash())).prop_map(|(guard, expect)| Action::Skip { guard, expect }),
    ];
    (trigger, action).prop_map(|(trigger, action)| Directive { trigger, action })
}

/// Sets as a program makes them: what is refused is left out.
fn set() -> impl Strategy<Value = DirectiveSet> {
    vec(directive(), 0..60).prop_map(|all| {
        let mut set = DirectiveSet::default();
        all.into_iter().for_each(|it| drop(set.insert(it)));
        set
    })
}

proptest! {
    #[test]
    fn what_a_set_prints_reads_back_to_the_same_set_and_digest(set in set()) {
        let again = read(&set.to_string());
        prop_assert_eq!(again.digest(), set.digest());
        prop_assert_eq!(again, set);
    }

    #[test]
    fn the_order_of_lines_changes_neither_set_nor_digest(
        (set, lines) in set().prop_flat_map(|set| {
            let lines: Vec<String> = set.iter().map(|it| format!("  {it}   # {it}")).collect();
            (Just(set), Just(lines).prop_shuffle())
        })
    ) {
        let again = read(&lines.join("\n\n"));
        prop_assert_eq!(again.digest(), set.digest());
        prop_assert_eq!(again, set);
    }

    #[test]
    fn a_directive_more_is_another_digest(set in set(), more in directive()) {
        let mut larger = set.clone();
        prop_assert_eq!(larger.insert(more).is_ok(), larger.digest() != set.digest());
    }

    #[test]
    fn a_look_up_finds_what_a_search_through_all_finds(set in set(), crank in number(), vat in number(), delivery in number()) {
        let (crank, to) = (CrankNum(crank), (VatId(vat), DeliveryNum(delivery)));
        let places = [Trigger::Crank(crank), Trigger::Delivery(to.0, to.1)];
        let mut expected: Vec<&Directive> = set.iter().filter(|it| places.contains(&it.trigger)).collect();
        expected.sort_by(|a, b| a.action.cmp(&b.action).then(a.cmp(b)));
        prop_assert_eq!(set.due(crank, Some(to)).collect::<Vec<_>>(), expected);
        let height = BlockHeight(crank.0);
        let expected: Vec<&Directive> = set.iter().filter(|it| it.trigger == Trigger::Block(height)).collect();
        prop_assert_eq!(set.due_at_block(height).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        // The error is printed too: its caret is computed from the bytes.
        let _ = DirectiveSet::default().read("fuzz", &bytes).map_err(|err| err.to_string());
    }

    #[test]
    fn no_words_of_the_grammar_in_any_order_make_the_parser_panic(
        words in vec(select(vec![
            "crank-1", "v1/delivery-2", "v1", "block-3", ":", "skip", "expect", "state", "5f3a9c01", "before", "pause", "reason",
            "\"", "\"x\"", "\\", "#", "…", "é", "\n", "\r", "\t", "/", "-", "upgrade", "bundle", "1", "vat", "\u{a0}", "",
        ]), 0..12),
        glue in select(vec!["", " "]),
    ) {
        let text = words.join(glue);
        let mut set = DirectiveSet::default();
        match set.read("fuzz", text.as_bytes()) {
            Ok(_) => prop_assert_eq!(read(&set.to_string()), set),
            Err(refused) => prop_assert!(refused.to_string().contains('^')),
        }
    }
}
