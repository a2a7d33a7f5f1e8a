//! The base that an experiment begins with, and the limits of its run.

use std::{fmt, fs::File, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    host::controller::BlockPolicy,
    model::{blame::HostFault, id::hex},
    store::{Database, StateHash},
    vat::Runtime,
};

/// The scenario or state that an experiment begins from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// A `vat.toml` or its folder, or the folder of a state. A state is only read.
    pub path: PathBuf,
    /// How its blocks end: part of what it is.
    pub policy: BlockPolicy,
    /// Where compiled code is kept, if anywhere.
    pub code_cache: Option<PathBuf>,
}

/// Bytes of memory that a row of a vatstore takes besides its key and its value.
const ROW_BYTES: u64 = 144;

impl Base {
    /// Returns about how many bytes of memory the vatstores of a state take: experiments keep all of them, to go back to any place.
    /// A scenario needs nothing beforehand.
    pub fn stored_bytes(&self) -> Result<u64, HostFault> {
        if !Database::exists(&self.path) {
            return Ok(0);
        }
        let sums = Database::open_read_only(&self.path)?.sums()?;
        Ok(sums.values().map(|it| it.bytes + it.keys * ROW_BYTES).sum())
    }
}

/// The identity of a base: a hash over its chained hash, the engine, and how its blocks end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseId(pub [u8; 32]);

impl BaseId {
    /// Computes the identity of a state with this chained hash.
    pub fn of(state: StateHash, policy: &BlockPolicy) -> BaseId {
        let text = format!("{state} {} {policy:?}", Runtime::here().name());
        BaseId(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl fmt::Display for BaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for BaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The program: the hash of its file. Results of one build say nothing of another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build(pub [u8; 32]);

impl Build {
    /// The one that runs. Reads the whole file of the program: ask once.
    pub fn current() -> Result<Build, HostFault> {
        let hash = || -> std::io::Result<[u8; 32]> {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(std::env::current_exe()?)?)?;
            Ok(*hasher.finalize().as_bytes())
        };
        hash().map(Build).map_err(|err| HostFault::new("hash the program's own file", err))
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of a run, if it does not become quiescent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// When nothing is left to do.
    #[default]
    Quiescent,
    /// After as many cranks as the golden run has.
    EndOfGolden,
    /// After this many cranks: the golden run too.
    Cranks(u64),
}

/// The resources that one experiment may use. A run over a limit ends there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Cranks from the base on; `None` is twice the golden run's and a thousand.
    pub cranks: Option<u64>,
    /// Fuel of all deliveries from the base on.
    pub fuel: Option<u64>,
    /// Milliseconds of a process that runs one experiment; only `fork` and `process` keep to it.
    pub wall_ms: u64,
    /// Bytes of data that such a process may have; `None` is no limit.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cranks: None, fuel: None, wall_ms: 10_000, memory: None }
    }
}
