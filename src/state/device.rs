//! Devices of an embedder: the door between vats and whatever else a program or a chain is, as SwingSet's bridge.
//!
//! ```text
//!   a vat    ── callNow(method, args) ──▶ Device::call  ──▶ an answer, in the same delivery
//!   outside  ── Host::tell_device     ──▶ Device::input ──▶ deliverInbound(value) to the handler that a vat registered
//!   a block's beginning               ──▶ Device::begin_block ──▶ the same
//!   DeviceState::send … the commit    ──▶ Device::leave ──▶ the world
//! ```
//!
//! Invariants: all that a device remembers is in its rows, which are undone, committed, hashed and replayed like the
//! kernel's; what it does is a function of them, of the time of the block, and of what it is asked. So every replica
//! must have the same devices, and a state with a device runs only in a host that has it.

//!
//! A bridge to a store of notes that the program has; vats put notes there, and learn of those that come from elsewhere:
//!
//! ```
//! use serde_json::{Value, json};
//! use std::sync::{Arc, Mutex};
//! use vathost::{Device, DeviceState, Host, HostOptions, Options, Outcome, BlockPolicy, Scenario, StaticVat};
//!
//! /// Notes by name. Each new one is told to the world.
//! #[derive(Debug, Default)]
//! struct Notes {
//!     told: Mutex<Vec<(u64, Value)>>,
//! }
//!
//! impl Device for Notes {
//!     fn name(&self) -> &str {
//!         "notes"
//!     }
//!
//!     fn call(&self, state: &mut DeviceState<'_>, method: &str, args: &[Value]) -> Result<Value, String> {
//!         let name = args.first().and_then(Value::as_str).ok_or("a note has a name")?;
//!         match method {
//!             "put" => {
//!                 let note = args.get(1).and_then(Value::as_str).ok_or("a note is a text")?;
//!                 state.set(name, note)?;
//!                 state.send(&json!({ "noted": name }))?;
//!                 Ok(json!(state.rows().count()))
//!             }
//!             "get" => Ok(state.get(name).map_or(Value::Null, |it| String::from_utf8_lossy(it).into())),
//!             other => Err(format!("notes have no method {other}")),
//!         }
//!     }
//!
//!     fn leave(&self, number: u64, message: &Value) -> Result<(), String> {
//!         self.told.lock().map_err(|err| err.to_string())?.push((number, message.clone()));
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! let notes = Arc::new(Notes::default());
//! let mut host = Host::open(HostOptions { devices: vec![notes.clone()], ..HostOptions::default() })?;
//! let wasm = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/keeper.wasm"))?;
//! let keeper = StaticVat { name: "keeper".into(), wasm, options: Options::default(), parameters: "#{}".into() };
//! host.install(&Scenario { vats: vec![keeper], bootstrap: Some("keeper".into()), ..Scenario::default() })?;
//!
//! let kept = host.send("keeper", "keep", ["tea".into(), "at five".into()])?;
//! host.tell_device("notes", json!("from elsewhere"))?;
//! while !host.run_block(&BlockPolicy::default(), &mut |_crank| true)?.quiescent {}
//! let Outcome::Fulfilled(answer) = host.outcome(kept)? else { panic!("it was refused") };
//! assert_eq!(answer.body.as_text(), Some("#1"));
//! // After the commit it was told to the world.
//! assert_eq!(*notes.told.lock().unwrap(), [(1, json!({ "noted": "tea" }))]);
//! # Ok(())
//! # }
//! ```

use std::fmt;

use serde_json::Value;

use crate::{
    model::{id::DeviceId, limits, value::Bytes},
    state::table::{DeviceRow, OwnDevice, Tables},
};

/// A device of the program that embeds the host.
///
/// Vats hold it as they hold the timer: the bootstrap vat is given it by its name. Only plain data goes through it: a
/// reference in the arguments of a call is refused.
pub trait Device: fmt::Debug + Send + Sync {
    /// Returns the name of the device: no other device of the state has it.
    fn name(&self) -> &str;

