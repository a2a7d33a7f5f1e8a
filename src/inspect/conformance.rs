//! Replays conformance vectors, which are recordings of the real SwingSet kernel, on this kernel.
//!
//! A vector holds vats, the host's operations, every delivery with its syscalls and answers, and the final state. Each vat
//! is played by a script, which expects the recorded delivery, makes the recorded syscalls, and ends as recorded. The first
//! difference is reported, with the expected and the actual value.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, str::FromStr};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    kernel::{self, Ended, Halt, ScriptedVat, Scripts, Syscalls, Usage},
    model::{
        blame::{Fault, VatFault},
        id::{BundleId, KRef, ObjectId, PromiseId, VRef, VatId},
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{Shape, Slog},
    state::{
        block::Block,
        table::{Item, Options, Owner, PromiseState, QueueId, Sender, Tables},
    },
};

/// The version of the kernel with SwingSet's own order.
const SWINGSETS: u32 = 1;

/// A conformance vector, as its file has it.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct Vector {
    pub format: u32,
    pub name: String,
    pub vats: Vec<VatSpec>,
    pub host: Vec<HostOp>,
    pub deliveries: Vec<Recorded>,
    #[serde(rename = "final")]
    pub end: Value,
}

/// A vat of a vector.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct VatSpec {
    #[serde(rename = "vatID")]
    pub vat: String,
    pub name: String,
    #[serde(default)]
    pub options: SpecOptions,
}

/// The options of a vector's vat: what is absent is off.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct SpecOptions {
    pub enable_pipelining: bool,
    pub reap_interval: Option<u64>,
    #[serde(rename = "reapGCKrefs")]
    pub reap_gc_krefs: Option<u64>,
    pub never_reap: bool,
}

/// An operation of the host. `before` counts the deliveries that were made until then.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub enum HostOp {
    Root {
        vat: String,
        kref: String,
        before: usize,
    },
    Pin {
        kref: String,
        before: usize,
    },
    Send {
        target: String,
        methargs: Data,
        result: Option<String>,
        #[serde(default)]
        interest: bool,
        before: usize,
    },
    Terminate {
        vat: String,
        info: Data,
        before: usize,
    },
    ReapAll {
        vats: Vec<String>,
        before: usize,
    },
    Run {
        limit: Option<usize>,
        deliveries: usize,
        before: usize,
    },
}

/// Capdata with references as text.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct Data {
    pub body: String,
    pub slots: Vec<String>,
}

/// A delivery that SwingSet recorded, with its syscalls and its outcome.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct Recorded {
    pub n: usize,
    pub vat: String,
    pub delivery: Value,
    pub syscalls: Vec<Exchange>,
    pub outcome: String,
    pub info: Option<Value>,
    pub error: Option<String>,
}

/// A syscall and its result.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the vectors' format")]
pub struct Exchange {
    pub s: Value,
    pub r: Value,
}

/// The first place at which a vector and this kernel differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The operation, delivery, or part of the final state that differs.
    pub at: String,
    /// The behavior of SwingSet.
    pub expected: String,
    /// The behavior of this kernel.
    pub actual: String,
}

/// Replays a conformance vector on this kernel. `Err` is the first difference.
pub fn replay(vector: &Vector) -> Result<(), Difference> {
    if vector.format != 1 {
        return Err(differ("format", "1", vector.format));
    }
    let script = Rc::new(RefCell::new(Script::new(vector)));
    let mut workers = workers(&script);
    let mut block = Block::memory(Slog::default()).map_err(|err| differ("open", "a state in memory", err))?;
    block.set_audit(1);
    block = create_vats(block, vector)?;
    block = run(block, &mut workers, &script, None)?.0;
    for (at, op) in vector.host.iter().enumerate() {
        block = perform(block, &mut workers, &script, op)
            .map_err(|it| Difference { at: format!("host {at}: {}", it.at), ..it })?;
    }
    compare("final", &vector.end, &final_state(block.tables(), vector))
}

fn differ(at: impl ToString, expected: impl ToString, actual: impl ToString) -> Difference {
    Difference { at: at.to_string(), expected: expected.to_string(), actual: actual.to_string() }
}

