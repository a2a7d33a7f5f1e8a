//! A mock kernel for unit tests of vats, without wasm.
//!
//! A [`World`] runs one vat on the test's own thread: it makes deliveries, and shows the syscalls that they led to. It is strict where
//! the kernel is: a vat that mentions a reference which it was not given, or a promise that is retired, fails the test.
//!
//! ```
//! use vat::{Error, Rc, Remote, test::World};
//!
//! struct Relay;
//! #[vat::exo]
//! impl Relay {
//!     pub async fn double(&self, number: i32, by: Remote) -> Result<i32, Error> {
//!         by.send("add", (number, number)).to().await
//!     }
//! }
//!
//! let mut world = World::start(|| Relay);
//! let adder = world.import();
//! let answer = world.send("double", (21, adder));
//! let question = world.sent().remove(0);
//! assert_eq!((question.target, &*question.body), (adder.0, r##"#["add",[21,21]]"##));
//!
//! world.fulfill(question.result, 42);
//! assert_eq!(world.outcome(answer), Some(Ok(42.into())));
//! // The relay has let the adder go. It says so when it is asked.
//! world.bring_out_your_dead();
//! assert_eq!(world.syscalls().last().map(String::as_str), Some("retire_imports o-50"));
//! ```

use std::string::String;
use std::vec::Vec;

use crate::state;
use crate::sys::CapData;
use crate::vref::{self, VRef};
use crate::{Error, IntoArgs, IntoRoot, Promise, Remote, Value, delivery, promise::record, smallcaps};

mod kernel;
pub mod raw;

use kernel::with;

/// An object outside the vat, to be passed in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported(pub VRef);

/// A promise that somebody outside the vat decides, to be passed in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promised(pub VRef);

impl From<Imported> for Value {
    fn from(import: Imported) -> Value {
        Value::Remote(Remote::of(import.0))
    }
}

impl From<Promised> for Value {
    fn from(promise: Promised) -> Value {
        Value::Promise(Promise::of(promise.0))
    }
}

/// A message that the vat sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The target of the message.
    pub target: VRef,
    /// The body, as in `#[method,[arguments]]`.
    pub body: String,
    /// The references in the body.
    pub slots: Vec<VRef>,
    /// The promise for the answer, or 0.
    pub result: VRef,
}

/// One vat, and what it can see of the rest of the world.
#[derive(Debug)]
pub struct World {
    next_import: u64,
    next_promise: u64,
}

impl World {
    /// A new kernel on this thread, and a vat with this root.
    pub fn start<R: IntoRoot>(build: impl FnOnce() -> R) -> World {
        let mut world = World::empty();
        world.deliver_start(build);
        world
    }

    /// A new kernel on this thread without a vat, for what works without one.
    pub fn empty() -> World {
        state::reset();
        kernel::reset();
        World { next_import: 50, next_promise: 60 }
    }

    /// Another incarnation of the vat: its memory is gone, what it stored is not.
    pub fn upgrade<R: IntoRoot>(&mut self, build: impl FnOnce() -> R) {
        self.bring_out_your_dead();
        state::reset();
        self.deliver_start(build);
    }

    fn deliver_start<R: IntoRoot>(&mut self, build: impl FnOnce() -> R) {
        let mut bytes = head(6, 0);
        put_data(&mut bytes, &CapData { body: "#\"#undefined\"".into(), slots: Vec::new() });
        kernel::set_input(bytes.clone());
        delivery::deliver(length(&bytes), |_| build().into_root());
    }

    /// A new object outside the vat.
    pub fn import(&mut self) -> Imported {
        self.next_import += 1;
        Imported(vref::import(self.next_import - 1))
    }

    /// A new promise outside the vat.
    pub fn promise(&mut self) -> Promised {
        self.next_promise += 1;
        Promised(vref::promise(self.next_promise - 1))
    }

    /// Delivers a message to the root; returns the promise for its answer.
    pub fn send(&mut self, method: &str, args: impl IntoArgs) -> VRef {
        self.send_to(vref::ROOT, method, args)
    }

    /// Delivers a message to an object of the vat; returns the promise for its answer.
    pub fn send_to(&mut self, target: VRef, method: &str, args: impl IntoArgs) -> VRef {
        let data = smallcaps::encode_message(method, args.into_args(), &mut Vec::new());
        self.message(target, &data)
    }

    /// Delivers any message, well-formed or not.
    pub fn message(&mut self, target: VRef, data: &CapData) -> VRef {
        let Promised(result) = self.promise();
        with(|kernel| kernel.grant(&[result]));
        let mut bytes = head(1, 0);
        bytes.extend(target.to_le_bytes());
        bytes.extend(result.to_le_bytes());
        put_data(&mut bytes, data);
        self.deliver(bytes);
        result
    }

