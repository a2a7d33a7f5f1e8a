//! The commands that change nothing: their answers between two cranks, or at a syscall.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    debug::{
        Answer, Breakpoint, Command, Refusal, Reply, command,
        place::{self, Place},
        why,
    },
    directive::Class,
    host::epitaph::Epitaph,
    inspect::view::{
        Facts, Row, clist, find, kv, lines, objects, promises, queue, table_of,
        text::{harmless, table},
        vats,
    },
    kernel::{Ahead, Call, probe_of},
    model::id::VatId,
    state::block::Block,
};

/// The things that a command can look at while the session is stopped.
pub(super) struct Scene<'a> {
    pub(super) block: &'a Block,
    pub(super) ahead: Option<&'a Ahead>,
    /// The syscall at which the session is stopped, if it is within a delivery.
    pub(super) call: Option<&'a Call<'a>>,
    pub(super) place: &'a Place,
    pub(super) breakpoints: &'a [(usize, Breakpoint)],
    pub(super) tried: &'a [String],
    pub(super) recordings: &'a [PathBuf],
    pub(super) epitaph: Option<&'a Epitaph>,
}

/// Rows that are shown to people, at most.
const ROWS_MAX: usize = 200;
/// Bytes of memory that are shown, at most.
const BYTES_MAX: u64 = 1 << 20;

/// Answers a command that changes nothing; `None` for any other.
pub(super) fn answer(scene: &Scene<'_>, command: &Command) -> Option<Answer> {
    let tables = scene.block.tables();
    Some(match command {
        Command::Where => whereabouts(scene),
        Command::Delivery => delivery(scene),
        Command::Vats => rows(vats::list(scene.block)),
        Command::Vat(vat) => scene.vat(vat.as_deref()).and_then(|vat| facts(&vats::one(scene.block, vat)?)),
        Command::Queue => rows(queue::list(tables)),
        Command::Clist(vat) => scene.vat(vat.as_deref()).and_then(|vat| rows(clist::list(tables, vat))),
        Command::Promise(None) => rows(promises::list(tables)),
        Command::Promise(Some(id)) => match tables.promises.get(id) {
            Some(promise) => rows(vec![promises::row(tables, *id, promise)]),
            None => Err(Refusal::new(format!("there is no {id}"), "`why` may know what became of it")),
        },
        Command::Object(None) => rows(objects::list(tables)),
        Command::Object(Some(id)) => match tables.objects.get(id) {
            Some(object) => rows(vec![objects::row(tables, *id, object)]),
            None => Err(Refusal::new(format!("there is no {id}"), "`why` may know what became of it")),
        },
        Command::Kv { vat, prefix } => {
            scene.vat(vat.as_deref()).and_then(|vat| rows(kv::list(scene.block, vat, prefix)?))
        }
        Command::Directives => directives(scene),
        Command::Why(kref) => why::answer(scene.block, *kref, scene.recordings),
        Command::Break(None) => Ok(breakpoints(scene.breakpoints)),
        Command::Help(form) => {
            let text = command::help(*form);
            reply(json!({ "help": text }), text)
        }
        _ => return None,
    })
}

fn reply(value: Value, text: String) -> Answer {
    Ok(Reply { value, text, place: String::new() })
}

fn json_of(value: &impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|err| Refusal::new(format!("this cannot be shown: {err}"), ""))
}

/// Returns a row as JSON; null if there is none.
pub(super) fn answer_row(row: Option<impl Row>) -> Value {
    row.and_then(|it| serde_json::to_value(it).ok()).unwrap_or(Value::Null)
}

pub(super) fn rows<T: Row>(rows: impl IntoIterator<Item = T>) -> Answer {
    let rows: Vec<T> = rows.into_iter().collect();
    let shown = &rows[..rows.len().min(ROWS_MAX)];
    let mut text = table_of(shown);
    if rows.is_empty() {
        text += "\n(none)";
    }
    if shown.len() < rows.len() {
        text += &format!("\n{} of {}; `--json` shows all", shown.len(), rows.len());
    }
    reply(json_of(&rows)?, text)
}

fn facts(it: &impl Facts) -> Answer {
    reply(json_of(it)?, lines(it))
}

