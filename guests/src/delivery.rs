//! Turns the kernel's deliveries into calls of the vat's objects.

use alloc::rc::Weak;
use alloc::string::String;
use alloc::vec::Vec;

use crate::exo::When;
use crate::promise::{Outcome, Resolver};
use crate::state::{self, Row, vat};
use crate::vref::{self, VRef};
use crate::{Args, Device, Error, Exo, Promise, Rc, Remote, Reply, Value, executor, smallcaps, sys};

const MESSAGE: u32 = 1;
const NOTIFY: u32 = 2;
const DROP_EXPORTS: u32 = 3;
const RETIRE_EXPORTS: u32 = 4;
const RETIRE_IMPORTS: u32 = 5;
const START_VAT: u32 = 6;
const CHANGE_OPTIONS: u32 = 7;
const BRING_OUT_YOUR_DEAD: u32 = 8;

/// The kernel takes no more than 65,536 references at once.
const REFS_PER_SYSCALL: usize = 4_096;

/// Handles the delivery that waits, `len` bytes long. The macro `#[vat::root]` calls it.
#[doc(hidden)]
pub fn deliver(len: u32, build: impl FnOnce(Value) -> Rc<dyn Exo>) {
    #[cfg(target_arch = "wasm32")]
    crate::rt::prepare();
    let bytes = sys::input(len as usize);
    handle(&bytes, build);
}

fn handle(bytes: &[u8], build: impl FnOnce(Value) -> Rc<dyn Exo>) {
    let mut input = Reader(bytes);
    let (kind, count) = (input.u32(), input.u32());
    match kind {
        MESSAGE => message(&mut input),
        NOTIFY => notify(&mut input, count),
        DROP_EXPORTS => (0..count).for_each(|_| unreachable_export(input.u64())),
        RETIRE_EXPORTS => (0..count).for_each(|_| retire_export(input.u64())),
        RETIRE_IMPORTS => (0..count).for_each(|_| retire_import(input.u64())),
        START_VAT => start(&mut input, build),
        CHANGE_OPTIONS => {}
        BRING_OUT_YOUR_DEAD => bring_out_your_dead(),
        _ => panic!("a delivery of unknown kind"),
    }
    executor::run();
    crate::promise::subscribe_dropped();
}

fn start(input: &mut Reader<'_>, build: impl FnOnce(Value) -> Rc<dyn Exo>) {
    state::start();
    let parameters = input.value().unwrap_or_else(|e| crate::convert::refuse(&e));
    let root = build(parameters);
    vat().set_row(address(&root), Row::Address(vref::ROOT));
    vat().set_row(vref::ROOT, Row::Reachable(root));
}

fn message(input: &mut Reader<'_>) {
    let (target, result) = (input.u64(), input.u64());
    let message = input.value().and_then(open_message);
    let reply = message.and_then(|(method, args)| dispatch(target, &method, args));
    match reply.map_or_else(|e| When::Now(Err(e)), |reply| reply.0) {
        When::Later(future) if result == 0 => executor::spawn(async { drop(future.await) }),
        When::Later(future) => {
            let resolver = Resolver::answering(result);
            executor::spawn(async { resolver.settle(future.await) });
        }
        When::Now(_) if result == 0 => {}
        When::Now(outcome @ Ok(Value::Promise(_))) => Resolver::answering(result).settle(outcome),
        When::Now(outcome) => crate::promise::answer(result, &outcome),
    }
}

/// Takes `[method, args]` apart.
fn open_message(message: Value) -> Result<(String, Vec<Value>), Error> {
    if let Value::List(parts) = message
        && let Ok([Value::Str(method), Value::List(args)]) = <[Value; 2]>::try_from(parts)
    {
        return Ok((method, args));
    }
    Err(Error::new("the message is not [method, arguments]"))
}

fn dispatch(target: VRef, method: &str, args: Vec<Value>) -> Result<Reply, Error> {
    if let Some(exo) = object(target) {
        let mut args = Args::new(args);
        return exo.dispatch(method, &mut args).map_err(|e| args.name_method(method, e));
    }
    match vat().row(target) {
        // The kernel delivers to promises that this vat decides, if the vat was created with `pipelining`.
        Some(Row::Promise(_)) => Ok(Reply::later(pipelined(Promise::of(target), method.into(), args))),
        _ => Err(Error::new("there is no such object in this vat")),
    }
}

/// An object of this vat that is alive, or is durable and can be made again.
fn object(vref: VRef) -> Option<Rc<dyn Exo>> {
    match vat().row(vref) {
        Some(Row::Reachable(exo)) => Some(exo),
        Some(Row::Recognizable(exo) | Row::Unsent(exo)) => Weak::upgrade(&exo),
        _ => crate::kind::revive(vref),
    }
}

/// Waits for the promise here: a message sent to it by this vat would come straight back.
async fn pipelined(target: Promise, method: String, args: Vec<Value>) -> Outcome {
    target.clone().await?;
    target.send(&method, args).await
}

