//! The rewrite: copies the module byte by byte and adds the call-depth counter, the charges by [operand], and the exports.
//!
//! Nothing is renumbered: types, functions, globals and exports are appended, and a counted body becomes
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

use std::ops::Range;

use wasm_encoder::{BlockType, ConstExpr, Encode, ExportKind, GlobalType, InstructionSink, ValType};

use super::body::{BodyPlan, Edit};
use super::limits;
use super::offsets::OffsetMap;
use super::operand::Charges;
use super::plan::{Plan, Section};

/// Export name of the call-depth counter, an `i32` global that holds [`limits::STACK_BUDGET`] between calls from the host.
pub const STACK_EXPORT: &str = "vathost:stack";
/// Export name of what is left to pay for operands with, an `i64` global that the host sets before a delivery.
pub const FUEL_EXPORT: &str = "vathost:fuel";
/// Export name of a mutable global, before its index in decimal.
pub const GLOBAL_EXPORT: &str = "vathost:global:";

const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CODE: u8 = 10;

/// Returns the instrumented bytes of a checked module, and the map of its instructions' offsets. `charges` says whether operands are
/// charged for.
pub(super) fn instrument(wasm: &[u8], plan: &Plan, charges: bool) -> (Vec<u8>, OffsetMap) {
    let mut out = slice(wasm, 0..8).to_vec();
    out.reserve(wasm.len() + wasm.len() / 4);
    let mut offsets = OffsetMap::default();
    let mut global_added = false;
    let block_types = BlockTypes::new(plan);
    let added = Added::new(plan, &block_types, charges);
    for section in &plan.sections {
        if section.id == EXPORT && !global_added {
            append(wasm, None, GLOBAL, &added.globals(), &mut out);
            global_added = true;
        }
        match section.id {
            TYPE => append(wasm, Some(section), TYPE, &added.types(&block_types), &mut out),
            FUNCTION => append(wasm, Some(section), FUNCTION, &added.functions(), &mut out),
            GLOBAL => {
                append(wasm, Some(section), GLOBAL, &added.globals(), &mut out);
                global_added = true;
            }
            EXPORT => append(wasm, Some(section), EXPORT, &added.exports(plan), &mut out),
            CODE => {
                let contents = code(wasm, plan, added, &block_types, &mut offsets);
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
fn code(wasm: &[u8], plan: &Plan, added: Added, block_types: &BlockTypes, offsets: &mut OffsetMap) -> Vec<u8> {
    let mut out = Vec::new();
    let bodies = added.bodies();
    (plan.bodies.len() + bodies.len()).encode(&mut out);
    for body in &plan.bodies {
        let mut local = OffsetMap::default();
        let bytes = match body.weight {
            Some(weight) => counted(wasm, body, weight, added, block_types.get(plan, body.type_index), &mut local),
            None => {
                let mut out = Vec::new();
                added.copy(wasm, body, body.body.clone(), &mut out, &mut local);
                out
            }
        };
        bytes.len().encode(&mut out);
        local.place(0, out.len());
        offsets.append(local);
        out.extend(bytes);
    }
    if !bodies.is_empty() {
        offsets.append_from(out.len());
    }
    bodies.iter().for_each(|it| it.as_slice().encode(&mut out));
    out
}

/// A body with the counter around it.
fn counted(
    wasm: &[u8],
    body: &BodyPlan,
    weight: u32,
    added: Added,
    block: BlockType,
    offsets: &mut OffsetMap,
) -> Vec<u8> {
    let (weight, stack) = (i32::try_from(weight).unwrap_or(i32::MAX), added.stack);
    let mut out = slice(wasm, body.body.start..body.operators).to_vec();
    offsets.push(body.body.start..body.operators, 0..out.len());

    let entry = out.len();
    let mut sink = InstructionSink::new(&mut out);
    sink.global_get(stack).i32_const(weight).i32_sub().global_set(stack);
    sink.global_get(stack).i32_const(0).i32_lt_s().if_(BlockType::Empty).unreachable().end();
    sink.block(block);
    offsets.push(body.operators..body.operators, entry..out.len());

    let last = body.body.end - 1;
    added.copy(wasm, body, body.operators..last, &mut out, offsets);

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

fn global(val_type: ValType, begin: &ConstExpr) -> Vec<u8> {
    let mut out = Vec::new();
    GlobalType { val_type, mutable: true, shared: false }.encode(&mut out);
    begin.encode(&mut out);
    out
}

fn export(name: &str, index: u32) -> Vec<u8> {
    let mut out = Vec::new();
    name.encode(&mut out);
    ExportKind::Global.encode(&mut out);
    index.encode(&mut out);
    out
}

/// The parts that are added, by index.
#[derive(Clone, Copy)]
struct Added {
    stack: u32,
    /// `None` if nothing in the module is charged for by its operand.
    charges: Option<Charges>,
}

impl Added {
    fn new(plan: &Plan, block_types: &BlockTypes, charges: bool) -> Added {
        let stack = plan.globals;
        let is_charge = |(_, edit): &(usize, Edit)| matches!(edit, Edit::Charge(_));
        let charges = charges && plan.bodies.iter().any(|it| it.edits.iter().any(is_charge));
        let charges = charges.then(|| Charges {
            fuel: stack.saturating_add(1),
            types: index32(plan.types.len() + block_types.added.len()),
            functions: plan.functions,
        });
        Added { stack, charges }
    }

    fn types(self, block_types: &BlockTypes) -> Vec<Vec<u8>> {
        let charges = self.charges.map(|_| Charges::types()).into_iter().flatten();
        block_types.added.iter().cloned().chain(charges).collect()
    }

    fn functions(self) -> Vec<Vec<u8>> {
        self.charges.map(Charges::functions).into_iter().flatten().collect()
    }

    fn bodies(self) -> Vec<Vec<u8>> {
        self.charges.map(Charges::bodies).into_iter().flatten().collect()
    }

    fn globals(self) -> Vec<Vec<u8>> {
        let budget = ConstExpr::i32_const(i32::try_from(limits::STACK_BUDGET).unwrap_or(i32::MAX));
        let fuel = self.charges.map(|_| global(ValType::I64, &ConstExpr::i64_const(0)));
        std::iter::once(global(ValType::I32, &budget)).chain(fuel).collect()
    }

    fn exports(self, plan: &Plan) -> Vec<Vec<u8>> {
        let guests = plan.mutable_globals.iter().map(|&index| export(&format!("{GLOBAL_EXPORT}{index}"), index));
        let fuel = self.charges.map(|it| export(FUEL_EXPORT, it.fuel));
        std::iter::once(export(STACK_EXPORT, self.stack)).chain(fuel).chain(guests).collect()
    }

    /// Copies a stretch of a body, with the changes of its operators. In a body that is not counted a `return` stays.
    fn copy(self, wasm: &[u8], body: &BodyPlan, stretch: Range<usize>, out: &mut Vec<u8>, offsets: &mut OffsetMap) {
        let mut from = stretch.start;
        for &(at, edit) in &body.edits {
            let mut changed = Vec::new();
            let after = match (edit, self.charges) {
                (Edit::Return(depth), _) if body.weight.is_some() => {
                    InstructionSink::new(&mut changed).br(depth);
                    at + 1
                }
                (Edit::Charge(charge), Some(charges)) => {
                    charges.call(charge, &mut changed);
                    at
                }
                _ => continue,
            };
            let start = out.len();
            out.extend(slice(wasm, from..at));
            offsets.push(from..at, start..out.len());
            let start = out.len();
            out.extend(changed);
            offsets.push(at..after, start..out.len());
            from = after;
        }
        let start = out.len();
        out.extend(slice(wasm, from..stretch.end));
        offsets.push(from..stretch.end, start..out.len());
    }
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
fn slice(wasm: &[u8], range: Range<usize>) -> &[u8] {
    wasm.get(range).unwrap_or_default()
}

fn index32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