impl Scene<'_> {
    /// Finds the vat that is named, or that of the current delivery.
    fn vat(&self, word: Option<&str>) -> Result<VatId, Refusal> {
        vat_of(self.block, self.ahead, word)
    }
}

/// Finds the vat that is named, or that of the crank ahead.
pub(super) fn vat_of(block: &Block, ahead: Option<&Ahead>, word: Option<&str>) -> Result<VatId, Refusal> {
    match word {
        Some(word) => Ok(find(block.tables(), word)?),
        None => ahead
            .and_then(Ahead::vat)
            .ok_or_else(|| Refusal::new("there is no delivery at hand", "name a vat: `vats` lists them")),
    }
}

fn whereabouts(scene: &Scene<'_>) -> Answer {
    let (mut value, mut text) = (json_of(scene.place)?, scene.place.lines());
    let crank = scene.ahead.map(|it| it.crank.0);
    if let Some(epitaph) = scene.epitaph.filter(|it| it.crank.is_some() && it.crank == crank) {
        text += &format!("\n  epitaph       {}", harmless(&epitaph.to_string()));
        value["epitaph"] = json!(epitaph.to_string());
    }
    reply(value, text)
}

fn delivery(scene: &Scene<'_>) -> Answer {
    let Some(ahead) = scene.ahead else {
        return Err(Refusal::new("nothing is left to deliver", "`back` goes to where something was"));
    };
    let (mut value, mut text) = place::delivery(scene.block.tables(), ahead);
    if let Some(call) = scene.call {
        let (syscall, line) = place::syscall(call);
        value["syscall"] = syscall;
        text += &format!("\n{line}");
    }
    reply(value, text)
}

fn directives(scene: &Scene<'_>) -> Answer {
    let operators = scene.block.directives();
    // The session's own breakpoints are a probe: there is one always.
    let probe = probe_of(scene.block);
    let digest = probe.map_or_else(|| operators.digest(), |it| it.digest(operators)).to_string();
    let in_force = probe.map(|it| it.in_force(scene.block)).unwrap_or_default();
    let row = |(line, class): (String, Class)| {
        let from = if scene.tried.contains(&line) { "tried" } else { "file" };
        (line, class.to_string(), from)
    };
    let list: Vec<_> = in_force.into_iter().map(row).collect();
    let values: Vec<Value> =
        list.iter().map(|(line, class, from)| json!({ "line": line, "status": class, "from": from })).collect();
    let text = match list.is_empty() {
        true => "none is in force".to_owned(),
        false => {
            let cells = list.into_iter().map(|(line, class, from)| vec![harmless(&line), class, from.to_owned()]);
            table(&["directive", "status", "from"], &[0, 1, 2], cells) + &format!("\ndigest {digest}")
        }
    };
    reply(json!({ "digest": digest, "directives": values }), text)
}

pub(super) fn breakpoints(list: &[(usize, Breakpoint)]) -> Reply {
    let value = list.iter().map(|(number, it)| json!({ "number": number, "at": it.to_string() })).collect();
    let text = match list {
        [] => "there are no breakpoints".to_owned(),
        list => list.iter().map(|(number, it)| format!("{number}  {it}")).collect::<Vec<_>>().join("\n"),
    };
    Reply { value, text, place: String::new() }
}

/// Shows part of a memory that has this size.
pub(super) fn memory(vat: VatId, at: u64, bytes: &[u8], size: u64) -> Answer {
    if at >= size || bytes.is_empty() {
        return Err(Refusal::new(format!("{vat} has no memory there"), format!("its memory ends at {size:#x}")));
    }
    let shown = &bytes[..bytes.len().min(usize::try_from(BYTES_MAX).unwrap_or(usize::MAX))];
    let lines = shown.chunks(16).zip(0_u64..).map(|(row, index)| {
        let hex: Vec<String> = row.iter().map(|it| format!("{it:02x}")).collect();
        let text: String = row.iter().map(|it| if (0x20..0x7f).contains(it) { char::from(*it) } else { '.' }).collect();
        format!("{:08x}  {:47}  {text}", at + 16 * index, hex.join(" "))
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let value =
        json!({ "vatID": vat.to_string(), "at": at, "bytes": crate::model::id::hex(shown), "memoryBytes": size });
    reply(value, text)
}
