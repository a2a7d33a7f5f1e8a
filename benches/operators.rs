//! What each class of instructions costs in time for its fuel: `cargo bench --bench operators [name…]`.
//!
//! Each guest does one thing over and over until its fuel is gone; the table says how many seconds of CPU a thousand million units of it take, dearest
//! first. The prices of operators in `src/vat/mod.rs` follow from it: an empty loop takes 0.7 s, and no line is to be above 3 s but those that the memory
//! decides (see there).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table for people")]

use std::fs;

use vathost::{
    kernel,
    model::value::CapData,
    slog::Slog,
    state::{block::Block, table::Options},
    vat::Warehouse,
};

/// Fuel of the delivery that is timed.
const FUEL: u64 = 200_000_000;

/// The smallest positive numbers of either width, and numbers that make divisions long.
const SETUP: &str = "
    (local.set $a (i32.const 0x7ffffff1)) (local.set $b (i32.const 3))
    (local.set $p (i64.const 0x7ffffffffffffff1)) (local.set $q (i64.const 3))
    (local.set $f (f32.reinterpret_i32 (i32.const 0x00700003))) (local.set $g (f32.reinterpret_i32 (i32.const 0x00000007)))
    (local.set $x (f64.reinterpret_i64 (i64.const 0x000f000000000003))) (local.set $y (f64.reinterpret_i64 (i64.const 7)))
    (local.set $v (v128.const i32x4 0x00700003 0x00500001 0x00600003 0x007fffff)) (local.set $w (v128.const i32x4 7 5 3 1))
    (local.set $m (v128.const i64x2 0x000f000000000003 0x000f000000000001)) (local.set $n (v128.const i64x2 7 5))";

