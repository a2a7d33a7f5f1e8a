//! The guest of a delivery in which the kernel panicked, as a core dump of the WebAssembly tool conventions.
//!
//! Frames, functions and offsets are those of the file that the author built. Locals and operands are left out: compiled code does
//! not keep them. If the kernel panicked after the guest had returned (in an audit, for example), the dump has the heap and no frame.

use std::collections::BTreeMap;

use wasm_encoder::{
    ConstExpr, CoreDumpInstancesSection, CoreDumpModulesSection, CoreDumpSection, CoreDumpStackSection, DataSection,
    GlobalSection, GlobalType, HeapType, MemorySection, MemoryType, Module, ValType,
};
use wasmparser::{Operator, Parser, Payload, TypeRef};
use wasmtime::{Error, WasmCoreDump};

use crate::{
    model::id::BundleId,
    state::snapshot::GlobalValue,
    vat::module::{self, OffsetMap, Rules},
};

/// The memory, globals and call stack of a guest after a kernel panic.
#[derive(Clone, Debug)]
pub struct CoreDump {
    pub(super) bundle: BundleId,
    /// The engine version that the guest ran on.
    pub(super) version: u32,
    pub(super) frames: Vec<Frame>,
    pub(super) memory: Vec<u8>,
    pub(super) globals: Vec<GlobalValue>,
}

/// A call that was under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    function: u32,
    name: Option<String>,
    /// In the instrumented file.
    offset: Option<usize>,
}

/// Returns the calls that were under way when guest code did not return, the innermost first.
pub(super) fn frames(err: &Error) -> Vec<Frame> {
    let frames = err.downcast_ref::<WasmCoreDump>().map(WasmCoreDump::frames).unwrap_or_default();
    let frame = |it: &wasmtime::FrameInfo| Frame {
        function: it.func_index(),
        name: it.func_name().map(str::to_owned),
        offset: it.module_offset(),
    };
    frames.iter().map(frame).collect()
}

/// Returns the guest's function that trapped, by the module's own name for it: the innermost one that is not part of a
/// language's panic machinery.
pub(super) fn place(err: &Error) -> Option<String> {
    let frames = frames(err);
    let names = || frames.iter().filter_map(|it| it.name.as_deref()).map(readable);
    let is_machinery = |name: &String| ["panic", "rust_begin_unwind", "abort"].iter().any(|it| name.contains(it));
    names().find(|it| !is_machinery(it)).or_else(|| names().next())
}

/// A name without the mangling that rustc and clang give it: `_ZN5hello3run17h0123456789abcdefE` is `hello::run`.
fn readable(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else { return name.to_owned() };
    let mut parts = Vec::new();
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let part =
            rest.get(..digits).and_then(|it| it.parse::<usize>().ok()).and_then(|it| rest.get(digits..digits + it));
        let Some(part) = part else { break };
        rest = &rest[digits + part.len()..];
        let is_hash = part.len() == 17 && part.starts_with('h') && part[1..].bytes().all(|it| it.is_ascii_hexdigit());
        if !is_hash {
            parts.push(part);
        }
    }
    if parts.is_empty() { name.to_owned() } else { parts.join("::") }
}

impl CoreDump {
    /// Returns the id of the bundle that the guest ran.
    pub fn bundle(&self) -> BundleId {
        self.bundle
    }

    /// Returns the functions that were under way, the innermost first, by the module's own names if it has them.
    /// `None` if the guest had returned.
    pub fn backtrace(&self) -> Option<Vec<String>> {
        let name = |it: &Frame| it.name.clone().unwrap_or_else(|| format!("function {}", it.function));
        (!self.frames.is_empty()).then(|| self.frames.iter().map(name).collect())
    }

    /// Encodes the core dump as a file. `wasm` is the bundle; `name` is the vat's.
    pub fn encode(&self, wasm: &[u8], name: &str) -> Vec<u8> {
        let layout = Layout::of(wasm, self.version);
        let mut file = Module::new();
        file.section(&CoreDumpSection::new(name));
        let mut memories = MemorySection::new();
        let minimum = self.memory.len() as u64 >> 16;
        let maximum = layout.memory_max;
        memories.memory(MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None });
        file.section(&memories);
        let globals = layout.globals(&self.globals);
        file.section(&globals);
        file.section(&self.data());
        let mut modules = CoreDumpModulesSection::new();
        modules.module(name);
        file.section(&modules);
        let mut instances = CoreDumpInstancesSection::new();
        instances.instance(0, [0], 0..globals.len());
        file.section(&instances);
        let mut stack = CoreDumpStackSection::new("main");
        for it in &self.frames {
            stack.frame(0, it.function, layout.offset_in(it), [], []);
        }
        file.section(&stack);
        file.finish()
    }

    /// The pages that are not zero; neighbours together.
    fn data(&self) -> DataSection {
        const PAGE: usize = crate::store::PAGE_BYTES;
        let mut data = DataSection::new();
        let mut begun = None;
        let pages = self.memory.chunks(PAGE).map(|it| it.iter().any(|it| *it != 0)).chain([false]);
        for (page, is_used) in pages.enumerate() {
            match (begun, is_used) {
                (None, true) => begun = Some(page * PAGE),
                (Some(from), false) => {
                    let offset = ConstExpr::i32_const(u32::try_from(from).unwrap_or_default().cast_signed());
                    let bytes = self.memory.get(from..page * PAGE).unwrap_or_default();
                    data.active(0, &offset, bytes.iter().copied());
                    begun = None;
                }
                _ => (),
            }
        }
        data
    }
}

