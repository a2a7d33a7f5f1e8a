//! The runtime: what carries an engine version out. It is named in each state, outside all hashes.

/// The version of wasmtime that `Cargo.toml` pins.
const WASMTIME_VERSION: &str = "48.0.8";

/// A runtime for guests: wasmtime's version, its compiler, and the kind of machine that it compiles for.
///
/// Two runtimes should reach the same results; a host proves it of its own vats before it goes on with a state of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runtime {
    name: String,
    /// The price of an addition of integers: 1 in every runtime that keeps to the engine version.
    pub(super) addition: u8,
}

impl Runtime {
    /// Returns the runtime of this binary.
    pub fn here() -> Runtime {
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        Runtime { name: format!("wasmtime-{WASMTIME_VERSION} cranelift {arch}-{os}"), addition: 1 }
    }

    /// Makes a runtime that differs from this binary's by its name alone: for tests.
    #[doc(hidden)]
    pub fn named(name: &str) -> Runtime {
        Runtime { name: name.to_owned(), ..Runtime::here() }
    }

    /// Makes a runtime that does not keep to the engine version, since it charges more for additions: for tests.
    #[doc(hidden)]
    pub fn dearer(name: &str) -> Runtime {
        Runtime { addition: 2, ..Runtime::named(name) }
    }

    /// Returns the name of the runtime, as a state records it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime::here()
    }
}
