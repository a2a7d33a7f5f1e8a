//! The load-time pass: what it refuses and how it says so, that it changes nothing a guest can see, and that its counter traps before the
//! native stack ends.

mod cache;
mod compiler;
mod corners;
mod cost;
mod operand;
mod random;

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use vathost::vat::module::{GLOBAL_EXPORT, Prepared, Rules, STACK_EXPORT, limits, prepare};
use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, Trap, Val};

/// The least a vat has, with more fields.
fn vat(fields: &str) -> String {
    format!("(module {fields} (memory (export \"memory\") 1) (func (export \"vat_deliver\") (param i32)))")
}

fn parse(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the test's wat is well formed")
}

fn accept(wat: &str) -> Prepared {
    prepare(&parse(wat), &Rules::default()).unwrap_or_else(|refusals| panic!("{refusals}\n{wat:.200}"))
}

fn refusal(wasm: &[u8], rules: &Rules) -> String {
    prepare(wasm, rules).map(|_| "accepted".to_owned()).unwrap_or_else(|refusals| refusals.to_string())
}

fn check(wat: &str, expect: Expect) {
    expect.assert_eq(&refusal(&parse(wat), &Rules::default()));
}

/// A list, without names, of `n` texts.
fn times(n: usize, text: impl Fn(usize) -> String) -> String {
    (0..n).map(text).collect::<Vec<_>>().join(" ")
}

/// Accepts `make(limit)`, refuses `make(limit + 1)` by `rule`.
#[track_caller]
fn limit(rule: &str, limit: usize, make: impl Fn(usize) -> String) {
    accept(&make(limit));
    let refusals = prepare(&parse(&make(limit + 1)), &Rules::default()).expect_err(rule);
    let rules: Vec<_> = refusals.0.iter().map(|refusal| refusal.rule).collect();
    assert_eq!(rules, [rule], "{refusals}");
}

#[test]
fn every_unknown_or_mistyped_import_is_listed() {
    check(
        r#"(module
            (import "vat1" "send" (func (param i64 i32 i32 i32 i32 i64)))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "vat1" "subscribe" (func (param i32)))
            (import "vat1" "sned" (func))
            (import "env" "malloc" (func (param i32) (result i32)))
            (import "env" "table" (table 1 funcref))
            (import "env" "g" (global i32))
            (import "env" "memory" (memory 1))
            (func (export "vat_deliver") (param i32))
            (memory (export "memory") 1))"#,
        expect![[r#"
            imports: unknown import `wasi_snapshot_preview1` `fd_write` (at byte 0x37)
              help: compile without WASI: wasm32-unknown-unknown (C: -nostdlib -ffreestanding)
            imports: import `vat1` `subscribe` has type (i32) -> () (at byte 0x59)
              help: declare it as (i64) -> ()
            imports: unknown import `vat1` `sned` (at byte 0x6a)
              help: `vat1` has: input_read, result_read, send, call_now, subscribe, resolve, exit, vatstore_get, vatstore_next_key, vatstore_set, vatstore_delete, vatstore_scan, drop_imports, retire_imports, retire_exports, abandon_exports, console
            imports: unknown import `env` `malloc` (at byte 0x76)
              help: a symbol was left undefined by the linker: define it, or remove --allow-undefined
            imports: import of table `env` `table` (at byte 0x83)
            imports: import of global `env` `g` (at byte 0x91)
            imports: import of memory `env` `memory` (at byte 0x9a)
              help: a vat imports functions only: define it in the module and export it
            features: multiple memories (at byte 0xae)
              help: compile for wasm with only mutable globals, saturating float-to-int, sign extension, function references in tables (funcref), multi-value, bulk memory and SIMD"#]],
    );
}

