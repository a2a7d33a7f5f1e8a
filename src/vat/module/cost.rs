//! Cost of compiling a module: a model, by structure alone, so that every replica accepts the same modules.
//!
//! Measured with wasmtime 48.0.8 (Cranelift at `speed`, fuel, canonical NaNs) on some 80 families of functions of 4 to 64 KiB, each of one
//! kind of operator. The time is linear for code as compilers write it; compile bombs are products. Each one that was found is one of these
//! sums within one function, squared or multiplied:
//!
//! * *values*: operands and results that the register allocator has to place, most for calls of many parameters, floats (each is followed by
//!   the canonicalization of NaNs) and operators that call the runtime;
//! * *splits*: places where control may go two ways;
//! * *edges* into one label;
//! * *live locals*: each local may have to be followed through each split;
//! * *arguments* of edges: whatever local is assigned within a block or loop is passed along each edge to its label. (Two hundred loops
//!   inside one another, three hundred locals and a `br_table` of a thousand targets are 4 KiB, and 20 s.)
//!
//! Invariant: more code never costs less in the model; a module is refused for the sum over its functions, and the
//! refusal names the worst function.

use wasmparser::{ModuleArity, Operator};

use super::limits;
use super::refusal::ModuleRefusal;

/// Nanoseconds of one operator.
const OPERATOR: u64 = 500;
/// Nanoseconds of one argument of an edge.
const ARGUMENT: u64 = 500;
/// Nanoseconds of one local at one split.
const LIVE_LOCAL: u64 = 300;

/// Returns the number of parameters and results of what an operator calls, or of the block that it opens.
pub(super) fn arity(operator: &Operator<'_>, module: &impl ModuleArity) -> u64 {
    let arity = match operator {
        Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
            module.block_type_arity(*blockty)
        }
        Operator::Call { .. } | Operator::CallIndirect { .. } => operator.operator_arity(module),
        _ => None,
    };
    arity.map_or(0, |(takes, gives)| u64::from(takes) + u64::from(gives))
}

/// The cost of compiling a module, in nanoseconds of CPU, by the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The whole module.
    pub total: u64,
    /// The function that takes most.
    pub worst: u64,
    /// The index of that function.
    pub function: u32,
    /// The start of that function's body in the file.
    pub offset: usize,
}

impl Cost {
    /// Refuses a module whose functions have this many bytes, if compiling it takes too long.
    pub(super) fn check(&self, code_bytes: u64) -> Result<(), ModuleRefusal> {
        let max = limits::COMPILE_NANOS + code_bytes.saturating_mul(limits::COMPILE_NANOS_PER_BYTE);
        if self.total <= max {
            return Ok(());
        }
        let millis = |nanos: u64| nanos / 1_000_000;
        Err(ModuleRefusal::new(
            "compile-cost",
            self.offset,
            format!(
                "compiling may take {} ms, {} of them function {}; {} are allowed for code of {code_bytes} bytes",
                millis(self.total),
                millis(self.worst),
                self.function,
                millis(max),
            ),
            "split that function: what costs is many loops, branches, assigned locals or wide calls in one",
        ))
    }

    /// Adds the cost of a function.
    pub(super) fn add(&mut self, cost: u64, function: u32, offset: usize) {
        self.total = self.total.saturating_add(cost);
        if cost > self.worst {
            (self.worst, self.function, self.offset) = (cost, function, offset);
        }
    }
}

/// The sums of the model for one function, counted operator by operator.
#[derive(Debug)]
pub(super) struct Counter {
    operators: u64,
    values: u64,
    splits: u64,
    arguments: u64,
    /// The sum of the squares of edges into each label that has ended.
    edges_squared: u128,
    /// The blocks that are open, the function's own first.
    open: Vec<Label>,
    /// Whether the operator before pushed a constant.
    constant: bool,
    locals: usize,
    /// The locals that are assigned anywhere, once all of it was counted.
    assigned: u64,
}

/// An open block, loop or `if`.
#[derive(Debug, Default)]
struct Label {
    /// Branches to the label so far, and the way that falls through.
    edges: u64,
    /// Parameters and results of the block.
    arity: u64,
    /// The locals that are assigned within it, a bit each.
    assigned: Vec<u64>,
}

impl Counter {
    /// Makes the counter for a function with this many parameters and locals.
    pub(super) fn new(locals: u32) -> Counter {
        let open = vec![Label::default()];
        let locals = locals as usize;
        Counter {
            operators: 0,
            values: 0,
            splits: 0,
            arguments: 0,
            edges_squared: 0,
            open,
            constant: false,
            locals,
            assigned: 0,
        }
    }

