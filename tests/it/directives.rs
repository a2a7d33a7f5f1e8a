//! Directives: what a file may say, what it is told when it says something else, and when a directive fires.

mod classes;
mod command;
mod properties;
mod refusals;

use expect_test::expect;
use vathost::{
    directive::{Action, Directive, DirectiveSet, GRAMMAR, Trigger},
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId},
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
                  | "upgrade" vat "bundle" hex [why] | "break" | "halt" | "replace-kernel" num
                  | "replace-engine" num ;
        expect    = "expect" "state" hex "before" when ;
        vat       = "v" num ;  why = "reason" string ;  hex = at least 8 hexadecimal digits of a hash
    "#]]
    .assert_eq(GRAMMAR);
}

#[test]
fn what_makes_sense_at_a_place_is_taken() {
    let text = "block-120: halt\nblock-120: break\nexpect state 9be1c44a before block-120\nexpect state 9be1c44a before v1/delivery-0\n\
                crank-7: skip\ncrank-8: pause\ncrank-9: terminate\nv56/delivery-1: pause\nv56/delivery-2: terminate v56\n\
                v56/delivery-3: upgrade v56 bundle 41d0c7e2\nv56/delivery-3: pause\nv56/delivery-4: upgrade v56 bundle 41d0c7e2\n\
                v56/delivery-4: skip v56\ncrank-1: skip v1\ncrank-1: terminate v2\ncrank-1: pause v3\ncrank-1: pause v4";
    assert_eq!(read(text).iter().count(), 17);
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

/// The contradiction that a kernel sees when this crank delivers to this vat.
fn contradiction(text: &str, crank: u64, to: Option<(u64, u64)>) -> Option<String> {
    let to = to.map(|(vat, number)| (VatId(vat), DeliveryNum(number)));
    let set = read(text);
    let refused = set.due(CrankNum(crank), to).refuse_contradictions(to.map(|(vat, _)| vat));
    refused.err().map(|it| it.to_string())
}

#[test]
fn contradictions_that_only_the_crank_shows_are_seen_by_the_kernel() {
    let text = "crank-7: skip\ncrank-7: pause v7\nv9/delivery-3: pause\nv9/delivery-3: upgrade v9 bundle 41d0c7e2";
    assert_eq!(contradiction(text, 7, Some((8, 3))), None);
    expect!["`crank-7: skip` contradicts `crank-7: pause v7`: a delivery is either skipped or kept for later"]
        .assert_eq(&contradiction(text, 7, Some((7, 3))).unwrap());
    expect!["`crank-7: skip` contradicts `v9/delivery-3: pause`: a delivery is either skipped or kept for later"]
        .assert_eq(&contradiction(text, 7, Some((9, 3))).unwrap());
    let twice = "crank-7: skip\nv9/delivery-3: skip\ncrank-8: pause v9\nv9/delivery-4: pause";
    assert_eq!(contradiction(twice, 7, Some((9, 3))), None, "to say it twice is no contradiction");
    assert_eq!(contradiction(twice, 8, Some((9, 4))), None, "to say it twice is no contradiction");
}
