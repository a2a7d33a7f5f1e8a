//! Inputs from outside: messages with awaited results, mail, and what is asked of devices, sessions and vats. An input waits in memory for the
//! next `run_block`, which applies all of them as one step before any crank; [`Inputs`](crate::host::options::Inputs) says when they are
//! durable.

use std::num::NonZeroU64;

use serde::de::Error as _;
use serde_json::Value;

use crate::{
    host::controller::{Host, beside::VatAct},
    invariant,
    kernel::{Ledger, SessionInput},
    model::{
        blame::{Fault, HostFault},
        id::{DeviceId, KRef, PromiseId, VRef, VatId},
        limits, smallcaps,
        value::CapData,
    },
    state::{block::Block, table::Tables},
    store::BesideRow,
};

/// A message that was sent from outside: the handle by which its result is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent(pub(super) PromiseId);

impl Sent {
    /// Makes the handle of the message whose result this promise is for.
    pub fn of(result: PromiseId) -> Sent {
        Sent(result)
    }

    /// Returns the promise for the message's result.
    pub fn promise(self) -> PromiseId {
        self.0
    }
}

/// The outcome of a message from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There is no answer yet.
    Pending,
    /// The result was fulfilled with this data. Its slots can be sent to, and sent, until the result is forgotten.
    Fulfilled(CapData<KRef>),
    /// The result was rejected, for this reason.
    Rejected(CapData<KRef>),
    /// There is no answer any more: the state keeps one for this many blocks after the one that gave it, or the program let it go before.
    Expired(NonZeroU64),
}

impl Outcome {
    /// Returns the data of the answer; `None` if there is none yet, or none any more.
    pub fn data(&self) -> Option<&CapData<KRef>> {
        match self {
            Outcome::Pending | Outcome::Expired(_) => None,
            Outcome::Fulfilled(data) | Outcome::Rejected(data) => Some(data),
        }
    }

    /// Returns the answer as JSON: bigints are numbers, undefined is null, and an object or a promise is a text such as `@ko31`, as
    /// [`Arg::Told`] takes it. Other values that JSON cannot express are texts that begin with `@` too; a text of data that begins with `@`
    /// gets a second one. `None` if there is no answer yet, or one that is no JSON.
    pub fn json(&self) -> Option<Value> {
        let data = self.data()?;
        let body = serde_json::from_str(data.body.as_text()?.strip_prefix('#')?).ok()?;
        Some(smallcaps::to_program(&body, &|at| data.slots.get(at).map(ToString::to_string)))
    }

    /// Decodes the answer into a type of the program, from its [`json`](Outcome::json).
    ///
    /// # Errors
    ///
    /// There is no answer yet, or it has expired, or it is not of this type.
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        if let Outcome::Expired(blocks) = self {
            return Err(serde_json::Error::custom(expired(*blocks)));
        }
        serde_json::from_value(self.json().unwrap_or_default())
    }
}

/// Says why an answer is not there, in a state that keeps answers for this many blocks.
pub(crate) fn expired(blocks: NonZeroU64) -> String {
    let blocks = if blocks.get() == 1 { "one block".to_owned() } else { format!("{blocks} blocks") };
    format!("the answer has expired: this state keeps one for {blocks} (answer_blocks), unless it is forgotten before")
}

/// The target of a message from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To<'a> {
    /// The root of the vat with this name; of the first one, if there are several.
    Root(&'a str),
    /// The root of this vat.
    Vat(VatId),
    /// An object or a promise.
    Held(KRef),
}

impl<'a> From<&'a str> for To<'a> {
    fn from(name: &'a str) -> To<'a> {
        To::Root(name)
    }
}

impl From<KRef> for To<'_> {
    fn from(kref: KRef) -> Self {
        To::Held(kref)
    }
}

/// One argument of a message from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    /// An argument of plain data.
    Data(Value),
    /// Data in which texts name references: `@name` or `@v3` is the root of that vat, `@ko31` or `@kp41` an object or a promise, and
    /// `@@text` the plain text `@text`.
    Told(Value),
    /// An object or a promise.
    Held(KRef),
}

impl<T: Into<Value>> From<T> for Arg {
    fn from(data: T) -> Arg {
        Arg::Data(data.into())
    }
}

