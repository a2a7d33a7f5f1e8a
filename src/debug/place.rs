//! Reports of a session's place, of deliveries and syscalls there, and of cranks that ran: data for scripts, lines for people.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    debug::Debugged,
    inspect::view::{
        bracketed, brief, label,
        said::said,
        text::{counted, grouped},
        transcript,
    },
    kernel::{Ahead, Call, Fate, Ran},
    model::{
        blame::Fault,
        id::{CrankNum, DeliveryNum, PromiseId, VatId, hex},
        value::{CapData, Delivery},
    },
    slog::Shape,
    state::{
        block::Block,
        table::{Status, Tables},
        transcript::{End, Entry},
    },
    store::Cut,
};

/// The place of a session: just before a crank, inside one, or at the end.
#[derive(Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// The block that is open.
    block: u64,
    /// Cranks of that block that ran.
    block_cranks: u64,
    /// The chained hash before the crank.
    state_hash: String,
    /// The mark of the crank before, which the slog calls `activityhash`.
    mark: String,
    /// The first crank that is not committed in the state.
    base: u64,
    next: Option<Next>,
    /// Lines that were tried, or added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<String>,
}

/// The crank ahead.
#[derive(Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Next {
    crank: u64,
    kind: &'static str,
    fate: &'static str,
    #[serde(rename = "vatID")]
    vat: Option<String>,
    vat_name: Option<String>,
    delivery: Option<u64>,
    message_hash: Option<String>,
    due: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl Place {
    pub(super) fn of(block: &Block, ahead: Option<&Ahead>, base: CrankNum, tried: Vec<String>) -> Place {
        Place {
            block: block.tables().globals().height.0,
            block_cranks: block.cranks(),
            state_hash: hash_before(block),
            mark: block.crank_mark().to_string(),
            base: base.0,
            next: ahead.map(|it| Next::of(block.tables(), it)),
            tried,
        }
    }

    /// Returns the name of the place, for a prompt.
    pub(super) fn name(&self) -> String {
        self.next.as_ref().map_or("end".to_owned(), |it| CrankNum(it.crank).to_string())
    }

    /// Returns the line that is shown at every new place.
    pub(super) fn line(&self) -> String {
        match &self.next {
            Some(next) => format!("before {}: {}", CrankNum(next.crank), next.text),
            None => "at the end: nothing is left to do".to_owned(),
        }
    }

    /// Returns the place in full, as lines of text.
    pub(super) fn lines(&self) -> String {
        let mut text = self.line();
        let base = CrankNum(self.base);
        text += &format!(
            "\n  block {}, {} of its cranks ran; the state is committed up to {base}",
            self.block, self.block_cranks
        );
        text += &format!("\n  state hash    {}", self.state_hash);
        if let Some(next) = &self.next {
            if let Some(hash) = &next.message_hash {
                text += &format!("\n  message hash  {hash}");
            }
            for line in &next.due {
                text += &format!("\n  due here      {line}");
            }
        }
        for line in &self.tried {
            text += &format!("\n  tried         {line}");
        }
        text
    }
}

/// Returns the state hash before the next crank. Before the first crank of a block it is that of the block before, which people know.
pub(super) fn hash_before(block: &Block) -> String {
    let hash = if block.cranks() == 0 { Ok(block.committed_hash()) } else { block.state_hash() };
    hash.map_or_else(|fault| fault.to_string(), |it| it.to_string())
}

impl Next {
    fn of(tables: &Tables, ahead: &Ahead) -> Next {
        let vat = ahead.vat();
        Next {
            crank: ahead.crank.0,
            kind: ahead.kind,
            fate: fate_name(&ahead.fate),
            vat: vat.map(|it| it.to_string()),
            vat_name: vat.and_then(|it| Some(tables.vats.get(&it)?.name.clone())),
            delivery: ahead.deliveries.first().map(|(_, number)| number.0),
            message_hash: ahead.message_hash.map(|it| hex(&it)),
            due: ahead.due.iter().map(ToString::to_string).chain(ahead.probed.iter().cloned()).collect(),
            text: describe(tables, ahead),
        }
    }
}

