//! The rewrite: copies the module byte by byte and adds the call-depth counter and the exports.
//!
//! Nothing is renumbered: a type, a global and exports are appended, and a counted body becomes
//!
//! ```text
//! stack = stack - weight; if stack < 0 { unreachable }     the entry
//! block (results)
//!     …original operators; `return` becomes `br` to this block…
//! end
//! stack = stack + weight                                   the exit
//! end
//! ```
//!
//! A branch to the function's own label keeps its depth, since the block takes the function's place. After a trap the counter is not
//! restored by the guest: the host sets it back when it undoes the delivery, or drops the instance.

use wasm_encoder::{BlockType, ConstExpr, Encode, ExportKind, GlobalType, InstructionSink, ValType};

use super::body::BodyPlan;
use super::limits;
use super::offsets::OffsetMap;
use super::plan::{Plan, Section};

/// Export name of the call-depth counter, an `i32` global that holds [`limits::STACK_BUDGET`] between calls from the host.
pub const STACK_EXPORT: &str = "vathost:stack";
/// Export name of a mutable global, before its index in decimal.
pub const GLOBAL_EXPORT: &str = "vathost:global:";

const TYPE: u8 = 1;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CODE: u8 = 10;

/// Returns the instrumented bytes of a checked module, and the map of its instructions' offsets.
pub(super) fn instrument(wasm: &[u8], plan: &Plan) -> (Vec<u8>, OffsetMap) {
    let mut out = slice(wasm, 0..8).to_vec();
    out.reserve(wasm.len() + wasm.len() / 4);
    let mut offsets = OffsetMap::default();
    let mut global_added = false;
    let block_types = BlockTypes::new(plan);
    for section in &plan.sections {
        if section.id == EXPORT && !global_added {
            append(wasm, None, GLOBAL, &[stack_global()], &mut out);
            global_added = true;
        }
        match section.id {
            TYPE => append(wasm, Some(section), TYPE, &block_types.added, &mut out),
            GLOBAL => {
                append(wasm, Some(section), GLOBAL, &[stack_global()], &mut out);
                global_added = true;
            }
            EXPORT => append(wasm, Some(section), EXPORT, &exports(plan), &mut out),
            CODE => {
                let contents = code(wasm, plan, &block_types, &mut offsets);
                put_section(CODE, &contents, &mut out);
                offsets.place(section.range.start, out.len() - contents.len());
            }
            id => put_section(id, slice(wasm, section.range.clone()), &mut out),
        }
    }
    (out, offsets)
}

/// Block types of the functions with several results, which need a function type without parameters.
struct BlockTypes {
    /// The block type of each function type, by type index; `None` if the plain form is enough.
    by_type: Vec<Option<u32>>,
    /// The types to append, encoded.
    added: Vec<Vec<u8>>,
}

impl BlockTypes {
    fn new(plan: &Plan) -> Self {
        let mut added: Vec<Vec<u8>> = Vec::new();
        let mut by_type = vec![None; plan.types.len()];
        for body in plan.bodies.iter().filter(|body| body.weight.is_some()) {
            let results = results(plan, body.type_index);
            let Some(slot) = by_type.get_mut(body.type_index as usize) else { continue };
            if results.len() < 2 || slot.is_some() {
                continue;
            }
            let mut encoded = vec![0x60, 0];
            results.as_slice().encode(&mut encoded);
            let position = added.iter().position(|known| *known == encoded).unwrap_or_else(|| {
                added.push(encoded);
                added.len() - 1
            });
            *slot = Some(index32(plan.types.len() + position));
        }
        BlockTypes { by_type, added }
    }

    fn get(&self, plan: &Plan, type_index: u32) -> BlockType {
        match self.by_type.get(type_index as usize).copied().flatten() {
            Some(index) => BlockType::FunctionType(index),
            None => results(plan, type_index).first().map_or(BlockType::Empty, |ty| BlockType::Result(*ty)),
        }
    }
}

fn results(plan: &Plan, type_index: u32) -> Vec<ValType> {
    let ty = plan.types.get(type_index as usize);
    ty.map(|ty| ty.results().iter().map(val_type).collect()).unwrap_or_default()
}

