//! What the check hands to the rewrite.

use std::ops::Range;

use wasmparser::FuncType;

use super::MemoryPages;
use super::body::BodyPlan;
use super::cost::Cost;

/// What the rewrite needs to know of a module that passed.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The sections to copy, in order.
    pub(super) sections: Vec<Section>,
    /// Every function type, by index.
    pub(super) types: Vec<FuncType>,
    /// Every defined function, in order.
    pub(super) bodies: Vec<BodyPlan>,
    /// How many globals there are.
    pub(super) globals: u32,
    /// Which of them are mutable.
    pub(super) mutable_globals: Vec<u32>,
    pub(super) memory: MemoryPages,
    pub(super) initialize: bool,
    pub(super) cost: Cost,
}

/// A section of the original file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) id: u8,
    /// Its contents.
    pub(super) range: Range<usize>,
    /// For a counted list that is to grow: where its items begin, and how many there are.
    pub(super) items: usize,
    pub(super) count: u32,
}
