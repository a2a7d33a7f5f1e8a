//! Why a module was refused. The blame is always the module's; nothing here depends on the host.

use std::fmt;

/// Most refusals collected before the check stops reading.
const REFUSALS_MAX: usize = 64;

/// One reason to refuse a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The rule broken: a short stable name, such as `imports`.
    pub rule: &'static str,
    /// Byte offset in the original file, where there is one.
    pub offset: Option<usize>,
    /// What is wrong, naming the item.
    pub what: String,
    /// What to change.
    pub hint: String,
}

impl Refusal {
    pub(super) fn new(
        rule: &'static str,
        offset: impl Into<Option<usize>>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Refusal { rule, offset: offset.into(), what: what.into(), hint: hint.into() }
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " (at byte {offset:#x})"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        write!(f, "\n  help: {}", self.hint)
    }
}

impl From<wasmparser::Error> for Refusal {
    fn from(error: wasmparser::Error) -> Self {
        let message = error.message();
        let (rule, hint) = if message.contains("floating-point") {
            ("floats", "this vat declares that it uses no floats: remove them, or the declaration")
        } else if error.missing_wasm_feature().is_some()
            || ["not enabled", "disabled", "proposal", "multiple memories"].iter().any(|w| message.contains(w))
        {
            (
                "features",
                "compile for wasm with only mutable globals, saturating float-to-int, sign extension, \
                 reference types, multi-value, bulk memory and SIMD",
            )
        } else {
            ("malformed", "the file is not a valid WebAssembly module: build or copy it again")
        };
        Refusal::new(rule, error.offset(), message, hint)
    }
}

/// All the refusals found in a module, never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    pub(super) fn push(&mut self, refusal: Refusal) {
        if self.0.len() < REFUSALS_MAX {
            self.0.push(refusal);
        }
    }

    /// Whether so many were found that reading on helps nobody.
    pub(super) fn enough(&self) -> bool {
        self.0.len() >= REFUSALS_MAX
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            refusal.headline(f)?;
            // The same help is said once, after the last that needs it.
            let next = self.0.get(index + 1);
            if next.is_none_or(|next| next.hint != refusal.hint) {
                write!(f, "\n  help: {}", refusal.hint)?;
            }
            if next.is_some() {
                writeln!(f)?;
            }
        }
        if self.enough() {
            write!(f, "\nand perhaps more")?;
        }
        Ok(())
    }
}
