//! What compiling may cost: bombs are refused by a model of it, with the function and the way out; what compilers make is far below.

use std::{fmt::Write as _, fs};

use vathost::vat::module::{Rules, limits, prepare};

use super::{accept, parse, refusal, vat};

/// Loops inside one another, in the innermost so many locals assigned and a `br_table` over all of the loops.
fn nest(depth: usize, locals: usize, entries: usize) -> String {
    let mut sets = String::new();
    for it in 0..locals {
        let from = it * 7 % locals + 1;
        write!(sets, "(local.set {} (i64.add (local.get {from}) (i64.const {it})))", it + 1).unwrap();
    }
    let targets: String = (0..entries).map(|it| format!("{} ", it % (depth + 1))).collect();
    vat(&format!(
        "(func (param i32) (local {}) {} {sets} (block (br_if 0 (local.get 0)) (br_table {targets} 0 (local.get 0))) {})",
        "i64 ".repeat(locals),
        "(loop ".repeat(depth),
        ")".repeat(depth)
    ))
}

/// A function that assigns a local in each of many ifs.
fn live(locals: usize, ifs: usize) -> String {
    let one = |it: usize| format!("(if (local.get 0) (then (local.set {} (local.get 0))))", it % locals + 1);
    let body: String = (0..ifs).map(one).collect();
    vat(&format!("(func (param i32) (local {}) {body})", "i32 ".repeat(locals)))
}

/// A function of this, over and over.
fn over(unit: &str, times: usize, before: &str, after: &str) -> String {
    let fields = "(table 4 funcref) (type $wide (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32 i32 i32 i32 i32 i32 i32 i32)))
                  (func $wide (type $wide) (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
                  (local.get 6) (local.get 7)) (func $void)";
    vat(&format!("{fields} (func (param i32) (local f64) {before} {} {after})", unit.repeat(times)))
}

#[test]
fn a_bomb_is_refused_whatever_it_multiplies() {
    let eight = "(local.get 0)".repeat(8);
    let drop_eight = "drop ".repeat(8);
    let bombs = [
        ("nested loops", nest(200, 300, 1_000)),
        ("fewer loops, more locals", nest(60, 900, 1_000)),
        ("locals live over many ifs", live(900, 3_000)),
        ("branches to one label", over("(br_if 0 (local.get 0))", 14_000, "", "")),
        ("ifs", over("(if (local.get 0) (then))", 12_000, "", "")),
        ("indirect calls", over("(call_indirect (local.get 0))", 11_000, "", "")),
        ("wide calls", over("call $wide ", 25_000, &eight, &drop_eight)),
        ("growing memory", over("memory.grow ", 25_000, "local.get 0 ", "drop")),
        ("floats", over("f64.sqrt ", 60_000, "local.get 1 ", "drop")),
    ];
    for (what, wat) in bombs {
        let said = refusal(&parse(&wat), &Rules::default());
        assert!(said.starts_with("compile-cost: compiling may take "), "{what}: {said}");
        assert!(said.contains("of them function") && said.contains("split that function"), "{what}: {said}");
    }
}

#[test]
fn less_of_the_same_is_accepted() {
    accept(&nest(10, 100, 100));
    accept(&live(50, 1_000));
    accept(&over("(br_if 0 (local.get 0))", 1_000, "", ""));
    accept(&over("(call_indirect (local.get 0))", 500, "", ""));
    accept(&over("f64.sqrt ", 5_000, "local.get 1 ", "drop"));
}

#[test]
fn the_committed_guests_are_far_from_what_compiling_may_cost() {
    let mut seen = 0;
    for entry in fs::read_dir("vats").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "wasm") {
            continue;
        }
        let wasm = fs::read(&path).unwrap();
        let cost = prepare(&wasm, &Rules::default()).unwrap_or_else(|why| panic!("{}: {why}", path.display())).cost;
        let share = limits::COMPILE_NANOS / cost.total.max(1);
        println!(
            "{}: {} bytes, {} ms, a {share}th of what a small module may",
            path.display(),
            wasm.len(),
            cost.total / 1_000_000
        );
        assert!(share >= 2, "{}: {cost:?}", path.display());
        seen += 1;
    }
    assert!(seen > 5, "{seen}");
}
