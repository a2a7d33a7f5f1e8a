//! Reasons why a module is refused. The blame is always the module's; nothing here depends on the host.

use std::fmt;

use wasmparser::WasmFeatures;

/// Most refusals collected before the check stops reading.
const REFUSALS_MAX: usize = 64;

/// One reason to refuse a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ModuleRefusal {
    /// The rule broken: a short stable name, such as `imports`.
    pub rule: &'static str,
    /// Byte offset in the original file, if there is one.
    pub offset: Option<usize>,
    /// The mistake, with the name of the item.
    pub what: String,
    /// The change that would help.
    pub hint: String,
}

impl ModuleRefusal {
    pub(super) fn new(
        rule: &'static str,
        offset: impl Into<Option<usize>>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        ModuleRefusal { rule, offset: offset.into(), what: what.into(), hint: hint.into() }
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " (at byte {offset:#x})"))
    }
}

impl fmt::Display for ModuleRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        write!(f, "\n  help: {}", self.hint)
    }
}

impl From<wasmparser::Error> for ModuleRefusal {
    fn from(error: wasmparser::Error) -> Self {
        let message = error.message();
        if let Some((what, hint)) = error.missing_wasm_feature().and_then(missing) {
            return ModuleRefusal::new("features", error.offset(), what, hint);
        }
        let (rule, hint) = if message.contains("floating-point") {
            ("floats", "this vat declares that it uses no floats: remove them, or the declaration")
        } else if error.missing_wasm_feature().is_some()
            || ["not enabled", "disabled", "proposal", "multiple memories"].iter().any(|w| message.contains(w))
        {
            (
                "features",
                "compile for wasm with only mutable globals, saturating float-to-int, sign extension, \
                 function references in tables (funcref), multi-value, bulk memory and SIMD",
            )
        } else {
            ("malformed", "the file is not a valid WebAssembly module: build or copy it again")
        };
        ModuleRefusal::new(rule, error.offset(), message, hint)
    }
}

/// The reason and the hint for a file that is a component.
pub(super) const A_COMPONENT: (&str, &str) = (
    "this is a component, and not a module",
    "compile for wasm32-unknown-unknown, without cargo-component or a WIT world; where only the component is at hand, \
     `wasm-tools component unbundle` takes the modules out of it",
);

/// Returns the part of a module that belongs to a feature which vats do not have, and a hint how to do without.
fn missing(feature: WasmFeatures) -> Option<(&'static str, &'static str)> {
    let known = [
        (
            WasmFeatures::GC_TYPES,
            "a reference that is no function (`externref`, or one of the garbage-collection types)",
            "a vat has nothing that it could refer to: pass numbers, and keep what they stand for in memory \
             (Rust: without wasm-bindgen; C: without __externref_t; Kotlin, Dart and the like need garbage collection)",
        ),
        (
            WasmFeatures::GC,
            "a type of the garbage-collection proposal",
            "compile to linear memory: a language that needs wasm's own garbage collector cannot make a vat",
        ),
        (
            WasmFeatures::FUNCTION_REFERENCES,
            "a typed function reference",
            "compile without typed function references: call through a table",
        ),
        (
            WasmFeatures::THREADS,
            "something of the threads proposal",
            "compile without threads and atomics (Rust: -C target-feature=-atomics; C: no -pthread, no -matomics)",
        ),
        (WasmFeatures::TAIL_CALL, "a tail call", "compile without tail calls (clang: -mno-tail-call)"),
        (
            WasmFeatures::EXCEPTIONS,
            "exception handling",
            "compile without exceptions (C++: -fno-exceptions; Rust: panic = \"abort\")",
        ),
        (
            WasmFeatures::LEGACY_EXCEPTIONS,
            "exception handling of the old kind",
            "compile without exceptions (C++: -fno-exceptions; Rust: panic = \"abort\")",
        ),
        (
            WasmFeatures::RELAXED_SIMD,
            "a relaxed SIMD instruction",
            "its result may differ from machine to machine: compile without it (clang: -mno-relaxed-simd)",
        ),
        (
            WasmFeatures::EXTENDED_CONST,
            "a constant expression that computes",
            "it is needed for dynamic linking only: link statically, without -fPIC (clang: -mno-extended-const)",
        ),
        (WasmFeatures::MEMORY64, "a 64-bit memory or table", "compile for plain wasm32"),
    ];
    known.into_iter().find(|(it, ..)| feature.intersects(*it)).map(|(_, what, hint)| (what, hint))
}

/// All the refusals found in a module, never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Refusals(pub Vec<ModuleRefusal>);

impl Refusals {
    pub(super) fn push(&mut self, refusal: ModuleRefusal) {
        if self.0.len() < REFUSALS_MAX {
            self.0.push(refusal);
        }
    }

    /// Returns whether so many refusals were found that more of them would help nobody.
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
