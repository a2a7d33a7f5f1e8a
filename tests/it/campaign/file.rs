//! The campaign file: what it means, and what it says of mistakes.

use std::fmt::Write;

use expect_test::{Expect, expect};
use vathost::{
    campaign::{Bound, Order},
    experiment::Class,
};

use super::{parse, text};

/// What is said of each of these files.
fn check(files: &[&str], expected: Expect) {
    let mut said = String::new();
    for file in files {
        let refused = parse(file).expect_err(file);
        writeln!(said, "{refused}\n").unwrap();
    }
    expected.assert_eq(&said);
}

#[test]
fn a_mistake_is_shown_with_its_place_and_what_would_be_right() {
    let base = "schema = 1\n[base]\nscenario = \"vat.toml\"\n";
    let fault = "[[fault]]\nat = \"v2/delivery-1\"\ndo = \"skip\"\n";
    let file = |more: &str| format!("{base}{fault}{more}");
    let files = [
        "schema = 1\nname = \"x".to_owned(),
        format!("schema = 2\n[base]\nscenario = \"vat.toml\"\n{fault}"),
        format!("schema = 1\n{fault}"),
        format!("schema = 1\n[base]\nscenaro = \"vat.toml\"\n{fault}"),
        format!("schema = 1\n[base]\nscenario = \"vat.tom\"\nuntil = \"forever\"\nexpect = \"9f\"\n{fault}"),
        format!("{base}limits = {{ fuel = \"2T\", wall = 10 }}\n{fault}"),
        base.to_owned(),
        format!("{base}[[fault]]\nat = \"v2/delivry-1\"\ndo = \"skip\"\n"),
        format!("{base}[[fault]]\nat = \"v2/delivery-1\"\ndo = [\"skip\", \"explode\"]\n"),
        format!("{base}[[fault]]\nat = \"v2/delivery-{{n}}\"\ndo = \"skip\"\nm = [1]\n"),
        format!("{base}[[fault]]\nat = \"v2/delivery-{{n}}\"\nod = \"skip\"\nn = \"9..=1\"\n"),
        file("[schedule]\norder = 3\nsampel = 5\nseeds = 0\n"),
        file("[[invariant]]\nname = \"a\"\ncheck = \".vats[\"\n"),
        file("[[invariant]]\nname = \"a\"\ncheck = 'all(.vats[]; .kv | ballance)'\n[[invariant]]\nname = \"a\"\ncheck = 'true'\n"),
        file("[[invariant]]\nname = \"a\"\nwhen = \"never\"\n"),
        file("[accept]\ninvariants = 0\nsilent = \"0.1%\"\nspread = -1\n"),
    ];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    check(&files, expect![[""]]);
}

#[test]
fn the_axes_of_a_fault_are_multiplied_and_equal_experiments_come_once() {
    let campaign = parse(
        "schema = 1\n[base]\nscenario = \"vat.toml\"\n[[fault]]\nid = \"a\"\nat = \"{vat}/delivery-{n}\"\n\
         do = [\"skip\", \"trap after {f} fuel\"]\nvat = [\"v2\", \"v3\"]\nn = \"1..10 step 4\"\nf = [0, 1_000]\n\
         [[fault]]\nid = \"b\"\nat = \"v2/delivery-1\"\ndo = \"skip\"\n",
    )
    .unwrap();
    // Two vats, three deliveries: one skip and two traps each; and one more skip, which is there already.
    assert_eq!(campaign.space.len(), 2 * 3 * 3 + 1);
    let drawn = campaign.space.draw();
    assert_eq!((drawn.experiments.len(), drawn.equal), (18, 1));
    let last = drawn.experiments.last().unwrap();
    assert_eq!((last.schedule.to_string().as_str(), last.seed), ("v3/delivery-9: trap after 1000 fuel", 0));
}

#[test]
fn pairs_are_drawn_without_those_that_contradict_themselves() {
    let campaign = parse(&text("[schedule]\norder = 2\n")).unwrap();
    assert_eq!((campaign.space.order, campaign.space.len()), (Order::Pairs, 6));
    let drawn = campaign.space.draw();
    assert_eq!((drawn.experiments.len(), drawn.contradictory), (6, 0));
    assert!(drawn.experiments.iter().all(|it| it.schedule.len() == 2));
    let both = "[[fault]]\nid = \"b\"\nat = \"v2/delivery-1\"\ndo = \"terminate\"\n[schedule]\norder = 2\n";
    let drawn = parse(&text(both)).unwrap().space.draw();
    assert_eq!((drawn.experiments.len(), drawn.contradictory), (9, 1));
}

#[test]
fn a_sample_depends_on_the_seed_alone() {
    let draw = |seed: &str| {
        let text = text("[schedule]\norder = 2\nsample = 5\nseeds = 3\n").replace("seed = 7", seed);
        let drawn = parse(&text.replace("1..=4", "1..=40")).unwrap().space.draw();
        drawn.experiments.iter().map(|it| format!("{} {}", it.schedule, it.seed)).collect::<Vec<_>>()
    };
    assert_eq!((draw("seed = 7").len(), draw("seed = 7")), (5, draw("seed = 7")));
    assert_ne!(draw("seed = 7"), draw("seed = 8"));
}

#[test]
fn a_swarm_is_of_random_sets_some_of_them_without_a_whole_kind_of_fault() {
    let more = "[[fault]]\nid = \"b\"\nat = \"v3/delivery-{n}\"\ndo = \"terminate\"\nn = \"1..=4\"\n\
                [schedule]\norder = \"swarm\"\nsample = 200\nsize = 3\n";
    let drawn = parse(&text(more)).unwrap().space.draw();
    let sizes: Vec<usize> = drawn.experiments.iter().map(|it| it.schedule.len()).collect();
    assert!((1..=3).all(|size| sizes.contains(&size)) && sizes.iter().all(|it| (1..=3).contains(it)), "{sizes:?}");
    let only = |vat: &str| drawn.experiments.iter().filter(|it| !it.schedule.to_string().contains(vat)).count();
    assert!(only("v2") > 5 && only("v3") > 5, "{} and {}", only("v2"), only("v3"));
}

#[test]
fn what_is_not_said_about_limits_is_zero_for_what_must_never_be() {
    let limit = |more: &str, class| {
        let campaign = parse(&text(more)).unwrap();
        campaign.accept.iter().find(|it| it.class == class).map(|it| it.bound.clone())
    };
    assert_eq!(limit("", Class::Diverged), Some(Bound::Most(0)));
    assert_eq!(limit("", Class::Silent), None);
    let more = "[accept]\ndiverged = \">= 1\"\nsilent = \"<= 0.1% @95\"\n";
    assert_eq!(limit(more, Class::Diverged), Some(Bound::Least(1)));
    assert_eq!(limit(more, Class::Silent).unwrap().sample_size(), Some(3_838));
    assert_eq!(limit(more, Class::Invariant), Some(Bound::Most(0)));
}