fn compare(at: impl ToString, expected: &Value, actual: &Value) -> Result<(), Difference> {
    if expected == actual { Ok(()) } else { Err(differ(at, expected, actual)) }
}

fn halted(at: &str) -> impl Fn(Box<Halt>) -> Difference + '_ {
    move |halt| differ(at, "no halt", halt)
}

fn create_vats(block: Block, vector: &Vector) -> Result<Block, Difference> {
    let created = kernel::outside(block, |crank| {
        crank.set_kernel_version(SWINGSETS);
        for spec in &vector.vats {
            let reaps = !spec.options.never_reap;
            let options = Options {
                pipelining: spec.options.enable_pipelining,
                reap_interval: spec.options.reap_interval.filter(|_| reaps),
                reap_gc_krefs: spec.options.reap_gc_krefs.filter(|_| reaps),
                ..Options::default()
            };
            crank.create_vat(&spec.name, BundleId::of(spec.name.as_bytes()), options, CapData::plain("#{}"))?;
        }
        Ok(())
    });
    created.map(|(block, ())| block).map_err(halted("create vats"))
}

type Shared = Rc<RefCell<Script>>;

/// Runs until nothing is left, or until this many deliveries were attempted.
fn run(
    mut block: Block,
    workers: &mut Scripts,
    script: &Shared,
    limit: Option<usize>,
) -> Result<(Block, usize), Difference> {
    let mut attempts = 0;
    while limit.is_none_or(|limit| attempts < limit) {
        let at = format!("delivery {}", script.borrow().made);
        let (next, ran) = kernel::crank(block, workers).map_err(halted(&at))?;
        block = next;
        let Some(ran) = ran else { break };
        if let Some(difference) = script.borrow_mut().difference.take() {
            return Err(difference);
        }
        if ran.delivery.is_some() {
            attempts += 1;
            script.borrow().check_outcome(ran.ended.as_deref())?;
        }
    }
    Ok((block, attempts))
}

fn perform(block: Block, workers: &mut Scripts, script: &Shared, op: &HostOp) -> Result<Block, Difference> {
    let (before, made) = (op.before(), script.borrow().made);
    if before != made {
        return Err(differ("deliveries before it", before, made));
    }
    match op {
        HostOp::Root { vat, kref, .. } => {
            let vat = parse(vat)?;
            let (block, id) = kernel::outside(block, |crank| crank.root(vat)).map_err(halted("root"))?;
            if id.to_string() != *kref { Err(differ("root", kref, id)) } else { Ok(block) }
        }
        HostOp::Pin { kref, .. } => {
            let id: ObjectId = parse(kref)?;
            Ok(kernel::outside(block, |crank| crank.pin(id)).map_err(halted("pin"))?.0)
        }
        HostOp::Send { target, methargs, result, interest, .. } => {
            let target: KRef = parse(target)?;
            let data = CapData { body: Bytes::from(&methargs.body), slots: parse_all(&methargs.slots)? };
            let (block, id) = kernel::outside(block, |crank| match (result, interest) {
                (None, _) => crank.queue_from_outside(target, data, None).map(|()| None),
                (Some(_), true) => crank.send_from_outside(target, data, Some(("", ""))).map(Some),
                (Some(_), false) => crank.send_from_outside(target, data, None).map(Some),
            })
            .map_err(halted("send"))?;
            let id = id.map(|it: PromiseId| it.to_string());
            if id != *result { Err(differ("send", format!("{result:?}"), format!("{id:?}"))) } else { Ok(block) }
        }
        HostOp::Terminate { vat, info, .. } => {
            let vat: VatId = parse(vat)?;
            let info = CapData { body: Bytes::from(&info.body), slots: parse_all(&info.slots)? };
            Ok(kernel::outside(block, |crank| crank.terminate_from_outside(vat, info)).map_err(halted("terminate"))?.0)
        }
        HostOp::ReapAll { vats, .. } => {
            let vats: Vec<VatId> = parse_all(vats)?;
            let reap = kernel::outside(block, |crank| {
                crank.reap(vats);
                Ok(())
            });
            Ok(reap.map_err(halted("reapAll"))?.0)
        }
        HostOp::Run { limit, deliveries, .. } => {
            let (block, attempts) = run(block, workers, script, *limit)?;
            if attempts != *deliveries { Err(differ("run", deliveries, attempts)) } else { Ok(block) }
        }
    }
}