fn fate_name(fate: &Fate) -> &'static str {
    match fate {
        Fate::Delivered(..) => "delivered",
        Fate::Upgrade => "upgrade",
        Fate::Held => "held",
        Fate::Kernel => "kernel",
        Fate::Waits(_) => "waits",
        Fate::Rejected => "rejected",
        Fate::Cleanup(_) => "cleanup",
        Fate::Nothing => "nothing",
        Fate::Broken(_) => "broken",
    }
}

fn describe(tables: &Tables, ahead: &Ahead) -> String {
    let to = ahead.deliveries.first().map(|(vat, number)| format!("{number} to {}", label(tables, *vat)));
    let to = to.unwrap_or_default();
    match &ahead.fate {
        Fate::Delivered(delivery, _) => format!("{to}, {}", summary(delivery)),
        Fate::Upgrade => format!("{to}, its code is replaced"),
        Fate::Held => "it waits for a paused vat".to_owned(),
        Fate::Kernel => "a message that the kernel answers itself".to_owned(),
        Fate::Waits(promise) => format!("a message that goes on to wait for {promise}"),
        Fate::Rejected => "a message that reaches nobody".to_owned(),
        Fate::Cleanup(vat) => format!("rows of the dead {} are removed", label(tables, *vat)),
        Fate::Nothing => "nothing that a vat hears of".to_owned(),
        Fate::Broken(why) => format!("the kernel cannot take it: {}", brief(why.as_bytes())),
    }
}

/// Returns the kind of a delivery; for a message also its method.
pub(super) fn summary<R>(delivery: &Delivery<R>) -> String {
    match delivery {
        Delivery::Message { message, .. } => {
            format!("message {}", brief(crate::model::body::method_of(&message.methargs.body).as_bytes()))
        }
        other => other.kind().to_owned(),
    }
}

/// Shows the delivery ahead in both spaces of references.
pub(super) fn delivery(tables: &Tables, ahead: &Ahead) -> (Value, String) {
    let head = format!("{}: {}", ahead.crank, describe(tables, ahead));
    let Fate::Delivered(kernel, vat) = &ahead.fate else {
        return (json!({ "crank": ahead.crank.0, "fate": fate_name(&ahead.fate), "kd": null, "vd": null }), head);
    };
    let hash = ahead.message_hash.map(|it| hex(&it));
    let (kd, vd) = (transcript::describe_delivery(kernel), transcript::describe_delivery(vat));
    let text = format!("{head}\n  kernel  {kd}\n  vat     {vd}\n  hash    {}", hash.as_deref().unwrap_or("-"));
    let (id, number) = ahead.deliveries.first().copied().unwrap_or((VatId(0), DeliveryNum(0)));
    let value = json!({
        "crank": ahead.crank.0, "fate": "delivered", "vatID": id.to_string(), "delivery": number.0, "kd": Shape(kernel), "vd": Shape(vat),
        "messageHash": hash,
    });
    (value, text)
}

/// Shows a syscall in both spaces of references.
pub(super) fn syscall(call: &Call<'_>) -> (Value, String) {
    let head = format!(
        "{}, {} to {}, syscall {}: {}",
        call.at.crank_num,
        call.at.delivery_num,
        call.at.vat,
        call.number,
        call.vat.kind()
    );
    let vat = transcript::describe_syscall(call.vat);
    let (ksc, kernel) = match call.kernel {
        Ok(it) => (json!(Shape(it)), transcript::describe_syscall(it)),
        Err(fault) => (Value::Null, format!("refused: {}", brief(fault.to_string().as_bytes()))),
    };
    let value = json!({
        "crank": call.at.crank_num.0, "vatID": call.at.vat.to_string(), "delivery": call.at.delivery_num.0, "syscall": call.number,
        "kind": call.vat.kind(), "vsc": Shape(call.vat), "ksc": ksc,
    });
    (value, format!("{head}\n  vat     {vat}\n  kernel  {kernel}"))
}

