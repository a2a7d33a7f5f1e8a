//! Past, spent and missing directives.

use expect_test::expect;
use vathost::{
    directive::{Applied, Class, Committed, Effect, SetDigest},
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId},
};

use super::{EXAMPLE, one, read};

const RECORDED: SetDigest = SetDigest([0; 32]);

fn class_at(line: &str, next_crank: u64, next_delivery: u64, height: u64, version: u32, applied: &[Applied]) -> Class {
    one(line).class(&Committed {
        next_crank: CrankNum(next_crank),
        height: BlockHeight(height),
        kernel_version: version,
        engine_version: version,
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
fn a_replaced_kernel_or_engine_expires_once_the_state_has_that_version_or_a_later_one() {
    for line in ["block-120: replace-kernel 2", "block-120: replace-engine 2"] {
        let at = |version, height| class_at(line, 0, 0, height, version, &[]);
        assert_eq!([at(1, 119), at(2, 119), at(3, 119)], [Class::Pending, Class::Expired, Class::Expired]);
        assert_eq!([at(1, 120), at(2, 120), at(3, 120)], [Class::Missed, Class::Expired, Class::Expired]);
    }
}

#[test]
fn a_record_makes_a_directive_applied_and_only_that_very_one() {
    let record =
        |text: &str| Applied { crank: CrankNum(100), text: text.to_owned(), digest: RECORDED, effect: Effect::Done };
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
        engine_version: 1,
        next_delivery: &|_| DeliveryNum(1234),
        applied: &[Applied {
            crank: CrankNum(7890),
            text: "crank-7890: skip v56".to_owned(),
            digest: RECORDED,
            effect: Effect::Done,
        }],
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