fn val_type(ty: &wasmparser::ValType) -> ValType {
    match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        // The feature set has no other reference type.
        wasmparser::ValType::Ref(_) => ValType::FUNCREF,
    }
}

/// The contents of the code section; runs of `offsets` count from their start.
fn code(wasm: &[u8], plan: &Plan, block_types: &BlockTypes, offsets: &mut OffsetMap) -> Vec<u8> {
    let mut out = Vec::new();
    let stack = plan.globals;
    plan.bodies.len().encode(&mut out);
    for body in &plan.bodies {
        let mut local = OffsetMap::default();
        let bytes = match body.weight {
            Some(weight) => counted(wasm, body, weight, stack, block_types.get(plan, body.type_index), &mut local),
            None => {
                local.push(body.body.clone(), 0..body.body.len());
                slice(wasm, body.body.clone()).to_vec()
            }
        };
        bytes.len().encode(&mut out);
        local.place(0, out.len());
        offsets.append(local);
        out.extend(bytes);
    }
    out
}

/// A body with the counter around it.
fn counted(
    wasm: &[u8],
    body: &BodyPlan,
    weight: u32,
    stack: u32,
    block: BlockType,
    offsets: &mut OffsetMap,
) -> Vec<u8> {
    let weight = i32::try_from(weight).unwrap_or(i32::MAX);
    let mut out = slice(wasm, body.body.start..body.operators).to_vec();
    offsets.push(body.body.start..body.operators, 0..out.len());

    let entry = out.len();
    let mut sink = InstructionSink::new(&mut out);
    sink.global_get(stack).i32_const(weight).i32_sub().global_set(stack);
    sink.global_get(stack).i32_const(0).i32_lt_s().if_(BlockType::Empty).unreachable().end();
    sink.block(block);
    offsets.push(body.operators..body.operators, entry..out.len());

    let mut from = body.operators;
    for &(at, depth) in &body.returns {
        let start = out.len();
        out.extend(slice(wasm, from..at));
        offsets.push(from..at, start..out.len());
        let start = out.len();
        InstructionSink::new(&mut out).br(depth);
        offsets.push(at..at + 1, start..out.len());
        from = at + 1;
    }
    let last = body.body.end - 1;
    let start = out.len();
    out.extend(slice(wasm, from..last));
    offsets.push(from..last, start..out.len());

    let exit = out.len();
    let mut sink = InstructionSink::new(&mut out);
    sink.end();
    sink.global_get(stack).i32_const(weight).i32_add().global_set(stack);
    offsets.push(last..last, exit..out.len());
    let start = out.len();
    out.extend(slice(wasm, last..body.body.end));
    offsets.push(last..body.body.end, start..out.len());
    out
}

fn stack_global() -> Vec<u8> {
    let mut out = Vec::new();
    GlobalType { val_type: ValType::I32, mutable: true, shared: false }.encode(&mut out);
    ConstExpr::i32_const(i32::try_from(limits::STACK_BUDGET).unwrap_or(i32::MAX)).encode(&mut out);
    out
}

fn exports(plan: &Plan) -> Vec<Vec<u8>> {
    let export = |name: &str, index: u32| {
        let mut out = Vec::new();
        name.encode(&mut out);
        ExportKind::Global.encode(&mut out);
        index.encode(&mut out);
        out
    };
    let guests = plan.mutable_globals.iter().map(|&index| export(&format!("{GLOBAL_EXPORT}{index}"), index));
    std::iter::once(export(STACK_EXPORT, plan.globals)).chain(guests).collect()
}

/// Writes a section whose contents are a counted list, with items added at its end.
fn append(wasm: &[u8], section: Option<&Section>, id: u8, items: &[Vec<u8>], out: &mut Vec<u8>) {
    let mut contents = Vec::new();
    let (count, old) = section.map_or((0, &[][..]), |s| (s.count as usize, slice(wasm, s.items..s.range.end)));
    (count + items.len()).encode(&mut contents);
    contents.extend(old);
    contents.extend(items.iter().flatten());
    put_section(id, &contents, out);
}

fn put_section(id: u8, contents: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    contents.encode(out);
}

/// Ranges come from the check of the same bytes, so they are always within.
fn slice(wasm: &[u8], range: std::ops::Range<usize>) -> &[u8] {
    wasm.get(range).unwrap_or_default()
}

fn index32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
