//! Map between the offsets of instructions in the original module and in the instrumented one.
//!
//! All offsets are bytes from the start of the *file*, of the original or of the instrumented module, which is what
//! wasmtime's `FrameInfo::module_offset` and `wasmparser` report. DWARF counts from the start of the code section's contents
//! (its function count): subtract or add [`OffsetMap::code_original`] or [`OffsetMap::code_instrumented`].

use std::ops::Range;

/// A stretch of the original and its place in the instrumented module. Stretches of equal length map byte by byte;
/// otherwise the stretch is one instruction, or injected code before one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OffsetRun {
    original: Range<usize>,
    instrumented: Range<usize>,
}

/// Offsets within function bodies, both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetMap {
    /// Start of the code section's contents in the original; 0 if there is no code.
    pub code_original: usize,
    /// Start of the code section's contents in the instrumented module; 0 if there is no code.
    pub code_instrumented: usize,
    /// Ascending and disjoint on both sides.
    runs: Vec<OffsetRun>,
    /// Start of the functions that are appended, in the instrumented module; 0 if there are none.
    appended: usize,
}

impl OffsetMap {
    /// Returns the original offset of the instruction at or around an instrumented offset. The injected entry of a
    /// function maps to its first instruction, the injected exit to its final `end`. `None` outside function bodies.
    pub fn original(&self, instrumented: usize) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.instrumented.end <= instrumented);
        let inside = self.runs.get(at).filter(|run| run.instrumented.start <= instrumented);
        inside.map(|run| translate(&run.original, &run.instrumented, instrumented)).or_else(|| {
            let before = self.runs.get(at.checked_sub(1)?)?;
            (before.instrumented.end == instrumented).then_some(before.original.end)
        })
    }

    /// Returns whether the instruction at an instrumented offset was injected, so that the original does not have it.
    pub fn is_injected(&self, instrumented: usize) -> bool {
        if self.is_appended(instrumented) {
            return true;
        }
        let at = self.runs.partition_point(|run| run.instrumented.end <= instrumented);
        let inside = self.runs.get(at).filter(|run| run.instrumented.start <= instrumented);
        inside.is_some_and(|run| run.original.is_empty())
    }

    /// Returns whether an instrumented offset is in a function that the original does not have.
    pub fn is_appended(&self, instrumented: usize) -> bool {
        self.appended > 0 && instrumented >= self.appended
    }

    /// Returns the instrumented offset of an original instruction. The end of a body maps to the end of its image.
    /// `None` outside function bodies.
    pub fn instrumented(&self, original: usize) -> Option<usize> {
        let at = self.runs.partition_point(|run| run.original.end <= original);
        let inside = self.runs.get(at).filter(|run| run.original.start <= original);
        inside.map(|run| translate(&run.instrumented, &run.original, original)).or_else(|| {
            let before = self.runs.get(at.checked_sub(1)?)?;
            (before.original.end == original).then_some(before.instrumented.end)
        })
    }

    pub(super) fn push(&mut self, original: Range<usize>, instrumented: Range<usize>) {
        if !instrumented.is_empty() {
            self.runs.push(OffsetRun { original, instrumented });
        }
    }

    pub(super) fn append(&mut self, other: OffsetMap) {
        self.runs.extend(other.runs);
    }

    /// Has the functions from this instrumented offset on count as appended.
    pub(super) fn append_from(&mut self, instrumented: usize) {
        self.appended = instrumented;
    }

    /// Moves every instrumented offset by `code_instrumented`, and sets the starts of the code sections.
    pub(super) fn place(&mut self, code_original: usize, code_instrumented: usize) {
        self.code_original = code_original;
        self.code_instrumented = code_instrumented;
        if self.appended > 0 {
            self.appended += code_instrumented;
        }
        for run in &mut self.runs {
            run.instrumented.start += code_instrumented;
            run.instrumented.end += code_instrumented;
        }
    }
}

/// Takes `offset` within `from` to the same place within `to`.
fn translate(to: &Range<usize>, from: &Range<usize>, offset: usize) -> usize {
    if to.len() == from.len() { to.start + (offset - from.start) } else { to.start }
}