/// The part of the state before a crank that its outcome is compared with.
pub(super) struct Before {
    unresolved: Vec<PromiseId>,
    vats: Vec<(VatId, &'static str, u32)>,
}

impl Before {
    pub(super) fn of(tables: &Tables) -> Before {
        let all = tables.promises.along((Cut::Start, Cut::End));
        let unresolved = all.filter(|(_, it)| it.is_unresolved()).map(|(id, _)| *id).collect();
        Before { unresolved, vats: vats(tables) }
    }
}

fn vats(tables: &Tables) -> Vec<(VatId, &'static str, u32)> {
    let status = |it: &Status| match it {
        Status::Running => "running",
        Status::Paused { .. } => "paused",
        Status::Terminated { .. } => "terminated",
    };
    tables.vats.iter().map(|(id, row)| (*id, status(&row.status), row.incarnation)).collect()
}

/// The outcome of a crank that ran.
#[derive(Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct CrankOutcome {
    crank: u64,
    #[serde(rename = "vatID")]
    vat: Option<String>,
    delivery: Option<u64>,
    /// `done`, `faulted`, `skipped`, `held` for a paused vat, `ended`, or `no delivery`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip)]
    fault: Option<String>,
    fuel: u64,
    syscalls: usize,
    /// Promises that the crank settled.
    settled: Vec<Settled>,
    /// Vats whose status or incarnation the crank changed.
    vats: Vec<String>,
    state_hash: String,
}

#[derive(Serialize, Clone, Debug)]
struct Settled {
    promise: String,
    how: &'static str,
    body: String,
    /// The data, decoded for people.
    #[serde(skip)]
    text: String,
}

impl CrankOutcome {
    pub(super) fn of(block: &Block, before: &Before, ahead: &Ahead, ran: &Ran) -> CrankOutcome {
        let tables = block.tables();
        // A delivery that a directive skipped counts, too.
        let delivery = ran.delivery.or_else(|| ahead.deliveries.first().copied());
        let entry = delivery.and_then(|(vat, number)| entry(block, vat, number));
        let (outcome, why) = match (&ran.ended, entry.as_ref().map(|it| &it.end)) {
            (Some(ended), _) => {
                let why = ended.fault.as_ref().map_or_else(|| words(&ended.info), ToString::to_string);
                ("ended", Some(why))
            }
            (None, Some(End::Done { .. })) => ("done", None),
            (None, Some(End::Skipped)) => ("skipped", None),
            (None, Some(End::Faulted(fault))) => ("faulted", Some(fault.to_string())),
            (None, None) if delivery.is_some_and(|(vat, _)| tables.is_paused(vat)) => ("held", None),
            (None, None) => ("no delivery", None),
        };
        let of_end = ran.ended.as_ref().map(|it| it.fault.as_ref().map(ToString::to_string));
        let fault = of_end.unwrap_or_else(|| why.clone().filter(|_| outcome == "faulted"));
        CrankOutcome {
            fault,
            crank: ran.crank.0,
            vat: delivery.map(|(vat, _)| vat.to_string()),
            delivery: delivery.map(|(_, number)| number.0),
            outcome,
            why,
            fuel: ran.fuel,
            syscalls: entry.map_or(0, |it| it.syscalls.len()),
            settled: before.unresolved.iter().filter_map(|id| settled(tables, *id)).collect(),
            vats: changed(before, tables),
            state_hash: hash_before(block),
        }
    }

    /// Makes the report for a client that debugs the guest of this vat.
    pub(super) fn debugged(self, vat: VatId, ended: bool) -> Debugged {
        Debugged {
            crank: Some(self.crank),
            vat: vat.to_string(),
            delivery_num: self.delivery.unwrap_or_default(),
            outcome: self.outcome,
            ended,
            fault: self.fault,
            fuel: self.fuel,
            state_hash: Some(self.state_hash),
        }
    }

