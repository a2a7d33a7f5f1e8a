//! The versions of the kernel's behaviour: named sets of switches, all of them in this binary.
//!
//! A version does all that those before it do. A state names the version that it runs; only `replace-kernel` changes
//! it, at the first crank of a block.

/// A version of the kernel's behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelVersion {
    /// The number of the version.
    pub number: u32,
    /// The change that it brought.
    pub about: &'static str,
}

/// Every version that this binary can run, oldest first.
pub const VERSIONS: &[KernelVersion] = &[
    KernelVersion { number: 1, about: "SwingSet's order: a candidate for collection is looked at once a crank" },
    KernelVersion {
        number: 2,
        about: "a candidate that loses its last hold after it was looked at is looked at again",
    },
    KernelVersion {
        number: 3,
        about: "the senders of what stands in the run-queue take turns, and garbage takes one crank in four",
    },
    KernelVersion { number: 4, about: "the garbage of each vat, kind by kind, takes turns with that of the others" },
];

/// The version of a new state, unless its scenario names another (`kernel = 1`).
pub const DEFAULT: u32 = 4;

/// Returns whether this binary can run the kernel version of this number.
pub fn is_known(number: u32) -> bool {
    VERSIONS.iter().any(|it| it.number == number)
}

/// Lists the numbers of all versions as text.
pub fn known() -> String {
    VERSIONS.iter().map(|it| it.number.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns whether candidates are looked at again, since version 2: see [`VERSIONS`].
pub(crate) fn looks_again(number: u32) -> bool {
    number >= 2
}

/// Returns whether senders take turns, since version 3: see [`VERSIONS`].
pub(crate) fn takes_turns(number: u32) -> bool {
    number >= 3
}

/// Returns whether the groups of GC actions take turns, since version 4: see [`VERSIONS`].
pub(crate) fn garbage_takes_turns(number: u32) -> bool {
    number >= 4
}
