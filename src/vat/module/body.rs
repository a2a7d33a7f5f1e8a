//! The check of one function body, and the plan for its rewrite.

use std::ops::Range;

use wasmparser::{FuncToValidate, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, ValidatorResources};

use super::cost::{self, Counter};
use super::limits;
use super::operand::Charge;
use super::refusal::{ModuleRefusal, Refusals};
use super::weight::{FrameShape, Operands, slot_bytes};

/// The plan of a checked function body. Offsets are of the original file.
#[derive(Debug)]
pub(super) struct BodyPlan {
    /// The body with its local declarations, without its size.
    pub(super) body: Range<usize>,
    /// The first operator.
    pub(super) operators: usize,
    /// Index of the function's type.
    pub(super) type_index: u32,
    /// The weight of a call of the function in the stack budget, if it is counted.
    pub(super) weight: Option<u32>,
    /// The operators that the rewrite changes, in order.
    pub(super) edits: Vec<(usize, Edit)>,
    /// Nanoseconds that compiling it takes, by the model.
    pub(super) cost: u64,
    /// The function's index.
    pub(super) index: u32,
}

/// The change of an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    /// A `return` becomes a branch to the function's label, at this depth.
    Return(u32),
    /// A charge comes before it.
    Charge(Charge),
}

/// Checks one function body, and plans its rewrite.
///
/// # Errors
///
/// The refusal that ends the reading of the body. Others go to `refusals`.
pub(super) fn check_body(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: &mut FuncValidatorAllocations,
    locals_total: &mut u32,
    refusals: &mut Refusals,
) -> Result<BodyPlan, ModuleRefusal> {
    let type_index = function.ty;
    let mut validator = function.into_validator(std::mem::take(allocations));
    let range = body.range();
    if range.len() > limits::BODY_BYTES_MAX {
        refusals.push(ModuleRefusal::new(
            "body-bytes",
            range.start,
            format!("the body of function {} is {} bytes", validator.index(), range.len()),
            format!("at most {} are allowed: split the function, or inline less", limits::BODY_BYTES_MAX),
        ));
    }
    let locals = read_locals(&mut validator, body, locals_total)?;
    let mut scan = Scan { shape: FrameShape { locals, ..FrameShape::default() }, ..Scan::default() };
    let mut counter = Counter::new(validator.len_locals());
    let operators = scan.run(&mut validator, body, &mut counter, refusals)?;
    let (cost, index) = (counter.cost(), validator.index());
    let weight = scan.weight(&validator, range.start, refusals);
    *allocations = validator.into_allocations();
    Ok(BodyPlan { body: range, operators, type_index, weight, edits: scan.edits, cost, index })
}

/// Declares the locals, and returns the bytes of parameters and locals in a frame.
fn read_locals(
    validator: &mut FuncValidator<ValidatorResources>,
    body: &FunctionBody<'_>,
    total: &mut u32,
) -> Result<u32, ModuleRefusal> {
    let params = (0..validator.len_locals()).filter_map(|index| validator.get_local_type(index));
    let mut bytes = params.map(slot_bytes).sum::<u32>();
    let mut declared = 0_u32;
    let mut reader = body.get_locals_reader()?;
    for _ in 0..reader.get_count() {
        let offset = reader.original_position();
        let (count, ty) = reader.read()?;
        declared = declared.saturating_add(count);
        if declared > limits::LOCALS_MAX {
            return Err(ModuleRefusal::new(
                "locals",
                offset,
                format!("function {} declares more than {} locals", validator.index(), limits::LOCALS_MAX),
                "split the function, or compile it with optimization",
            ));
        }
        validator.define_locals(offset, count, ty)?;
        bytes += count * slot_bytes(ty);
    }
    *total = total.saturating_add(declared);
    if *total > limits::LOCALS_TOTAL_MAX {
        return Err(ModuleRefusal::new(
            "locals-total",
            body.range().start,
            format!(
                "up to function {} the module declares more than {} locals",
                validator.index(),
                limits::LOCALS_TOTAL_MAX
            ),
            "compile with optimization, or split the vat",
        ));
    }
    Ok(bytes)
}

/// Running observations over a body's operators.
#[derive(Default)]
struct Scan {
    shape: FrameShape,
    calls: bool,
    loops: u32,
    /// For each open block, whether it is a loop.
    open: Vec<bool>,
    loops_open: u32,
    operands: Operands,
    edits: Vec<(usize, Edit)>,
    /// The value that the operator before pushed, if it is an `i32.const`.
    constant: Option<i32>,
}

