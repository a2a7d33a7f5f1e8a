//! Weight of a call in the stack budget: an upper estimate, in proportion, of the function's native frame.

use wasmparser::{FuncValidator, ValType, WasmModuleResources};

use super::limits::FRAME_WEIGHT;

/// The parts of a function's frame, as far as its wasm shows them; all in bytes of spill slots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameShape {
    /// Parameters and declared locals.
    pub(super) locals: u32,
    /// The operand stack at its highest.
    pub(super) operands: u32,
    /// Values computed outside loops.
    pub(super) straight: u32,
    /// Values computed within loops.
    pub(super) looped: u32,
}

impl FrameShape {
    /// Returns the weight of one activation; saturates.
    ///
    /// Locals and operands are not enough: the compiler moves computations out of a loop, and keeps a value that is computed twice,
    /// so any value computed in a loop, and every second one elsewhere, may have to live in the frame. Counting only locals and operands,
    /// a frame of 16 KiB with a weight of 100 was easy to write.
    pub(super) fn weight(self) -> u32 {
        [self.locals, self.operands, self.looped, self.straight / 2].into_iter().fold(FRAME_WEIGHT, u32::saturating_add)
    }
}

/// Returns the bytes that a value takes in a frame: vectors 16, and floats too, because they share their registers.
pub(super) fn slot_bytes(ty: ValType) -> u32 {
    match ty {
        ValType::V128 | ValType::F32 | ValType::F64 => 16,
        ValType::I32 | ValType::I64 | ValType::Ref(_) => 8,
    }
}

/// The bytes of the operand stack, kept next to the validator's own.
#[derive(Debug, Default)]
pub(super) struct Operands {
    slots: Vec<u32>,
    bytes: u32,
}

impl Operands {
    /// Follows the validator after an operator that may have replaced the `fresh` topmost values, and returns the bytes now.
    pub(super) fn follow<T: WasmModuleResources>(&mut self, validator: &FuncValidator<T>, fresh: usize) -> u32 {
        let height = validator.operand_stack_height() as usize;
        let keep = height.saturating_sub(fresh).min(self.slots.len());
        self.bytes -= self.slots.drain(keep..).sum::<u32>();
        for depth in (0..height - keep).rev() {
            let bytes = validator.get_operand_type(depth).flatten().map_or(8, slot_bytes);
            self.slots.push(bytes);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.bytes
    }

    /// Returns the bytes of the topmost value.
    pub(super) fn top(&self) -> u32 {
        self.slots.last().copied().unwrap_or(0)
    }
}