    /// Answers a vat's call. An error is a refusal that the vat receives as a text.
    fn call(&self, state: &mut DeviceState<'_>, method: &str, args: &[Value]) -> Result<Value, String>;

    /// Takes an input from outside, and returns the messages that the vats' handler receives for it.
    fn input(&self, state: &mut DeviceState<'_>, input: &Value) -> Vec<Value> {
        let _ = state;
        vec![input.clone()]
    }

    /// Begins a block, and returns the messages that the vats' handler receives at its beginning.
    fn begin_block(&self, state: &mut DeviceState<'_>) -> Vec<Value> {
        let _ = state;
        Vec::new()
    }

    /// Lets a message into the world, after the block that sent it was committed. Messages come in order of their
    /// numbers, from 1. After a crash those of the last block come again, with the same numbers.
    ///
    /// # Errors
    ///
    /// The reason why it cannot leave: no block begins until it has left, tried again with each call that would begin one.
    fn leave(&self, number: u64, message: &Value) -> Result<(), String> {
        let _ = (number, message);
        Ok(())
    }
}

/// The part of the state that a device sees: its own rows, and the time.
#[derive(Debug)]
pub struct DeviceState<'a> {
    tables: &'a mut Tables,
    id: DeviceId,
}

impl<'a> DeviceState<'a> {
    /// Gives a device its part of the state.
    pub(crate) fn of(tables: &'a mut Tables, id: DeviceId) -> DeviceState<'a> {
        DeviceState { tables, id }
    }

    /// Returns the time of the block, in seconds.
    pub fn time(&self) -> u64 {
        self.tables.globals().time
    }

    /// Returns the value of a row, if there is one.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.tables.device_rows.get(&(self.id, Bytes::from(key.as_ref()))).map(|it| &**it)
    }

    /// Writes one row of the device.
    ///
    /// # Errors
    ///
    /// The rows of the device would take more than [`limits::DEVICE_BYTES_MAX`] bytes: an answer for whoever asked.
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), String> {
        let (key, value) = (Bytes::from(key.as_ref()), Bytes::from(value.as_ref()));
        let before = self.tables.device_rows.get(&(self.id, key.clone())).map_or(0, |it| key.len() + it.len());
        let (_, bytes) = self.tables.device_rows.sums(self.id);
        let bytes = bytes - before as u64 + (key.len() + value.len()) as u64;
        if bytes > limits::DEVICE_BYTES_MAX {
            return Err(format!("the rows of the device are full: at most {} bytes", limits::DEVICE_BYTES_MAX));
        }
        self.tables.device_rows.insert((self.id, key), value);
        Ok(())
    }

    /// Removes one row of the device. Returns whether there was one.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> bool {
        self.tables.device_rows.remove(&(self.id, Bytes::from(key.as_ref()))).is_some()
    }

    /// Iterates over the rows, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (from, to) = ((self.id, Bytes::default()), (self.id.next(), Bytes::default()));
        self.tables.device_rows.range(from..to).map(|((_, key), value)| (&**key, &**value))
    }

    /// Sends a message into the world: it leaves after the commit of the block. Returns its number.
    ///
    /// # Errors
    ///
    /// Too many messages, or bytes of them, were sent in this block: an answer for whoever asked.
    pub fn send(&mut self, message: &Value) -> Result<u64, String> {
        let row = Bytes::from(message.to_string());
        let (messages, bytes) = self.tables.device_messages.sums(self.id);
        if messages >= limits::OUTBOX_MESSAGES_MAX || bytes + row.len() as u64 > limits::OUTBOX_BYTES_MAX {
            let (messages, bytes) = (limits::OUTBOX_MESSAGES_MAX, limits::OUTBOX_BYTES_MAX);
            return Err(format!("at most {messages} messages of {bytes} bytes leave with a block"));
        }
        let sent = self.tables.devices.update(&self.id, |it| match it {
            DeviceRow::Own(OwnDevice { sent, .. }) => {
                *sent += 1;
                *sent
            }
            _ => 0,
        });
        let number = sent.unwrap_or_default();
        self.tables.device_messages.insert((self.id, number), row);
        Ok(number)
    }
}
