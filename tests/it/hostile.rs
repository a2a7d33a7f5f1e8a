//! Hostile guests: the host lives, the guest ends with the reason that it deserves, and its neighbours never know.

use std::fmt::Write as _;

use vathost::{
    kernel,
    model::{
        id::{KRef, VatId},
        limits,
        value::CapData,
    },
    slog::Slog,
    state::{
        block::Block,
        table::{Options, Status},
    },
    vat::{Warehouse, module},
};

use crate::abi::{GUEST, guest};

/// Fuel that is burnt in a few milliseconds.
const LITTLE: u64 = 5_000_000;

const OUT_OF_FUEL: &str = "out of fuel";

#[test]
fn every_infinite_loop_ends_with_its_fuel() {
    for body in [
        "(loop $l (br $l))",
        "(loop $l (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br $l))",
        "(loop $l (memory.copy (i32.const 0) (i32.const 8) (i32.const 65536)) (br $l))",
        "(loop $l (memory.init $d (i32.const 0) (i32.const 0) (i32.const 64)) (br $l))",
        "(loop $l (drop (memory.grow (i32.const 0))) (br $l))",
        "(loop $l (call $input_read (i32.const 0) (i32.const 0) (i32.const 56)) (br $l))",
        "(loop $l (drop (call $vatstore_get (i32.const 0) (i32.const 1))) (br $l))",
        "(loop $l (call $console (i32.const 0) (i32.const 0) (i32.const 0)) (br $l))",
        "(loop $l (call $drop_imports (i32.const 0) (i32.const 0)) (br $l))",
        "(loop $l (call $resolve (i32.const 0) (i32.const 0)) (br $l))",
        "(loop $l (call_indirect (i32.const 0)) (br $l))",
    ] {
        let fields =
            format!("(data $d \"{}\") (table 1 funcref) (elem (i32.const 0) $nothing) (func $nothing)", "x".repeat(64));
        assert_eq!(guest(body).fuel(LITTLE).fields(&fields).verdict(), OUT_OF_FUEL, "{body}");
    }
}

#[test]
fn filling_four_gigabytes_costs_more_than_there_is() {
    let verdict = |body: &str| guest(body).verdict();
    assert_eq!(verdict("(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))"), OUT_OF_FUEL);
    assert_eq!(verdict("(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))"), OUT_OF_FUEL);
    assert_eq!(verdict("(call $input_read (i32.const 0) (i32.const 0) (i32.const -1))"), OUT_OF_FUEL);
    assert_eq!(verdict("(call $console (i32.const 0) (i32.const 0) (i32.const -1))"), OUT_OF_FUEL);
}

#[test]
fn a_memory_bomb_gets_its_limit_and_nothing_more_however_often_it_asks_and_touches() {
    let outcome = guest(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (memory.fill (i32.const 0) (i32.const 255) (i32.shl (memory.size) (i32.const 16)))",
    )
    .memory_max(8 << 20)
    .run();
    assert_eq!(outcome.fault, None);
    let memory = outcome.block.tables().tallies.get(&GUEST).unwrap().memory;
    assert!(memory <= 8 << 20 && memory > 7 << 20, "{memory}");
}

#[test]
fn recursion_ends_at_the_counter_and_not_at_the_native_stack() {
    let locals = "(local i64 i64 i64 i64 i64 i64 i64 i64)".repeat(20);
    for fields in [
        "(func $r (call $r))".to_owned(),
        "(func $r (call $s)) (func $s (call $r))".to_owned(),
        format!("(func $r {locals} (call $r))"),
        "(table 1 funcref) (elem (i32.const 0) $r) (func $r (call_indirect (i32.const 0)))".to_owned(),
        "(func $r (call $console (i32.const 0) (i32.const 0) (i32.const 0)) (call $r))".to_owned(),
        "(func $r (loop $l (call $r) (br $l)))".to_owned(),
    ] {
        assert_eq!(guest("(call $r)").fields(&fields).verdict(), "call stack exhausted", "{fields:.80}");
    }
}