/// A name and what is done, some dozens of times in each turn of a loop.
fn guests() -> Vec<(String, String, usize)> {
    let mut all: Vec<(String, String, usize)> = vec![];
    let mut add = |name: &str, body: String, times: usize| all.push((name.to_owned(), body, times));
    add("empty loop", String::new(), 1);
    for op in ["add", "mul", "div_s", "div_u", "rem_s", "rem_u", "shl", "rotl"] {
        add(
            &format!("i32.{op}"),
            format!("(local.set $a (i32.or (i32.{op} (local.get $a) (local.get $b)) (i32.const 0x40000001)))"),
            50,
        );
        add(
            &format!("i64.{op}"),
            format!("(local.set $p (i64.or (i64.{op} (local.get $p) (local.get $q)) (i64.const 0x4000000000000001)))"),
            50,
        );
    }
    for (ty, one, two, unary) in [
        ("f32", "$f", "$g", &["sqrt", "ceil", "nearest", "abs"][..]),
        ("f64", "$x", "$y", &["sqrt", "ceil", "nearest", "abs"]),
        ("f32x4", "$v", "$w", &["sqrt", "ceil", "nearest", "abs"]),
        ("f64x2", "$m", "$n", &["sqrt", "ceil", "nearest", "abs"]),
    ] {
        for op in ["add", "sub", "mul", "div", "min", "max", "pmin", "eq"] {
            if (op == "pmin" && ty.len() == 3) || op == "eq" {
                continue;
            }
            // Added to and taken from in turn, so that the number stays as small as it is.
            let back = if op == "add" { "sub" } else { "add" };
            add(
                &format!("{ty}.{op}"),
                format!(
                    "(local.set {one} ({ty}.{op} (local.get {one}) (local.get {two}))) (local.set {one} ({ty}.{back} (local.get {one}) (local.get {two})))"
                ),
                25,
            );
            add(
                &format!("{ty}.{op}, independent"),
                format!(
                    "(drop ({ty}.{op} (local.get {two}) (local.tee {one} ({ty}.{op} (local.get {two}) (local.get {two})))))"
                ),
                25,
            );
        }
        for op in unary {
            add(
                &format!("{ty}.{op}"),
                format!("(local.set {one} ({ty}.{op} ({ty}.mul (local.get {one}) (local.get {two}))))"),
                25,
            );
            let chain = format!("({ty}.{op} ").repeat(20);
            add(
                &format!("{ty}.{op}, chain"),
                format!("(local.set {one} {chain} (local.get {one}) {}", ")".repeat(21)),
                2,
            );
        }
    }
    add(
        "f32 of f64 and back",
        format!("(local.set $f {} (local.get $f) {}", "(f32.demote_f64 (f64.promote_f32 ".repeat(20), ")".repeat(41)),
        2,
    );
    for (name, there, back) in [
        ("trunc_s", "i32.trunc_f64_s", "f64.convert_i32_s"),
        ("trunc_sat_s", "i32.trunc_sat_f64_s", "f64.convert_i32_s"),
        ("trunc_u64", "i64.trunc_f64_u", "f64.convert_i64_u"),
        ("trunc_sat_u64", "i64.trunc_sat_f64_u", "f64.convert_i64_u"),
        ("trunc_sat_s64", "i64.trunc_sat_f64_s", "f64.convert_i64_s"),
    ] {
        add(
            name,
            format!("(local.set $x {} (local.get $x) {}", format!("({back} ({there} ").repeat(20), ")".repeat(41)),
            2,
        );
    }
    for op in [
        "i8x16.popcnt",
        "i32x4.trunc_sat_f32x4_s",
        "i32x4.trunc_sat_f32x4_u",
        "f32x4.convert_i32x4_u",
        "f32x4.convert_i32x4_s",
        "i32x4.trunc_sat_f64x2_s_zero",
        "i32x4.trunc_sat_f64x2_u_zero",
        "f64x2.convert_low_i32x4_u",
        "f32x4.demote_f64x2_zero",
        "f64x2.promote_low_f32x4",
        "i64x2.abs",
        "i8x16.neg",
        "i16x8.extadd_pairwise_i8x16_s",
        "v128.not",
        "i32x4.extend_high_i16x8_s",
    ] {
        add(op, format!("(local.set $v {} (local.get $v) {}", format!("({op} ").repeat(20), ")".repeat(21)), 2);
    }
    for op in [
        "i64x2.mul",
        "i32x4.mul",
        "i16x8.mul",
        "i8x16.swizzle",
        "i32x4.dot_i16x8_s",
        "i16x8.q15mulr_sat_s",
        "i8x16.avgr_u",
        "i64x2.extmul_high_i32x4_u",
        "i64x2.gt_s",
        "i8x16.add_sat_s",
        "i8x16.narrow_i16x8_s",
    ] {
        add(op, format!("(local.set $v ({op} (local.get $v) (local.get $w)))"), 40);
    }
    for op in ["i8x16.shl", "i8x16.shr_s", "i8x16.shr_u", "i16x8.shl", "i64x2.shr_s", "i32x4.shl"] {
        add(op, format!("(local.set $v ({op} (local.get $v) (local.get $b)))"), 40);
    }
    for op in ["i8x16.all_true", "i8x16.bitmask", "i64x2.bitmask", "v128.any_true"] {
        add(op, format!("(local.set $v (i32x4.splat ({op} (local.get $v))))"), 40);
    }
    for bytes in [0, 1, 64, 4_096, 65_536] {
        add(
            &format!("memory.fill of {bytes}"),
            format!("(memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes}))"),
            10,
        );
        add(
            &format!("memory.copy of {bytes}"),
            format!("(memory.copy (i32.const 1) (i32.const 0) (i32.const {bytes}))"),
            10,
        );
        add(
            &format!("memory.copy of {bytes} far"),
            format!("(memory.copy (i32.const 0) (i32.const 0x200001) (i32.const {bytes}))"),
            10,
        );
    }
    add("memory.init of 0", "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))".into(), 10);
    add("memory.init of 64", "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 64))".into(), 10);
    add("memory.size", "(drop (memory.size)) (global.set $n (memory.size))".into(), 10);
    add("memory.grow of 0", "(drop (memory.grow (i32.const 0)))".into(), 10);
    add("memory.grow past the end", "(drop (memory.grow (i32.const -1)))".into(), 10);
    add("call", "(call $leaf)".into(), 20);
    add("call with 32 and 16", format!("(call $wide {}) {}", "(local.get $a) ".repeat(32), "drop ".repeat(16)), 4);
    add("call with 0 and 16", format!("(call $results) {}", "drop ".repeat(16)), 4);
    add("call counted", "(call $counted)".into(), 20);
    add("call_indirect", "(call_indirect (i32.const 0))".into(), 20);
    add(
        "call_indirect in turn",
        "(call_indirect (i32.and (local.tee $a (i32.mul (local.get $a) (i32.const 1664525))) (i32.const 3)))".into(),
        20,
    );
    add("table.get", "(drop (ref.is_null (table.get $t (i32.const 0))))".into(), 20);
    add("ref.func", "(drop (ref.is_null (ref.func $leaf)))".into(), 20);
    add("br_table in turn", "(block (block (block (block (br_table 0 1 2 3 (i32.shr_u (local.tee $a (i32.add (i32.mul (local.get $a) (i32.const 1664525)) (i32.const 1013904223))) (i32.const 30))))) (local.set $b (i32.const 5))))".into(), 10);
    add("if by chance", "(local.set $a (i32.add (i32.mul (local.get $a) (i32.const 1664525)) (i32.const 1013904223))) (if (i32.lt_s (local.get $a) (i32.const 0)) (then (i32.store (i32.const 8) (local.get $b))))".into(), 20);
    add("loads in the cache", "(local.set $a (i32.load (i32.and (local.get $a) (i32.const 1020))))".into(), 20);
    // 32 MiB, a line and a page further each time.
    let far = "(local.set $a (i32.add (i32.load (i32.and (local.tee $b (i32.add (i32.mul (local.get $b) (i32.const 1664525)) (i32.const 1013904223))) (i32.const 0x1ffffc0))) (local.get $b)))";
    add("loads by chance in 32 MiB", far.into(), 20);
    let chase = "(local.set $a (i32.load (i32.and (i32.add (i32.mul (local.get $a) (i32.const 1664525)) (i32.const 1013904223)) (i32.const 0x1fffffc))))";
    add("dependent loads by chance in 32 MiB", chase.into(), 20);
    add(
        "straddling stores",
        "(i64.store (i32.const 4093) (local.get $p)) (local.set $p (i64.load (i32.const 4093)))".into(),
        20,
    );
    add("select", "(local.set $a (select (local.get $b) (local.get $a) (local.get $a)))".into(), 20);
    add("global", "(global.set $n (i32.add (global.get $n) (i32.const 1)))".into(), 20);
    all
}