/// The facts about the module that the dump needs.
#[derive(Default)]
struct Layout {
    offsets: OffsetMap,
    memory_max: Option<u64>,
    /// The start of each function's body, by the function's index.
    bodies: BTreeMap<u32, usize>,
    globals: Vec<(wasmparser::GlobalType, ConstExpr)>,
}

impl Layout {
    /// Reads the layout of a bundle that ran, and so is one that the load pass accepts.
    fn of(wasm: &[u8], version: u32) -> Layout {
        let rules = Rules { engine: version, ..Rules::default() };
        let offsets = module::prepare(wasm, &rules).map(|it| it.offsets).unwrap_or_default();
        let mut layout = Layout { offsets, ..Layout::default() };
        let mut functions = 0;
        for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
            match payload {
                Payload::ImportSection(section) => {
                    let imports = section.into_imports().map_while(Result::ok);
                    functions += imports.filter(|it| matches!(it.ty, TypeRef::Func(_))).map(|_| 1).sum::<u32>();
                }
                Payload::MemorySection(section) => {
                    layout.memory_max = section.into_iter().map_while(Result::ok).next().and_then(|it| it.maximum);
                }
                Payload::GlobalSection(section) => {
                    let globals = section.into_iter().map_while(Result::ok);
                    layout.globals = globals.map(|it| (it.ty, constant(&it.init_expr))).collect();
                }
                Payload::CodeSectionEntry(body) => {
                    layout.bodies.insert(functions, body.range().start);
                    functions += 1;
                }
                _ => (),
            }
        }
        layout
    }

    /// Returns the offset of a frame in its function.
    fn offset_in(&self, frame: &Frame) -> u32 {
        let original = frame.offset.and_then(|it| self.offsets.original(it));
        let from = self.bodies.get(&frame.function);
        let within = original.zip(from).and_then(|(at, from)| at.checked_sub(*from));
        within.and_then(|it| u32::try_from(it).ok()).unwrap_or_default()
    }

    /// Returns the globals: mutable ones with these values, the others with their constants.
    fn globals(&self, mutable: &[GlobalValue]) -> GlobalSection {
        let mut now = mutable.iter();
        let mut section = GlobalSection::new();
        for (ty, constant) in &self.globals {
            let value = if ty.mutable { now.next().map(|it| expression(*it)) } else { None };
            let ty = GlobalType { val_type: val_type(ty.content_type), mutable: ty.mutable, shared: false };
            section.global(ty, value.as_ref().unwrap_or(constant));
        }
        section
    }
}

fn val_type(ty: wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(_) => ValType::FUNCREF,
    }
}

fn expression(value: GlobalValue) -> ConstExpr {
    match value {
        GlobalValue::I32(it) => ConstExpr::i32_const(it),
        GlobalValue::I64(it) => ConstExpr::i64_const(it),
        GlobalValue::F32(bits) => ConstExpr::f32_const(f32::from_bits(bits).into()),
        GlobalValue::F64(bits) => ConstExpr::f64_const(f64::from_bits(bits).into()),
        GlobalValue::V128(it) => ConstExpr::v128_const(it.cast_signed()),
    }
}

/// Returns the value of an immutable global. A reference to a function means nothing outside the instance: null.
fn constant(init: &wasmparser::ConstExpr<'_>) -> ConstExpr {
    match init.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => ConstExpr::i32_const(value),
        Ok(Operator::I64Const { value }) => ConstExpr::i64_const(value),
        Ok(Operator::F32Const { value }) => ConstExpr::f32_const(f32::from_bits(value.bits()).into()),
        Ok(Operator::F64Const { value }) => ConstExpr::f64_const(f64::from_bits(value.bits()).into()),
        Ok(Operator::V128Const { value }) => ConstExpr::v128_const(value.i128()),
        _ => ConstExpr::ref_null(HeapType::FUNC),
    }
}
