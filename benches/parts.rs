//! `cargo bench`: the parts of a delivery, each alone. (`vathost bench` measures the whole, beside bare wasmtime.)
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say so at once")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use vathost::{
    bench::Load,
    directive::DirectiveSet,
    host::controller::{BlockPolicy, Host, HostOptions},
    kernel::{self, ScriptedVat, Scripts, Usage},
    model::{
        id::{BundleId, CrankNum, DeliveryNum, KRef, ObjectId, VRef, VatId},
        value::{CapData, Delivery, Message, Syscall},
    },
    slog::Slog,
    state::{
        block::Block,
        table::{CList, CListEntry, Item, Options, Owner, Tables},
    },
    store::{CommitFloor, Fold, Journaled, Table},
    vat::{Floor, FloorKind},
};

const BALL: &str = "#[\"ball\",[\"0123456789abcdef0123456789abcdef0123456789abcdef0123\"]]";

fn message() -> Message<KRef> {
    Message { methargs: CapData::plain(BALL), result: None }
}

/// Bare wasmtime, with and without a send.
fn floors(c: &mut Criterion) {
    for (name, kind) in [("floor: call", FloorKind::Call), ("floor: call and send", FloorKind::Send)] {
        let mut floor = Floor::new(kind).unwrap();
        c.bench_function(name, |it| it.iter(|| floor.run(1).unwrap()));
    }
}

/// A row of the queue, born and gone: journal and hash input.
fn codec(c: &mut Criterion) {
    let mut queue: Table<u64, Item> = Table::new(1, "queue");
    c.bench_function("codec: seal a queued message", |it| {
        it.iter(|| {
            let mut mark = Fold::of_step("crank");
            queue.insert(1, Item::Send { target: ObjectId(20).into(), message: message() });
            queue.seal(&mut mark, None, None).unwrap();
            queue.remove(&1);
            queue.seal(&mut mark, None, None).unwrap();
            black_box(mark)
        });
    });
}

fn clist(c: &mut Criterion) {
    let mut clist = CList::new(1, "clist");
    for at in 0..100_000 {
        let entry = CListEntry { kref: ObjectId(at).into(), reachable: true };
        clist.insert((VatId(at % 100), VRef::imported_object(at)), entry);
    }
    clist.seal(&mut Fold::of_step("test"), None, None).unwrap();
    let mut next = 0;
    c.bench_function("c-list: there and back, among 100,000", |it| {
        it.iter(|| {
            next = (next + 7_919) % 100_000;
            let vat = VatId(next % 100);
            let vref = clist.vref(vat, ObjectId(next).into()).unwrap();
            black_box(clist.get(&(vat, vref)).unwrap().kref)
        });
    });
}

fn route(c: &mut Criterion) {
    let (block, _) = scripted();
    let tables: &Tables = block.tables();
    let owned = tables.objects.iter().find(|(_, it)| matches!(it.owner, Some(Owner::Vat(_)))).unwrap().0;
    let item = Item::Send { target: (*owned).into(), message: message() };
    c.bench_function("route: to an object", |it| it.iter(|| black_box(kernel::destination(tables, &item))));
}

/// Vats without wasm: each sends what it gets back to where it came from.
fn echoes() -> Scripts {
    Scripts::new(|_vat, _row| -> ScriptedVat {
        Box::new(|delivery, _fuel, syscalls| {
            if let Delivery::Message { message, .. } = delivery {
                let target = message.methargs.slots.get(1).copied().unwrap_or(VRef::ROOT);
                let message = Message { methargs: CapData::plain(BALL), result: None };
                syscalls.call(Syscall::Send { target, message })?;
            }
            Ok(Usage { fuel: 1_000, memory: 65_536 })
        })
    })
}

/// A state in memory with one echo, which has a ball.
fn scripted() -> (Block, Scripts) {
    let block = Block::memory(Slog::default()).unwrap();
    let (block, ()) = kernel::outside(block, |crank| {
        let options = Options { reap_interval: None, ..Options::default() };
        let vat = crank.create_vat("echo", BundleId::of(b""), options, CapData::plain("#{}"))?;
        let root = crank.root(vat)?;
        crank.pin(root)?;
        crank.queue_from_outside(root.into(), CapData::plain(BALL), None)
    })
    .unwrap();
    let mut workers = echoes();
    let (block, _) = kernel::crank(block, &mut workers).unwrap();
    assert_eq!(block.tables().queue.run().count(), 1);
    (block, workers)
}

/// A whole crank but for wasm: take, route, translate, one syscall, accept, seal.
fn syscall(c: &mut Criterion) {
    let (block, mut workers) = scripted();
    let mut block = Some(block);
    c.bench_function("kernel: a crank with one send, without wasm", |it| {
        it.iter(|| {
            let (next, ran) = kernel::crank(block.take().unwrap(), &mut workers).unwrap();
            assert!(ran.is_some());
            block = Some(if next.cranks() < 10_000 { next } else { next.commit(false).unwrap() });
        });
    });
}

fn live(open: HostOptions) -> Host {
    let mut controller = Host::open(open).unwrap();
    controller.install(&Load { letter: 'p', number: 10, others: 1 }.scenario().unwrap()).unwrap();
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    controller
}

fn commit(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut floor = CommitFloor::new(dir.path()).unwrap();
    c.bench_function("commit: one row on bare SQLite", |it| it.iter(|| floor.commit(&[7; 200]).unwrap()));
    let state = tempfile::tempdir().unwrap();
    let mut controller = live(HostOptions { state: Some(state.path().to_owned()), ..HostOptions::default() });
    let policy = BlockPolicy { cranks: 1, ..BlockPolicy::default() };
    c.bench_function("commit: a block of one delivery", |it| {
        it.iter(|| controller.run_block(&policy, &mut |_| true).unwrap().cranks);
    });
}

fn replay(c: &mut Criterion) {
    let mut controller = live(HostOptions { snapshot_interval: Some(0), ..HostOptions::default() });
    while controller.report().unwrap().deliveries < 20_000 {
        controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    }
    c.bench_function("replay: 10,000 deliveries of a vat", |it| {
        it.iter_batched(
            || (),
            |()| {
                controller.evict_all();
                controller.heap(VatId(1)).unwrap()
            },
            BatchSize::PerIteration,
        );
    });
}

fn directive(c: &mut Criterion) {
    let mut set = DirectiveSet::default();
    let text: String = (0..1_000).map(|it| format!("crank-{}: skip v1\n", 1_000_000 + it)).collect();
    set.read("bench", text.as_bytes()).unwrap();
    let mut crank = 0;
    c.bench_function("directives: ask 1,000, none due", |it| {
        it.iter(|| {
            crank += 1;
            black_box(set.due(CrankNum(crank % 1_000_000), Some((VatId(2), DeliveryNum(crank)))).next().is_none())
        });
    });
}

criterion_group!(parts, floors, codec, clist, route, syscall, commit, replay, directive);
criterion_main!(parts);