#[test]
fn a_module_that_may_not_run_never_starts_and_says_why() {
    let refused = |wat: &str| {
        let wasm = wat::parse_str(wat).unwrap();
        let rules = module::Rules::default();
        let direct = module::prepare(&wasm, &rules).unwrap_err().to_string();
        let outcome = crate::abi::run(&wasm, Options::default());
        assert_eq!(outcome.fault.unwrap(), format!("cannot start: {direct}"));
        direct.split(':').next().unwrap().to_owned()
    };
    let vat = "(memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32))";
    assert_eq!(refused(&format!("(module {vat} (func $s) (start $s))")), "start");
    assert_eq!(refused(&format!("(module (import \"env\" \"abort\" (func)) {vat})")), "imports");
    assert_eq!(refused(&format!("(module (import \"vat1\" \"send\" (func (param i32))) {vat})")), "imports");
    assert_eq!(
        refused(&format!("(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32))) {vat})")),
        "imports"
    );
    assert_eq!(refused("(module (func (export \"vat_deliver\") (param i32)))"), "exports");
    assert_eq!(refused("(module (memory (export \"memory\") 1))"), "exports");
    assert_eq!(
        refused("(module (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i64)))"),
        "exports"
    );
}

#[test]
fn bytes_that_are_no_module_never_start() {
    let whole = wat::parse_str(guest("").wat()).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0xff;
    for wasm in [&b""[..], b"\0asm", b"not wasm at all", &whole[..whole.len() - 1], &whole[..whole.len() / 2], &flipped]
    {
        let fault = crate::abi::run(wasm, Options::default()).fault.unwrap();
        assert!(fault.starts_with("cannot start: "), "{fault}");
    }
}

#[test]
fn every_nan_is_the_canonical_one() {
    let f32s = [
        "(f32.div (f32.const 0) (f32.const 0))",
        "(f32.sqrt (f32.const -1))",
        "(f32.add (f32.const nan:0x200001) (f32.const 1))",
        "(f32.sub (f32.const inf) (f32.const inf))",
        "(f32.min (f32.const -nan:0x7fffff) (f32.const 1))",
        "(f32.demote_f64 (f64.const nan:0x8000000000001))",
        "(f32.nearest (f32.const nan:0x123456))",
        "(f32x4.extract_lane 2 (f32x4.div (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0)))",
    ];
    let f64s = [
        "(f64.div (f64.const 0) (f64.const 0))",
        "(f64.mul (f64.const inf) (f64.const 0))",
        "(f64.promote_f32 (f32.const -nan:0x200001))",
        "(f64.max (f64.const -nan:0xfffffffffffff) (f64.const 1))",
        "(f64.floor (f64.const nan:0x123456789))",
        "(f64x2.extract_lane 1 (f64x2.sqrt (f64x2.splat (f64.const -1))))",
    ];
    let mut body = String::new();
    for it in f32s {
        write!(body, "(if (i32.ne (i32.reinterpret_f32 {it}) (i32.const 0x7fc00000)) (then unreachable))").unwrap();
    }
    for it in f64s {
        write!(body, "(if (i64.ne (i64.reinterpret_f64 {it}) (i64.const 0x7ff8000000000000)) (then unreachable))")
            .unwrap();
    }
    assert_eq!(guest(&body).verdict(), "ok");
    // Made at run time rather than folded by the compiler.
    let body = "(f64.store (i32.const 8) (f64.div (f64.load (i32.const 16)) (f64.load (i32.const 24))))
         (if (i64.ne (i64.load (i32.const 8)) (i64.const 0x7ff8000000000000)) (then unreachable))";
    assert_eq!(guest(body).verdict(), "ok");
}

// ---- neighbours

