//! Snapshots of a vat that is upgraded: those of the old incarnation are of no use to the new one.

use vathost::{
    host::report::Report,
    kernel::{self, Workers},
    model::{
        id::{BundleId, DeliveryNum, KRef, VatId},
        value::CapData,
    },
    state::{
        block::{Block, heap},
        snapshot::{GlobalValue, Manifest},
    },
    vat::Warehouse,
};

use super::lab::{Lab, Log, patiently};

/// The kernel without a controller: it can be sent anything.
struct Rig {
    block: Option<Block>,
    workers: Warehouse,
    log: Log,
}

impl Rig {
    fn open(lab: &Lab, max_live: Option<usize>, interval: Option<u64>) -> Rig {
        let log = Log::default();
        let mut block = patiently(|| Block::open(&lab.state(), log.slog()));
        heap::set_interval(&mut block, interval);
        let mut workers = Warehouse::new(None).unwrap();
        workers.set_max_live(max_live);
        Rig { block: Some(block), workers, log }
    }

    /// Sends a message, and runs until nothing is left to do; its result.
    fn send(&mut self, target: KRef, body: &str) -> (String, Vec<KRef>) {
        let mut block = self.block.take().unwrap();
        let send = |ledger: &mut kernel::Ledger| ledger.send_from_outside(target, CapData::plain(body), Some(("", "")));
        block = kernel::outside(block, send).unwrap().0;
        loop {
            let (next, ran) = kernel::crank(block, &mut self.workers).unwrap();
            block = next;
            if ran.is_none() {
                break;
            }
        }
        let promise = *block.tables().outside.iter().next_back().unwrap().0;
        let data = block.tables().settled(promise).unwrap().clone();
        self.block = Some(block.commit(false).unwrap());
        (data.body.as_text().unwrap().to_owned(), data.slots)
    }

    /// Makes a vat that counts its messages; its root and its admin facet.
    fn create(&mut self, options: &str) -> (KRef, KRef) {
        let wasm = wat::parse_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/globals/globals.wat")).unwrap();
        let mut block = self.block.take().unwrap();
        block.put_bundle(&wasm);
        let (block, admin) = kernel::outside(block, |crank| {
            crank.name_bundle("globals", BundleId::of(&wasm));
            crank.vat_admin()
        })
        .unwrap();
        self.block = Some(block);
        let (_, slots) = self.send(admin.into(), &format!("#[\"createVat\",[\"globals\",{{}},{options}]]"));
        (slots[0], slots[1])
    }

    /// Makes a module known that the load-time pass refuses.
    fn know_a_bad_bundle(&mut self) {
        let wasm = wat::parse_str("(module)").unwrap();
        let mut block = self.block.take().unwrap();
        let id = block.put_bundle(&wasm);
        let name = |crank: &mut kernel::Ledger| {
            crank.name_bundle("bad", id);
            Ok(())
        };
        self.block = Some(kernel::outside(block, name).unwrap().0);
    }

    /// An upgrade to it, which fails.
    fn fail_to_upgrade(&mut self, admin: KRef) {
        let (told, _) = self.send(admin, "#[\"upgrade\",[\"bad\"]]");
        assert!(told.contains("vat-upgrade failure"), "{told}");
    }

    fn block(&self) -> &Block {
        self.block.as_ref().unwrap()
    }
}

const COUNT: &str = "#[\"count\",[]]";
const UPGRADE: &str = "#[\"upgrade\",[\"globals\"]]";
const VAT: VatId = VatId(1);

/// The answers and the state hash of two incarnations, three messages each.
fn two_incarnations(max_live: Option<usize>, interval: u64) -> (Vec<String>, Log, Lab) {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, max_live, Some(interval));
    let (root, admin) = rig.create("{}");
    let mut told: Vec<_> = (0..3).map(|_| rig.send(root, COUNT).0).collect();
    told.push(rig.send(admin, UPGRADE).0);
    told.extend((0..3).map(|_| rig.send(root, COUNT).0));
    told.push(Report::of(rig.block()).state_hash);
    (told, rig.log, lab)
}

