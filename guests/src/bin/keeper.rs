//! A keeper of notes: it keeps them in `notes`, a device of the program that embeds the host, and counts what comes from
//! there.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::{Bootstrap, Device, prelude::*};

#[derive(Default)]
struct Root {
    notes: Cell<Option<Device>>,
    inbox: Rc<Inbox>,
}

/// Receives what comes in by the device.
#[derive(Default)]
struct Inbox {
    count: Cell<u32>,
}

/// Receives what comes in by the device.
#[vat::exo]
impl Inbox {
    /// Counts a message.
    pub fn deliver_inbound(&self, _message: Value) {
        self.count.set(self.count.get() + 1);
    }
}

/// Keeps notes in the device.
#[vat::exo]
impl Root {
    /// Takes the device, and listens to it.
    pub fn bootstrap(&self, given: Bootstrap) -> Result<(), Error> {
        let notes: Device = given.device("notes")?;
        self.notes.set(Some(notes));
        notes.call_now("registerInboundHandler", (self.inbox.clone(),))?.to()
    }

    /// Keeps a note. Returns how many there are.
    pub fn keep(&self, name: String, note: String) -> Result<Value, Error> {
        self.notes()?.call_now("put", (name, note))
    }

    /// Keeps a note, and then fails.
    pub fn forget_at_once(&self, name: String, note: String) -> Result<(), Error> {
        self.keep(name, note)?;
        panic!("the note is gone")
    }

    /// Reads a note.
    pub fn read(&self, name: String) -> Result<Value, Error> {
        self.notes()?.call_now("get", (name,))
    }

    /// Counts what came in.
    pub fn count(&self) -> u32 {
        self.inbox.count.get()
    }
}

impl Root {
    fn notes(&self) -> Result<Device, Error> {
        self.notes.get().ok_or_else(|| Error::new("there is no device yet"))
    }
}

#[vat::root]
fn build() -> Root {
    Root::default()
}
