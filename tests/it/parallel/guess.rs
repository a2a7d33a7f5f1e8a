//! What a guest is answered ahead of its turn, and what is done if that was not the truth.

use std::{cell::RefCell, collections::BTreeMap, ops::Bound, rc::Rc, sync::Arc};

use proptest::prelude::*;
use vathost::{
    CapData, DeliveryNum, Fault, HostFault, VRef, VatId,
    kernel::{self, Forecast, GuestAct, Record, ScriptedVat, Scripts, Speculator, Syscalls, Usage, Worker, Workers},
    model::{
        id::BundleId,
        value::{Answer, Bytes, Delivery, Syscall},
    },
    slog::Slog,
    state::{
        block::Block,
        snapshot::Snapshot,
        table::{Options, Tables, Vat},
    },
};

const VAT: VatId = VatId(7);

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn scanned(model: &Model, prefix: &[u8], after: &[u8], max: usize) -> Vec<u8> {
    let from = match after.is_empty() || after < prefix {
        true => Bound::Included(prefix.to_vec()),
        false => Bound::Excluded(after.to_vec()),
    };
    let mut out = Vec::new();
    for (key, value) in model.range((from, Bound::Unbounded)) {
        if !key.starts_with(prefix) || out.len() + 8 + key.len() + value.len() > max {
            break;
        }
        for length in [key.len(), value.len()] {
            out.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        }
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    out
}

/// A key or a value of few letters, so that they meet.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(97_u8..100, 0..3)
}