fn wat(body: &str, times: usize) -> String {
    let (params, results) = ("i32 ".repeat(32), "i32 ".repeat(16));
    let many = "(local.get 0) ".repeat(16);
    format!(
        r#"(module (memory (export "memory") 513) (data $d "{}") (table $t 4 funcref) (elem (i32.const 0) $leaf $one $two $three)
            (global $n (mut i32) (i32.const 0))
            (func $leaf) (func $one (global.set $n (i32.const 1))) (func $two (global.set $n (i32.const 2))) (func $three (global.set $n (i32.const 3)))
            (func $counted (call $leaf))
            (func $wide (param {params}) (result {results}) {many})
            (func $results (result {results}) {})
            (func (export "vat_deliver") (param i32)
              (local $a i32) (local $b i32) (local $p i64) (local $q i64) (local $f f32) (local $g f32) (local $x f64) (local $y f64)
              (local $v v128) (local $w v128) (local $m v128) (local $n v128)
              {SETUP}
              (memory.fill (i32.const 0) (i32.const 3) (i32.const 0x2000000))
              (loop $l {} (br $l))))"#,
        "x".repeat(64),
        "(i32.const 1) ".repeat(16),
        body.repeat(times)
    )
}

/// Nanoseconds of CPU of this thread.
fn cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Nanoseconds of CPU of a first delivery with so much fuel.
fn time(wasm: &[u8], workers: &mut Warehouse, fuel: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let mut block = Block::memory(Slog::default())?;
    let bundle = block.put_bundle(wasm);
    let options = Options { fuel_per_delivery: fuel, ..Options::default() };
    (block, _) = kernel::outside(block, |crank| crank.create_vat("it", bundle, options, CapData::plain("#{}")))?;
    let before = cpu();
    let (_, ran) = kernel::crank(block, workers)?;
    let after = cpu();
    workers.evict_all();
    ran.ok_or("nothing ran")?;
    Ok(after - before)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let mut workers = Warehouse::new(None)?;
    let mut table = vec![];
    for (name, body, times) in guests() {
        if !asked.is_empty() && !asked.iter().any(|it| name.contains(it)) {
            continue;
        }
        let wasm = wat::parse_str(wat(&body, times)).map_err(|err| format!("{name}: {err}"))?;
        // What comes before the loop, compiling too, is in both.
        time(&wasm, &mut workers, 40_000_000)?;
        let (short, long) = (time(&wasm, &mut workers, 40_000_000)?, time(&wasm, &mut workers, 40_000_000 + FUEL)?);
        let seconds = long.saturating_sub(short) as f64 / FUEL as f64;
        eprintln!("{seconds:6.2}  {name}");
        table.push((seconds, name));
    }
    table.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("seconds of CPU for 1e9 units of fuel\n");
    for (seconds, name) in table {
        println!("{seconds:6.2}  {name}");
    }
    Ok(())
}