impl HostOp {
    fn before(&self) -> usize {
        match self {
            HostOp::Root { before, .. }
            | HostOp::Pin { before, .. }
            | HostOp::Send { before, .. }
            | HostOp::Terminate { before, .. }
            | HostOp::ReapAll { before, .. }
            | HostOp::Run { before, .. } => *before,
        }
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, Difference>
where
    T::Err: ToString,
{
    text.parse().map_err(|err: T::Err| differ("the vector's own text", text, err))
}

fn parse_all<T: FromStr>(texts: &[String]) -> Result<Vec<T>, Difference>
where
    T::Err: ToString,
{
    texts.iter().map(|it| parse(it)).collect()
}

// ---- scripted vats

/// The recorded deliveries, and how many of them were made.
struct Script {
    deliveries: Vec<Recorded>,
    made: usize,
    difference: Option<Difference>,
}

impl Script {
    fn new(vector: &Vector) -> Script {
        Script { deliveries: vector.deliveries.clone(), made: 0, difference: None }
    }

    /// Checks, after a delivery, that the vat ended as recorded.
    fn check_outcome(&self, ended: Option<&Ended>) -> Result<(), Difference> {
        let Some(recorded) = self.made.checked_sub(1).and_then(|it| self.deliveries.get(it)) else { return Ok(()) };
        let outcome = match ended {
            None => "ok",
            Some(Ended { fault: Some(VatFault::IllegalSyscall { .. }), .. }) => "terminated: illegal-syscall",
            Some(Ended { fault: Some(_), .. }) => "terminated: delivery-error",
            Some(Ended { aborted, .. }) => ["terminated: exit(false)", "terminated: exit(true)"][usize::from(*aborted)],
        };
        let at = format!("outcome of delivery {}", recorded.n);
        if outcome != recorded.outcome {
            return Err(differ(at, &recorded.outcome, format!("{outcome} {ended:?}")));
        }
        match (&recorded.info, ended) {
            (Some(info), Some(ended)) => {
                let slots: Vec<String> = ended.info.slots.iter().map(KRef::to_string).collect();
                compare(at, info, &json!({ "body": ended.info.body.as_text(), "slots": slots }))
            }
            _ => Ok(()),
        }
    }
}

/// The workers of a vector's vats.
fn workers(script: &Shared) -> Scripts {
    let script = script.clone();
    Scripts::new(move |vat, _row| -> ScriptedVat {
        let script = script.clone();
        Box::new(move |delivery, _fuel, syscalls| play(&script, vat, delivery, syscalls))
    })
}

/// Makes the recorded syscalls of the next delivery, and compares it and their answers with the record.
fn play(script: &Shared, vat: VatId, delivery: &Delivery<VRef>, syscalls: &mut Syscalls) -> Result<Usage, Fault> {
    let mut script = script.borrow_mut();
    let n = script.made;
    script.made += 1;
    let actual = json!([vat.to_string(), json!(Shape(delivery))]);
    let Some(recorded) = script.deliveries.get(n).cloned() else {
        script.difference.get_or_insert_with(|| differ(format!("delivery {n}"), "none", actual));
        return Ok(Usage::default());
    };
    let expected = json!([recorded.vat, recorded.delivery]);
    if expected != actual || recorded.n != n {
        script.difference.get_or_insert_with(|| differ(format!("delivery {n}"), expected, actual));
        return Ok(Usage::default());
    }
    let mut result = Ok(Usage::default());
    for (at, exchange) in recorded.syscalls.iter().enumerate() {
        let answer = match parse_syscall(&exchange.s) {
            Ok(syscall) => syscalls.call(syscall),
            Err(why) => Err(syscalls.malformed("syscall", why)),
        };
        let actual = match &answer {
            Ok(Answer::Done | Answer::Value(None)) => json!(["ok", null]),
            Ok(Answer::Value(Some(value)) | Answer::Device(Ok(value) | Err(value))) => {
                json!(["ok", value.as_text()])
            }
            Err(Fault::Vat(_)) => json!(["error", "syscall translation error: prepare to die"]),
            Err(other) => json!(["halt", other.to_string()]),
        };
        if actual != exchange.r {
            let at = format!("delivery {n}, result of syscall {at} {}", exchange.s);
            script.difference.get_or_insert_with(|| differ(at, &exchange.r, format!("{actual} {answer:?}")));
        }
        if let Err(fault) = answer {
            result = Err(fault);
            break;
        }
    }
    if let (Ok(_), Some(error)) = (&result, &recorded.error) {
        result = Err(VatFault::Delivery(error.clone()).into());
    }
    result
}

/// A syscall in SwingSet's shape.
fn parse_syscall(value: &Value) -> Result<Syscall<VRef>, String> {
    let part = |at: usize| value.get(at).unwrap_or(&Value::Null);
    let refs = || vrefs(part(1));
    let bytes = |at: usize| text(part(at)).map(Bytes::from);
    Ok(match part(0).as_str().unwrap_or_default() {
        "send" => Syscall::Send { target: vref(part(1))?, message: message(part(2))? },
        "subscribe" => Syscall::Subscribe(vref(part(1))?),
        "resolve" => {
            let resolutions = part(1).as_array().ok_or("no resolutions")?;
            Syscall::Resolve(resolutions.iter().map(resolution).collect::<Result<_, _>>()?)
        }
        "exit" => Syscall::Exit { failure: part(1).as_bool().ok_or("no flag")?, info: data(part(2))? },
        "vatstoreGet" => Syscall::VatstoreGet(bytes(1)?),
        "vatstoreSet" => Syscall::VatstoreSet(bytes(1)?, bytes(2)?),
        "vatstoreDelete" => Syscall::VatstoreDelete(bytes(1)?),
        "vatstoreGetNextKey" => Syscall::VatstoreGetNextKey(bytes(1)?),
        "dropImports" => Syscall::DropImports(refs()?),
        "retireImports" => Syscall::RetireImports(refs()?),
        "retireExports" => Syscall::RetireExports(refs()?),
        "abandonExports" => Syscall::AbandonExports(refs()?),
        other => return Err(format!("unknown syscall `{other}`")),
    })
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is not a text"))
}

fn vref(value: &Value) -> Result<VRef, String> {
    text(value)?.parse().map_err(|err: crate::model::id::ParseIdError| err.to_string())
}

fn vrefs(value: &Value) -> Result<Vec<VRef>, String> {
    value.as_array().ok_or_else(|| format!("{value} is not a list"))?.iter().map(vref).collect()
}

fn data(value: &Value) -> Result<CapData<VRef>, String> {
    Ok(CapData { body: Bytes::from(text(&value["body"])?), slots: vrefs(&value["slots"])? })
}

fn message(value: &Value) -> Result<Message<VRef>, String> {
    let result = &value["result"];
    let result = if result.is_null() { None } else { Some(vref(result)?) };
    Ok(Message { methargs: data(&value["methargs"])?, result })
}

fn resolution(value: &Value) -> Result<Resolution<VRef>, String> {
    let rejected = value[1].as_bool().ok_or("no flag")?;
    Ok(Resolution { promise: vref(&value[0])?, rejected, data: data(&value[2])? })
}

// ---- the final state

fn final_state(tables: &Tables, vector: &Vector) -> Value {
    let globals = tables.globals();
    let queue = |id| -> Vec<Value> { tables.queue.of(id).map(|(_, item)| json!(format!("{item:?}"))).collect() };
    let vats: serde_json::Map<String, Value> =
        vector.vats.iter().filter_map(|it| Some((it.vat.clone(), final_vat(tables, it.vat.parse().ok()?)))).collect();
    let copies = copies(tables);
    let objects = tables.objects.iter().map(|(id, it)| {
        let more = copies.get(&(*id).into()).copied().unwrap_or(0);
        json!([
            id.to_string(),
            final_owner(it.owner),
            u64::from(it.reachable) + more,
            u64::from(it.recognizable) + more
        ])
    });
    let pinned = tables.objects.iter().filter(|(_, it)| it.pinned).map(|(id, _)| id.to_string());
    json!({
        "gcActions": tables.gc.iter().map(|(it, ())| format!("{it:?}")).collect::<Vec<_>>(),
        "reapQueue": queue(QueueId::Reap),
        "runQueue": queue(QueueId::Run(Sender::KERNEL)),
        "acceptanceQueue": [],
        "next": { "ko": globals.next_object.0, "kp": globals.next_promise.0 },
        "pinned": pinned.collect::<Vec<_>>(),
        "vats": vats,
        "objects": objects.collect::<Vec<_>>(),
        "promises": tables.promises.iter().map(|(id, _)| final_promise(tables, *id, &copies)).collect::<Vec<_>>(),
    })
}

/// Counts how many more times SwingSet counts each reference: it copies the data that promises are settled with, and
/// this kernel shares it.
fn copies(tables: &Tables) -> BTreeMap<KRef, u64> {
    let mut copies = BTreeMap::new();
    for (id, data) in tables.settlements.iter() {
        let more = tables.sharers(*id).saturating_sub(1);
        for slot in data.slots.iter().filter(|_| more > 0) {
            *copies.entry(*slot).or_default() += more;
        }
    }
    copies
}

/// Returns the owner of an object as a vector names it. No vector has an object that the kernel owns.
fn final_owner(owner: Option<Owner>) -> Option<String> {
    match owner {
        Some(Owner::Vat(vat)) => Some(vat.to_string()),
        Some(Owner::Kernel(object)) => Some(format!("{object:?}")),
        None => None,
    }
}

fn final_vat(tables: &Tables, vat: VatId) -> Value {
    let mut clist: Vec<_> = tables.clist.of(vat).map(|(vref, entry)| (entry.kref, vref, entry.reachable)).collect();
    clist.sort();
    let store: Vec<_> = tables
        .vatstore
        .iter()
        .filter(|((it, _), _)| *it == vat)
        .map(|((_, key), value)| json!([key.as_text(), value.as_text()]))
        .collect();
    if !tables.is_alive(vat) {
        return json!({ "alive": false, "leftovers": clist.len() + store.len() });
    }
    let tally = tables.tallies.get(&vat).copied().unwrap_or_default();
    let flag = |reachable| if reachable { "R" } else { "_" };
    json!({
        "alive": true,
        "next": { "o": tally.next_import, "p": tally.next_promise_import },
        "clist": clist.iter().map(|(kref, vref, it)| json!([kref.to_string(), vref.to_string(), flag(*it)])).collect::<Vec<_>>(),
        "vatstore": store,
    })
}

fn final_promise(tables: &Tables, id: PromiseId, copies: &BTreeMap<KRef, u64>) -> Value {
    let Some(promise) = tables.promises.get(&id) else { return Value::Null };
    let more = copies.get(&id.into()).copied().unwrap_or(0);
    let (name, refs) = (id.to_string(), u64::from(promise.refs) + more);
    let data = |it: &CapData<KRef>| json!({ "body": it.body.as_text(), "slots": it.slots.iter().map(KRef::to_string).collect::<Vec<_>>() });
    match (promise.state, tables.settled(id)) {
        (PromiseState::Unresolved { decider }, _) => {
            let waiting = tables.queue.of(QueueId::Promise(id)).filter_map(|(_, item)| match item {
                Item::Send { message, .. } => Some(json!({
                    "methargs": data(&message.methargs),
                    "result": message.result.map(|it| it.to_string()),
                })),
                _ => None,
            });
            json!({
                "id": name, "state": "unresolved", "refCount": refs,
                "decider": decider.map(|it| it.to_string()),
                "subscribers": tables.subscribers.of(id).map(|it| it.to_string()).collect::<Vec<_>>(),
                "queue": waiting.collect::<Vec<_>>(),
            })
        }
        (state, with) => {
            let state = if matches!(state, PromiseState::Rejected { .. }) { "rejected" } else { "fulfilled" };
            json!({ "id": name, "state": state, "refCount": refs, "data": with.map(data) })
        }
    }
}
