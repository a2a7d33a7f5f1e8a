//! Random runs against naive models.
//!
//! Each vat is an [`Actor`] with a [`Mind`]: what it believes to hold, kept from its own deliveries and syscalls alone. What it does is a
//! function of the seed, its number and how many deliveries it had, so that it can be replayed. After every crank the belief of every live
//! vat must be its c-list, flag by flag, and every count must be what a sweep finds.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
};

use proptest::prelude::*;
use vathost::{
    kernel::{self, ScriptedVat, Scripts, SessionInput, SessionTarget, Syscalls, Usage},
    model::{
        blame::{Fault, VatFault},
        id::{BundleId, KRef, ObjectId, PromiseId, VRef, VatId},
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::Slog,
    state::{
        block::{Block, sweep_digest},
        table::{Item, Options, SessionEvent},
    },
    store::{Digest, StateHash},
};

use crate::dice::Dice;

const VATS: u64 = 4;

/// Deliveries after which a vat calms down, so that every run ends.
const LIVELY: u64 = 25;

// ---- what happens from outside

#[derive(Clone, Debug)]
enum Step {
    /// A message to the root of a vat, with the roots of two more.
    Call(u64, u64, u64),
    Terminate(u64),
    Reap(u64),
    /// A session begins, and is given the roots of two vats.
    Open(u64, u64),
    /// A session hears what waits for it, and does what comes to its mind; one of those that were opened, by this number.
    Act(u64),
    End(u64),
    /// So many cranks.
    Run(u64),
    /// The block is committed; and, perhaps, the state closed and opened again, with all heaps gone.
    Block {
        reopen: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let vat = || 1..=VATS;
    prop_oneof![
        8 => (vat(), vat(), vat()).prop_map(|(to, a, b)| Step::Call(to, a, b)),
        1 => vat().prop_map(Step::Terminate),
        2 => vat().prop_map(Step::Reap),
        2 => (vat(), vat()).prop_map(|(a, b)| Step::Open(a, b)),
        8 => (0..4_u64).prop_map(Step::Act),
        1 => (0..4_u64).prop_map(Step::End),
        8 => (1..12_u64).prop_map(Step::Run),
        3 => any::<bool>().prop_map(|reopen| Step::Block { reopen }),
    ]
}

/// How a run is made. None of it may show in the state.
#[derive(Clone, Copy, Default)]
struct Manner<'a> {
    /// The state lives here.
    dir: Option<&'a Path>,
    /// A delivery that ends in a fault faults at once.
    faults_early: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Trace {
    /// After each block, and at the end.
    hashes: Vec<StateHash>,
    digest: Digest,
    cranks: u64,
}

fn open(manner: Manner<'_>) -> Block {
    let mut block = match manner.dir {
        Some(dir) => Block::open(dir, Slog::default()).unwrap(),
        None => Block::memory(Slog::default()).unwrap(),
    };
    block.set_audit(1);
    block
}

/// How often each kind of delivery was made, and each kind of syscall.
type Seen = BTreeMap<(What, &'static str), u64>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Delivery,
    Syscall,
    /// A syscall of a session.
    Session,
    Fault,
}

fn is_for_sessions(it: &Syscall<VRef>) -> bool {
    use Syscall::{DropImports, Resolve, RetireExports, RetireImports, Send, Subscribe};
    matches!(it, Send { .. } | Subscribe(_) | Resolve(_) | DropImports(_) | RetireImports(_) | RetireExports(_))
}

fn run(seed: u64, steps: &[Step], manner: Manner<'_>) -> Trace {
    perform(seed, steps, manner).0
}

fn perform(seed: u64, steps: &[Step], manner: Manner<'_>) -> (Trace, Seen) {
    let cast = Cast::default();
    let mut scripts = cast.scripts(seed, manner.faults_early);
    let mut block = open(manner);
    let roots: Vec<ObjectId>;
    (block, roots) = kernel::outside(block, |crank| {
        (1..=VATS)
            .map(|number| {
                let options = Options {
                    pipelining: number % 2 == 0,
                    reap_interval: (number == 1).then_some(3),
                    reap_gc_krefs: (number == 2).then_some(2),
                    ..Options::default()
                };
                let vat = crank.create_vat(&format!("v{number}"), BundleId::of(b""), options, CapData::plain("#{}"))?;
                let root = crank.root(vat)?;
                crank.pin(root)?;
                Ok(root)
            })
            .collect()
    })
    .unwrap();
    let root = |vat: u64| KRef::Object(roots[usize::try_from(vat).unwrap() - 1]);
    let mut hashes = vec![];
    let mut sessions: Vec<VatId> = vec![];
    let one_of =
        |sessions: &[VatId], at: u64| sessions.get(usize::try_from(at).unwrap() % sessions.len().max(1)).copied();
    for step in steps.iter().chain(&[Step::Run(u64::MAX), Step::Block { reopen: true }]) {
        match *step {
            Step::Call(to, a, b) => {
                let data = CapData { body: "#[\"hi\",[\"$0\",\"$1\"]]".into(), slots: vec![root(a), root(b)] };
                (block, _) =
                    kernel::outside(block, |crank| crank.send_from_outside(root(to), data, Some(("", "")))).unwrap();
            }
            Step::Terminate(vat) => {
                (block, ()) =
                    kernel::outside(block, |crank| crank.terminate_with_reason(VatId(vat), "enough")).unwrap();
            }
            Step::Reap(vat) => {
                let reap = |crank: &mut kernel::Ledger| {
                    crank.reap([VatId(vat)]);
                    Ok(())
                };
                (block, ()) = kernel::outside(block, reap).unwrap();
            }
            Step::Open(a, b) => {
                let session = block.tables().globals().next_vat;
                sessions.push(session);
                cast.minds.borrow_mut().insert(session, Mind::default());
                let name = session.to_string();
                let give = |vat| SessionInput::Give { target: SessionTarget::Root(VatId(vat)), tag: vat };
                block = ask(block, session, [SessionInput::Open { name }, give(a), give(b)]);
            }
            Step::Act(at) => {
                if let Some(session) = one_of(&sessions, at) {
                    block = cast.act_as_session(seed, session, block);
                }
            }
            Step::End(at) => {
                if let Some(session) = one_of(&sessions, at) {
                    block = ask(block, session, [SessionInput::End { reason: "enough".to_owned() }]);
                }
            }
            Step::Run(cranks) => block = go(block, &mut scripts, &cast, cranks),
            Step::Block { reopen } => {
                block = block.commit(false).unwrap();
                assert_eq!(sweep_digest(&mut block).unwrap(), block.meta().digest, "the digest is that of a sweep");
                hashes.push(block.state_hash().expect("hashes"));
                if reopen && manner.dir.is_some() {
                    drop(block);
                    scripts.evict_all();
                    block = open(manner);
                    assert_eq!(Some(&block.state_hash().expect("hashes")), hashes.last(), "the hash is on disk");
                    assert_eq!(sweep_digest(&mut block).unwrap(), block.meta().digest);
                }
            }
        }
    }
    let trace = Trace { hashes, digest: block.meta().digest, cranks: block.tables().globals().next_crank.0 };
    (trace, cast.seen.take())
}

fn ask(block: Block, session: VatId, inputs: impl IntoIterator<Item = SessionInput>) -> Block {
    let all = |ledger: &mut kernel::Ledger| inputs.into_iter().try_for_each(|it| ledger.session_input(session, it));
    let (block, ()) = kernel::outside(block, all).unwrap_or_else(|halt| panic!("{halt} of {session}"));
    kernel::audit(block.tables()).unwrap();
    check_counts(&block);
    block
}

fn go(mut block: Block, scripts: &mut Scripts, cast: &Cast, cranks: u64) -> Block {
    for _ in 0..cranks {
        let (next, ran) = kernel::crank(block, scripts).unwrap_or_else(|halt| panic!("{halt} at {:?}", halt.position));
        block = next;
        if ran.is_none() {
            break;
        }
        kernel::audit(block.tables()).unwrap();
        check_beliefs(&block, scripts, cast);
        check_counts(&block);
    }
    block
}

/// The c-list of every live vat that is up is what the vat believes.
fn check_beliefs(block: &Block, scripts: &Scripts, cast: &Cast) {
    let minds = cast.minds.borrow();
    for vat in scripts.live().filter(|it| block.tables().is_alive(*it)) {
        if let Some(mind) = minds.get(&vat) {
            check_belief(block, vat, mind);
        }
    }
}

fn check_belief(block: &Block, vat: VatId, mind: &Mind) {
    let actual: BTreeMap<VRef, bool> = block.tables().clist.of(vat).map(|(vref, it)| (vref, it.reachable)).collect();
    let mut believed = mind.objects.clone();
    believed.extend(mind.promises.keys().map(|it| (*it, true)));
    assert_eq!(actual, believed, "the c-list of {vat}, and its belief");
    let stored: BTreeMap<Bytes, Bytes> = block
        .tables()
        .vatstore
        .iter()
        .filter(|((it, _), _)| *it == vat)
        .map(|((_, key), value)| ((**key).clone(), value.clone()))
        .collect();
    assert_eq!(stored, mind.store, "the vatstore of {vat}, and its belief");
    for (promise, decides) in &mind.promises {
        let Some(KRef::Promise(id)) = block.tables().clist.get(&(vat, *promise)).map(|it| it.kref) else {
            panic!("{promise}")
        };
        let decider = block.tables().promises.get(&id).unwrap().decider();
        assert_eq!(decider == Some(vat), *decides, "whether {vat} decides {promise}");
    }
}

/// Reachable and recognizable, and the counts of promises, are what a plain sweep over everything that refers finds.
fn check_counts(block: &Block) {
    let tables = block.tables();
    let mut objects: BTreeMap<ObjectId, (u32, u32)> = BTreeMap::new();
    let mut promises: BTreeMap<PromiseId, u32> = BTreeMap::new();
    let mut refer = |kref: KRef, reachable: bool| match kref {
        KRef::Object(id) => {
            let counts = objects.entry(id).or_default();
            *counts = (counts.0 + u32::from(reachable), counts.1 + 1);
        }
        KRef::Promise(id) => *promises.entry(id).or_default() += 1,
        KRef::Device(_) => panic!("there are no devices"),
    };
    for ((_, vref), entry) in tables.clist.iter() {
        if vref.is_promise() || vref.is_imported_object() {
            refer(entry.kref, entry.reachable);
        }
    }
    for (_, waiting) in tables.queue.iter() {
        match &waiting.item {
            Item::Send { target, message } => {
                let slots = message.methargs.slots.iter().copied();
                [*target].into_iter().chain(message.result).chain(slots).for_each(|it| refer(it, true));
            }
            Item::Notify { promise, .. } => refer((*promise).into(), true),
            Item::StartVat { parameters, result, .. } | Item::UpgradeVat { parameters, result, .. } => {
                parameters.slots.iter().for_each(|it| refer(*it, true));
                result.iter().for_each(|it| refer((*it).into(), true));
            }
            Item::ChangeOptions { options, .. } => options.slots.iter().for_each(|it| refer(*it, true)),
            Item::Reap(_) | Item::Cleanup(_) => (),
        }
    }
    tables.settlements.iter().for_each(|(_, data)| data.slots.iter().for_each(|it| refer(*it, true)));
    tables.outside.iter().for_each(|(it, _)| refer((*it).into(), true));
    tables.objects.iter().filter(|(_, it)| it.pinned).for_each(|(id, _)| refer((*id).into(), true));
    for (id, object) in tables.objects.iter() {
        assert_eq!((object.reachable, object.recognizable), objects.get(id).copied().unwrap_or_default(), "{id}");
    }
    for (id, promise) in tables.promises.iter() {
        assert_eq!(promise.refs, promises.get(id).copied().unwrap_or_default(), "{id}");
    }
}

// ---- the vats

/// What a vat believes.
#[derive(Default)]
struct Mind {
    /// Imports that it can use and exports that can be used (`true`), or that are only remembered.
    objects: BTreeMap<VRef, bool>,
    /// Promises, and whether the vat decides them.
    promises: BTreeMap<VRef, bool>,
    store: BTreeMap<Bytes, Bytes>,
    deliveries: u64,
    pipelining: bool,
}

/// What all vats share: what was seen, and what each believes.
#[derive(Clone, Default)]
struct Cast {
    seen: Rc<RefCell<Seen>>,
    minds: Rc<RefCell<BTreeMap<VatId, Mind>>>,
}

impl Cast {
    /// A session hears all that waits for it, and then does something: as vats do, but for what only they can, and now and
    /// then what nobody may.
    fn act_as_session(&self, seed: u64, session: VatId, mut block: Block) -> Block {
        let mut minds = self.minds.borrow_mut();
        let mind = minds.get_mut(&session).unwrap();
        let events: Vec<(u64, SessionEvent)> =
            block.tables().session_outbox.of(session, 0).map(|(at, it)| (at, it.clone())).collect();
        for (_, event) in &events {
            match event {
                SessionEvent::Delivery(delivery) => mind.hear(delivery),
                SessionEvent::Given { vref, .. } => mind.mention(*vref),
                SessionEvent::NotGiven { .. } => (),
                SessionEvent::Ended { .. } => *mind = Mind::default(),
            }
        }
        if let Some((last, _)) = events.last() {
            block = ask(block, session, [SessionInput::Acknowledge(*last)]);
        }
        if !block.tables().is_alive(session) {
            return block;
        }
        check_belief(&block, session, mind);
        mind.deliveries += 1;
        let mut dice = Dice(seed ^ (session.0 << 56) ^ (mind.deliveries << 32));
        let mut act = Vec::new();
        for _ in 0..dice.below(6) {
            if let Some(syscall) = mind.choose(&mut dice).filter(is_for_sessions) {
                mind.believe(&syscall);
                *self.seen.borrow_mut().entry((What::Session, syscall.kind())).or_default() += 1;
                act.push(syscall);
            }
        }
        let faults = dice.below(20) == 0;
        if faults {
            act.push(Syscall::DropImports(vec![VRef::imported_object(9_999)]));
        }
        block = ask(block, session, [SessionInput::Act(act)]);
        assert_eq!(block.tables().is_alive(session), !faults, "{session}");
        if !faults {
            check_belief(&block, session, mind);
        }
        block
    }

    fn scripts(&self, seed: u64, faults_early: bool) -> Scripts {
        let cast = self.clone();
        Scripts::new(move |vat, row| -> ScriptedVat {
            let objects = [(VRef::ROOT, true)].into();
            let mind = Mind { objects, pipelining: row.options.pipelining, ..Mind::default() };
            cast.minds.borrow_mut().insert(vat, mind);
            let cast = cast.clone();
            Box::new(move |delivery, _fuel, syscalls| {
                let mut minds = cast.minds.borrow_mut();
                let mind = minds.get_mut(&vat).unwrap();
                mind.hear(delivery);
                mind.deliveries += 1;
                let mut dice = Dice(seed ^ (vat.0 << 56) ^ (mind.deliveries << 32));
                let mut seen = cast.seen.borrow_mut();
                *seen.entry((What::Delivery, delivery.kind())).or_default() += 1;
                let result = mind.act(&mut dice, faults_early, syscalls, &mut seen);
                *seen.entry((What::Fault, "")).or_default() += u64::from(result.is_err());
                let fuel = dice.below(1000);
                result.map(|()| Usage { fuel, memory: 0 })
            })
        })
    }
}

impl Mind {
    fn hear(&mut self, delivery: &Delivery<VRef>) {
        match delivery {
            Delivery::StartVat(data) | Delivery::ChangeOptions(data) => self.hear_data(data),
            Delivery::Message { target, message } => {
                assert!(
                    target.is_promise() || self.objects.get(target) == Some(&true),
                    "a message to {target}, which is no export"
                );
                self.hear_data(&message.methargs);
                if let Some(result) = message.result {
                    self.promises.insert(result, true);
                }
            }
            Delivery::Notify(resolutions) => {
                resolutions.iter().for_each(|it| self.hear_data(&it.data));
                for it in resolutions {
                    assert_ne!(
                        self.promises.remove(&it.promise),
                        Some(true),
                        "told of {}, which it decides",
                        it.promise
                    );
                }
            }
            Delivery::DropExports(refs) => {
                refs.iter().for_each(|it| assert_eq!(self.objects.insert(*it, false), Some(true), "{it} is dropped"));
            }
            Delivery::RetireExports(refs) => {
                refs.iter().for_each(|it| {
                    assert_eq!(self.objects.remove(it), Some(false), "{it} is retired before it is dropped")
                });
            }
            Delivery::RetireImports(refs) => {
                refs.iter()
                    .for_each(|it| assert_eq!(self.objects.remove(it), Some(false), "{it} is retired, and held"));
            }
            Delivery::BringOutYourDead => (),
        }
    }

    fn hear_data(&mut self, data: &CapData<VRef>) {
        for it in &data.slots {
            self.mention(*it);
        }
    }

    /// What is mentioned, by either side, is known and reachable from then on.
    fn mention(&mut self, it: VRef) {
        if it.is_promise() {
            self.promises.entry(it).or_insert(it.is_own());
        } else {
            self.objects.insert(it, true);
        }
    }

    fn act(
        &mut self,
        dice: &mut Dice,
        faults_early: bool,
        syscalls: &mut Syscalls,
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        let end = dice.below(100);
        let faults = matches!(end, 0..=2);
        let actions = if self.deliveries > LIVELY { 0 } else { dice.below(6) };
        if !(faults && faults_early) {
            for _ in 0..actions {
                if let Some(syscall) = self.choose(dice) {
                    *seen.entry((What::Syscall, syscall.kind())).or_default() += 1;
                    self.say(syscall, syscalls)?;
                }
            }
        }
        match end {
            0 => Err(VatFault::Delivery("boom".to_owned()).into()),
            1 => syscalls.call(Syscall::DropImports(vec![VRef::imported_object(9_999)])).map(drop),
            2 => syscalls.call(Syscall::Exit { failure: true, info: CapData::plain("#\"bad\"") }).map(drop),
            3 => {
                let info = CapData { body: "#\"bye\"".into(), slots: vec![self.any_ref(dice)] };
                info.slots.iter().for_each(|it| self.mention(*it));
                *seen.entry((What::Syscall, "exit")).or_default() += 1;
                syscalls.call(Syscall::Exit { failure: false, info }).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn usable(&self) -> Vec<VRef> {
        self.objects.iter().filter(|(vref, usable)| **usable || vref.is_own()).map(|(vref, _)| *vref).collect()
    }

    fn where_object(&self, what: impl Fn(VRef, bool) -> bool) -> Vec<VRef> {
        self.objects.iter().filter(|(vref, usable)| what(**vref, **usable)).map(|(vref, _)| *vref).collect()
    }

    fn decided(&self) -> Vec<VRef> {
        self.promises.iter().filter(|(_, decides)| **decides).map(|(vref, _)| *vref).collect()
    }

    /// A promise of its own that it does not know: names are used again as soon as they can be.
    fn new_promise(&self) -> VRef {
        (0..).map(|it| format!("p+{it}").parse().unwrap()).find(|it| !self.promises.contains_key(it)).unwrap()
    }

    fn any_object(&self, dice: &mut Dice) -> VRef {
        let fresh = ["o+1", "o+2", "o+3", "o+d1/1", "o+v2/7"].map(|it| it.parse().unwrap());
        match dice.below(4) {
            0 => dice.one_of(&fresh).unwrap(),
            _ => dice.one_of(&self.usable()).unwrap_or(VRef::ROOT),
        }
    }

    fn any_promise(&self, dice: &mut Dice) -> VRef {
        let known: Vec<VRef> = self.promises.keys().copied().collect();
        match dice.below(3) {
            0 => self.new_promise(),
            _ => dice.one_of(&known).unwrap_or(self.new_promise()),
        }
    }

    fn any_ref(&self, dice: &mut Dice) -> VRef {
        if dice.below(2) == 0 { self.any_object(dice) } else { self.any_promise(dice) }
    }

    fn data(&self, dice: &mut Dice) -> CapData<VRef> {
        let slots = (0..dice.below(4)).map(|_| self.any_ref(dice)).collect();
        CapData { body: "#[\"hi\",[]]".into(), slots }
    }

    /// Something that it may legally do.
    fn choose(&self, dice: &mut Dice) -> Option<Syscall<VRef>> {
        let key = |dice: &mut Dice| Bytes::from(format!("k{}", dice.below(4)));
        Some(match dice.below(16) {
            0..=5 => {
                let target = if dice.below(3) == 0 { self.any_promise(dice) } else { self.any_object(dice) };
                let methargs = self.data(dice);
                let taken: BTreeSet<VRef> = methargs.slots.iter().copied().chain([target]).collect();
                let fresh = Some(self.new_promise()).filter(|it| !taken.contains(it));
                let result = match dice.below(3) {
                    0 => None,
                    1 if self.pipelining => dice.one_of(&self.decided()).or(fresh),
                    _ => fresh,
                };
                Syscall::Send { target, message: Message { methargs, result } }
            }
            6 => Syscall::Subscribe(self.any_promise(dice)),
            7 | 8 => {
                let promise = dice.one_of(&self.decided()).unwrap_or(self.new_promise());
                let presence = CapData { body: "#\"$0\"".into(), slots: vec![self.any_object(dice)] };
                let data = if dice.below(2) == 0 { presence } else { self.data(dice) };
                let mut batch = vec![Resolution { promise, rejected: dice.below(3) == 0, data }];
                if let Some(promise) = dice.one_of(&self.decided()).filter(|it| *it != batch[0].promise) {
                    batch.push(Resolution { promise, rejected: false, data: self.data(dice) });
                }
                Syscall::Resolve(batch)
            }
            9 => Syscall::DropImports(vec![dice.one_of(&self.where_object(|it, usable| usable && !it.is_own()))?]),
            10 => Syscall::RetireImports(vec![dice.one_of(&self.where_object(|it, usable| !usable && !it.is_own()))?]),
            11 => Syscall::RetireExports(vec![dice.one_of(&self.where_object(|it, usable| !usable && it.is_own()))?]),
            12 if dice.below(3) == 0 => {
                Syscall::AbandonExports(vec![dice.one_of(&self.where_object(|it, _| it.is_own() && it != VRef::ROOT))?])
            }
            13 => Syscall::VatstoreSet(key(dice), Bytes::from(format!("{}", 1 + dice.below(9)))),
            14 => Syscall::VatstoreDelete(key(dice)),
            _ => Syscall::VatstoreGetNextKey(key(dice)),
        })
    }

    /// Makes a syscall, and believes what follows from it.
    fn say(&mut self, syscall: Syscall<VRef>, syscalls: &mut Syscalls) -> Result<(), Fault> {
        let answer = syscalls.call(syscall.clone()).inspect_err(|fault| match fault {
            Fault::Vat(fault) => panic!("{syscall:?} should be legal: {fault}"),
            other => panic!("{syscall:?}: {other}"),
        })?;
        match syscall {
            Syscall::VatstoreSet(key, value) => drop(self.store.insert(key, value)),
            Syscall::VatstoreDelete(key) => drop(self.store.remove(&key)),
            Syscall::VatstoreGetNextKey(key) => {
                let next = self.store.keys().find(|it| **it > key).cloned();
                assert_eq!(answer, Answer::Value(next));
            }
            other => self.believe(&other),
        }
        Ok(())
    }

    /// Believes what follows from a syscall about its references.
    fn believe(&mut self, syscall: &Syscall<VRef>) {
        match syscall {
            Syscall::Send { target, message } => {
                self.mention(*target);
                message.methargs.slots.iter().for_each(|it| self.mention(*it));
                if let Some(result) = message.result {
                    self.promises.insert(result, false);
                }
            }
            Syscall::Subscribe(promise) => self.mention(*promise),
            Syscall::Resolve(batch) => {
                batch.iter().for_each(|it| self.hear_data(&it.data));
                self.promises.retain(|vref, _| batch.iter().all(|it| it.promise != *vref));
            }
            Syscall::DropImports(refs) => self.objects.extend(refs.iter().map(|it| (*it, false))),
            Syscall::RetireImports(refs) | Syscall::RetireExports(refs) | Syscall::AbandonExports(refs) => {
                self.objects.retain(|vref, _| !refs.contains(vref));
            }
            other => panic!("{other:?} is never chosen"),
        }
    }
}

// ---- the properties

fn runs() -> impl Strategy<Value = (u64, Vec<Step>)> {
    (any::<u64>(), prop::collection::vec(step(), 1..40))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_vats_believe_is_what_the_kernel_keeps_and_running_twice_gives_the_same_hashes((seed, steps) in runs()) {
        let first = run(seed, &steps, Manner::default());
        prop_assert_eq!(first, run(seed, &steps, Manner::default()));
    }

    #[test]
    fn an_aborted_crank_leaves_no_trace_but_its_number((seed, steps) in runs()) {
        let late = run(seed, &steps, Manner::default());
        prop_assert_eq!(late, run(seed, &steps, Manner { faults_early: true, ..Manner::default() }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_that_was_closed_and_opened_again_at_any_block_is_the_one_that_never_was((seed, steps) in runs()) {
        let dir = tempfile::tempdir().unwrap();
        let restarted = run(seed, &steps, Manner { dir: Some(dir.path()), ..Manner::default() });
        prop_assert_eq!(restarted, run(seed, &steps, Manner::default()));
    }
}

/// So that the properties above are not about nothing.
#[test]
fn random_runs_do_all_that_they_are_meant_to() {
    let mut seen = Seen::new();
    for seed in 0..60 {
        let call = |it: u64| Step::Call(1 + it % VATS, 1 + (it + 1) % VATS, 1 + (it + 2) % VATS);
        let open = [Step::Open(1, 2), Step::Open(3, 4)];
        let turn = |it| [call(it), Step::Run(7), Step::Act(it), Step::Act(it + 1)];
        let steps: Vec<Step> = open.into_iter().chain((0..12).flat_map(turn)).collect();
        for (kind, n) in perform(seed, &steps, Manner::default()).1 {
            *seen.entry(kind).or_default() += n;
        }
    }
    let deliveries =
        ["startVat", "message", "notify", "dropExports", "retireExports", "retireImports", "bringOutYourDead"];
    let messages = ["send", "subscribe", "resolve", "exit", "vatstoreSet", "vatstoreDelete", "vatstoreGetNextKey"];
    let garbage = ["dropImports", "retireImports", "retireExports", "abandonExports"];
    let wanted = (deliveries.map(|it| (What::Delivery, it)).into_iter())
        .chain(messages.into_iter().chain(garbage).map(|it| (What::Syscall, it)))
        .chain(["send", "subscribe", "resolve", "dropImports", "retireImports"].map(|it| (What::Session, it)))
        .chain([(What::Fault, "")]);
    let rare: Vec<_> = wanted.filter(|it| seen.get(it).is_none_or(|n| *n < 5)).collect();
    assert!(rare.is_empty(), "{rare:?} of {seen:?}");
}
