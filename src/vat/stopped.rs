//! A stopped guest, as a debugger sees it: everything can be read, nothing changed.
//!
//! Every program counter is an offset in the file that the author built, for which a debugger has the sources; the load pass's code is
//! skipped. Function, local and global indices are the same in both files.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload};
use wasmtime::{AsContext, AsContextMut, FrameHandle, Instance, Module, ModulePC, StoreContextMut, Val};

use crate::vat::{abi::InstanceData, debugger::Code};

/// Frames that are shown, at most, the innermost ones: a guest may be many thousand calls deep.
const FRAMES_MAX: usize = 1_000;

struct Frame {
    handle: FrameHandle,
    /// In the instrumented file.
    pc: usize,
}

/// A guest that has stopped for a debugger.
pub struct Stopped<'a> {
    store: StoreContextMut<'a, InstanceData>,
    code: &'a Code,
    module: &'a Module,
    instance: Instance,
    /// Frames of the call stack, innermost first. Only the innermost until more are asked for.
    frames: Vec<Frame>,
    walked: bool,
    /// Whether the innermost frame waits for the host: its offset is then that after its call.
    in_host: bool,
    /// Whether the guest is in the load pass's code for the instruction that is next.
    in_charge: bool,
    breakpoints: &'a mut BTreeSet<u64>,
}

/// The bits of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// An `i32` or an `f32`.
    Word(u32),
    /// An `i64` or an `f64`.
    Long(u64),
    /// A value of type `v128`.
    Vector(u128),
}

impl std::fmt::Debug for Stopped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopped").finish_non_exhaustive()
    }
}

impl<'a> Stopped<'a> {
    pub(super) fn new(
        mut store: StoreContextMut<'a, InstanceData>,
        code: &'a Code,
        module: &'a Module,
        instance: Instance,
        in_host: bool,
        breakpoints: &'a mut BTreeSet<u64>,
    ) -> Stopped<'a> {
        let innermost = store.debug_exit_frames().next();
        let mut innermost = innermost.and_then(|it| frame(&mut store, it));
        // The code that charges for an operand is shown as the instruction that it charges for.
        let charge = innermost.take_if(|it| code.offsets.is_appended(it.pc));
        let in_charge = charge.is_some();
        if let Some(it) = charge {
            innermost = it.handle.parent(&mut store).ok().flatten().and_then(|it| frame(&mut store, it));
        }
        let frames = innermost.into_iter().collect();
        Stopped { store, code, module, instance, frames, walked: false, in_host, in_charge, breakpoints }
    }

    /// Walks the stack, once.
    fn frames(&mut self) -> &[Frame] {
        let mut last = self.frames.last().filter(|_| !self.walked).map(|it| it.handle.clone());
        while let Some(it) = last.filter(|_| self.frames.len() < FRAMES_MAX) {
            last = it.parent(&mut self.store).ok().flatten();
            self.frames.extend(last.clone().and_then(|it| frame(&mut self.store, it)));
        }
        self.walked = true;
        &self.frames
    }

    /// Returns the module, as it was built.
    pub fn wasm(&self) -> &[u8] {
        &self.code.wasm
    }

    /// Returns the offset at which the guest has stopped: that of the next instruction, or of the host call that failed.
    pub fn pc(&self) -> u64 {
        let pc = self.frames.first().map_or(0, |it| self.original(it.pc));
        if self.in_host { before(&self.code.wasm, pc).unwrap_or(pc) } else { pc }
    }

    fn original(&self, pc: usize) -> u64 {
        self.code.offsets.original(pc).unwrap_or_default() as u64
    }

    /// Returns the offsets of the call stack, innermost call first; of each caller, the instruction after the call.
    pub fn call_stack(&mut self) -> Vec<u64> {
        let callers: Vec<usize> = self.frames().iter().skip(1).map(|it| it.pc).collect();
        let innermost = self.frames.first().map(|_| self.pc());
        innermost.into_iter().chain(callers.into_iter().map(|it| self.original(it))).collect()
    }

    fn frame(&mut self, index: usize) -> Option<FrameHandle> {
        self.frames().get(index).map(|it| it.handle.clone())
    }

    /// Returns a parameter or local of a frame; frames count from the innermost.
    pub fn local(&mut self, frame: usize, index: u32) -> Option<Value> {
        let frame = self.frame(frame)?;
        let known = index < frame.num_locals(&mut self.store).ok()?;
        known.then(|| frame.local(&mut self.store, index).ok().and_then(value_of))?
    }

    /// Returns a value of a frame's operand stack, the lowest first.
    pub fn operand(&mut self, frame: usize, index: u32) -> Option<Value> {
        let frame = self.frame(frame)?;
        let known = index < frame.num_stacks(&mut self.store).ok()?;
        known.then(|| frame.stack(&mut self.store, index).ok().and_then(value_of))?
    }

    /// Returns the value of a global.
    pub fn global(&mut self, index: u32) -> Option<Value> {
        let global = self.instance.debug_global(&mut self.store, index)?;
        value_of(global.get(&mut self.store))
    }

    /// Returns the memory of the guest.
    pub fn memory(&self) -> &[u8] {
        self.store.data().memory.map_or(&[], |it| it.data(&self.store))
    }

    /// Sets or clears a breakpoint at this instruction. Returns whether it is now as asked, which it is not if no
    /// instruction begins there. A second call changes nothing.
    pub fn set_breakpoint(&mut self, at: u64, on: bool) -> bool {
        let is_on = self.breakpoints.contains(&at);
        if is_on != on && self.change_breakpoint(at, on) {
            if on {
                self.breakpoints.insert(at)
            } else {
                self.breakpoints.remove(&at)
            };
            return true;
        }
        is_on == on
    }

    /// Returns the instructions at which breakpoints are set.
    pub fn breakpoints(&self) -> &BTreeSet<u64> {
        self.breakpoints
    }

    fn change_breakpoint(&mut self, at: u64, on: bool) -> bool {
        let at = usize::try_from(at).ok().and_then(|it| self.code.offsets.instrumented(it));
        let Some(pc) = at.and_then(|it| u32::try_from(it).ok()).map(ModulePC::new) else { return false };
        let Some(mut edit) = self.store.as_context_mut().edit_breakpoints() else { return false };
        let done = if on { edit.add_breakpoint(self.module, pc) } else { edit.remove_breakpoint(self.module, pc) };
        done.is_ok()
    }

    pub(super) fn single_step(&mut self, on: bool) {
        if let Some(mut edit) = self.store.as_context_mut().edit_breakpoints() {
            // It fails only for a module of another engine.
            let _ = edit.single_step(on);
        }
    }

    pub(super) fn clear_breakpoints(&mut self) {
        clear_breakpoints(&mut self.store);
    }

    /// Returns whether the guest has stopped at an injected instruction, one that the original does not have.
    pub(super) fn is_injected(&self) -> bool {
        self.in_charge || self.frames.first().is_some_and(|it| self.code.offsets.is_injected(it.pc))
    }

    pub(super) fn is_at_breakpoint(&self) -> bool {
        let here = self.frames.first().map(|it| it.pc);
        let mut all = self.store.as_context().breakpoints().into_iter().flatten();
        all.any(|it| Some(it.pc.raw() as usize) == here)
    }
}

