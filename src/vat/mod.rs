//! The sandbox: vats as wasm instances. The only user of wasmtime.
//!
//! Invariants: every `Config` is built by `config`; whatever a guest does ends in an answer or in a `VatFault`; a guest runs on
//! a native stack that is larger than its call-depth counter lets it use; nothing here decides anything for the kernel.

mod abi;
mod cache;
mod dirty;
mod floor;
mod heap;
mod instance;
pub mod module;
mod price;
mod warehouse;
#[cfg(target_os = "linux")]
mod write_protect;

pub use floor::{Floor, Kind as FloorKind};
pub use warehouse::Warehouse;

use wasmtime::{Config, Engine, OperatorCost, OptLevel, VariableOperatorCost};

use crate::fault::HostFault;

/// What can change what a guest computes, or what that costs: a state made by another engine is refused.
pub fn engine_id() -> String {
    format!("wasmtime-{WASMTIME_VERSION} cranelift config-1 prices-{} pass-{}", price::VERSION, module::PASS_VERSION)
}

/// The version that `Cargo.toml` pins.
const WASMTIME_VERSION: &str = "48.0.8";

/// The one configuration. To change it is to change the engine id.
fn config() -> Config {
    let mut config = Config::new();
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
        .max_wasm_stack(module::limits::NATIVE_STACK_MIN)
        .async_stack_size(2 * module::limits::NATIVE_STACK_MIN);
    config
}

/// Growing a memory costs by the page: by default it is free.
fn operator_cost() -> OperatorCost {
    OperatorCost {
        MemoryGrow: 255,
        variable: VariableOperatorCost { memory_grow_per_page: 255, ..VariableOperatorCost::new() },
        ..OperatorCost::new()
    }
}

fn engine() -> Result<Engine, HostFault> {
    Engine::new(&config()).map_err(|err| HostFault::new("set up wasmtime", format_args!("{err:#}")))
}
