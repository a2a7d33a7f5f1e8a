//! The charge for instructions of variable size, by their operand: the rewrite puts a call before each of them, to a function that it
//! appends.
//!
//! ```text
//!   i32.const K                      local.get $size
//!   i64.const ⟨the price of K⟩       call ⟨charge a byte each⟩      returns its operand
//!   call ⟨charge so much⟩            memory.fill
//!   memory.fill
//!
//!   the function:  fuel = fuel - price;  if fuel < 0 { unreachable }
//! ```
//!
//! So the price is ours, and is paid before the instruction runs, whatever comes of it; and since wasmtime looks at its own counter when a
//! function begins, what was used before is noticed before, too. A size that is known stays known to the compiler, which makes a few
//! loads and stores of a small copy. The host gives `fuel` before each delivery, and reads what is left of it afterwards. What the call
//! itself costs by wasmtime's counter is given back.
//!
//! Instructions of variable size that change a table are refused by the check: there is nothing to charge for.

use wasm_encoder::{BlockType, Encode, InstructionSink, ValType};
use wasmparser::Operator;

/// The price of a page of 64 KiB that a guest asks for by `memory.grow`, granted or not, on top of the price of the instruction. What a page
/// takes of the host is charged when it is granted.
const PAGE: i64 = 255;
/// The price of a byte that `memory.copy`, `memory.fill` or `memory.init` is to write.
const BYTE: i64 = 1;

/// What the call of a charge by the unit costs by wasmtime's counter: one, one as the function begins, and its instructions.
const OWN_BY_UNIT: i64 = 16;
/// The same of a charge of a known price, with the constant before it.
const OWN_OF_KNOWN: i64 = 11;

/// The charge before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Charge {
    /// So much for each unit of the operand, the topmost value: an `i32`.
    Unit(i64),
    /// So much in all, since the operand is a constant.
    Known(i64),
}

impl Charge {
    /// Returns the charge before an operator, if it is one of variable size. `constant` is the topmost value, if the operator before pushed
    /// it.
    pub(super) fn of(operator: &Operator<'_>, constant: Option<i32>) -> Option<Charge> {
        let price = match operator {
            Operator::MemoryGrow { .. } => PAGE,
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => BYTE,
            _ => return None,
        };
        let known = |size: i32| Charge::Known(i64::from(size.cast_unsigned()).saturating_mul(price));
        Some(constant.map_or(Charge::Unit(price), known))
    }
}

/// The parts of a module that charge, by index: a global, two types and three functions, which follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charges {
    /// What is left for operands, an `i64`.
    pub(super) fuel: u32,
    /// The type of a charge by the unit; the next is that of a known one.
    pub(super) types: u32,
    /// The functions: by the byte, by the page, of a known price.
    pub(super) functions: u32,
}

impl Charges {
    /// Writes the call before an instruction.
    pub(super) fn call(self, charge: Charge, out: &mut Vec<u8>) {
        let mut sink = InstructionSink::new(out);
        match charge {
            Charge::Unit(PAGE) => sink.call(self.functions.saturating_add(1)),
            Charge::Unit(_) => sink.call(self.functions),
            Charge::Known(price) => {
                sink.i64_const(price.saturating_sub(OWN_OF_KNOWN)).call(self.functions.saturating_add(2))
            }
        };
    }

    /// Returns the two types, encoded.
    pub(super) fn types() -> [Vec<u8>; 2] {
        let encoded = |parameters: &[ValType], results: &[ValType]| {
            let mut out = vec![0x60];
            parameters.encode(&mut out);
            results.encode(&mut out);
            out
        };
        [encoded(&[ValType::I32], &[ValType::I32]), encoded(&[ValType::I64], &[])]
    }

    /// Returns the type index of each function, encoded.
    pub(super) fn functions(self) -> [Vec<u8>; 3] {
        [0, 0, 1].map(|offset| {
            let mut out = Vec::new();
            self.types.saturating_add(offset).encode(&mut out);
            out
        })
    }

    /// Returns the bodies of the functions.
    pub(super) fn bodies(self) -> [Vec<u8>; 3] {
        [self.by_unit(BYTE), self.by_unit(PAGE), self.known()]
    }

    fn by_unit(self, price: i64) -> Vec<u8> {
        let mut out = no_locals();
        let mut sink = InstructionSink::new(&mut out);
        sink.global_get(self.fuel).local_get(0).i64_extend_i32_u().i64_const(price).i64_mul().i64_sub();
        sink.i64_const(OWN_BY_UNIT).i64_add().global_set(self.fuel);
        self.trap_without_fuel(&mut sink);
        sink.local_get(0).end();
        out
    }

    fn known(self) -> Vec<u8> {
        let mut out = no_locals();
        let mut sink = InstructionSink::new(&mut out);
        sink.global_get(self.fuel).local_get(0).i64_sub().global_set(self.fuel);
        self.trap_without_fuel(&mut sink);
        sink.end();
        out
    }

    fn trap_without_fuel(self, sink: &mut InstructionSink<'_>) {
        sink.global_get(self.fuel).i64_const(0).i64_lt_s().if_(BlockType::Empty).unreachable().end();
    }
}

fn no_locals() -> Vec<u8> {
    vec![0]
}