impl Arg {
    /// Makes an argument of an object or a promise that a result named.
    pub fn held(kref: KRef) -> Arg {
        Arg::Held(kref)
    }
}

/// One input that waits for the next block.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Send {
        target: Target,
        data: CapData<KRef>,
        to: String,
        method: String,
        promise: PromiseId,
    },
    Mail(u64, Value),
    RefuseMail(u64, String),
    AcknowledgeMail(u64),
    Forget(PromiseId),
    /// Answers are kept for this many blocks; 0 is until they are forgotten.
    KeepAnswers(u64),
    Device(DeviceId, Value),
    Session(VatId, SessionInput),
    /// Rows beside the state, written with the other inputs.
    Beside(Vec<BesideRow>),
    Administrate(VatId, VatAct),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Root(VatId),
    Held(KRef),
}

/// Returns the target of a message and its label; an error if nothing can be sent to it.
pub(super) fn target(tables: &Tables, to: To<'_>) -> Result<(Target, String), HostFault> {
    let refused = |why: String| HostFault::new("send a message", why);
    match to {
        To::Root(name) => {
            let known = tables.vat_named(name);
            let vat = known.ok_or_else(|| refused(format!("there is no vat `{name}`")))?;
            target(tables, To::Vat(vat))
        }
        To::Vat(vat) => {
            let row = tables.vats.get(&vat).ok_or_else(|| refused(format!("there is no {vat}")))?;
            if tables.is_session(vat) {
                return Err(refused(format!("{vat} (`{}`) is a session, which has no root", row.name)));
            }
            let name = row.name.clone();
            if !tables.is_alive(vat) {
                return Err(refused(format!("{vat} (`{name}`) is terminated")));
            }
            Ok((Target::Root(vat), name))
        }
        To::Held(kref) => {
            check_held(tables, kref)?;
            Ok((Target::Held(kref), kref.to_string()))
        }
    }
}

fn check_held(tables: &Tables, kref: KRef) -> Result<(), HostFault> {
    let known = match kref {
        KRef::Object(id) => tables.objects.contains(&id),
        KRef::Promise(id) => tables.promises.contains(&id),
        KRef::Device(_) => false,
    };
    let why =
        format_args!("there is no {kref} to name: a result names what it holds, until it is forgotten or expires");
    if known { Ok(()) } else { Err(HostFault::new("send a message", why)) }
}

/// Returns a reference as it is written in a body.
fn reference(tables: &Tables, kref: KRef, slots: &mut Vec<KRef>) -> Result<Value, HostFault> {
    check_held(tables, kref)?;
    let at = slots.iter().position(|it| *it == kref).unwrap_or_else(|| {
        slots.push(kref);
        slots.len() - 1
    });
    Ok(Value::String(format!("{}{at}", if kref.promise().is_some() { '&' } else { '$' })))
}

/// Returns an [`Arg::Told`] as it is written in a body.
fn told(tables: &Tables, value: &Value, slots: &mut Vec<KRef>) -> Result<Value, HostFault> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('@') {
            None => smallcaps::from_json(value),
            Some(escaped) if escaped.starts_with('@') => smallcaps::from_json(&escaped.into()),
            Some(name) => reference(tables, named(tables, name)?, slots)?,
        },
        Value::Array(items) => items.iter().map(|it| told(tables, it, slots)).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let mut encoded = serde_json::Map::new();
            for (key, it) in members {
                encoded.insert(smallcaps::text(key), told(tables, it, slots)?);
            }
            encoded.into()
        }
        other => smallcaps::from_json(other),
    })
}

/// Returns the reference that `@name` names.
pub(super) fn named(tables: &Tables, name: &str) -> Result<KRef, HostFault> {
    let refused = |why: String| HostFault::new("send a message", why);
    if let Ok(kref) = name.parse() {
        return Ok(kref);
    }
    let by_name = || tables.vat_named(name);
    let vat = name.parse().ok().filter(|it| tables.vats.contains(it)).or_else(by_name);
    let vat =
        vat.ok_or_else(|| refused(format!("there is no vat `{name}` for \"@{name}\" (\"@@{name}\" is the text)")))?;
    let root = tables.clist.get(&(vat, VRef::ROOT)).map(|it| it.kref);
    root.ok_or_else(|| refused(format!("nobody holds the root of {vat} (`{name}`)")))
}

