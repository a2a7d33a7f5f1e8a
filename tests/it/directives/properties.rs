//! What holds of every set, and of every text.

use proptest::{collection::vec, option, prelude::*, sample::select};
use vathost::{
    directive::{Action, Directive, DirectiveSet, HexPrefix, Trigger},
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId},
};

use super::read;

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
        any::<u32>().prop_map(Action::ReplaceEngine),
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