    /// Counts one operator of a function. `arity` is the number of parameters and results of what it calls, or of the
    /// block that it opens.
    pub(super) fn count(&mut self, operator: &Operator<'_>, arity: u64) {
        self.operators += 1;
        self.values += self.weight(operator, arity);
        self.constant = matches!(operator, Operator::I32Const { .. } | Operator::I64Const { .. });
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                let is_if = matches!(operator, Operator::If { .. });
                self.splits += 1;
                self.open.push(Label { edges: 1 + u64::from(is_if), arity, assigned: Vec::new() });
            }
            Operator::Else => self.splits += 1,
            Operator::End => self.end(),
            Operator::Br { relative_depth } => self.edge(*relative_depth),
            Operator::BrIf { relative_depth } => {
                self.splits += 1;
                self.edge(*relative_depth);
            }
            Operator::BrTable { targets } => {
                self.splits += 1;
                self.edge(targets.default());
                targets.targets().flatten().for_each(|it| self.edge(it));
            }
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => self.assign(*local_index),
            _ => (),
        }
    }

    /// Returns the number of values that an operator counts for.
    fn weight(&self, operator: &Operator<'_>, arity: u64) -> u64 {
        match operator {
            Operator::Nop
            | Operator::Drop
            | Operator::End
            | Operator::Else
            | Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::LocalGet { .. }
            | Operator::LocalSet { .. }
            | Operator::LocalTee { .. } => 0,
            Operator::Call { .. } => 1 + arity,
            Operator::CallIndirect { .. } => 20 + arity,
            Operator::MemoryGrow { .. } => 12,
            Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => 24,
            Operator::TableGet { .. } | Operator::TableSize { .. } | Operator::RefFunc { .. } => 40,
            it if is_float(it) => 5,
            it if is_vector(it) => 4,
            // The compiler folds chains of constants, over and over.
            _ if self.constant => 7,
            _ => 1,
        }
    }

    fn edge(&mut self, depth: u32) {
        let at = self.open.len().checked_sub(1 + depth as usize);
        if let Some(label) = at.and_then(|it| self.open.get_mut(it)) {
            label.edges += 1;
        }
    }

    fn assign(&mut self, local: u32) {
        let words = self.locals.div_ceil(64);
        if let Some(label) = self.open.last_mut() {
            label.assigned.resize(words, 0);
            if let Some(word) = label.assigned.get_mut(local as usize / 64) {
                *word |= 1 << (local % 64);
            }
        }
    }

    fn end(&mut self) {
        let Some(label) = self.open.pop() else { return };
        let assigned: u64 = label.assigned.iter().map(|it| u64::from(it.count_ones())).sum();
        // Only results are passed to a function's own end; the model does not count them.
        let is_function = self.open.is_empty();
        let passed = if is_function { label.arity } else { label.arity + assigned };
        if is_function {
            self.assigned = assigned;
        }
        self.arguments = self.arguments.saturating_add(label.edges.saturating_mul(passed));
        self.edges_squared += u128::from(label.edges).pow(2);
        if let Some(outer) = self.open.last_mut()
            && !label.assigned.is_empty()
        {
            outer.assigned.resize(label.assigned.len(), 0);
            outer.assigned.iter_mut().zip(&label.assigned).for_each(|(it, more)| *it |= more);
        }
    }

    /// Nanoseconds of the function, once all of it was counted.
    pub(super) fn cost(&self) -> u64 {
        let square = |it: u64| u128::from(it).pow(2);
        let live = self.splits.saturating_mul(self.assigned).saturating_mul(LIVE_LOCAL);
        let linear = self.operators.saturating_mul(OPERATOR).saturating_add(self.arguments.saturating_mul(ARGUMENT));
        let linear = linear.saturating_add(live);
        let squares =
            square(self.values) / 10 + square(self.splits) * 22 + self.edges_squared * 6 + square(self.arguments) / 5;
        linear.saturating_add(u64::try_from(squares).unwrap_or(u64::MAX))
    }
}

/// Returns whether an operator computes a float, which may be a NaN, or comes from one.
fn is_float(operator: &Operator<'_>) -> bool {
    let name = name_of(operator);
    let conversion = ["Trunc", "Convert", "Promote", "Demote"].iter().any(|it| name.contains(it));
    !is_vector(operator)
        && (name.starts_with("F32") || name.starts_with("F64") || conversion)
        && !name.contains("Const")
}

macro_rules! names {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        /// The name of an operator.
        fn name_of(operator: &Operator<'_>) -> &'static str {
            match operator {
                $( Operator::$op { .. } => stringify!($op), )*
                _ => "",
            }
        }
    };
}
wasmparser::for_each_operator!(names);

/// Returns whether an operator is one of SIMD's.
fn is_vector(operator: &Operator<'_>) -> bool {
    let name = name_of(operator);
    ["V128", "I8x16", "I16x8", "I32x4", "I64x2", "F32x4", "F64x2"].iter().any(|it| name.starts_with(it))
}
