//! Modules at the corners of what is legal, each through the load pass, the compiler and the kernel: a refusal with its rule, the end of the
//! delivery, or the guest's own end; never this machine's fault or a kernel panic, and twice the same.

use std::{collections::BTreeSet, io::Write as _};

use vathost::{
    kernel,
    model::{
        engine_version::DEFAULT,
        id::{BundleId, KRef},
        value::CapData,
    },
    slog::Slog,
    state::{
        block::Block,
        table::{Options, Status},
    },
    vat::{
        Warehouse,
        module::{IMPORTS, Num, Rules, prepare},
    },
};

use crate::abi::GUEST;

/// What a case must come to.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It runs, and its delivery ends.
    Ok,
    /// The load pass refuses it by this rule.
    Refused(&'static str),
    /// Its vat ends with a reason that begins so.
    Fault(&'static str),
}

use End::{Fault, Ok as Done, Refused};

/// The body of the message that a module is sent.
const MESSAGE: &str = "#[\"go\",[\"$0\"]]";

/// What became of a module: why its vat ended, the fuel of its deliveries, and the hash of all that there is.
pub(super) type Life = (Option<String>, Vec<u64>, String);

/// A vat's first two deliveries, `startVat` and a message that brings it `o-50` and `p-60`. An error is a fault that is not the guest's.
pub(super) fn live(workers: &mut Warehouse, wasm: &[u8], options: &Options) -> Result<Life, String> {
    live_on(DEFAULT, workers, wasm, options)
}

/// The same, on this engine version.
pub(super) fn live_on(version: u32, workers: &mut Warehouse, wasm: &[u8], options: &Options) -> Result<Life, String> {
    live_told(version, workers, wasm, options, 0)
}

/// The same; the message ends with so many spaces.
fn live_told(
    version: u32,
    workers: &mut Warehouse,
    wasm: &[u8],
    options: &Options,
    spaces: usize,
) -> Result<Life, String> {
    let mut block = Block::memory(Slog::default()).unwrap();
    let bundle = block.put_bundle(wasm);
    let peer = block.put_bundle(&wat::parse_str(vat("", "")).unwrap());
    (block, _) = kernel::outside(block, |crank| {
        crank.set_engine_version(version);
        let guest = crank.create_vat("guest", bundle, options.clone(), CapData::plain("#{}"))?;
        let peer = crank.create_vat("peer", peer, Options::default(), CapData::plain("#{}"))?;
        let (guest, peer) = (crank.root(guest)?, crank.root(peer)?);
        crank.pin(guest)?;
        crank.pin(peer)?;
        let methargs = CapData { body: format!("{MESSAGE}{:spaces$}", "").into(), slots: vec![KRef::Object(peer)] };
        crank.send_from_outside(guest.into(), methargs, Some(("guest", "go")))
    })
    .unwrap();
    let (mut reason, mut fuel) = (None, vec![]);
    loop {
        let (next, ran) = kernel::crank(block, workers).map_err(|halt| format!("{:?}", halt.fault))?;
        block = next;
        let Some(ran) = ran else { break };
        fuel.push(ran.fuel);
        if let Some(Status::Terminated { reason: why, .. }) = block.tables().vats.get(&GUEST).map(|it| &it.status) {
            reason = Some(why.clone());
        }
    }
    workers.evict_all();
    if block.tables().is_alive(GUEST) {
        kernel::bring_up(&mut block, workers, GUEST).map_err(|fault| format!("made again: {fault}"))?;
        workers.evict_all();
    }
    let life = (reason, fuel, block.state_hash().expect("hashes").to_string());
    record(version, wasm, options, spaces, &life);
    Ok(life)
}

/// Writes the life down, if `benches/engines.sh` asks for it.
fn record(version: u32, wasm: &[u8], options: &Options, spaces: usize, life: &Life) {
    let Some(path) = std::env::var_os("VATHOST_LIVES") else { return };
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    let (bundle, budget) = (BundleId::of(wasm), options.fuel_per_delivery);
    let line = format!("module {bundle}, told {spaces}, engine {version}, budget {budget}\t{life:?}\n");
    // In one piece: tests run beside each other.
    file.write_all(line.as_bytes()).unwrap();
}

/// A vat with more fields, which does this with its second delivery.
pub(super) fn vat(fields: &str, body: &str) -> String {
    let memory = if fields.contains("(memory") { "" } else { "(memory (export \"memory\") 1)" };
    format!(
        "(module {fields} {memory} (global $turn (mut i32) (i32.const 0))
           (func (export \"vat_deliver\") (param $len i32) (local $i i32)
             (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
             (if (i32.eq (global.get $turn) (i32.const 2)) (then {body}))))"
    )
}

/// Every case comes to its end, twice to the same. All that do not are listed.
fn all_end(cases: impl IntoIterator<Item = (String, Option<End>)>) -> usize {
    all_told_end(cases.into_iter().map(|(wat, end)| (wat, 0, end)))
}

/// The same; the message of each ends with so many spaces.
fn all_told_end(cases: impl IntoIterator<Item = (String, usize, Option<End>)>) -> usize {
    let mut workers = Warehouse::new(None).unwrap();
    let (mut wrong, mut count) = (vec![], 0);
    let options = Options { fuel_per_delivery: 20_000_000, memory_max: 1 << 20, ..Options::default() };
    for (wat, spaces, end) in cases {
        count += 1;
        let wasm = wat::parse_str(&wat).unwrap_or_else(|err| panic!("{err}\n{wat:.2000}"));
        let refused = prepare(&wasm, &Rules::default()).err();
        let lives = [(); 2].map(|()| live_told(DEFAULT, &mut workers, &wasm, &options, spaces));
        let [Ok(life), Ok(again)] = &lives else {
            wrong.push(format!("{lives:?}: told {spaces}: {wat:.400}"));
            workers = Warehouse::new(None).unwrap();
            continue;
        };
        let reason = life.0.as_deref();
        // The first version charges the same, in another way.
        match live_told(1, &mut workers, &wasm, &options, spaces) {
            Ok(first) if (&first.0, &first.1) == (&life.0, &life.1) => {}
            first => wrong.push(format!("version 1: {first:?}, {DEFAULT}: {life:?}: told {spaces}: {wat:.400}")),
        }
        let right = match end {
            _ if life != again => false,
            Some(Done) => refused.is_none() && reason.is_none(),
            Some(Refused(rule)) => {
                let start = format!("cannot start: {rule}: ");
                refused.is_some_and(|it| it.0.iter().any(|it| it.rule == rule))
                    && reason.is_some_and(|it| it.starts_with(&start))
            }
            Some(Fault(why)) => refused.is_none() && reason.is_some_and(|it| it.starts_with(why)),
            // A vat that ends itself without a word has no reason.
            None => refused.is_none(),
        };
        if !right {
            wrong.push(format!("{end:?}: {life:?} {again:?}: told {spaces}: {wat:.400}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    count
}

fn expect_all(cases: &[(&str, &str, End)]) {
    all_end(cases.iter().map(|(fields, body, end)| (vat(fields, body), Some(*end))));
}

const OUT_OF_BOUNDS: End = Fault("trap: wasm trap: out of bounds memory access");
const TABLE_BOUNDS: End = Fault("trap: wasm trap: undefined element: out of bounds table access");

/// Unreachable unless the grown size is as expected.
fn grows(pages: i64, answer: i64) -> String {
    format!("(if (i32.ne (memory.grow (i32.const {pages})) (i32.const {answer})) (then unreachable))")
}

#[test]
fn a_memory_grows_to_its_own_maximum_and_to_its_vats_and_is_told_minus_one_past_either() {
    let mut cases = vec![];
    // The vat may have 16 pages. What is asked for is paid for, granted or not: all that there is would be more than the fuel.
    for (min, max, steps) in [
        (1, Some(1), vec![(0, 1), (1, -1), (0, 1)]),
        (2, Some(2), vec![(1, -1), (1_000, -1), (2_000, -1)]),
        (0, Some(0), vec![(0, 0), (1, -1)]),
        (0, Some(1), vec![(1, 0), (1, -1), (0, 1)]),
        (1, Some(16), vec![(15, 1), (1, -1)]),
        (1, Some(17), vec![(15, 1), (1, -1)]),
        (1, Some(65_536), vec![(16, -1), (15, 1), (1, -1)]),
        (1, None, vec![(16, -1), (1_000, -1), (2_000, -1), (15, 1), (1, -1)]),
        (16, None, vec![(1, -1), (0, 16)]),
        (16, Some(16), vec![(1, -1), (0, 16)]),
    ] {
        let max = max.map_or(String::new(), |it| it.to_string());
        let steps: String = steps.into_iter().map(|(pages, answer)| grows(pages, answer)).collect();
        cases.push((vat(&format!("(memory (export \"memory\") {min} {max})"), &steps), Some(Done)));
    }
    // In `_initialize` too.
    let early = format!("(memory (export \"memory\") 1 1) (func (export \"_initialize\") {})", grows(1, -1));
    cases.push((vat(&early, ""), Some(Done)));
    let needs = Some(Fault("cannot start: it needs 1114112 bytes of memory, its limit is 1048576"));
    cases.push((vat("(memory (export \"memory\") 17)", ""), needs));
    cases.push((vat("(memory (export \"memory\") 17 17)", ""), needs));
    all_end(cases);
}

#[test]
fn segments_at_the_edges_and_past_them() {
    expect_all(&[
        ("(data (i32.const 0) \"\")", "", Done),
        ("(data (i32.const 65536) \"\")", "", Done),
        ("(data (i32.const 65535) \"a\")", "", Done),
        ("(data (i32.const 65536) \"a\")", "", Refused("segments")),
        ("(data (i32.const 65537) \"\")", "", Refused("segments")),
        ("(data (i32.const -1) \"\")", "", Refused("segments")),
        ("(memory (export \"memory\") 0) (data (i32.const 0) \"\")", "", Done),
        ("(memory (export \"memory\") 0) (data (i32.const 0) \"a\")", "", Refused("segments")),
        ("(memory (export \"memory\") 0 1) (data (i32.const 0) \"a\")", "", Refused("segments")),
        ("(global $g i32 (i32.const 0)) (data (global.get $g) \"a\")", "", Refused("segments")),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 65533) (i32.const 0) (i32.const 3))", Done),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 65536) (i32.const 3) (i32.const 0))", Done),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 65534) (i32.const 0) (i32.const 3))", OUT_OF_BOUNDS),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 0) (i32.const 1) (i32.const 3))", OUT_OF_BOUNDS),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 65537) (i32.const 0) (i32.const 0))", OUT_OF_BOUNDS),
        ("(data $d \"abc\")", "(memory.init $d (i32.const 0) (i32.const 4) (i32.const 0))", OUT_OF_BOUNDS),
        ("(data $d \"abc\")", "(memory.init $d (i32.const -1) (i32.const -1) (i32.const 1))", OUT_OF_BOUNDS),
        ("(data $d \"abc\")", "(data.drop $d)", Refused("operators")),
        (
            "(data (i32.const 8) \"abc\")",
            "(if (i32.ne (i32.load8_u (i32.const 9)) (i32.const 98)) (then unreachable))",
            Done,
        ),
        ("(table 1 funcref) (func $f) (elem (i32.const 0) $f)", "(call_indirect (i32.const 0))", Done),
        ("(table 1 funcref) (func $f) (elem (i32.const 1))", "", Done),
        ("(table 1 funcref) (func $f) (elem (i32.const 1) $f)", "", Refused("segments")),
        ("(table 0 funcref) (func $f) (elem (i32.const 0) $f)", "", Refused("segments")),
        ("(table 0 funcref) (elem (i32.const 0))", "", Done),
        ("(table 0 funcref) (elem (i32.const 1))", "", Refused("segments")),
        (
            "(table 4 funcref) (func $f) (elem (i32.const 3) $f) (elem (i32.const 3) $f)",
            "(call_indirect (i32.const 3))",
            Done,
        ),
        ("(func $f) (elem declare func $f)", "(drop (ref.func $f))", Done),
        ("(func $f) (elem func $f)", "", Done),
        (
            "(table 2 funcref) (func $f) (elem (i32.const 0) funcref (ref.null func) (ref.func $f))",
            "(call_indirect (i32.const 1))",
            Done,
        ),
        (
            "(table 2 funcref) (func $f) (elem (i32.const 0) funcref (ref.null func) (ref.func $f))",
            "(call_indirect (i32.const 0))",
            Fault("trap: wasm trap: uninitialized element"),
        ),
    ]);
}