/// All promises of the batch get their handles first, as the resolutions may name each other; then the kernel's names for
/// them are forgotten; then the tasks that wait are woken.
fn notify(input: &mut Reader<'_>, count: u32) {
    let mut batch: Vec<(VRef, bool, RawData<'_>, Promise)> = Vec::new();
    for _ in 0..count {
        let (vpid, rejected) = (input.u64(), input.u32() != 0);
        input.u32();
        batch.push((vpid, rejected, input.capdata(), Promise::of(vpid)));
    }
    let outcomes: Vec<Outcome> = batch
        .iter()
        .map(|(_, rejected, data, _)| match (data.decode(), rejected) {
            (Ok(reason), true) => Err(Error::with_reason(reason)),
            (outcome, _) => outcome,
        })
        .collect();
    for (vpid, ..) in &batch {
        vat().remove_row(*vpid);
    }
    for ((.., promise), outcome) in batch.iter().zip(outcomes) {
        promise.conclude(outcome);
    }
}

/// The reference of an object of this vat; a new one if it was never sent out, or if nobody knows it any more.
pub(crate) fn export(exo: &Rc<dyn Exo>) -> VRef {
    let address = address(exo);
    let vref = match vat().row(address) {
        Some(Row::Address(vref)) => vref,
        _ => vref::own_object(vat().new_object()),
    };
    vat().set_row(address, Row::Address(vref));
    vat().set_row(vref, Row::Reachable(exo.clone()));
    vref
}

/// The key of an object's address in the table. Both kind bits are set, so that it is no reference.
pub(crate) fn address(exo: &Rc<dyn Exo>) -> u64 {
    vref::KIND | Rc::as_ptr(exo).cast::<()>() as u64
}

/// Nobody outside can reach the object any more: it lives on only if something in this vat holds it. The root always lives.
fn unreachable_export(vref: VRef) {
    if vref != vref::ROOT
        && let Some(exo) = object(vref)
    {
        vat().set_row(vref, Row::Recognizable(Rc::downgrade(&exo)));
        vat().unreachable.borrow_mut().push(vref);
    }
}

/// Nobody would recognise the object either: should it be sent out again, it is a new one to everybody.
fn retire_export(vref: VRef) {
    if vref != vref::ROOT {
        forget_export(vref);
        crate::kind::retire(vref);
    }
}

fn forget_export(vref: VRef) {
    match vat().remove_row(vref) {
        Some(Row::Reachable(exo)) => drop(vat().remove_row(address(&exo))),
        Some(Row::Recognizable(exo) | Row::Unsent(exo)) => {
            let address = vref::KIND | exo.as_ptr().cast::<()>() as u64;
            vat().remove_row(address);
        }
        _ => {}
    }
}

/// The exporter of the object is gone, or says that the object is; this vat held it no more.
fn retire_import(vref: VRef) {
    vat().litter.borrow_mut().imports.retain(|&dropped| dropped != vref);
    vat().remove_row(vref);
}

/// Tells the kernel which references died since it last asked.
fn bring_out_your_dead() {
    let dropped = crate::remote::take_dropped();
    for some in dropped.chunks(REFS_PER_SYSCALL) {
        sys::drop_imports(some);
        sys::retire_imports(some);
    }
    for some in take_dead_exports().chunks(REFS_PER_SYSCALL) {
        sys::retire_exports(some);
    }
}

/// The objects of this vat that nobody can reach, neither outside nor inside. They leave the table.
fn take_dead_exports() -> Vec<VRef> {
    let (mut dead, mut alive) = (Vec::new(), Vec::new());
    for vref in vat().unreachable.take() {
        match vat().row(vref) {
            Some(Row::Recognizable(exo)) if exo.strong_count() == 0 => {
                retire_export(vref);
                dead.push(vref);
            }
            // The kernel never knew it.
            Some(Row::Unsent(exo)) if exo.strong_count() == 0 => retire_export(vref),
            Some(Row::Recognizable(_) | Row::Unsent(_)) => alive.push(vref),
            // It was sent out again, or retired.
            _ => {}
        }
    }
    vat().unreachable.replace(alive);
    dead
}

/// Reads an answer that is capdata by itself.
pub(crate) fn decode_answer(bytes: &[u8]) -> Result<Value, Error> {
    if bytes.len() < 8 {
        return Err(Error::new("the answer is too short"));
    }
    Reader(bytes).value()
}

/// The handle of a reference that the kernel mentions.
fn handle_of(vref: VRef) -> Value {
    match vref & vref::KIND {
        vref::PROMISE => Value::Promise(Promise::of(vref)),
        vref::DEVICE => Value::Device(Device::of(vref)),
        _ if vref & vref::OURS == 0 => Value::Remote(Remote::of(vref)),
        // Null stands for an object of an earlier incarnation, which is gone.
        _ => object(vref).map_or(Value::Null, Value::Exo),
    }
}

/// A cursor over a delivery. The kernel wrote it, so a delivery that ends too early is a broken host: it traps.
struct Reader<'a>(&'a [u8]);

/// Capdata in place.
struct RawData<'a> {
    body: &'a [u8],
    slots: Vec<VRef>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, tail) = self.0.split_first_chunk().expect("a whole delivery");
        self.0 = tail;
        *head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    fn capdata(&mut self) -> RawData<'a> {
        let (len, count) = (self.u32() as usize, self.u32());
        let slots = (0..count).map(|_| self.u64()).collect();
        let body = self.take(len);
        let padding = (len.next_multiple_of(8) - len).min(self.0.len());
        self.take(padding);
        RawData { body, slots }
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.capdata().decode()
    }
}

impl RawData<'_> {
    /// Every slot gets its handle, named in the body or not, so that the kernel learns of each reference that is dropped.
    fn decode(&self) -> Result<Value, Error> {
        let handles: Vec<Value> = self.slots.iter().map(|&vref| handle_of(vref)).collect();
        smallcaps::decode(self.body, &handles)
    }
}

/// Reads capdata which is held elsewhere.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn decode(data: &sys::CapData) -> Result<Value, Error> {
    RawData { body: data.body.as_bytes(), slots: data.slots.clone() }.decode()
}
