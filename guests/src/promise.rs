//! Answers still to come.
//!
//! ```text
//!   received, or result of a send          Promise::pair, an async method
//!              │                                        │
//!           Awaited ── notify ──▶ Settled ◀── resolve ── Ours
//! ```
//!
//! `Awaited`: somebody else decides, and the kernel knows the promise as `vpid`. The vat subscribes at the first `await`, or
//! when the last handle is dropped: either way a notify comes, and the kernel can forget the promise.
//! `Ours`: this vat decides. It has a `vpid` once it was sent out, or from the start if it answers a message.
//! `Settled`: the kernel has forgotten the `vpid`. To send such a promise again, [`settle`] makes a new one.

use alloc::rc::Weak;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::state::{Row, vat};
use crate::sys::CapData;
use crate::vref::{self, VRef};
use crate::{Error, FromValue, IntoArgs, Rc, Value, smallcaps, sys};

/// The outcome of a promise.
pub(crate) type Outcome = Result<Value, Error>;

/// Settled promises that are being sent again, and the new ids they travel under.
pub(crate) type Again = Vec<(VRef, Promise)>;

/// An answer still to come. `await` it, or send to it before it is there.
#[derive(Clone)]
pub struct Promise(Rc<Shared>);

pub(crate) struct Shared {
    state: RefCell<State>,
    wakers: RefCell<Vec<Waker>>,
}

enum State {
    Awaited { vpid: VRef, subscribed: bool },
    Ours { vpid: Option<VRef> },
    Settled(Outcome),
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let State::Awaited { vpid, subscribed: false } = *self.state.get_mut() {
            vat().litter.borrow_mut().promises.push(vpid);
        }
    }
}

impl Promise {
    /// Makes a promise that this vat decides, and the resolver that settles it.
    pub fn pair() -> (Promise, Resolver) {
        let promise = Promise::new(State::Ours { vpid: None });
        (promise.clone(), Resolver(Some(promise)))
    }

    /// Makes a promise that is settled already.
    pub fn settled(outcome: Result<Value, Error>) -> Promise {
        Promise::new(State::Settled(outcome))
    }

    /// Runs a future, and promises its result.
    pub fn spawn(future: impl Future<Output = Result<Value, Error>> + 'static) -> Promise {
        let (promise, resolver) = Promise::pair();
        crate::spawn(async move { resolver.settle(future.await) });
        promise
    }

    /// Calls back when the promise settles.
    pub fn then(self, callback: impl FnOnce(Result<Value, Error>) + 'static) {
        crate::spawn(async move { callback(self.await) });
    }

    /// Waits for the answer, and converts it.
    ///
    /// # Errors
    /// The promise is rejected, or fulfilled with a value of another type.
    pub async fn to<T: FromValue>(self) -> Result<T, Error> {
        self.await?.to()
    }

    /// Sends a message to what the promise will be, without waiting for it.
    pub fn send(&self, method: &str, args: impl IntoArgs) -> Promise {
        match self.target() {
            Ok(target) => send(target, method, args.into_args()),
            Err(error) => Promise::settled(Err(error)),
        }
    }

    /// Sends a message as [`send`](Self::send) does, without asking for the answer.
    pub fn send_only(&self, method: &str, args: impl IntoArgs) {
        if let Ok(target) = self.target() {
            send_only(target, method, args.into_args());
        }
    }

    fn new(state: State) -> Promise {
        Promise(Rc::new(Shared { state: RefCell::new(state), wakers: RefCell::default() }))
    }

    /// The handle of a promise that the kernel names; the same one for as long as it is held.
    pub(crate) fn of(vpid: VRef) -> Promise {
        if let Some(Row::Promise(held)) = vat().row(vpid)
            && let Some(shared) = Weak::upgrade(&held)
        {
            return Promise(shared);
        }
        Promise::register(vpid, State::Awaited { vpid, subscribed: false })
    }

    fn register(vpid: VRef, state: State) -> Promise {
        let promise = Promise::new(state);
        vat().set_row(vpid, Row::Promise(Rc::downgrade(&promise.0)));
        promise
    }

    /// The id under which the promise may be mentioned now. A settled one is added to those to be sent again.
    pub(crate) fn mention(&self, again: &mut Again) -> VRef {
        match &*self.0.state.borrow() {
            State::Awaited { vpid, .. } | State::Ours { vpid: Some(vpid) } => return *vpid,
            State::Ours { vpid: None } => {}
            State::Settled(_) => return self.mention_again(again),
        }
        let vpid = vref::own_promise(vat().new_promise());
        self.0.state.replace(State::Ours { vpid: Some(vpid) });
        vat().set_row(vpid, Row::Promise(Rc::downgrade(&self.0)));
        vpid
    }

    fn mention_again(&self, again: &mut Again) -> VRef {
        if let Some((vpid, _)) = again.iter().find(|(_, promise)| promise == self) {
            return *vpid;
        }
        let vpid = vref::own_promise(vat().new_promise());
        again.push((vpid, self.clone()));
        vpid
    }

    /// Where messages to this promise go: to the object that it is settled to, or else to the promise.
    fn target(&self) -> Result<VRef, Error> {
        if let State::Settled(outcome) = &*self.0.state.borrow() {
            return match outcome {
                Ok(Value::Remote(remote)) => Ok(remote.vref()),
                Ok(Value::Exo(exo)) => Ok(crate::delivery::export(exo)),
                Ok(data) => Err(Error::join(&[data.kind(), " cannot be sent to"])),
                Err(error) => Err(error.clone()),
            };
        }
        Ok(self.mention(&mut Vec::new()))
    }

