//! The axes of a fault, and what stands in their place: `{n}` in `v3/delivery-{n}`.

use toml::{Spanned, de::DeValue};

use crate::lab::campaign::reader;

/// The values that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// `"1..=2000"`, `"0..100 step 10"`
    Range { from: u64, count: u64, step: u64 },
    /// `[0, 1000, "random"]`
    List(Vec<String>),
}

/// A name, and what it stands for.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) values: Values,
}

pub(super) const EXPECTED: &str =
    "expected a list such as [1, 10, \"random\"], or a range such as \"1..=2000\" or \"0..100 step 10\"";

impl Values {
    /// Reads the value of an axis.
    pub(super) fn read(value: &Spanned<DeValue<'_>>) -> Option<Values> {
        let item = |it: &Spanned<DeValue<'_>>| match reader::number(it) {
            Some(number) => Some(number.value.to_string()),
            None => reader::text(it).map(|it| it.value.to_owned()),
        };
        match value.get_ref() {
            DeValue::Array(items) if !items.is_empty() => {
                items.iter().map(item).collect::<Option<_>>().map(Values::List)
            }
            DeValue::Integer(_) => item(value).map(|it| Values::List(vec![it])),
            DeValue::String(text) => Values::range(text),
            _ => None,
        }
    }

    fn range(text: &str) -> Option<Values> {
        let (range, step) = text.split_once("step").unwrap_or((text, "1"));
        let step: u64 = step.trim().parse().ok().filter(|it| *it > 0)?;
        let (from, to) = range.split_once("..")?;
        let from: u64 = from.trim().parse().ok()?;
        let to = match to.trim().strip_prefix('=') {
            Some(last) => last.trim().parse::<u64>().ok()?.checked_add(1)?,
            None => to.trim().parse().ok()?,
        };
        let count = to.checked_sub(from).filter(|it| *it > 0)?.div_ceil(step);
        Some(Values::Range { from, count, step })
    }

    /// Returns the number of values on the axis.
    pub(super) fn len(&self) -> u64 {
        match self {
            Values::Range { count, .. } => *count,
            Values::List(items) => items.len() as u64,
        }
    }

    fn get(&self, at: u64) -> String {
        match self {
            Values::Range { from, step, .. } => (from + at * step).to_string(),
            Values::List(items) => usize::try_from(at).ok().and_then(|it| items.get(it)).cloned().unwrap_or_default(),
        }
    }
}

/// The names in braces of a text; an error is what is wrong with it.
pub(super) fn names(template: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or("a `{` without its `}`")?;
        names.push(name);
        rest = behind;
    }
    Ok(names)
}

/// The combination of that number of the axes that a text names: the last axis runs fastest.
pub(super) fn substitute(template: &str, axes: &[&Axis], mut at: u64) -> String {
    let mut text = template.to_owned();
    for axis in axes.iter().rev() {
        text = text.replace(&format!("{{{}}}", axis.name), &axis.values.get(at % axis.values.len()));
        at /= axis.values.len();
    }
    text
}
