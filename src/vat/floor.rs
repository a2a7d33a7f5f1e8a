//! Floors for benchmarks: bare wasmtime calls without a kernel, against which deliveries are measured in the same run.

use std::collections::VecDeque;

use wasmtime::{Caller, Linker, Memory, Module, Result, Store, TypedFunc};

use crate::{
    model::blame::HostFault,
    vat::{CodeTarget, Purpose},
};

/// The work that the bare guest does in a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The guest returns at once.
    Call,
    /// The guest makes one `send` through a host import, which becomes a later delivery.
    Send,
}

impl Kind {
    /// Returns the name of the floor in a table of results.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Call => "bare wasmtime: call",
            Kind::Send => "bare wasmtime: call and send",
        }
    }
}

/// Bytes of a delivery.
const PAYLOAD: usize = 64;

/// A queue of payloads and one bare instance: no kernel, no c-list, no transcript, no store.
pub struct Floor {
    store: Store<Bare>,
    deliver: TypedFunc<u32, ()>,
    memory: Memory,
}

struct Bare {
    queue: VecDeque<[u8; PAYLOAD]>,
    memory: Option<Memory>,
}

impl std::fmt::Debug for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floor").finish_non_exhaustive()
    }
}

impl Floor {
    /// Compiles the bare guest, under the configuration of all vats.
    pub fn new(kind: Kind) -> Result<Floor, HostFault> {
        Floor::build(kind).map_err(|err| HostFault::new("set up a floor", format_args!("{err:#}")))
    }

    fn build(kind: Kind) -> Result<Floor> {
        let engine = wasmtime::Engine::new(&super::config(&CodeTarget::newest(Purpose::Running)))?;
        let body = if kind == Kind::Send { "(call $send (i32.const 0) (local.get 0))" } else { "" };
        let wat = format!(
            r#"(module (import "bare" "send" (func $send (param i32 i32))) (memory (export "memory") 1)
                 (func (export "deliver") (param i32) {body}))"#
        );
        let mut linker = Linker::new(&engine);
        linker.func_wrap("bare", "send", |mut caller: Caller<'_, Bare>, at: u32, len: u32| {
            let Some(memory) = caller.data().memory else { return };
            let (data, bare) = memory.data_and_store_mut(&mut caller);
            let sent: Option<[u8; PAYLOAD]> =
                data.get(at as usize..(at + len) as usize).and_then(|it| it.try_into().ok());
            bare.queue.extend(sent);
        })?;
        let mut store = Store::new(&engine, Bare { queue: VecDeque::new(), memory: None });
        store.set_fuel(1_000_000)?;
        store.set_epoch_deadline(1);
        let instance = linker
            .instantiate(&mut store, &Module::new(&engine, wat::parse_str(&wat).map_err(wasmtime::Error::new)?)?)?;
        let missing = || wasmtime::Error::msg("the bare guest has no memory");
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(missing)?;
        store.data_mut().memory = Some(memory);
        let deliver = instance.get_typed_func(&mut store, "deliver")?;
        Ok(Floor { store, deliver, memory })
    }

    /// Makes this many deliveries.
    pub fn run(&mut self, deliveries: u64) -> Result<(), HostFault> {
        self.deliveries(deliveries).map_err(|err| HostFault::new("run a floor", format_args!("{err:#}")))
    }

    fn deliveries(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            let payload = self.store.data_mut().queue.pop_front().unwrap_or([7; PAYLOAD]);
            self.memory.write(&mut self.store, 0, &payload)?;
            self.store.set_fuel(1_000_000)?;
            self.deliver.call(&mut self.store, 64)?;
            std::hint::black_box(self.store.get_fuel()?);
        }
        Ok(())
    }
}