#[test]
fn missing_and_mistyped_exports_are_listed() {
    check(
        r#"(module (func (export "_initialize") (param i32)) (global (export "vat_deliver") i32 (i32.const 0)))"#,
        expect![[r#"
        exports: the module has no memory
          help: define one memory and export it as `memory`
        exports: export `vat_deliver` is not a function
          help: it must be a function (i32) -> ()
        exports: export `_initialize` has type (i32) -> ()
          help: it must be a function () -> ()"#]],
    );
    check(
        r#"(module (memory 1) (func (export "vat_deliver") (result i32) (i32.const 0)) (func (export "vathost:stack")))"#,
        expect![[r#"
        exports: export `vathost:stack` (at byte 0x2d)
          help: names beginning with `vathost:` are the host's: rename it
        exports: there is no memory exported as `memory`
          help: export the memory as `memory`
        exports: export `vat_deliver` has type () -> (i32)
          help: it must be a function (i32) -> ()"#]],
    );
}

#[test]
fn what_would_hide_state_or_act_early_is_refused() {
    check(
        &vat("(func $s) (start $s)"),
        expect![[r#"
        start: the module has a start section (at byte 0x38)
          help: export the function as `_initialize` instead (wasm-ld does; AssemblyScript: --exportStart _initialize)"#]],
    );
    check(
        &vat("(memory 1)"),
        expect![[r#"
        memory: more than one memory (at byte 0x18)
          help: a vat has one memory: merge them"#]],
    );
    check(
        &vat("(global (mut funcref) (ref.null func))"),
        expect![[r#"
        globals: global 0 is a mutable reference (at byte 0x1b)
          help: snapshots hold numbers only: keep a table index in an i32 global"#]],
    );
    check(
        &vat("(table $t 4 funcref) (func $f) (elem $e func $f) (data $d \"x\") (func (param funcref i32) \
              (table.set $t (local.get 1) (local.get 0)) (drop (table.grow $t (local.get 0) (local.get 1))) \
              (table.fill $t (local.get 1) (local.get 0) (local.get 1)) \
              (table.copy (local.get 1) (local.get 1) (local.get 1)) \
              (table.init $t $e (local.get 1) (local.get 1) (local.get 1)) (data.drop $d) (elem.drop $e))"),
        expect![[r#"
            operators: function 1 uses table.set (at byte 0x58)
            operators: function 1 uses table.grow (at byte 0x5e)
            operators: function 1 uses table.fill (at byte 0x68)
            operators: function 1 uses table.copy (at byte 0x71)
            operators: function 1 uses table.init (at byte 0x7b)
              help: tables cannot change, snapshots do not hold them: put function pointers into an element segment (no dynamic linking, no table growth)
            operators: function 1 uses data.drop (at byte 0x7f)
            operators: function 1 uses elem.drop (at byte 0x82)
              help: segments cannot be dropped, snapshots do not hold which were: use active segments (build without threads and without --shared-memory)"#]],
    );
}

#[test]
fn other_wasm_features_are_refused() {
    for (wat, part) in [
        ("(module (memory (export \"memory\") 1 1 shared))", "memory"),
        ("(module (memory (export \"memory\") i64 1))", "memory"),
        ("(module (func return_call 0))", "features"),
        ("(module (tag))", "features"),
        ("(module (global i32 (i32.add (i32.const 1) (i32.const 2))))", "features"),
        ("(module (type (struct)))", "features"),
        ("(module (func (param (ref func))))", "features"),
        ("(module (func (param externref)))", "features"),
        ("(module (func (param v128) (drop (i32x4.relaxed_trunc_f32x4_s (local.get 0)))))", "features"),
        ("(component)", "features"),
    ] {
        let refusals = prepare(&parse(wat), &Rules::default()).expect_err(wat);
        assert_eq!(refusals.0[0].rule, part, "{wat}: {refusals}");
    }
}

#[test]
fn a_vat_without_floats_is_held_to_it() {
    let rules = Rules { floats: false, ..Rules::default() };
    assert_eq!(refusal(&parse(&vat("(func (result i32) (i32.const 1))")), &rules), "accepted");
    let mut out = String::new();
    for func in [
        "(func (drop (f32.const 1)))",
        "(func (param f64))",
        "(func (local f32))",
        "(global f64 (f64.const 0))",
        "(func (param i32) (drop (f32.load (local.get 0))))",
        "(func (param v128) (drop (f32x4.add (local.get 0) (local.get 0))))",
        "(func (param v128) (drop (f64x2.sqrt (local.get 0))))",
        "(func (param v128) (drop (f32x4.eq (local.get 0) (local.get 0))))",
        "(func (param v128) (drop (i32x4.trunc_sat_f32x4_s (local.get 0))))",
        "(func (param v128) (drop (f32x4.convert_i32x4_s (local.get 0))))",
        "(func (param v128) (drop (f64x2.promote_low_f32x4 (local.get 0))))",
        "(func (param v128) (drop (f32x4.extract_lane 0 (local.get 0))))",
    ] {
        assert_eq!(refusal(&parse(&vat(func)), &Rules::default()), "accepted");
        writeln!(out, "{}", refusal(&parse(&vat(func)), &rules).lines().next().unwrap_or_default()).expect("a string");
    }
    expect![[r#"
        floats: floating-point instruction disallowed (at byte 0x3b)
        floats: floating-point support is disabled (at byte 0xb)
        floats: floating-point support is disabled (at byte 0x3b)
        floats: floating-point support is disabled (at byte 0x1b)
        floats: floating-point instruction disallowed (at byte 0x3a)
        floats: floating-point instruction disallowed (at byte 0x40)
        floats: floating-point instruction disallowed (at byte 0x3e)
        floats: floating-point instruction disallowed (at byte 0x40)
        floats: floating-point instruction disallowed (at byte 0x3e)
        floats: floating-point instruction disallowed (at byte 0x3e)
        floats: floating-point instruction disallowed (at byte 0x3e)
        floats: floating-point instruction disallowed (at byte 0x3e)
    "#]]
    .assert_eq(&out);
}

#[test]
fn malformed_files_are_refused_where_they_break() {
    expect![[r#"
        malformed: this is not a WebAssembly module (at byte 0x0)
          help: give a .wasm file (a text module has to be assembled first)"#]]
    .assert_eq(&refusal(b"", &Rules::default()));
    expect![[r#"
        malformed: this is not a WebAssembly module (at byte 0x0)
          help: give a .wasm file (a text module has to be assembled first)"#]]
    .assert_eq(&refusal(b"not wasm at all", &Rules::default()));
    expect![[r#"
        malformed: unexpected end-of-file (at byte 0x14)
          help: the file is not a valid WebAssembly module: build or copy it again"#]]
    .assert_eq(&refusal(&parse(&vat(""))[..20], &Rules::default()));
    check(
        &vat("(func (result i32))"),
        expect![[r#"
        malformed: type mismatch: expected i32 but nothing on stack (at byte 0x3c)
          help: the file is not a valid WebAssembly module: build or copy it again"#]],
    );
    check(
        &vat("(data (i32.const 65535) \"ab\")"),
        expect![[r#"
        segments: a data segment does not fit: it begins at 65535 with length 2, of 65536 (at byte 0x3b)
          help: make the memory or table large enough, and the start an i32.const"#]],
    );
    check(
        &vat("(table 1 funcref) (func $f) (elem (i32.const -1) $f)"),
        expect![[r#"
        segments: an element segment does not fit: it begins at 4294967295 with length 1, of 1 (at byte 0x3f)
          help: make the memory or table large enough, and the start an i32.const"#]],
    );
}

#[test]
fn limit_refusals_say_what_to_do() {
    check(
        &vat(&format!("(func (local {}))", "i32 ".repeat(1001))),
        expect![[r#"
        locals: function 0 declares more than 1000 locals (at byte 0x3b)
          help: split the function, or compile it with optimization"#]],
    );
    check(
        &vat(&format!("(func {})", "nop ".repeat(65_537))),
        expect![[r#"
        body-bytes: the body of function 0 is 65539 bytes (at byte 0x3e)
          help: at most 65536 are allowed: split the function, or inline less"#]],
    );
    check(
        &vat(&format!("(func {} {})", "block ".repeat(257), "end ".repeat(257))),
        expect![[r#"
        nesting: blocks in function 0 are nested more than 256 deep (at byte 0x23d)
          help: split the function, or turn a long chain of if/else or a large switch into a table"#]],
    );
    check(
        &vat(&format!("(type (func (param {})))", "i32 ".repeat(33))),
        expect![[r#"
        signature: type 0 has 33 parameters and 0 results (at byte 0xb)
          help: at most 32 and 16 are allowed: pass a pointer to memory"#]],
    );
    check(
        &vat("(memory 65537)"),
        expect![[r#"
        memory: the memory is larger than 4 GiB (at byte 0x16)
          help: at most 65536 pages of 64 KiB: lower the initial or maximum memory size
        memory: more than one memory (at byte 0x1a)
          help: a vat has one memory: merge them"#]],
    );
    check(
        &vat(&times(1001, |_| "(global i32 (i32.const 0))".into())),
        expect![[r#"
        globals: the module has 1001 globals, 1000 are allowed here (at byte 0x1d)
          help: keep state in memory"#]],
    );
    let results = format!("(result {})", "v128 ".repeat(16));
    check(
        &vat(&format!("(func $many {results} unreachable) (func {} unreachable)", "call $many ".repeat(17_000))),
        expect![[r#"
            frame: one call of function 1 may take 4352064 of the stack budget (at byte 0x56)
              help: the whole budget is 4194304: split the function
            compile-cost: compiling may take 8360 ms, 8360 of them function 1; 268 are allowed for code of 34008 bytes (at byte 0x56)
              help: split that function: what costs is many loops, branches, assigned locals or wide calls in one"#]],
    );
}

#[test]
fn limits_of_functions_hold_exactly() {
    let blocks = |n: usize| vat(&format!("(func {} {})", "block ".repeat(n), "end ".repeat(n)));
    limit("nesting", limits::NESTING_MAX as usize, blocks);
    limit("loops", limits::LOOPS_MAX as usize, |n| vat(&format!("(func {})", "(loop) ".repeat(n))));
    limit("br-table", limits::BR_TABLE_MAX as usize, |n| {
        vat(&format!("(func (br_table {} 0 (i32.const 0)))", "0 ".repeat(n)))
    });
    limit("locals", limits::LOCALS_MAX as usize, |n| vat(&format!("(func (local {}))", "i32 ".repeat(n))));
    // Count of local declarations, the operators, the final end.
    limit("body-bytes", limits::BODY_BYTES_MAX, |n| vat(&format!("(func {})", "nop ".repeat(n - 2))));
    limit("locals-total", limits::LOCALS_TOTAL_MAX as usize, |n| {
        let whole = format!("(func (local {}))", "i32 ".repeat(1000));
        vat(&format!("{} (func (local {}))", whole.repeat(n / 1000), "i32 ".repeat(n % 1000)))
    });
    limit("signature", limits::PARAMS_MAX, |n| vat(&format!("(type (func (param {})))", "i32 ".repeat(n))));
    limit("signature", limits::RESULTS_MAX, |n| vat(&format!("(type (func (result {})))", "i32 ".repeat(n))));
}

#[test]
fn limits_of_modules_hold_exactly() {
    limit("functions", limits::FUNCTIONS_MAX as usize, |n| {
        vat(&format!("{} {}", "(import \"vat1\" \"subscribe\" (func (param i64)))".repeat(5), "(func)".repeat(n - 6)))
    });
    limit("types", limits::TYPES_MAX as usize, |n| vat(&"(type (func))".repeat(n - 1)));
    limit("exports", limits::EXPORTS_MAX as usize, |n| {
        vat(&format!("(func $f) {}", times(n - 2, |i| format!("(export \"e{i}\" (func $f))"))))
    });
    limit("globals", limits::GLOBALS_MAX as usize, |n| vat(&"(global (mut i32) (i32.const 0))".repeat(n)));
    limit("table", 10_000, |n| vat(&format!("(table {} funcref) (table 4000 funcref)", n - 4000)));
    limit("table", 10_000, |n| vat(&format!("(func $f) (elem func {})", "$f ".repeat(n))));
    limit("segments", limits::SEGMENTS_MAX as usize, |n| {
        vat(&format!("(func $f) {} {}", "(elem func $f)".repeat(10), "(data (i32.const 0) \"x\")".repeat(n - 10)))
    });
    limit("custom", limits::CUSTOM_SECTIONS_MAX, |n| vat(&times(n, |i| format!("(@custom \"c{i}\" \"\")"))));
    limit("custom", limits::CUSTOM_SECTIONS_MAX, |n| vat(&times(n, |i| format!("(@custom \".debug_{i}\" \"\")"))));
    // A section's bytes include its name and the name's length.
    limit("custom", limits::CUSTOM_BYTES_MAX, |n| vat(&format!("(@custom \"c\" \"{}\")", "x".repeat(n - 2))));
    accept(&vat(&format!("(@custom \".debug_x\" \"{}\")", "x".repeat(2 << 20))));
    accept(&vat("").replace("1)", "65536)"));
    let mut whole = parse(&vat(""));
    let section = limits::MODULE_BYTES_MAX - whole.len() - 5;
    let name = b".debug_x";
    whole.push(0);
    for shift in [0, 7, 14, 21] {
        whole.push(u8::try_from((section >> shift) & 0x7f).expect("7 bits") | if shift == 21 { 0 } else { 0x80 });
    }
    whole.push(8);
    whole.extend(name);
    whole.resize(limits::MODULE_BYTES_MAX, 0);
    assert_eq!(refusal(&whole, &Rules::default()), "accepted");
    whole.push(0);
    expect![[r#"
        module-bytes: the module is 4194305 bytes
          help: at most 4194304 are allowed: strip debug information, or optimize for size"#]]
    .assert_eq(&refusal(&whole, &Rules::default()));
}

fn engine(opt: OptLevel) -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true).cranelift_nan_canonicalization(true).wasm_relaxed_simd(false);
    config
        .cranelift_opt_level(opt)
        .max_wasm_stack(limits::NATIVE_STACK_MIN)
        .async_stack_size(2 * limits::NATIVE_STACK_MIN);
    Engine::new(&config).expect("a valid configuration")
}

fn start(engine: &Engine, wasm: &[u8]) -> (Store<()>, Instance) {
    let module = Module::new(engine, wasm).expect("an accepted module compiles");
    let mut store = Store::new(engine, ());
    store.set_fuel(1 << 40).expect("fuel is on");
    let instance = Instance::new(&mut store, &module, &[]).expect("an accepted module can be instantiated");
    (store, instance)
}

/// Calls `f` with `argument`: its results, or the trap.
fn call(store: &mut Store<()>, instance: &Instance, argument: i32) -> Result<Vec<String>, Trap> {
    let f = instance.get_func(&mut *store, "f").expect("exported");
    let mut results = vec![Val::I32(0); f.ty(&*store).results().len()];
    let outcome = f.call(store, &[Val::I32(argument)], &mut results);
    outcome
        .map(|()| results.iter().map(|v| format!("{v:?}")).collect())
        .map_err(|e| *e.downcast_ref::<Trap>().expect("a trap"))
}

#[test]
fn instrumented_functions_behave_as_before() {
    let programs = [
        // Branches to the function's own label, from everywhere, and early returns.
        "(func (export \"f\") (param i32) (result i32) (block (result i32) (block (result i32) (i32.const 7) (local.get 0) \
            (br_table 0 1 2 0)) drop (call $one)) (call $one) i32.add)",
        "(func (export \"f\") (param i32) (result i32) (i32.const 40) (br_if 0 (local.get 0)) drop call $one)",
        "(func (export \"f\") (param i32) (result i32) (loop $l (if (i32.eqz (local.get 0)) (then (return (call $one)))) \
            (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br $l)) unreachable)",
        // Several results, through return, branch and fall-through.
        "(func (export \"f\") (param i32) (result i32 i64) (if (local.get 0) (then (return (call $one) (i64.const 2)))) \
            (call $two (local.get 0)) (br 0))",
        "(func (export \"f\") (param i32) (result i64 i32 f32) (i64.const 9) (call $one) (f32.const 1.5) (br_table 0 0 (local.get 0)))",
        // No result; a value left below a branch.
        "(func (export \"f\") (param i32) (i32.const 3) (call $one) (br_if 0 (local.get 0)) drop drop)",
        "(func (export \"f\") (param i32) (result v128) (i32x4.splat (call $one)) (return))",
        "(func (export \"f\") (param i32) (result funcref) (drop (call $one)) (ref.func $one) return)",
        // Recursion, direct and through a table; a trap.
        "(func $f (export \"f\") (param i32) (result i32) (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0)) \
            (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 2)))))))",
        "(table 2 funcref) (elem (i32.const 0) $f $one) (type $t (func (param i32) (result i32))) \
         (func $f (export \"f\") (param i32) (result i32) (call_indirect (type $t) (i32.const 1) (local.get 0)))",
        "(func (export \"f\") (param i32) (result i32) (i32.div_u (call $one) (local.get 0)))",
        // Code after an unconditional branch.
        "(func (export \"f\") (param i32) (result i32) (return (call $one)) (block (return (i32.const 1))) (br 0) return)",
    ];
    for (opt, program) in [OptLevel::Speed, OptLevel::None].into_iter().flat_map(|opt| programs.map(|p| (opt, p))) {
        let wasm = parse(&vat(&format!(
            "(elem declare func $one) (func $one (result i32) i32.const 11) (func $two (param i32) (result i32 i64) (local.get 0) \
             (i64.const -1) (drop (call $one))) {program}"
        )));
        let engine = engine(opt);
        let after = prepare(&wasm, &Rules::default()).expect("accepted").wasm;
        for argument in [0, 1, 2, 3, 10] {
            let (mut store, instance) = start(&engine, &wasm);
            let plain = call(&mut store, &instance, argument).map_err(|t| t.to_string());
            let (mut store, instance) = start(&engine, &after);
            let instrumented = call(&mut store, &instance, argument).map_err(|t| t.to_string());
            let comparable =
                |r: Result<Vec<String>, String>| r.map(|v| if program.contains("funcref)") { vec![] } else { v });
            assert_eq!(comparable(plain), comparable(instrumented.clone()), "{program} ({argument})");
            let stack = instance.get_global(&mut store, STACK_EXPORT).expect("exported").get(&mut store).unwrap_i32();
            assert!(
                instrumented.is_err() || stack == limits::STACK_BUDGET.cast_signed(),
                "{program} ({argument}): {stack}"
            );
        }
    }
}

#[test]
fn mutable_globals_are_exported_under_uniform_names() {
    let prepared = accept(&vat(
        "(global i32 (i32.const 1)) (global (export \"g\") (mut i64) (i64.const 2)) (global (mut f32) (f32.const 3))",
    ));
    assert_eq!(prepared.mutable_globals, [1, 2]);
    let (mut store, instance) = start(&engine(OptLevel::None), &prepared.wasm);
    let names: Vec<_> = instance.exports(&mut store).map(|export| export.name().to_owned()).collect();
    for name in ["g", STACK_EXPORT, &format!("{GLOBAL_EXPORT}1"), &format!("{GLOBAL_EXPORT}2")] {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    assert_eq!(names.len(), 6);
}

/// Guests that recurse for ever with as much native stack per weight as was found.
fn hogs() -> Vec<(&'static str, String)> {
    let load = |ty: &str, n: usize| times(n, |i| format!("({ty}.load (i32.const {}))", i * 8));
    let sets = |n: usize| times(n, |i| format!("(local.set {})", n - 1 - i));
    let uses = |ty: &str, n: usize| times(n, |i| format!("({ty}.store (i32.const 0) (local.get {i}))"));
    let locals = |ty: &str, n: usize| {
        let names = format!("{ty} ").repeat(n);
        format!("(func $f (local {names}) {} {} call $f {})", load(ty, n), sets(n), uses(ty, n))
    };
    let wide = |ty: &str| {
        let (params, results) = (format!("{ty} ").repeat(32), format!("{ty} ").repeat(16));
        let gets = times(32, |i| format!("local.get {i}"));
        format!(
            "(func $g (param {params}) (result {results}) {gets} call $g) (func $f {} call $g {})",
            load(ty, 32),
            "drop ".repeat(16)
        )
    };
    let muls = times(1000, |i| {
        format!("(local.set 1 (i32.xor (local.get 1) (i32.mul (local.get 0) (i32.const {}))))", i * 2 + 3)
    });
    let around = |body: &str| {
        format!(
            "(func $f (local i32 i32) (local.set 0 (i32.load (i32.const 0))) {body} (i32.store (i32.const 0) (local.get 1)))"
        )
    };
    // A large frame that calls nothing: it is below the counted ones at the end.
    let leaf = |n: usize| format!("(func $leaf i32.const 0 {} {} f64.store)", load("f64", n), "f64.add ".repeat(n - 1));
    vec![
        ("tiny", "(func $f call $f)".into()),
        ("mutual", "(func $f call $g) (func $g (local i64) call $f)".into()),
        ("indirect", "(table 1 funcref) (elem (i32.const 0) $f) (type $t (func)) (func $f (call_indirect (type $t) (i32.const 0)))".into()),
        ("locals", locals("i64", 1000)),
        ("few locals", locals("i32", 6)),
        ("vector locals", locals("v128", 1000)),
        ("float locals", locals("f64", 1000)),
        ("operands", format!("(func $f {} call $f {})", load("i64", 1000), "drop ".repeat(1000))),
        ("signature", wide("i64")),
        ("float signature", wide("f64")),
        ("vector signature", wide("v128")),
        ("values moved out of a loop", around(&format!("(loop $l call $f {muls} (br_if $l (local.get 1)))"))),
        ("values computed twice", around(&format!("{muls} call $f {muls}"))),
        ("a leaf at the end", format!("{} (func $f call $leaf call $f)", leaf(100))),
        ("a large leaf at the end", format!("{} (func $f call $leaf call $f)", leaf(1500))),
    ]
}

#[test]
fn the_counter_traps_before_the_native_stack_ends_on_every_engine() {
    for (name, functions) in hogs() {
        let module = vat(&format!("{functions} (func (export \"f\") (param i32) (result i32) call $f i32.const 0)"));
        let prepared = accept(&module);
        let counters = [OptLevel::Speed, OptLevel::None].map(|opt| {
            let (mut store, instance) = start(&engine(opt), &prepared.wasm);
            assert_eq!(call(&mut store, &instance, 0), Err(Trap::UnreachableCodeReached), "{name}");
            instance.get_global(&mut store, STACK_EXPORT).expect("exported").get(&mut store).unwrap_i32()
        });
        assert_eq!(counters[0], counters[1], "{name}: the same depth everywhere");
        let (mut store, instance) = start(&engine(OptLevel::Speed), &parse(&module));
        assert_eq!(call(&mut store, &instance, 0), Err(Trap::StackOverflow), "{name} without the pass");
    }
}

#[test]
fn offsets_go_there_and_back() {
    let wasm = parse(&vat("(func $leaf (param i32) (result i32) local.get 0 i32.eqz) \
         (func (param i32) (result i32) (local i64) (if (local.get 0) (then (return (call $leaf (i32.const 1))))) (call $leaf (i32.const 300)))"));
    let prepared = prepare(&wasm, &Rules::default()).expect("accepted");
    let map = &prepared.offsets;
    let operators = |wasm: &[u8]| {
        let mut found = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(wasm) {
            if let wasmparser::Payload::CodeSectionEntry(body) = payload.expect("valid") {
                let reader = body.get_operators_reader().expect("valid");
                found.extend(
                    reader.into_iter_with_offsets().map(|o| o.expect("valid")).map(|(o, at)| (at, format!("{o:?}"))),
                );
            }
        }
        found
    };
    let after = operators(&prepared.wasm);
    for (at, operator) in operators(&wasm) {
        let moved = map.instrumented(at).expect("within a body");
        assert_eq!(map.original(moved), Some(at), "{operator} at {at:#x}");
        let image = &after.iter().find(|(at, _)| *at == moved).expect("the start of an instruction").1;
        assert!(*image == operator || (operator == "Return" && image.starts_with("Br ")), "{operator} became {image}");
    }
    // Injected instructions map to something within the same function, in order.
    let back: Vec<_> = after.iter().map(|(at, _)| map.original(*at).expect("within a body")).collect();
    assert!(back.is_sorted(), "{back:?}");
    assert_eq!(map.original(0), None);
    assert_eq!(map.instrumented(8), None);
    assert_eq!(wasm[map.code_original], 3, "the count of functions");
    assert_eq!(prepared.wasm[map.code_instrumented], 3, "the count of functions");
}

#[test]
fn custom_sections_are_kept_but_not_offsets_for_the_compiler() {
    let prepared = accept(&vat("(@custom \".debug_line\" \"lines\") (@custom \"metadata.code.branch_hint\" \"\\00\")"));
    let has = |text: &[u8]| prepared.wasm.windows(text.len()).any(|window| window == text);
    assert!(has(b".debug_linelines"));
    assert!(!has(b"metadata.code"));
}

#[test]
fn broken_files_never_panic() {
    let wasm = parse(&vat(
        "(import \"vat1\" \"subscribe\" (func (param i64))) (table 3 funcref) (elem (i32.const 0) 1 2) (global (mut i64) (i64.const 5)) \
         (func (param i32) (result i32 i64) (local v128) (call 1 (block (result i32) (return (i32.const 1) (i64.const 2))))) (data (i32.const 8) \"hello\")",
    ));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    for _ in 0..20_000 {
        let mut broken = wasm.clone();
        for _ in 0..=random(4) {
            let at = random(broken.len());
            broken[at] ^= 1 << random(8);
        }
        broken.truncate(if random(8) == 0 { random(broken.len()) } else { usize::MAX });
        if let Ok(prepared) = prepare(&broken, &Rules::default()) {
            wasmparser::validate(&prepared.wasm).expect("what was accepted stays valid");
        }
    }
}
