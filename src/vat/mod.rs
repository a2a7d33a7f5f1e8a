//! The sandbox: vats as wasm instances. The only user of wasmtime.
//!
//! [`module`] accepts and instruments a module, [`compiler`] and `cache` turn it into native code, `instance` runs one vat through
//! the guest ABI (`abi`), and [`Warehouse`] holds the live vats of a state, which the kernel calls as its workers.
//!
//! Invariants: every `Config` is built by `config`; whatever a guest does ends in an answer or in a `VatFault`; a guest runs on
//! a native stack that is larger than its call-depth counter lets it use; nothing here decides anything for the kernel.

mod abi;
mod cache;
mod capacity;
pub mod compiler;
mod core_dump;
mod debugger;
mod dirty;
mod floor;
mod heap;
mod instance;
pub mod interface;
pub mod module;
mod runtime;
mod seat;
mod shadow;
pub(crate) mod stack;
mod stopped;
mod warehouse;
#[cfg(target_os = "linux")]
mod write_protect;

pub use capacity::shares;
pub(crate) use capacity::threads as machine_threads;
pub use core_dump::CoreDump;
pub use debugger::{Debugger, Interrupter, Resume, Stop};
pub use floor::{Floor, Kind as FloorKind};
pub use runtime::Runtime;
pub use stopped::{Stopped, Value};
pub use warehouse::{Speculations, Warehouse};

use wasmtime::{Config, Engine, OperatorCost, OptLevel, VariableOperatorCost};

use crate::model::{blame::HostFault, engine_version};

/// The purpose of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// The engine runs vats.
    Running,
    /// The engine runs vats so that a debugger can stop them: some five times slower, and the same in every result, fuel included.
    Debugging,
}

/// What native code is made for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct CodeTarget {
    purpose: Purpose,
    /// The engine version, with whose prices it runs.
    version: u32,
    runtime: Runtime,
}

impl CodeTarget {
    /// Returns what code is made for if nothing is said of the version: a new state's, on this binary's runtime.
    fn newest(purpose: Purpose) -> CodeTarget {
        CodeTarget { purpose, version: engine_version::DEFAULT, runtime: Runtime::here() }
    }
}

/// Returns wasmtime's configuration. To change it is to add an engine version, except for settings that only report
/// about a guest and change nothing that it computes: the core dump, and all that the purpose decides.
fn config(target: &CodeTarget) -> Config {
    let mut config = Config::new();
    // A debugged guest keeps every local and operand in memory: see `NATIVE_STACK_MIN`.
    let stack = match target.purpose {
        Purpose::Running => module::limits::NATIVE_STACK_MIN,
        Purpose::Debugging => 2 * module::limits::NATIVE_STACK_MIN,
    };
    let debugging = target.purpose == Purpose::Debugging;
    config
        .consume_fuel(true)
        .operator_cost(operator_cost(target))
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_extended_const(false)
        .max_wasm_stack(stack)
        .async_stack_size(stack + module::limits::NATIVE_STACK_MIN)
        // Handles only: nothing is copied unless a kernel panic is dumped.
        .coredump_on_trap(true)
        .guest_debug(debugging)
        // So that a guest that loops can be stopped with its host, or by a debugger. No epoch decides anything: if the host
        // continues, the deadline is renewed.
        .epoch_interruption(true);
    config
}

/// Returns the fuel that each operator costs: one, except for those that take the processor much longer. Under the first engine version
/// the operators of variable size also cost by their operand, as wasmtime charges it; later ones leave that to the load pass. A float operation on a denormal number takes some 25 ns, a division of 64 bits some 10: without a
/// price of their own, 1e9 units of them would take 9 s. (`cargo bench --bench operators` measures the classes.)
/// A load costs one: it takes 1 ns if a cache has the data and 200 if none does, and the price of the second would be 60 times too much
/// for the first. So 1e9 units of nothing but misses take minutes.
fn operator_cost(target: &CodeTarget) -> OperatorCost {
    const FLOAT: u8 = 8;
    const ROOT: u8 = 12;
    const ROUNDING: u8 = 2;
    const DIVISION: u8 = 4;
    OperatorCost {
        F32Add: FLOAT,
        F32Sub: FLOAT,
        F32Mul: FLOAT,
        F32Div: ROOT,
        F32Sqrt: ROOT,
        F32Ceil: ROUNDING,
        F32Floor: ROUNDING,
        F32Trunc: ROUNDING,
        F32Nearest: ROUNDING,
        F32DemoteF64: FLOAT,
        F64Add: FLOAT,
        F64Sub: FLOAT,
        F64Mul: FLOAT,
        F64Div: ROOT,
        F64Sqrt: ROOT,
        F64Ceil: ROUNDING,
        F64Floor: ROUNDING,
        F64Trunc: ROUNDING,
        F64Nearest: ROUNDING,
        F64PromoteF32: FLOAT,
        F32x4Add: FLOAT,
        F32x4Sub: FLOAT,
        F32x4Mul: FLOAT,
        F32x4Div: ROOT,
        F32x4Sqrt: ROOT,
        F32x4DemoteF64x2Zero: FLOAT,
        F64x2Add: FLOAT,
        F64x2Sub: FLOAT,
        F64x2Mul: FLOAT,
        F64x2Div: ROOT,
        F64x2Sqrt: ROOT,
        F64x2PromoteLowF32x4: FLOAT,
        I64DivS: DIVISION,
        I64DivU: DIVISION,
        I64RemS: DIVISION,
        I64RemU: DIVISION,
        MemoryGrow: 255,
        I32Add: target.runtime.addition,
        variable: variable_cost(target.version),
        ..OperatorCost::new()
    }
}

fn variable_cost(version: u32) -> VariableOperatorCost {
    if !engine_version::charges_by_operand(version) {
        return VariableOperatorCost { memory_grow_per_page: 255, ..VariableOperatorCost::new() };
    }
    VariableOperatorCost {
        memory_copy_per_byte: 0,
        memory_fill_per_byte: 0,
        memory_init_per_byte: 0,
        memory_grow_per_page: 0,
        // No accepted module has an operator that changes a table, or an array.
        ..VariableOperatorCost::new()
    }
}

fn engine(target: &CodeTarget) -> Result<Engine, HostFault> {
    Engine::new(&config(target)).map_err(|err| HostFault::new("set up wasmtime", format_args!("{err:#}")))
}
