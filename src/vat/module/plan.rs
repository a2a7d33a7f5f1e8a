//! Plan of the rewrite: the check makes it, and the rewrite follows it.

use std::ops::Range;

use wasmparser::FuncType;

use super::MemoryPages;
use super::body::BodyPlan;
use super::cost::Cost;

/// The facts of an accepted module that the rewrite needs.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The sections to copy, in order.
    pub(super) sections: Vec<Section>,
    /// Every function type, by index.
    pub(super) types: Vec<FuncType>,
    /// Every defined function, in order.
    pub(super) bodies: Vec<BodyPlan>,
    /// The number of functions, imported ones included.
    pub(super) functions: u32,
    /// The number of globals.
    pub(super) globals: u32,
    /// The indices of the mutable globals.
    pub(super) mutable_globals: Vec<u32>,
    pub(super) memory: MemoryPages,
    pub(super) initialize: bool,
    pub(super) cost: Cost,
}

/// A section of the original file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: u8,
    /// The contents of the section.
    pub(super) range: Range<usize>,
    /// The offset of the first item, and the number of items, if the section is a list that the rewrite may extend.
    pub(super) items: usize,
    pub(super) count: u32,
}