impl Scan {
    /// Validates and observes every operator, and returns the offset of the first.
    fn run(
        &mut self,
        validator: &mut FuncValidator<ValidatorResources>,
        body: &FunctionBody<'_>,
        counter: &mut Counter,
        refusals: &mut Refusals,
    ) -> Result<usize, ModuleRefusal> {
        let mut reader = body.get_operators_reader()?;
        let first = reader.original_position();
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            let depth = validator.control_stack_height();
            counter.count(&operator, cost::arity(&operator, validator));
            validator.op(offset, &operator)?;
            self.observe(&operator, offset, depth, validator.index(), refusals);
            // Calls and joins replace several values; a function type has at most this many.
            let many = is_call(&operator) || opens(&operator) || matches!(operator, Operator::End | Operator::Else);
            let bytes = self.operands.follow(validator, if many { limits::PARAMS_MAX } else { 1 });
            self.shape.operands = self.shape.operands.max(bytes);
            if computes(&operator) {
                let values = if self.loops_open > 0 { &mut self.shape.looped } else { &mut self.shape.straight };
                *values += self.operands.top().max(8);
            }
            if refusals.enough() {
                break;
            }
        }
        if !refusals.enough() {
            reader.finish()?;
        }
        Ok(first)
    }

    fn observe(&mut self, operator: &Operator<'_>, offset: usize, depth: u32, function: u32, refusals: &mut Refusals) {
        let mut refuse = |rule, what: String, hint: &str| refusals.push(ModuleRefusal::new(rule, offset, what, hint));
        match operator {
            Operator::Return => self.edits.push((offset, Edit::Return(depth.saturating_sub(1)))),
            Operator::Loop { .. } => {
                self.loops += 1;
                if self.loops == limits::LOOPS_MAX + 1 {
                    let what = format!("function {function} has more than {} loops", limits::LOOPS_MAX);
                    refuse("loops", what, "split the function, or unroll and inline less");
                }
            }
            Operator::BrTable { targets } if targets.len() > limits::BR_TABLE_MAX => {
                let what = format!("a br_table in function {function} has {} targets", targets.len());
                refuse("br-table", what, "at most 1,024 are allowed: split the switch");
            }
            _ => {}
        }
        if let Some(charge) = Charge::of(operator, self.constant) {
            self.edits.push((offset, Edit::Charge(charge)));
        }
        self.constant = match operator {
            Operator::I32Const { value } => Some(*value),
            _ => None,
        };
        if opens(operator) && depth == limits::NESTING_MAX + 1 {
            let what = format!("blocks in function {function} are nested more than {} deep", limits::NESTING_MAX);
            refuse(
                "nesting",
                what,
                "split the function, or turn a long chain of if/else or a large switch into a table",
            );
        }
        if let Some((name, hint)) = forbidden(operator) {
            refuse("operators", format!("function {function} uses {name}"), hint);
        }
        self.calls |= is_call(operator);
        self.track(operator);
    }

    /// Follows the blocks.
    fn track(&mut self, operator: &Operator<'_>) {
        if opens(operator) {
            let is_loop = matches!(operator, Operator::Loop { .. });
            self.open.push(is_loop);
            self.loops_open += u32::from(is_loop);
        } else if matches!(operator, Operator::End) {
            self.loops_open -= u32::from(self.open.pop().unwrap_or(false));
        }
    }

    /// The weight, if the function must be counted.
    fn weight(
        &self,
        validator: &FuncValidator<ValidatorResources>,
        start: usize,
        refusals: &mut Refusals,
    ) -> Option<u32> {
        let weight = self.shape.weight();
        if weight > limits::STACK_BUDGET {
            refusals.push(ModuleRefusal::new(
                "frame",
                start,
                format!("one call of function {} may take {weight} of the stack budget", validator.index()),
                format!("the whole budget is {}: split the function", limits::STACK_BUDGET),
            ));
        }
        (self.calls || weight > limits::LEAF_WEIGHT_MAX).then_some(weight)
    }
}

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Call { .. } | Operator::CallIndirect { .. })
}

fn opens(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. })
}

/// Returns whether an operator computes a value that the compiler may have to keep in the frame. The compiler merges
/// equal computations and moves them out of loops, so that values live longer than on wasm's operand stack. Constants
/// do not count, since it recomputes them, nor do results of calls, which it neither merges nor moves. A store counts
/// for its address, which is widened to 64 bits.
fn computes(operator: &Operator<'_>) -> bool {
    !opens(operator)
        && !is_call(operator)
        && !matches!(
            operator,
            Operator::Unreachable
                | Operator::Nop
                | Operator::Else
                | Operator::End
                | Operator::Br { .. }
                | Operator::BrIf { .. }
                | Operator::BrTable { .. }
                | Operator::Return
                | Operator::Drop
                | Operator::LocalGet { .. }
                | Operator::LocalSet { .. }
                | Operator::LocalTee { .. }
                | Operator::GlobalSet { .. }
                | Operator::I32Const { .. }
                | Operator::I64Const { .. }
        )
}

/// Returns the name and the hint for an operator that is refused because it changes state which snapshots do not hold.
fn forbidden(operator: &Operator<'_>) -> Option<(&'static str, &'static str)> {
    const TABLES: &str = "tables cannot change, snapshots do not hold them: put function pointers into an element segment \
                          (no dynamic linking, no table growth)";
    const SEGMENTS: &str = "segments cannot be dropped, snapshots do not hold which were: use active segments \
                            (build without threads and without --shared-memory)";
    Some(match operator {
        Operator::TableSet { .. } => ("table.set", TABLES),
        Operator::TableGrow { .. } => ("table.grow", TABLES),
        Operator::TableFill { .. } => ("table.fill", TABLES),
        Operator::TableCopy { .. } => ("table.copy", TABLES),
        Operator::TableInit { .. } => ("table.init", TABLES),
        Operator::DataDrop { .. } => ("data.drop", SEGMENTS),
        Operator::ElemDrop { .. } => ("elem.drop", SEGMENTS),
        _ => return None,
    })
}