#[test]
fn tables_of_every_size_and_calls_through_them() {
    expect_all(&[
        ("(table 0 funcref)", "(call_indirect (i32.const 0))", TABLE_BOUNDS),
        ("(table 1 funcref)", "(call_indirect (i32.const 0))", Fault("trap: wasm trap: uninitialized element")),
        ("(table 1 1 funcref)", "(call_indirect (i32.const 1))", TABLE_BOUNDS),
        ("(table 1 1 funcref)", "(call_indirect (i32.const -1))", TABLE_BOUNDS),
        ("(table 10000 funcref)", "(call_indirect (i32.const 9999))", Fault("trap: wasm trap: uninitialized element")),
        ("(table 10001 funcref)", "", Refused("table")),
        ("(table 0 4294967295 funcref)", "", Done),
        ("(table 4294967295 funcref)", "", Refused("table")),
        (
            "(table 1 funcref) (func $f (param i32)) (elem (i32.const 0) $f)",
            "(call_indirect (i32.const 0))",
            Fault("trap: wasm trap: indirect call type mismatch"),
        ),
        (
            "(table 1 funcref) (elem (i32.const 0) $f) (func $f (call_indirect (i32.const 0)))",
            "(call_indirect (i32.const 0))",
            Fault("call stack exhausted"),
        ),
        ("(table $t 1 funcref)", "(drop (table.size $t))", Done),
        ("(table $t 1 funcref)", "(drop (table.get $t (i32.const 0)))", Done),
        ("(table $t 1 funcref)", "(drop (table.get $t (i32.const 1)))", Fault("trap: wasm trap: undefined element")),
        ("(table $t 1 funcref)", "(drop (table.grow $t (ref.null func) (i32.const 1)))", Refused("operators")),
        ("(table $t 1 1 funcref)", "(drop (table.grow $t (ref.null func) (i32.const -1)))", Refused("operators")),
        ("(table $t 1 funcref)", "(table.set $t (i32.const 0) (ref.null func))", Refused("operators")),
        ("(table 1 externref)", "", Refused("features")),
        (
            "(table $a 1 funcref) (table $b 2 funcref) (func $f) (elem (table $b) (i32.const 1) func $f)",
            "(call_indirect $b (i32.const 1))",
            Done,
        ),
        ("(table (export \"t\") 1 funcref)", "", Done),
    ]);
    let tables = |n: usize| vat(&"(table 0 funcref)".repeat(n), "");
    all_end([(tables(100), Some(Done)), (tables(101), Some(Refused("tables")))]);
}

