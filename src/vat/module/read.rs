//! Small readers of sections that the check shares.

use wasmparser::{ConstExpr, FromReader, Operator, SectionLimited};

use super::refusal::ModuleRefusal;

/// Refuses a section with more than `max` items.
pub(super) fn within<T>(
    rule: &'static str,
    section: &SectionLimited<'_, T>,
    max: u32,
    hint: &str,
) -> Result<(), ModuleRefusal> {
    if section.count() <= max {
        return Ok(());
    }
    let what = format!("the module has {} {rule}, {max} are allowed here", section.count());
    Err(ModuleRefusal::new(rule, section.original_position(), what, hint))
}

/// Reads the items of a section, each with its offset in the file.
pub(super) fn with_offsets<'a, T: FromReader<'a>>(
    section: SectionLimited<'a, T>,
) -> impl Iterator<Item = (usize, wasmparser::Result<T>)> {
    section.into_iter_with_offsets().map(|item| match item {
        Ok((offset, item)) => (offset, Ok(item)),
        Err(error) => (error.offset(), Err(error)),
    })
}

/// Returns the value of an expression that is one `i32.const`.
pub(super) fn constant(expression: &ConstExpr<'_>) -> Option<u64> {
    let mut operators = expression.get_operators_reader();
    match (operators.read(), operators.read()) {
        (Ok(Operator::I32Const { value }), Ok(Operator::End)) => Some(u64::from(value.cast_unsigned())),
        _ => None,
    }
}