    /// Settles the promise on this side, once; the kernel knows the outcome already.
    pub(crate) fn conclude(&self, outcome: Outcome) {
        let old = self.0.state.replace(State::Settled(outcome));
        debug_assert!(!matches!(old, State::Settled(_)), "settled twice");
        for waker in self.0.wakers.take() {
            waker.wake();
        }
    }
}

impl Future for Promise {
    type Output = Result<Value, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.state.borrow_mut() {
            State::Settled(outcome) => return Poll::Ready(outcome.clone()),
            State::Awaited { vpid, subscribed: subscribed @ false } => {
                *subscribed = true;
                sys::subscribe(*vpid);
            }
            State::Awaited { .. } | State::Ours { .. } => {}
        }
        let mut wakers = self.0.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Two handles are equal if they mean the same promise.
impl PartialEq for Promise {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Promise {}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.state.borrow() {
            State::Awaited { vpid, .. } | State::Ours { vpid: Some(vpid) } => f.write_str(&vref::text(*vpid)),
            State::Ours { vpid: None } => f.write_str("an unsettled promise"),
            State::Settled(_) => f.write_str("a settled promise"),
        }
    }
}

/// The means to settle a promise of this vat. A resolver that is dropped unused rejects the promise.
#[derive(Debug)]
pub struct Resolver(Option<Promise>);

impl Resolver {
    /// The resolver of the promise which answers a message.
    pub(crate) fn answering(vpid: VRef) -> Resolver {
        Resolver(Some(Promise::register(vpid, State::Ours { vpid: Some(vpid) })))
    }

    /// Fulfils the promise; if the value is a promise itself, this promise follows it.
    pub fn resolve(self, value: impl Into<Value>) {
        self.settle(Ok(value.into()));
    }

    /// Rejects the promise with an error.
    pub fn reject(self, error: impl Into<Error>) {
        self.settle(Err(error.into()));
    }

    /// Fulfils or rejects the promise.
    pub fn settle(mut self, outcome: Result<Value, Error>) {
        let Some(promise) = self.0.take() else { return };
        if let Ok(Value::Promise(other)) = outcome {
            // A promise is never fulfilled with a promise; it follows that one.
            crate::spawn(async move { decide(&promise, other.await) });
        } else {
            decide(&promise, outcome);
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(promise) = self.0.take() {
            decide(&promise, Err("the vat dropped the resolver of this promise".into()));
        }
    }
}

/// Settles a promise: tells the kernel, if it knows the promise, and wakes the tasks that wait.
fn decide(promise: &Promise, outcome: Outcome) {
    let vpid = match &*promise.0.state.borrow() {
        State::Ours { vpid } => *vpid,
        State::Awaited { .. } | State::Settled(_) => None,
    };
    if let Some(vpid) = vpid {
        let mut again = Vec::new();
        let record = record(vpid, &outcome, &mut again);
        settle(vec![record], again);
        vat().remove_row(vpid);
    }
    promise.conclude(outcome);
}

/// One entry of a resolve batch.
pub(crate) fn record(vpid: VRef, outcome: &Outcome, again: &mut Again) -> (VRef, bool, CapData) {
    let (rejected, value) = match outcome {
        Ok(value) => (false, value),
        Err(error) => (true, error.reason()),
    };
    (vpid, rejected, smallcaps::encode(value, again))
}

/// Makes the resolve syscall for these records, and for settled promises that were mentioned again. They may mention
/// further ones, or each other.
pub(crate) fn settle(mut batch: Vec<(VRef, bool, CapData)>, mut again: Again) {
    let mut done = 0;
    while let Some((vpid, promise)) = again.get(done).cloned() {
        done += 1;
        if let State::Settled(outcome) = &*promise.0.state.borrow() {
            batch.push(record(vpid, outcome, &mut again));
        }
    }
    if !batch.is_empty() {
        sys::resolve(&batch);
    }
}

/// Answers a message whose outcome is known within the delivery.
pub(crate) fn answer(vpid: VRef, outcome: &Outcome) {
    let mut again = Vec::new();
    let record = record(vpid, outcome, &mut again);
    settle(vec![record], again);
}

/// Sends a message, and promises its answer.
pub(crate) fn send(target: VRef, method: &str, args: Vec<Value>) -> Promise {
    let result = vref::own_promise(vat().new_promise());
    transmit(target, method, args, result);
    Promise::register(result, State::Awaited { vpid: result, subscribed: false })
}

/// Sends a message that wants no answer.
pub(crate) fn send_only(target: VRef, method: &str, args: Vec<Value>) {
    transmit(target, method, args, 0);
}

fn transmit(target: VRef, method: &str, args: Vec<Value>, result: VRef) {
    let mut again = Vec::new();
    let data = smallcaps::encode_message(method, args, &mut again);
    sys::send(target, &data, result);
    settle(Vec::new(), again);
}

pub(crate) fn exit(failure: bool, info: Value) {
    let mut again = Vec::new();
    let data = smallcaps::encode(&info, &mut again);
    sys::exit(failure, &data);
    settle(Vec::new(), again);
}

/// The end of a delivery: asks for the notify of promises that were dropped before anybody awaited them.
pub(crate) fn subscribe_dropped() {
    let dropped = core::mem::take(&mut vat().litter.borrow_mut().promises);
    for vpid in dropped {
        if let Some(Row::Promise(weak)) = vat().row(vpid)
            && weak.strong_count() == 0
        {
            vat().remove_row(vpid);
            sys::subscribe(vpid);
        }
    }
}