#[test]
fn bulk_operations_and_accesses_at_the_edges() {
    let mut cases = vec![];
    let end = |inside: bool| Some(if inside { Done } else { OUT_OF_BOUNDS });
    for (at, len) in [
        (0_u32, 0_u32),
        (65_536, 0),
        (65_535, 1),
        (65_536, 1),
        (65_537, 0),
        (0, 65_536),
        (1, 65_536),
        (u32::MAX, 0),
        (u32::MAX, 1),
        (0x8000_0000, 1),
    ] {
        let inside = u64::from(at) + u64::from(len) <= 65_536;
        let (at, len) = (at.cast_signed(), len.cast_signed());
        cases.push((vat("", &format!("(memory.fill (i32.const {at}) (i32.const 7) (i32.const {len}))")), end(inside)));
        cases.push((vat("", &format!("(memory.copy (i32.const {at}) (i32.const 0) (i32.const {len}))")), end(inside)));
        cases.push((vat("", &format!("(memory.copy (i32.const 0) (i32.const {at}) (i32.const {len}))")), end(inside)));
    }
    for (load, bytes) in [
        ("i32.load8_u", 1),
        ("i32.load16_s", 2),
        ("i32.load", 4),
        ("i64.load", 8),
        ("f32.load", 4),
        ("f64.load", 8),
        ("v128.load", 16),
        ("v128.load8_splat", 1),
    ] {
        for at in [0, 65_536 - bytes, 65_536 - bytes + 1, 65_535, 65_536, i64::from(i32::MAX), -1] {
            let inside = at >= 0 && at + bytes <= 65_536;
            cases.push((vat("", &format!("(drop ({load} (i32.const {at})))")), end(inside)));
            let offset = at.rem_euclid(1 << 32);
            cases.push((vat("", &format!("(drop ({load} offset={offset} (i32.const 0)))")), end(inside)));
            cases.push((vat("", &format!("(drop ({load} offset={offset} (i32.const -1)))")), Some(OUT_OF_BOUNDS)));
        }
    }
    for (len, end) in [(-1, Fault("out of fuel")), (1 << 30, Fault("out of fuel"))] {
        cases.push((vat("", &format!("(memory.fill (i32.const 0) (i32.const 7) (i32.const {len}))")), Some(end)));
        cases.push((vat("", &format!("(memory.copy (i32.const 0) (i32.const 7) (i32.const {len}))")), Some(end)));
    }
    all_end(cases);
}

