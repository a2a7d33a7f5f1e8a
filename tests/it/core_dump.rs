//! What a kernel panic leaves of the guest: a core dump of the WebAssembly tool conventions, beside the epitaph.

use std::fs;

use serde_json::{Value, json};
use wasmparser::{
    CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection, CoreDumpStackSection, KnownCustom, Operator,
    Parser, Payload,
};

use crate::cli::Place;

/// A core dump, taken apart.
#[derive(Default, Debug)]
struct Dump {
    name: String,
    modules: Vec<String>,
    /// Of each frame, its function and the offset in it.
    frames: Vec<(u32, u32)>,
    instance_globals: usize,
    globals: Vec<(bool, i64)>,
    pages: u64,
    data: Vec<(usize, Vec<u8>)>,
}

impl Dump {
    fn read(wasm: &[u8]) -> Dump {
        let mut dump = Dump::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::MemorySection(section) => {
                    dump.pages = section.into_iter().next().unwrap().unwrap().initial;
                }
                Payload::GlobalSection(section) => {
                    for it in section {
                        let it = it.unwrap();
                        let value = constant(&it.init_expr);
                        dump.globals.push((it.ty.mutable, value));
                    }
                }
                Payload::DataSection(section) => {
                    for it in section {
                        let it = it.unwrap();
                        let wasmparser::DataKind::Active { offset_expr, .. } = &it.kind else { panic!("passive") };
                        let at = usize::try_from(constant(offset_expr)).unwrap();
                        dump.data.push((at, it.data.to_vec()));
                    }
                }
                Payload::CustomSection(section) => match section.as_known() {
                    KnownCustom::CoreDump(CoreDumpSection { name }) => dump.name = name.to_owned(),
                    KnownCustom::CoreDumpModules(CoreDumpModulesSection { modules }) => {
                        dump.modules = modules.into_iter().map(str::to_owned).collect();
                    }
                    KnownCustom::CoreDumpInstances(CoreDumpInstancesSection { instances }) => {
                        assert_eq!((instances.len(), &instances[0].memories), (1, &vec![0]));
                        dump.instance_globals = instances[0].globals.len();
                    }
                    KnownCustom::CoreDumpStack(CoreDumpStackSection { name, frames }) => {
                        assert_eq!(name, "main");
                        dump.frames = frames.iter().map(|it| (it.funcidx, it.codeoffset)).collect();
                    }
                    _ => panic!("an unknown section `{}`", section.name()),
                },
                _ => (),
            }
        }
        dump
    }

    fn memory(&self) -> Vec<u8> {
        let mut memory = vec![0; usize::try_from(self.pages).unwrap() << 16];
        for (at, bytes) in &self.data {
            memory[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        memory
    }
}

fn constant(expression: &wasmparser::ConstExpr<'_>) -> i64 {
    match expression.get_operators_reader().read().unwrap() {
        Operator::I32Const { value } => value.into(),
        Operator::I64Const { value } => value,
        other => panic!("{other:?}"),
    }
}

fn epitaph(place: &Place, crank: u64) -> Value {
    serde_json::from_slice(&fs::read(place.path(&format!("state/panic-{crank}.json"))).unwrap()).unwrap()
}

/// Settles a promise that it gave to another: with the planted bug, the kernel lets it.
const LIAR: &str = r##"(module
    (import "vat1" "send" (func $send (param i64 i32 i32 i32 i32 i64)))
    (import "vat1" "resolve" (func $resolve (param i32 i32)))
    (import "vat1" "input_read" (func $input_read (param i32 i32 i32)))
    (memory (export "memory") 2)
    (global $fixed i64 (i64.const 77))
    (global $calls (mut i32) (i32.const 40))
    (data (i32.const 64) "#[\22increment\22,[1]]")
    (data (i32.const 128) "\05\00\00\00\00\00\00\60\00\00\00\00\50\00\00\00\05\00\00\00")
    (data (i32.const 80) "#null")
    (data (i32.const 70000) "a word that the guest holds")
    (func $lie (param $target i64)
        (call $send (local.get $target) (i32.const 64) (i32.const 16) (i32.const 0) (i32.const 0)
            (i64.const 0x6000000000000005))
        (call $resolve (i32.const 128) (i32.const 1))
        (global.set $calls (i32.const -1)))
    (func $deliver (export "vat_deliver") (param $length i32)
        (call $input_read (i32.const 1024) (i32.const 0) (local.get $length))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        ;; The first slot of a message.
        (if (i32.eq (i32.load (i32.const 1024)) (i32.const 1)) (then (call $lie (i64.load (i32.const 1056)))))))"##;

