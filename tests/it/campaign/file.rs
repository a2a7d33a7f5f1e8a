//! The campaign file: what it means, and what it says of mistakes.

use std::fmt::Write;

use expect_test::{Expect, expect};
use vathost::lab::{
    campaign::{Bound, Experiment, Order},
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
        file(
            "[[invariant]]\nname = \"a\"\ncheck = 'all(.vats[]; .kv | ballance)'\n[[invariant]]\nname = \"a\"\ncheck = 'true'\n",
        ),
        file("[[invariant]]\nname = \"a\"\nwhen = \"never\"\n"),
        file("[accept]\ninvariants = 0\nsilent = \"0.1%\"\nspread = -1\n"),
    ];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    check(
        &files,
        expect![[r#"
            c.toml:2:10: this is no TOML
            2 | name = "x
              |          ^ invalid basic string, expected `"`

            c.toml:1:10: schema 2 is unknown
            1 | schema = 2
              |          ^ expected 1

            c.toml:1:1: the campaign has no `base`
            1 | schema = 1
              | ^ expected a table [base] with `scenario = "…/vat.toml"` or `state = "…"`

            c.toml:2:1: [base] has no `scenario`
            2 | [base]
              | ^^^^^^ expected `scenario = "…/vat.toml"` or `state = "…"`

            c.toml:3:1: [base] knows no `scenaro`
            3 | scenaro = "vat.toml"
              | ^^^^^^^ expected scenario, state, cranks_per_block, replicas, expect, until, limits, golden or audit
              = did you mean `scenario`?

            c.toml:3:12: there is nothing of that name
            3 | scenario = "vat.tom"
              |            ^^^^^^^^^ expected a path relative to this file

            c.toml:4:9: `forever` is no `until`
            4 | until = "forever"
              |         ^^^^^^^^^ expected "quiescent", "end-of-golden" or "+500 cranks"

            c.toml:5:10: `9f` is no `expect`
            5 | expect = "9f"
              |          ^^^^ expected `state HASH` or `state HASH at crank N`

            c.toml:4:19: `2T` is no `fuel`
            4 | limits = { fuel = "2T", wall = 10 }
              |                   ^^^^ expected fuel, as in "2G" or "500M"

            c.toml:4:32: `wall` of [limits] is a number
            4 | limits = { fuel = "2T", wall = 10 }
              |                                ^^ expected a time, as in "10s" or "500ms"

            c.toml:1:1: the campaign has no `fault`
            1 | schema = 1
              | ^ expected at least one table [[fault]] with `at = …` and `do = …`

            c.toml:5:6: `v2/delivry-1: skip` is no fault: unexpected `v2/delivry-1`
            5 | at = "v2/delivry-1"
              |      ^^^^^^^^^^^^^^ expected a place (`crank-7890`, `v56/delivery-1234`, `v56/delivery-1234/syscall-3`, `commit-4`, …)
              = did you mean `v2/delivery-1`?

            c.toml:6:15: `v2/delivery-1: explode` is no fault: unexpected `explode`
            6 | do = ["skip", "explode"]
              |               ^^^^^^^^^ expected `skip`, `pause`, `resume`, `terminate`, `upgrade`, `plant`, `kernel-panic`, `flip`, `trap`, `error`, `value`, `delay`, `duplicate`, `kill`, `lose`, `tear`, `eio` or `enospc`

            c.toml:5:6: there is no axis `n`
            5 | at = "v2/delivery-{n}"
              |      ^^^^^^^^^^^^^^^^^ expected a list or a range of that name: `n = "1..=10"`

            c.toml:7:1: neither `at` nor `do` mentions {m}
            7 | m = [1]
              | ^ expected `id`, `at`, `do`, `with`, or an axis that one of them mentions

            c.toml:4:1: [[fault]] has no `do`
            4 | [[fault]]
              | ^^^^^^^^^ expected a place in `at`, and what to do there in `do`

            c.toml:6:6: `od` is no axis
            6 | od = "skip"
              |      ^^^^^^ expected a list such as [1, 10, "random"], or a range such as "1..=2000" or "0..100 step 10"
              = did you mean `do`?

            c.toml:7:5: `n` is no axis
            7 | n = "9..=1"
              |     ^^^^^^^ expected a list such as [1, 10, "random"], or a range such as "1..=2000" or "0..100 step 10"

            c.toml:8:9: this is no `order`
            8 | order = 3
              |         ^ expected 1, 2 or "swarm"

            c.toml:9:1: [schedule] knows no `sampel`
            9 | sampel = 5
              | ^^^^^^ expected order, sample, seeds or size
              = did you mean `sample`?

            c.toml:10:9: `seeds` is 0
            10 | seeds = 0
               |         ^ expected 1 or more

            c.toml:9:16: closing bracket is expected here
            9 | check = ".vats["
              |                ^ in this jaq expression

            c.toml:9:29: there is no filter `ballance`
            9 | check = 'all(.vats[]; .kv | ballance)'
              |                             ^^^^^^^^ in this jaq expression

            c.toml:10:1: `a` comes twice
            10 | [[invariant]]
               | ^^^^^^^^^^^^^ expected each name once

            c.toml:7:1: [[invariant]] has no `check`
            7 | [[invariant]]
              | ^^^^^^^^^^^^^ expected either `check = "a jaq expression"` or `command = ["a", "program"]`

            c.toml:9:8: `never` is no `when`
            9 | when = "never"
              |        ^^^^^^^ expected "end", "every-block" or "every-crank"

            c.toml:8:1: there is no class `invariants`
            8 | invariants = 0
              | ^^^^^^^^^^ expected not-reached, no-effect, harness, host-crash, host-hang, durability, diverged, kernel-panic, invariant, stalled, latent, contained, spread, silent, recovered or masked
              = did you mean `invariant`?

            c.toml:9:10: this is no limit for `silent`
            9 | silent = "0.1%"
              |          ^^^^^^ expected a number, or a text such as "<= 3", ">= 1", "<= 5%" or "<= 0.1% @95"

            c.toml:10:10: this is no limit for `spread`
            10 | spread = -1
               |          ^^ expected a number, or a text such as "<= 3", ">= 1", "<= 5%" or "<= 0.1% @95"

        "#]],
    );
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
    assert_eq!((drawn.numbers.len(), drawn.equal), (18, 1));
    let last = campaign.space.experiment(*drawn.numbers.last().unwrap()).unwrap();
    assert_eq!((last.schedule.to_string().as_str(), last.seed), ("v3/delivery-9: trap after 1000 fuel", 0));
}

#[test]
fn pairs_are_drawn_without_those_that_contradict_themselves() {
    let campaign = parse(&text("[schedule]\norder = 2\n")).unwrap();
    assert_eq!((campaign.space.order, campaign.space.len()), (Order::Pairs, 6));
    let drawn = campaign.space.draw();
    assert_eq!((drawn.numbers.len(), drawn.contradictory), (6, 0));
    assert!(campaign.space.experiments(&drawn.numbers).all(|it| it.schedule.len() == 2));
    let both = "[[fault]]\nid = \"b\"\nat = \"v2/delivery-1\"\ndo = \"terminate\"\n[schedule]\norder = 2\n";
    let drawn = parse(&text(both)).unwrap().space.draw();
    assert_eq!((drawn.numbers.len(), drawn.contradictory), (9, 1));
}

#[test]
fn a_sample_depends_on_the_seed_alone() {
    let draw = |seed: &str| {
        let text = text("[schedule]\norder = 2\nsample = 5\nseeds = 3\n").replace("seed = 7", seed);
        let space = parse(&text.replace("1..=4", "1..=40")).unwrap().space;
        space.experiments(&space.draw().numbers).map(|it| format!("{} {}", it.schedule, it.seed)).collect::<Vec<_>>()
    };
    assert_eq!((draw("seed = 7").len(), draw("seed = 7")), (5, draw("seed = 7")));
    assert_ne!(draw("seed = 7"), draw("seed = 8"));
}

#[test]
fn a_swarm_is_of_random_sets_some_of_them_without_a_whole_kind_of_fault() {
    let more = "[[fault]]\nid = \"b\"\nat = \"v3/delivery-{n}\"\ndo = \"terminate\"\nn = \"1..=4\"\n\
                [schedule]\norder = \"swarm\"\nsample = 200\nsize = 3\n";
    let space = parse(&text(more)).unwrap().space;
    let drawn: Vec<Experiment> = space.experiments(&space.draw().numbers).collect();
    let sizes: Vec<usize> = drawn.iter().map(|it| it.schedule.len()).collect();
    assert!((1..=3).all(|size| sizes.contains(&size)) && sizes.iter().all(|it| (1..=3).contains(it)), "{sizes:?}");
    let only = |vat: &str| drawn.iter().filter(|it| !it.schedule.to_string().contains(vat)).count();
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