#[test]
fn interfaces_as_they_should_not_be() {
    let memory = "(memory (export \"memory\") 1)";
    let deliver = "(func (export \"vat_deliver\") (param i32))";
    let module = |fields: &str| format!("(module {fields})");
    all_end([
        (module(&format!("{memory} {deliver}")), Some(Done)),
        (module(""), Some(Refused("exports"))),
        (module(memory), Some(Refused("exports"))),
        (module(deliver), Some(Refused("exports"))),
        (module(&format!("(memory 1) {deliver}")), Some(Refused("exports"))),
        (module(&format!("{memory} (func (export \"vat_deliver\"))")), Some(Refused("exports"))),
        (module(&format!("{memory} (func (export \"vat_deliver\") (param i64))")), Some(Refused("exports"))),
        (module(&format!("{memory} (func (export \"vat_deliver\") (param f32))")), Some(Refused("exports"))),
        (module(&format!("{memory} (func (export \"vat_deliver\") (param i32 i32))")), Some(Refused("exports"))),
        (
            module(&format!("{memory} (func (export \"vat_deliver\") (param i32) (result i32) local.get 0)")),
            Some(Refused("exports")),
        ),
        (module(&format!("{memory} (global (export \"vat_deliver\") i32 (i32.const 0))")), Some(Refused("exports"))),
        (module(&format!("{memory} (export \"vat_deliver\" (memory 0))")), Some(Refused("exports"))),
        (module(&format!("(func (export \"memory\")) (memory 1) {deliver}")), Some(Refused("exports"))),
        (module(&format!("{memory} {deliver} (func (export \"_initialize\") (param i32))")), Some(Refused("exports"))),
        (
            module(&format!("{memory} {deliver} (func (export \"_initialize\") unreachable)")),
            Some(Fault("cannot start: ")),
        ),
        (
            module(&format!("{memory} {deliver} (func (export \"_initialize\") (loop (br 0)))")),
            Some(Fault("cannot start: out of fuel")),
        ),
        (
            module(&format!("{memory} {deliver} (func $f (export \"_initialize\") (call $f))")),
            Some(Fault("cannot start: call stack exhausted")),
        ),
        (module(&format!("{memory} {deliver} (func $s) (start $s)")), Some(Refused("start"))),
        (module(&format!("{memory} {deliver} (func $s unreachable) (start $s)")), Some(Refused("start"))),
        (module(&format!("{memory} {deliver} (func (export \"vathost:stack\"))")), Some(Refused("exports"))),
        (module(&format!("{memory} {memory} {deliver}").replacen("memory\"", "m\"", 1)), Some(Refused("memory"))),
        (module(&format!("(memory (export \"memory\") 65536) {deliver}")), Some(Fault("cannot start: it needs"))),
        // Several results, in the guest only.
        (vat("(func $two (result i32 i64) (i32.const 1) (i64.const 2))", "(call $two) drop drop"), Some(Done)),
        (
            vat(
                "(func $f (result i32 i32 i32) (block (result i32 i32 i32) (i32.const 1) (i32.const 2) (i32.const 3) (br 0)))",
                "(call $f) drop drop drop",
            ),
            Some(Done),
        ),
        // `vat_deliver` is an import's name too, and a function may be exported twice.
        (module(&format!("{memory} (func $f (export \"a\") (export \"vat_deliver\") (param i32))")), Some(Done)),
    ]);
    let init = "(import \"vat1\" \"vatstore_delete\" (func $d (param i32 i32))) (func (export \"_initialize\") (call $d (i32.const 0) (i32.const 1)))";
    all_end([(vat(init, ""), Some(Fault("cannot start: ")))]);
}