/// Runs the liar on a kernel with a bug: which, and where.
fn run_liar(place: &Place, bug: &str) -> crate::cli::Ran {
    place.write("liar.wat", LIAR);
    let text = r#"
        [vats.liar]
        bundle = "liar.wat"
        [vats.counter]
        bundle = "VATS/counter.wasm"
        [[send]]
        to = "liar"
        method = "go"
        args = ["@counter"]"#;
    place.write("vat.toml", &text.replace("VATS", concat!(env!("CARGO_MANIFEST_DIR"), "/vats")));
    place.vathost(&format!("run @vat.toml --state @state --experimental {bug}")).code(70)
}

/// Where in a function the nth call of another stands.
fn offset_of_call(wasm: &[u8], function: usize, callee: u32, nth: usize) -> u32 {
    let bodies = Parser::new(0).parse_all(wasm).filter_map(|it| match it.unwrap() {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let body = bodies.into_iter().nth(function).unwrap();
    let operators = body.get_operators_reader().unwrap().into_iter_with_offsets().map(Result::unwrap);
    let calls =
        operators.filter(|(it, _)| matches!(it, Operator::Call { function_index } if *function_index == callee));
    u32::try_from(calls.map(|(_, at)| at).nth(nth).unwrap() - body.range().start).unwrap()
}

#[test]
fn the_guest_that_met_the_panic_is_dumped_with_its_frames_memory_and_globals() {
    let place = Place::new();
    let ran = run_liar(&place, "--plant resolve-non-decider@crank-0");
    let crank = 2;
    let state = place.path("state").display().to_string();
    let ran = ran.says(&format!("  its guest:   {state}/panic-{crank}.core.wasm, a WebAssembly core dump"));
    assert!(ran.stderr.contains("syscall 1 resolve: invariant `promise.decider`"), "{}", ran.stderr);
    let told = epitaph(&place, crank);
    assert_eq!(told["coreDump"], "panic-2.core.wasm");
    assert_eq!(told["guestBacktrace"], json!(["lie", "deliver"]));

    let dump = Dump::read(&fs::read(place.path("state/panic-2.core.wasm")).unwrap());
    assert_eq!((&*dump.name, &dump.modules[..]), ("liar", &["liar".to_owned()][..]));
    let wasm = wat::parse_str(LIAR).unwrap();
    // Three imports stand before them.
    let expected = [(3, offset_of_call(&wasm, 0, 1, 0)), (4, offset_of_call(&wasm, 1, 3, 0))];
    assert_eq!(dump.frames, expected);
    assert_eq!(dump.globals, [(false, 77), (true, 42)], "startVat, and the message; then it was cut off");
    assert_eq!((dump.instance_globals, dump.pages), (2, 2));
    let memory = dump.memory();
    assert!(memory[70_000..].starts_with(b"a word that the guest holds"));
    assert_eq!(memory[1024..1028], 1_u32.to_le_bytes(), "the delivery that it had read");
    assert!(dump.data.iter().map(|(_, it)| it.len()).sum::<usize>() < 64 << 10, "no zeros are written");
}

#[test]
fn a_panic_after_the_guest_had_returned_leaves_its_heap_without_frames() {
    let place = Place::new();
    run_liar(&place, "--audit --plant audit.object-counts@crank-1").says(".core.wasm");
    let told = epitaph(&place, 1);
    assert_eq!((&told["coreDump"], &told["guestBacktrace"]), (&json!("panic-1.core.wasm"), &Value::Null));
    let dump = Dump::read(&fs::read(place.path("state/panic-1.core.wasm")).unwrap());
    assert_eq!(dump.frames, []);
    assert!(!dump.memory().iter().all(|it| *it == 0));
}

#[test]
fn a_panic_before_the_guest_was_up_leaves_no_dump_of_it() {
    let place = Place::new();
    let ran = run_liar(&place, "--plant object.known@crank-0");
    assert!(!ran.stderr.contains("its guest"), "{}", ran.stderr);
    assert_eq!(epitaph(&place, 0)["coreDump"], Value::Null);
    assert!(!place.path("state/panic-0.core.wasm").exists());
}