#[derive(Clone, Debug)]
enum Step {
    Get(Vec<u8>),
    Set(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Next(Vec<u8>),
    Scan(Vec<u8>, Vec<u8>, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        text().prop_map(Step::Get),
        (text(), text()).prop_map(|(key, value)| Step::Set(key, value)),
        text().prop_map(Step::Delete),
        text().prop_map(Step::Next),
        (text(), text(), 0_u32..80).prop_map(|(prefix, after, max)| Step::Scan(prefix, after, max)),
    ]
}

fn value(bytes: Option<&Vec<u8>>) -> Answer {
    Answer::Value(bytes.map(|it| Bytes::from(it.clone())))
}

proptest! {
    #[test]
    fn reads_are_answered_from_the_rows_and_from_the_deliverys_own_writes(
        rows in prop::collection::btree_map(text(), text(), 0..8),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut tables = Tables::default();
        for (vat, key) in [(VatId(6), b"b"), (VatId(8), b"a")] {
            tables.vatstore.insert((vat, Bytes::from(key.to_vec()).into()), "other".into());
        }
        for (key, value) in &rows {
            tables.vatstore.insert((VAT, Bytes::from(key.clone()).into()), value.clone().into());
        }
        let mut model: Model = rows;
        let mut syscalls = Syscalls::ahead(VAT, Some(Arc::new(tables)));
        for step in steps {
            let bytes = |it: &Vec<u8>| Bytes::from(it.clone());
            let (syscall, expected) = match &step {
                Step::Get(key) => {
                    (Syscall::VatstoreGet(bytes(key)), value(model.get(key).filter(|it| !it.is_empty())))
                }
                Step::Set(key, it) => {
                    model.insert(key.clone(), it.clone());
                    (Syscall::VatstoreSet(bytes(key), bytes(it)), Answer::Done)
                }
                Step::Delete(key) => {
                    model.remove(key);
                    (Syscall::VatstoreDelete(bytes(key)), Answer::Done)
                }
                Step::Next(key) => {
                    let mut behind = model.range((Bound::Excluded(key.clone()), Bound::Unbounded));
                    (Syscall::VatstoreGetNextKey(bytes(key)), value(behind.next().map(|it| it.0)))
                }
                Step::Scan(prefix, after, max) => {
                    let syscall = Syscall::VatstoreScan { prefix: bytes(prefix), after: bytes(after), max: *max };
                    (syscall, value(Some(&scanned(&model, prefix, after, *max as usize))))
                }
            };
            prop_assert_eq!(syscalls.call(syscall).unwrap(), expected, "{:?}", step);
        }
        prop_assert!(syscalls.into_acts().is_some());
    }
}

#[test]
fn what_a_vat_cannot_know_alone_ends_a_speculation() {
    let ahead = || Syscalls::ahead(VAT, Some(Arc::new(Tables::default())));
    let mut calls = ahead();
    let call = Syscall::CallNow { device: VRef::device(1), methargs: CapData::plain("#[\"now\",[]]") };
    calls.call(call).unwrap_err();
    assert!(calls.into_acts().is_none());
    let mut malformed = ahead();
    malformed.malformed("send", "for a test");
    assert!(malformed.into_acts().is_none());
    let scan = Syscall::VatstoreScan { prefix: "a".into(), after: "".into(), max: 100 };
    for read in [get("a"), Syscall::VatstoreGetNextKey("a".into()), scan] {
        let mut without_tables = Syscalls::ahead(VAT, None);
        without_tables.call(set("a", &"b".into())).unwrap();
        without_tables.call(read).unwrap_err();
        assert!(without_tables.into_acts().is_none());
    }
}

/// Scripted vats, one of which is said to have run ahead, and to have done this.
struct Prophet {
    scripts: Scripts,
    record: Record,
    ahead: bool,
    confirmed: u32,
}

impl Workers for Prophet {
    fn worker(&mut self, vat: VatId) -> Option<&mut dyn Worker> {
        self.ahead = false;
        self.scripts.worker(vat)
    }
    fn start(
        &mut self,
        vat: VatId,
        row: &Vat,
        snapshot: Option<Snapshot<'_>>,
        bundle: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<(), Fault> {
        self.scripts.start(vat, row, snapshot, bundle)
    }
    fn stop(&mut self, vat: VatId) {
        self.scripts.stop(vat);
    }
    fn speculator(&mut self) -> Option<&mut dyn Speculator> {
        Some(self)
    }
}

impl Speculator for Prophet {
    fn is_due(&mut self) -> bool {
        false
    }
    fn wants(&mut self, _: VatId) -> bool {
        false
    }
    fn run(&mut self, _: &Arc<Tables>, _: Vec<Forecast>) {}
    fn holds(&self, _: VatId) -> bool {
        self.ahead
    }
    fn is_lost(&mut self, _: VatId) -> bool {
        false
    }
    fn restored(&mut self, _: VatId) {}
    fn record(&mut self, _: VatId, _: &Delivery<VRef>, _: u64) -> Option<Arc<Record>> {
        self.ahead.then(|| Arc::new(self.record.clone()))
    }
    fn confirm(&mut self, _: VatId) {
        self.ahead = false;
        self.confirmed += 1;
    }
}

fn get(key: &str) -> Syscall<VRef> {
    Syscall::VatstoreGet(key.into())
}

fn set(key: &str, value: &Bytes) -> Syscall<VRef> {
    Syscall::VatstoreSet(key.into(), value.clone())
}

/// A vat that copies the value of `a` to `b`, then that of `b` to `c`, and counts its runs.
fn copier(runs: &Rc<RefCell<u32>>) -> ScriptedVat {
    let runs = Rc::clone(runs);
    Box::new(move |delivery, _, syscalls| {
        if let Delivery::Message { .. } = delivery {
            *runs.borrow_mut() += 1;
            for (from, to) in [("a", "b"), ("b", "c")] {
                let Answer::Value(value) = syscalls.call(get(from))? else { panic!("no value") };
                syscalls.call(set(to, &value.unwrap_or_else(|| "nothing".into())))?;
            }
        }
        Ok(Usage { fuel: 5, memory: 0 })
    })
}

/// Delivers a message to the copier, which is said to have done this ahead of its turn. Returns the value of `c`, the runs of the
/// guest, the records that were used, the syscalls that were made, and the hash.
fn deliver(acts: Option<Vec<GuestAct>>) -> (String, u32, u32, u64, String) {
    let runs = Rc::new(RefCell::new(0));
    let mine = Rc::clone(&runs);
    let scripts = Scripts::new(move |_, _| copier(&mine));
    let record = Record { acts: acts.clone().unwrap_or_default(), usage: Usage { fuel: 5, memory: 0 } };
    let mut workers = Prophet { scripts, record, ahead: false, confirmed: 0 };
    let (mut block, (vat, root)) = kernel::outside(Block::memory(Slog::default()).unwrap(), |ledger| {
        let vat = ledger.create_vat("copier", BundleId::of(b""), Options::default(), CapData::plain("#{}"))?;
        Ok((vat, ledger.root(vat)?))
    })
    .unwrap();
    block = kernel::crank(block, &mut workers).unwrap().0;
    let (block, ()) =
        kernel::outside(block, |ledger| ledger.queue_from_outside(root.into(), CapData::plain("#[\"go\",[]]"), None))
            .unwrap();
    workers.ahead = acts.is_some();
    let (mut block, _) = kernel::crank(block, &mut workers).unwrap();
    let entries = block.transcript(vat, DeliveryNum(1)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let tables = block.tables();
    let c = tables.vatstore.get(&(vat, Bytes::from("c").into())).unwrap();
    let text = c.as_text().unwrap().to_owned();
    let (syscalls, told) = (tables.tallies.get(&vat).unwrap().syscalls, format!("{entries:?}"));
    block = block.commit(false).unwrap();
    let hash = format!("{} {told}", block.committed_hash());
    (text, *runs.borrow(), workers.confirmed, syscalls, hash)
}

#[test]
fn an_answer_that_differs_makes_the_guest_run_again_and_live_from_there_on() {
    let none = || Answer::Value(None);
    let some = |text: &str| Answer::Value(Some(text.into()));
    let act = |syscall, answer| GuestAct::Syscall(syscall, answer);
    let truth = |first: Answer, b: &str, second: Answer, c: &str| {
        vec![
            act(get("a"), first),
            act(set("b", &b.into()), Answer::Done),
            act(get("b"), second),
            act(set("c", &c.into()), Answer::Done),
        ]
    };
    let (text, runs, _, syscalls, hash) = deliver(None);
    assert_eq!((text.as_str(), runs, syscalls), ("nothing", 1, 4));
    let line = GuestAct::Console { level: "info", text: "a line".to_owned(), bytes: 6 };
    let true_one = truth(none(), "nothing", some("nothing"), "nothing");
    for (what, acts, runs, confirmed) in [
        ("as it is", true_one.clone(), 0, 1),
        ("the first answer differs", truth(some("x"), "x", some("x"), "x"), 1, 0),
        ("the second answer differs", truth(none(), "nothing", some("y"), "y"), 1, 0),
    ] {
        let seen = deliver(Some(acts));
        assert_eq!(seen, ("nothing".to_owned(), runs, confirmed, 4, hash.clone()), "{what}");
    }
    let with_line = [vec![line], true_one].concat();
    assert_eq!(deliver(Some(with_line)).4, hash);
}
