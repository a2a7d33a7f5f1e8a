//! The scenario `vats/foreman`: a hundred vats hired, used, upgraded, paused, and fired.

use std::path::Path;

use expect_test::expect;
use vathost::{
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        scenario::Scenario,
    },
    model::id::VatId,
    state::table::Status,
};

/// Runs it in blocks of so many cranks, with so many live instances at the most.
fn run(cranks: u64, max_live: Option<usize>) -> Host {
    let scenario = Scenario::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/foreman")).unwrap();
    let mut controller =
        Host::open(HostOptions { max_live, audit: Some(50).into(), ..HostOptions::default() }).unwrap();
    controller.install(&scenario).unwrap();
    let policy = BlockPolicy { cranks, ..BlockPolicy::default() };
    while !controller.run_block(&policy, &mut |_| true).unwrap().quiescent {}
    controller
}

#[test]
fn the_foreman_gets_what_he_should_and_the_fired_are_cleaned_away() {
    let controller = run(1_000, None);
    let report = controller.report().unwrap();
    expect![[r##"#{"counted":"+100","upgraded":"+50","resumed":"+10","counts":"+150","totals":"+200","fired":"+97","splats":"+97","kept":"+3"}"##]].assert_eq(report.results[0].body.as_deref().unwrap());
    let tables = controller.block().unwrap().tables();
    let mut alive = 0;
    for (vat, row) in tables.vats.iter().filter(|(vat, _)| **vat != VatId(1)) {
        match &row.status {
            Status::Running => alive += 1,
            Status::Terminated { cleaned: true, .. } => {
                assert_eq!(tables.clist.of(*vat).count(), 0, "{vat}");
                assert!(!tables.vatstore.iter().any(|((it, _), _)| it == vat), "{vat}");
            }
            other => panic!("{vat}: {other:?}"),
        }
    }
    assert_eq!((alive, tables.vats.len()), (3, 101));
}

#[test]
fn evictions_change_no_hash_of_it() {
    let hash = |max_live| run(1_000, max_live).report().unwrap().state_hash;
    assert_eq!(hash(Some(5)), hash(None));
}
