//! The process that compiles: what it answers, and that its end is this machine's fault, which names the bundle.

use std::path::Path;

use vathost::{
    model::{engine_version::DEFAULT, id::BundleId},
    vat::compiler::{CompilerLimits, compile_in},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vathost");

/// Loops in one another whose every header every branch goes to, with as many locals: it takes a minute to compile, and no vat may be like it.
fn bomb() -> Vec<u8> {
    let (depth, locals) = (200, 600);
    let sets: String = (1..=locals)
        .map(|it| format!("(local.set {it} (i64.add (local.get {}) (i64.const {it})))", it * 7 % locals + 1))
        .collect();
    let targets: String = (0..1_000).map(|it| format!("{} ", it % (depth + 1))).collect();
    wat::parse_str(format!(
        "(module (func (param i32) (local {}) {} {sets} (block (br_if 0 (local.get 0)) (br_table {targets} 0 (local.get 0))) {}))",
        "i64 ".repeat(locals),
        "(loop ".repeat(depth),
        ")".repeat(depth)
    ))
    .unwrap()
}

fn fault(program: &str, wasm: &[u8], limits: CompilerLimits) -> String {
    let id = BundleId::of(wasm);
    let fault = compile_in(Path::new(program), (DEFAULT, false), id, wasm, limits).unwrap_err();
    assert_eq!(fault.what, format!("compile bundle {id}"));
    fault.why.clone()
}

#[test]
fn native_code_comes_back_for_either_engine() {
    let wasm = wat::parse_str("(module (func (export \"f\") (result i32) (i32.const 7)))").unwrap();
    for debugging in [false, true] {
        let code =
            compile_in(Path::new(PROGRAM), (DEFAULT, debugging), BundleId::of(&wasm), &wasm, CompilerLimits::default())
                .unwrap();
        assert!(code.starts_with(b"\x7fELF"));
    }
}

#[test]
fn a_process_at_a_limit_or_without_an_answer_is_this_machines_fault() {
    let wasm = bomb();
    let all = CompilerLimits::default();
    let seconds = fault(PROGRAM, &wasm, CompilerLimits { cpu_seconds: 1, ..all });
    assert!(seconds.starts_with("the compiling process was ended by signal"), "{seconds}");
    assert!(seconds.contains("limit of CPU time"), "{seconds}");
    let memory = fault(PROGRAM, &wasm, CompilerLimits { memory: 1 << 20, ..all });
    assert!(memory.starts_with("the compiling process "), "{memory}");
    let broken = fault(PROGRAM, b"\0asm\x01\0\0\0\xff", all);
    assert!(broken.starts_with("the compiling process ended with exit code 74: "), "{broken}");
    assert!(fault("/nowhere/vathost", &wasm, all).starts_with("start /nowhere/vathost: "));
    assert!(fault("/bin/false", &wasm, all).starts_with("the compiling process ended with exit code 1 "));
}