#[test]
fn an_upgraded_vat_begins_anew_whatever_was_evicted() {
    let (expected, ..) = two_incarnations(None, 0);
    assert_eq!(expected[..7], ["#1", "#2", "#3", "#{\"incarnationNumber\":1}", "#1", "#2", "#3"]);
    for (max_live, interval) in [(Some(0), 0), (Some(0), 1), (Some(0), 2), (None, 1), (Some(0), 3)] {
        let (told, log, _lab) = two_incarnations(max_live, interval);
        assert_eq!(told, expected, "{max_live:?} {interval}");
        let loads = log.of("heap-snapshot-load");
        assert_eq!(!loads.is_empty(), max_live == Some(0) && interval > 0, "{loads:?}");
    }
}

#[test]
fn an_upgrade_forgets_the_snapshot_and_a_stale_one_is_not_used() {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, None, Some(4));
    let (root, admin) = rig.create("{}");
    (0..3).for_each(|_| drop(rig.send(root, COUNT)));
    let stale = heap::newest(rig.block(), VAT).unwrap().unwrap();
    assert_eq!((stale.position.0, &*stale.heap.globals), (4, &[GlobalValue::I64(3)][..]));
    rig.send(admin, UPGRADE);
    // The upgrade made two deliveries, the last of the old incarnation and the first of the new.
    assert_eq!(rig.block().tables().vats.get(&VAT).unwrap().first_delivery.0, 5);
    assert_eq!(heap::newest(rig.block(), VAT).unwrap(), None);
    rig.send(root, COUNT);
    drop(rig);
    assert_eq!(lab.count("SELECT count(*) FROM snapshot") + lab.count("SELECT count(*) FROM page"), 0);

    for position in [4, 5] {
        lab.put(&Manifest { position: DeliveryNum(position), ..stale.clone() });
        let mut rig = Rig::open(&lab, None, Some(0));
        let mut block = rig.block.take().unwrap();
        kernel::bring_up(&mut block, &mut rig.workers, VAT).unwrap();
        let image = rig.workers.worker(VAT).unwrap().image(None).unwrap().unwrap();
        assert_eq!(image.heap.globals, [GlobalValue::I64(1)]);
    }
}

#[test]
fn an_upgrade_that_fails_leaves_the_snapshot() {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, Some(0), Some(2));
    let (root, admin) = rig.create("{}");
    (0..3).for_each(|_| drop(rig.send(root, COUNT)));
    rig.know_a_bad_bundle();
    rig.fail_to_upgrade(admin);
    assert_eq!(heap::position(rig.block(), VAT).unwrap().0, 4);
    assert_eq!(rig.send(root, COUNT).0, "#4");
    assert_eq!(rig.log.of("heap-snapshot-load").last().unwrap(), &("v1".to_owned(), 4));
}

#[test]
fn only_the_first_upgrade_that_fails_costs_a_replay() {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, None, Some(0));
    let (root, admin) = rig.create("{}");
    (0..3).for_each(|_| drop(rig.send(root, COUNT)));
    rig.know_a_bad_bundle();
    for count in 4..8 {
        rig.fail_to_upgrade(admin);
        assert_eq!(rig.send(root, COUNT).0, format!("#{count}"));
    }
    assert_eq!(rig.log.of("start-replay").len(), 1);
}

#[test]
fn an_upgrade_of_a_paused_vat_that_fails_costs_none() {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, None, Some(0));
    let (root, admin) = rig.create("{}");
    (0..3).for_each(|_| drop(rig.send(root, COUNT)));
    rig.know_a_bad_bundle();
    // It is told nothing before: nothing is to be taken back, only put back.
    for count in 4..8 {
        rig.send(admin, "#[\"pause\",[]]");
        rig.fail_to_upgrade(admin);
        rig.send(admin, "#[\"resume\",[]]");
        assert_eq!(rig.send(root, COUNT).0, format!("#{count}"));
    }
    assert!(rig.log.of("start-replay").is_empty());
}

#[test]
fn the_vat_admin_sets_the_interval_and_changes_it() {
    let lab = Lab::new();
    let mut rig = Rig::open(&lab, None, None);
    let (root, admin) = rig.create("{\"snapshotInterval\":2}");
    assert_eq!(heap::position(rig.block(), VAT), None);
    rig.send(root, COUNT);
    assert_eq!(heap::position(rig.block(), VAT).unwrap().0, 2);
    // That is a delivery, too.
    rig.send(admin, "#[\"changeOptions\",[{\"snapshotInterval\":0}]]");
    (0..3).for_each(|_| drop(rig.send(root, COUNT)));
    assert_eq!(rig.block().tables().tallies.get(&VAT).unwrap().deliveries, 6);
    assert_eq!(heap::position(rig.block(), VAT).unwrap().0, 2);
}