/// Returns a method and its arguments as a body.
pub(super) fn methargs(tables: &Tables, method: &str, args: Vec<Arg>) -> Result<CapData<KRef>, HostFault> {
    let mut slots = Vec::new();
    let mut values = Vec::new();
    for arg in args {
        values.push(match arg {
            Arg::Data(value) => smallcaps::from_json(&value),
            Arg::Told(value) => told(tables, &value, &mut slots)?,
            Arg::Held(kref) => reference(tables, kref, &mut slots)?,
        });
    }
    let body = format!("#{}", serde_json::json!([smallcaps::text(method), values]));
    let data = CapData { body: body.as_str().into(), slots };
    check_data(tables, &data)?;
    Ok(data)
}

/// Refuses what names something that does not exist, or is too large.
pub(super) fn check_data(tables: &Tables, data: &CapData<KRef>) -> Result<(), HostFault> {
    data.slots.iter().try_for_each(|it| check_held(tables, *it))?;
    let max = limits::BODY_BYTES_MAX as usize;
    let (bytes, slots) = (data.body.len(), data.slots.len());
    if bytes > max || slots > limits::SLOTS_MAX as usize {
        let why = format_args!("its body is {bytes} bytes long and names {slots}: {max} at the most");
        return Err(HostFault::new("send a message", why));
    }
    Ok(())
}

/// Returns the input by which answers are kept as a host's options say, if its state does not keep them so. A new state is installed so.
pub(super) fn keep_answers(host: &Host) -> Option<Input> {
    let block = host.block.as_ref().filter(|_| !host.options.read_only && !host.is_new())?;
    let kept = block.tables().answer_blocks().map_or(0, NonZeroU64::get);
    host.options.answer_blocks.filter(|given| *given != kept).map(Input::KeepAnswers)
}

/// Puts the inputs of sessions after the others: the senders of messages know the ids of their result promises already, and a session's
/// syscalls allocate further promises.
pub(super) fn in_order(inputs: Vec<Input>) -> Vec<Input> {
    let (sessions, mut inputs): (Vec<_>, Vec<_>) = inputs.into_iter().partition(|it| matches!(it, Input::Session(..)));
    inputs.extend(sessions);
    inputs
}

impl Input {
    /// Applies the input to the state, in this ledger.
    pub(super) fn apply(self, ledger: &mut Ledger) -> Result<(), Fault> {
        match self {
            Input::Send { target, data, to, method, promise } => {
                let target = match target {
                    Target::Root(vat) => ledger.root(vat)?.into(),
                    Target::Held(kref) => kref,
                };
                let given = ledger.send_from_outside(target, data, Some((&to, &method)))?;
                invariant!(given == promise, "promise.known", "{given} is given for a result, {promise} was promised");
            }
            Input::Mail(number, message) => drop(ledger.receive_mail(number, &message)?),
            Input::RefuseMail(number, why) => drop(ledger.refuse_mail(number, &why)),
            Input::AcknowledgeMail(number) => ledger.acknowledge_mail(number),
            Input::Forget(promise) => ledger.forget_result(promise)?,
            Input::KeepAnswers(blocks) => ledger.tables_mut().keep_answers(NonZeroU64::new(blocks)),
            Input::Device(id, input) => ledger.tell_device(id, &input)?,
            Input::Session(session, input) => ledger.session_input(session, input)?,
            Input::Beside(rows) => ledger.put_beside(rows),
            Input::Administrate(vat, VatAct::Pause(why)) => ledger.pause_from_outside(vat, &why)?,
            Input::Administrate(vat, VatAct::Resume) => ledger.resume_from_outside(vat)?,
            Input::Administrate(vat, VatAct::Terminate(why)) => ledger.terminate_with_reason(vat, &why)?,
        }
        Ok(())
    }
}

/// Returns how a message was answered so far.
pub(super) fn outcome(block: &Block, Sent(promise): Sent) -> Outcome {
    let tables = block.tables();
    if let Some(blocks) = tables.answer_blocks().filter(|_| tables.has_expired(promise)) {
        return Outcome::Expired(blocks);
    }
    match tables.settling(promise) {
        ("fulfilled", Some(data)) => Outcome::Fulfilled(data.clone()),
        (_, Some(data)) => Outcome::Rejected(data.clone()),
        (_, None) => Outcome::Pending,
    }
}