    /// Tells the vat that a promise is fulfilled.
    pub fn fulfill(&mut self, vpid: VRef, value: impl Into<Value>) {
        self.notify(&[(vpid, Ok(value.into()))]);
    }

    /// Tells the vat that a promise is rejected.
    pub fn reject(&mut self, vpid: VRef, reason: impl Into<Error>) {
        self.notify(&[(vpid, Err(reason.into()))]);
    }

    /// Tells the vat how several promises are settled, in one delivery.
    pub fn notify(&mut self, batch: &[(VRef, Result<Value, Error>)]) {
        let records: Vec<_> = batch.iter().map(|(vpid, outcome)| record(*vpid, outcome, &mut Vec::new())).collect();
        let mut bytes = head(2, batch.len());
        for (vpid, rejected, data) in &records {
            bytes.extend(vpid.to_le_bytes());
            bytes.extend(u32::from(*rejected).to_le_bytes());
            bytes.extend([0; 4]);
            put_data(&mut bytes, data);
        }
        with(|kernel| kernel.retire_promises(batch.iter().map(|(vpid, _)| *vpid)));
        self.deliver(bytes);
    }

    /// Tells the vat that nobody can reach these objects of it.
    pub fn drop_exports(&mut self, vrefs: &[VRef]) {
        self.gc(3, vrefs);
    }

    /// Tells the vat that nobody would recognise these objects of it.
    pub fn retire_exports(&mut self, vrefs: &[VRef]) {
        self.gc(4, vrefs);
    }

    /// Tells the vat that these imports, which it holds no more, are gone.
    pub fn retire_imports(&mut self, vrefs: &[VRef]) {
        with(|kernel| kernel.forget(vrefs));
        self.gc(5, vrefs);
    }

    /// Asks the vat what it no longer needs.
    pub fn bring_out_your_dead(&mut self) {
        self.gc(8, &[]);
    }

    fn gc(&mut self, kind: u32, vrefs: &[VRef]) {
        let mut bytes = head(kind, vrefs.len());
        bytes.extend(vrefs.iter().flat_map(|vref| vref.to_le_bytes()));
        self.deliver(bytes);
    }

    fn deliver(&mut self, bytes: Vec<u8>) {
        let len = length(&bytes);
        kernel::set_input(bytes);
        delivery::deliver(len, |_| unreachable!("only startVat builds the root"));
    }

    /// Returns how the vat settled a promise that it decides, if it has.
    pub fn outcome(&self, vpid: VRef) -> Option<Result<Value, Error>> {
        let (rejected, data) = with(|kernel| kernel.outcomes.get(&vpid).cloned())?;
        let value = delivery::decode(&data);
        Some(match value {
            Ok(reason) if rejected => Err(Error::with_reason(reason)),
            outcome => outcome,
        })
    }

    /// The messages that the vat sent since this was last asked.
    pub fn sent(&mut self) -> Vec<Sent> {
        with(|kernel| std::mem::take(&mut kernel.sent))
    }

    /// All syscalls since this was last asked, in words: `send o-50 #["add",[1]] p+1`.
    pub fn syscalls(&mut self) -> Vec<String> {
        with(|kernel| std::mem::take(&mut kernel.log))
    }

    /// The lines that the vat wrote to the console.
    pub fn console(&self) -> Vec<String> {
        with(|kernel| kernel.console.clone())
    }

    /// Returns the value that the vat stored under a key.
    pub fn stored(&self, key: &str) -> Option<String> {
        with(|kernel| kernel.vatstore.get(key.as_bytes()).cloned())
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Makes a device that answers or refuses as this function does, which gets the body of the call.
    pub fn device(&mut self, answer: fn(&str) -> Result<String, String>) -> VRef {
        let vref = vref::device(70);
        with(|kernel| {
            kernel.grant(&[vref]);
            kernel.device = Some(answer);
        });
        vref
    }
}

fn head(kind: u32, count: usize) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(u32_of(count).to_le_bytes());
    bytes
}

/// Appends capdata as deliveries hold it, and lets the vat mention its references from now on.
fn put_data(bytes: &mut Vec<u8>, data: &CapData) {
    with(|kernel| kernel.grant(&data.slots));
    bytes.extend(kernel::capdata(data));
}

fn length(bytes: &[u8]) -> u32 {
    u32_of(bytes.len())
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).expect("the mock kernel's deliveries are small")
}