/// What a hostile guest does with its message.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let repeat = |call: &str| {
        format!(
            "(loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (i32.store (i32.const 0) (local.get $i)) {call} (br $l))"
        )
    };
    vec![
        ("a loop", "(loop $l (br $l))".to_owned(), OUT_OF_FUEL),
        ("a trap", "unreachable".to_owned(), "trap: wasm trap: wasm `unreachable` instruction executed; in go"),
        ("recursion", "(call $go (local.get $len))".to_owned(), "call stack exhausted"),
        (
            "a forgery",
            "(call $drop_imports (i32.const 0) (i32.const 1))".to_owned(),
            "illegal syscall dropImports: 0x0 is not a reference",
        ),
        (
            "a flood of keys",
            repeat("(call $vatstore_set (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 1000))"),
            OUT_OF_FUEL,
        ),
        (
            "a flood of promises",
            repeat("(call $subscribe (i64.or (i64.const 0x6000000000000000) (i64.extend_i32_u (local.get $i))))"),
            OUT_OF_FUEL,
        ),
        (
            "a flood of messages to a neighbour",
            repeat(
                "(call $send (i64.const 50) (i32.const 0) (i32.const 100) (i32.const 0) (i32.const 0) (i64.const 0))",
            ),
            OUT_OF_FUEL,
        ),
        ("a flood of words", repeat("(call $console (i32.const 3) (i32.const 0) (i32.const 9000))"), OUT_OF_FUEL),
        (
            "an exit that undoes",
            "(call $vatstore_set (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4))
             (call $send (i64.const 50) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))
             (call $exit (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"
                .to_owned(),
            "",
        ),
    ]
}

/// Two honest vats that write down every message and pass it on, and a third that is sent a message half-way.
fn neighbours(hostile: &[u8]) -> (String, Status) {
    let honest = guest(
        "(call $input_read (i32.const 1024) (i32.const 0) (local.get $len))
         (global.set $n (i32.add (global.get $n) (i32.const 1)))
         (i32.store (i32.const 512) (global.get $n))
         (call $vatstore_set (i32.const 512) (i32.const 4) (i32.const 1024) (local.get $len))
         (if (i32.lt_u (global.get $n) (i32.const 6))
             (then (call $send (i64.const 50) (i32.const 512) (i32.const 4) (i32.const 520) (i32.const 1) (i64.const 0))))",
    )
    .fields("(global $n (mut i32) (i32.const 0)) (data (i32.const 520) \"\\32\\00\\00\\00\\00\\00\\00\\00\")")
    .wat();
    let mut block = Block::memory(Slog::default()).unwrap();
    let mut warehouse = Warehouse::new(None).unwrap();
    let (honest, hostile) = (block.put_bundle(&wat::parse_str(honest).unwrap()), block.put_bundle(hostile));
    let plain =
        |fuel| Options { reap_interval: None, reap_gc_krefs: None, fuel_per_delivery: fuel, ..Options::default() };
    let empty = || CapData::plain("#{}");
    (block, _) = kernel::outside(block, |crank| {
        // In SwingSet's order: each hears from outside, and of the other, before the other's messages.
        crank.set_kernel_version(1);
        let a = crank.create_vat("a", honest, plain(limits::FUEL_PER_DELIVERY), empty())?;
        let b = crank.create_vat("b", honest, plain(limits::FUEL_PER_DELIVERY), empty())?;
        let c = crank.create_vat("c", hostile, plain(LITTLE), empty())?;
        let roots = [crank.root(a)?, crank.root(b)?, crank.root(c)?];
        roots.into_iter().try_for_each(|it| crank.pin(it))?;
        let hear = |of: usize| CapData { body: "#[\"go\",[\"$0\"]]".into(), slots: vec![KRef::Object(roots[of])] };
        crank.send_from_outside(roots[0].into(), hear(1), Some(("a", "go")))?;
        crank.send_from_outside(roots[2].into(), hear(1), Some(("c", "go")))?;
        crank.send_from_outside(roots[1].into(), hear(0), Some(("b", "go")))
    })
    .unwrap();
    loop {
        let (next, ran) = kernel::crank(block, &mut warehouse).unwrap();
        block = next;
        if ran.is_none() {
            break;
        }
    }
    let status = block.tables().vats.get(&VatId(3)).unwrap().status.clone();
    (rows(&block), status)
}