/// What an `i32` is at its extremes: a guest's memory ends at 65,536.
const POINTERS: [u32; 8] = [0, 1, 7, 65_535, 65_536, 65_537, 0x8000_0000, u32::MAX];

/// References of every kind and of none: the root, imports that there are and are not, reserved bits, an end of every range.
const REFERENCES: [u64; 14] = [
    0,
    1,
    50,
    51,
    u64::MAX,
    1 << 61,
    (1 << 61) | 1,
    (1 << 62) | 60,
    (1 << 62) | 61,
    (3 << 61) | 1,
    (1 << 63) | 70,
    3 << 62,
    (1 << 61) | (1 << 60) | (1 << 59),
    (1 << 61) - 1,
];

/// Where a caller has its arguments.
const ARGUMENTS: usize = 8_192;

/// A guest that calls one import, and drops what it answers: with the arguments that stand behind as many others as the message has spaces. To
/// compile a module for each call would take most of the time.
fn caller(import: usize, calls: &BTreeSet<Vec<u64>>) -> String {
    let it = IMPORTS[import];
    let types: Vec<_> = it.params.iter().map(Num::to_string).collect();
    let result = it.results.first().map_or(String::new(), |it| format!("(result {it})"));
    let name = it.name;
    // Where the import is the one that reads, it stands there twice.
    let read = "(import \"vat1\" \"input_read\" (func $read (param i32 i32 i32)))";
    let field = format!("{read} (import \"vat1\" \"{name}\" (func $it (param {}) {result}))", types.join(" "));
    let bytes = calls.iter().flatten().flat_map(|it| it.to_le_bytes());
    let bytes: String = bytes.map(|it| format!("\\{it:02x}")).collect();
    let (size, end) = (8 * it.params.len(), ARGUMENTS + 8 * it.params.len() * calls.len());
    assert!(end < 60_000, "{name} has {} calls", calls.len());
    let memory = format!(
        "(memory (export \"memory\") 1) (data (i32.const 0) \"#[]\") (data (i32.const {ARGUMENTS}) \"{bytes}\")"
    );
    let arguments = it.params.iter().enumerate().map(|(at, ty)| {
        let word = format!("(i64.load (i32.add (local.get $i) (i32.const {})))", ARGUMENTS + 8 * at);
        if *ty == Num::I32 { format!("(i32.wrap_i64 {word})") } else { word }
    });
    let call = format!("(call $it {})", arguments.collect::<Vec<_>>().join(" "));
    let call = if it.results.is_empty() { call } else { format!("(drop {call})") };
    // Behind the kind, a count, the target and the result is the length of the body. Where that stood, there is nothing again.
    let body = format!(
        "(call $read (i32.const 4096) (i32.const 24) (i32.const 4))
         (local.set $i (i32.mul (i32.sub (i32.load (i32.const 4096)) (i32.const {})) (i32.const {size})))
         (i32.store (i32.const 4096) (i32.const 0)) {call}",
        MESSAGE.len()
    );
    vat(&format!("{field} {memory}"), &body)
}

