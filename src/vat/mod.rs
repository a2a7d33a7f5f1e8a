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
mod seat;
mod shadow;
pub(crate) mod stack;
mod stopped;
mod warehouse;
#[cfg(target_os = "linux")]
mod write_protect;

pub use capacity::shares;
pub use core_dump::CoreDump;
pub use debugger::{Debugger, Interrupter, Resume, Stop};
pub use floor::{Floor, Kind as FloorKind};
pub use stopped::{Stopped, Value};
pub use warehouse::{Speculations, Warehouse};

use wasmtime::{Config, Engine, OperatorCost, OptLevel, VariableOperatorCost};

use crate::model::{blame::HostFault, price};

/// Returns the id of the engine: the versions of all that can change what a guest computes, or what that costs. A
/// state made by another engine is refused.
pub fn engine_id() -> String {
    format!("wasmtime-{WASMTIME_VERSION} cranelift config-2 prices-{} pass-{}", price::VERSION, module::PASS_VERSION)
}

/// The version that `Cargo.toml` pins.
const WASMTIME_VERSION: &str = "48.0.8";

/// The purpose of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// The engine runs vats.
    Running,
    /// The engine runs vats so that a debugger can stop them: some five times slower, and the same in every result, fuel included.
    Debugging,
}

/// Returns the engine's configuration. To change it is to change the engine id, except for settings that only report
/// about a guest and change nothing that it computes: the core dump, and all that the purpose decides.
fn config(purpose: Purpose) -> Config {
    let mut config = Config::new();
    // A debugged guest keeps every local and operand in memory: see `NATIVE_STACK_MIN`.
    let stack = match purpose {
        Purpose::Running => module::limits::NATIVE_STACK_MIN,
        Purpose::Debugging => 2 * module::limits::NATIVE_STACK_MIN,
    };
    let debugging = purpose == Purpose::Debugging;
    config
        .consume_fuel(true)
        .operator_cost(operator_cost())
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

/// Returns the fuel that each operator costs: one, except for those that take the processor much longer. Growing a memory costs by the
/// page (wasmtime's default is free). A float operation on a denormal number takes some 25 ns, a division of 64 bits some 10: without a
/// price of their own, 1e9 units of them would take 9 s. (`cargo bench --bench operators` measures the classes.)
/// A load costs one: it takes 1 ns if a cache has the data and 200 if none does, and the price of the second would be 60 times too much
/// for the first. So 1e9 units of nothing but misses take minutes.
fn operator_cost() -> OperatorCost {
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
        variable: VariableOperatorCost { memory_grow_per_page: 255, ..VariableOperatorCost::new() },
        ..OperatorCost::new()
    }
}

fn engine(purpose: Purpose) -> Result<Engine, HostFault> {
    Engine::new(&config(purpose)).map_err(|err| HostFault::new("set up wasmtime", format_args!("{err:#}")))
}