/// Every row of the honest vats, and the objects that are left.
fn rows(block: &Block) -> String {
    let tables = block.tables();
    let honest = |vat: VatId| vat < VatId(3);
    let mut rows = String::new();
    let mut write = |row: &dyn std::fmt::Debug| writeln!(rows, "{row:?}").unwrap();
    tables.clist.iter().filter(|((vat, _), _)| honest(*vat)).for_each(|row| write(&row));
    tables.vatstore.iter().filter(|((vat, _), _)| honest(*vat)).for_each(|row| write(&row));
    tables.tallies.iter().filter(|(vat, _)| honest(**vat)).for_each(|row| write(&row));
    tables.vats.iter().filter(|(vat, _)| honest(**vat)).for_each(|row| write(&row));
    tables.objects.iter().for_each(|row| write(&row));
    tables.queue.iter().for_each(|row| write(&row));
    tables.gc.iter().for_each(|row| write(&row));
    rows
}

#[test]
fn whatever_a_guest_does_its_neighbours_rows_are_those_of_a_run_without_it() {
    let wasm = |body: &str| wat::parse_str(guest(body).wat()).unwrap();
    let (expected, status) =
        neighbours(&wasm("(call $exit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))"));
    assert_eq!(status, Status::Terminated { reason: String::new(), cleaned: true });
    assert_eq!(expected.matches("go").count(), 2, "the honest ones heard from outside");
    for (name, body, reason) in hostile() {
        let (actual, status) = neighbours(&wasm(&body));
        assert_eq!(status, Status::Terminated { reason: reason.to_owned(), cleaned: true }, "{name}");
        assert_eq!(actual, expected, "{name}");
    }
}

#[test]
fn a_vat_that_answers_with_a_flood_harms_only_by_what_it_paid_for() {
    // Messages that are kept, each in its own crank, do reach the neighbour: as many as the fuel buys, and no more.
    let body =
        "(loop $l (call $send (i64.const 50) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0))
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 500))))";
    let outcome = guest(body).fuel(LITTLE).run();
    assert_eq!(outcome.fault, None);
    assert_eq!(outcome.block.tables().tallies.get(&VatId(2)).unwrap().deliveries, 501, "startVat, and each of them");
    assert!(outcome.block.tables().queue.run().next().is_none());
}

#[test]
fn a_thousand_vats_that_die_leave_nothing_behind() {
    let mut block = Block::memory(Slog::default()).unwrap();
    let mut warehouse = Warehouse::new(None).unwrap();
    let bundle = block.put_bundle(&wat::parse_str(guest("unreachable").wat()).unwrap());
    for round in 0..1_000 {
        (block, _) = kernel::outside(block, |crank| {
            let vat = crank.create_vat("mayfly", bundle, Options::default(), CapData::plain("#{}"))?;
            let root = crank.root(vat)?;
            crank.queue_from_outside(root.into(), CapData::plain("#[\"go\",[]]"), None)
        })
        .unwrap();
        loop {
            let (next, ran) = kernel::crank(block, &mut warehouse).unwrap();
            block = next;
            if ran.is_none() {
                break;
            }
        }
        if round % 100 == 0 {
            block = block.commit(false).unwrap();
        }
    }
    let tables = block.tables();
    assert_eq!(warehouse.live(), 0);
    assert_eq!((tables.clist.len(), tables.objects.len(), tables.promises.len(), tables.queue.len()), (0, 0, 0, 0));
    assert_eq!(tables.vats.len(), 1_000, "their names stay");
}

#[test]
fn all_the_fuel_there_is_can_be_given_and_burnt_without_wrapping() {
    let outcome = guest("").fuel(u64::MAX).run();
    assert_eq!(outcome.fault, None);
    assert!(outcome.fuel < 10_000, "{}", outcome.fuel);
    let outcome = guest("unreachable").fuel(u64::MAX).run();
    assert_eq!(outcome.fault.as_deref(), Some("trap: wasm trap: wasm `unreachable` instruction executed; in go"));
    assert_eq!(outcome.block.fuel(), u64::MAX, "it pays for all that it might have used, and that is all there is");
}