#[test]
fn every_import_at_its_extreme_arguments_ends_the_delivery_or_the_guest() {
    let mut cases = vec![];
    for (import, it) in IMPORTS.iter().enumerate() {
        let extremes = |at: usize| -> &[u64] {
            const WORDS: [u64; 8] = {
                let mut words = [0; 8];
                let mut at = 0;
                while at < 8 {
                    words[at] = POINTERS[at] as u64;
                    at += 1;
                }
                words
            };
            if it.params[at] == Num::I64 { &REFERENCES } else { &WORDS }
        };
        // What is not at an extreme is harmless: a short text at the start of the memory, the peer.
        let calm: Vec<u64> = it.params.iter().map(|it| if *it == Num::I64 { 50 } else { 0 }).collect();
        let mut calls = BTreeSet::from([calm.clone()]);
        for at in 0..calm.len() {
            for one in extremes(at) {
                let mut arguments = calm.clone();
                arguments[at] = *one;
                calls.insert(arguments.clone());
                // A pointer and its length stand side by side.
                for other in (at + 1..calm.len().min(at + 2)).flat_map(extremes) {
                    arguments[(at + 1).min(calm.len() - 1)] = *other;
                    calls.insert(arguments.clone());
                }
            }
        }
        for one in POINTERS {
            calls.insert(vec![u64::from(one); calm.len()]);
        }
        let wat = caller(import, &calls);
        cases.extend((0..calls.len()).map(|spaces| (wat.clone(), spaces, None)));
    }
    let count = all_told_end(cases);
    assert!(count > 1_000, "{count}");
}