/// The instruction that ends at this offset of a file.
fn before(wasm: &[u8], at: u64) -> Option<u64> {
    let bodies = Parser::new(0).parse_all(wasm).map_while(Result::ok).filter_map(|it| match it {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let body = bodies.into_iter().find(|it| (it.range().start as u64..it.range().end as u64).contains(&at))?;
    let operators = body.get_operators_reader().ok()?.into_iter_with_offsets().map_while(Result::ok);
    operators.map(|(_, offset)| offset as u64).take_while(|it| *it < at).last()
}

/// Makes a frame from a handle; `None` if it is not one of the guest's.
fn frame(store: &mut StoreContextMut<'_, InstanceData>, handle: FrameHandle) -> Option<Frame> {
    let (_, pc) = handle.wasm_function_index_and_pc(store).ok()??;
    Some(Frame { handle, pc: pc.raw() as usize })
}

/// Clears all breakpoints: nothing stops any more.
pub(super) fn clear_breakpoints(store: &mut impl AsContextMut) {
    if let Some(mut edit) = store.as_context_mut().edit_breakpoints() {
        // What fails here would be of another engine.
        let _ = edit.single_step(false);
    }
    // One by one, and again: two places that were asked for may map to one, which then counts twice.
    while let Some(it) = store.as_context().breakpoints().and_then(|mut all| all.next()) {
        let Some(mut edit) = store.as_context_mut().edit_breakpoints() else { return };
        if edit.remove_breakpoint(&it.module, it.pc).is_err() {
            return;
        }
    }
}

fn value_of(val: Val) -> Option<Value> {
    Some(match val {
        Val::I32(it) => Value::Word(it.cast_unsigned()),
        Val::F32(bits) => Value::Word(bits),
        Val::I64(it) => Value::Long(it.cast_unsigned()),
        Val::F64(bits) => Value::Long(bits),
        Val::V128(it) => Value::Vector(it.as_u128()),
        _ => return None,
    })
}
