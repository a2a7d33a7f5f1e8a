//! The versions of the engine: named sets of all that decides what a guest computes and what that costs. All of them are in this binary.
//!
//! A version stands for the fuel rules, the prices ([`price`](crate::model::price)), the load pass, the limits and the guest ABI.
//! To change any of these is to add a version, and to leave those before it as they are. A state names the version that it runs; only
//! `replace-engine` changes it, at the first crank of a block. Which runtime carries a version out is no part of it.

/// A version of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineVersion {
    /// The number of the version.
    pub number: u32,
    /// The change that it brought.
    pub about: &'static str,
}

/// Every version that this binary can run, oldest first.
pub const VERSIONS: &[EngineVersion] = &[
    EngineVersion { number: FIRST, about: "instructions of variable size are charged by the runtime, as it sees fit" },
    EngineVersion {
        number: 2,
        about: "instructions of variable size are charged by the load pass, and no delivery ends well without fuel",
    },
];

/// The version of a state that names none: such states are older than the number.
pub const FIRST: u32 = 1;

/// The version of a new state, unless its scenario names another (`engine = 1`).
pub const DEFAULT: u32 = 2;

/// Returns whether this binary can run the engine version of this number.
pub fn is_known(number: u32) -> bool {
    VERSIONS.iter().any(|it| it.number == number)
}

/// Lists the numbers of all versions as text.
pub fn known() -> String {
    VERSIONS.iter().map(|it| it.number.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns whether a delivery may use more than its budget behind the last place where the runtime looks, and is recorded with the budget. A replay,
/// which has no budget, uses more. Not since version 2, where such a delivery is out of fuel.
pub(crate) fn overdraws(number: u32) -> bool {
    number < 2
}

/// Returns whether the load pass charges for instructions of variable size, since version 2: see [`VERSIONS`].
pub(crate) fn charges_by_operand(number: u32) -> bool {
    number >= 2
}
