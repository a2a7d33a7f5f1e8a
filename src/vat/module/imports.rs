//! The table of the functions that a guest may import, shared by the check and by `abi`, which defines them.

use std::fmt;

use Num::{I32, I64};

/// Name of the only import module.
pub const IMPORT_MODULE: &str = "vat1";

/// A number type of the guest ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Num {
    /// Pointers, lengths, counts, flags.
    I32,
    /// References of the vat (`vref`).
    I64,
}

/// A function that a guest may import from [`IMPORT_MODULE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import {
    /// The name within [`IMPORT_MODULE`].
    pub name: &'static str,
    /// Parameter types, exactly.
    pub params: &'static [Num],
    /// Result types, exactly.
    pub results: &'static [Num],
}

const fn import(name: &'static str, params: &'static [Num], results: &'static [Num]) -> Import {
    Import { name, params, results }
}

/// Every function of guest ABI version 1.
pub const IMPORTS: &[Import] = &[
    import("input_read", &[I32, I32, I32], &[]),
    import("result_read", &[I32, I32, I32], &[]),
    import("send", &[I64, I32, I32, I32, I32, I64], &[]),
    import("call_now", &[I64, I32, I32, I32, I32], &[I32]),
    import("subscribe", &[I64], &[]),
    import("resolve", &[I32, I32], &[]),
    import("exit", &[I32, I32, I32, I32, I32], &[]),
    import("vatstore_get", &[I32, I32], &[I32]),
    import("vatstore_next_key", &[I32, I32], &[I32]),
    import("vatstore_set", &[I32, I32, I32, I32], &[]),
    import("vatstore_delete", &[I32, I32], &[]),
    import("vatstore_scan", &[I32, I32, I32, I32, I32], &[I32]),
    import("drop_imports", &[I32, I32], &[]),
    import("retire_imports", &[I32, I32], &[]),
    import("retire_exports", &[I32, I32], &[]),
    import("abandon_exports", &[I32, I32], &[]),
    import("console", &[I32, I32, I32], &[]),
];

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            I32 => "i32",
            I64 => "i64",
        })
    }
}