    pub(super) fn lines(&self) -> String {
        let to = match (&self.vat, self.delivery) {
            (Some(vat), Some(number)) => format!(", {} to {vat}", DeliveryNum(number)),
            _ => String::new(),
        };
        let no_slots: [&str; 0] = [];
        let why =
            self.why.as_ref().map(|it| format!(": {}", brief(said(it, &no_slots).as_bytes()))).unwrap_or_default();
        let syscalls = counted(self.syscalls as u64, "syscall", "syscalls");
        let done = format!(", {syscalls}, fuel {}", grouped(self.fuel));
        let done = if self.outcome == "done" { done } else { String::new() };
        let mut text = format!("{}{to}: {}{why}{done}", CrankNum(self.crank), self.outcome);
        for it in &self.settled {
            text += &format!("\n  {} {} {}", it.promise, it.how, it.text);
        }
        for it in &self.vats {
            text += &format!("\n  {it}");
        }
        text + &format!("\n  state hash {}", self.state_hash)
    }
}

fn entry(block: &Block, vat: VatId, number: DeliveryNum) -> Option<Entry> {
    block.transcript(vat, number).ok()?.next()?.ok().filter(|it| it.number == number)
}

fn words<R>(data: &CapData<R>) -> String {
    String::from_utf8_lossy(&data.body).into_owned()
}

fn settled(tables: &Tables, id: PromiseId) -> Option<Settled> {
    const GONE: &str = "nobody holds it any more";
    let (how, (body, text)) = match tables.settling(id) {
        (how, Some(data)) => (how, (brief(&data.body) + &bracketed(&data.slots), transcript::describe_data(data))),
        (_, None) if tables.promises.contains(&id) => return None,
        (_, None) => ("gone", (GONE.to_owned(), GONE.to_owned())),
    };
    Some(Settled { promise: id.to_string(), how, body, text })
}

fn changed(before: &Before, tables: &Tables) -> Vec<String> {
    let after = vats(tables).into_iter().filter(|it| !before.vats.contains(it));
    let describe = |(id, status, incarnation): (VatId, &str, u32)| {
        let again = if incarnation > 0 { format!(", incarnation {incarnation}") } else { String::new() };
        format!("{}: {status}{again}", label(tables, id))
    };
    after.map(describe).collect()
}

/// Describes a halt: data for scripts, lines for people.
pub(super) fn halted(halt: &crate::kernel::Halt) -> (Value, String) {
    let position = &halt.position;
    let (stop, what) = match &halt.fault {
        Fault::Kernel(panic) => {
            ("panic", format!("kernel panic: invariant `{}` failed: {}", panic.invariant, panic.detail))
        }
        Fault::Halted(it) => ("halt", it.to_string()),
        other => ("fault", other.to_string()),
    };
    let mut text = brief_all(&what);
    let crank = position.crank.map(|it| it.0);
    if let Some((vat, number, kind)) = position.delivery {
        text += &format!("\n  in {number} to {vat}, {kind}");
    }
    if let Some((number, kind)) = position.syscall {
        text += &format!("\n  at syscall {number} {kind}");
    }
    let (invariant, location) = match &halt.fault {
        Fault::Kernel(it) => (Some(it.invariant), Some(it.location.clone())),
        _ => (None, None),
    };
    if let Some(location) = &location {
        text += &format!("\n  found by {location}");
    }
    let value = json!({
        "stop": stop, "why": what, "crank": crank, "vatID": position.delivery.map(|it| it.0.to_string()),
        "delivery": position.delivery.map(|it| it.1.0), "syscall": position.syscall.map(|it| it.0),
        "syscallKind": position.syscall.map(|it| it.1), "invariant": invariant, "location": location,
    });
    (value, text)
}

fn brief_all(text: &str) -> String {
    crate::inspect::view::text::harmless(text)
}
