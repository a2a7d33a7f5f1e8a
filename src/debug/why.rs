//! The answer to `why`: where a promise or an object comes from, who decides it, and who waits for it.
//! Sources are the state, recordings, and the transcripts of the vats that know it.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    debug::{Answer, Refusal, Reply, view},
    inspect::{
        recording::{Story, story},
        view::{label, objects, promises, table_of},
    },
    model::id::{KRef, VRef, VatId},
    state::block::{Block, history},
};

/// Mentions of a recording that are shown.
const MENTIONS_MAX: usize = 6;

/// Answers where this promise or object comes from, who holds it, and its present row.
pub(super) fn answer(block: &Block, kref: KRef, recordings: &[PathBuf]) -> Answer {
    let tables = block.tables();
    let mut text = format!("{kref}");
    let mut sources = Vec::new();
    let mut mentions = Vec::new();
    for path in recordings.iter().filter(|it| it.exists()) {
        let Story { mentions: found } =
            story(path, &kref.to_string()).map_err(|err| Refusal::new(err, "give a recording that can be read"))?;
        let name = path.file_name().map_or_else(|| path.display().to_string(), |it| it.to_string_lossy().into_owned());
        sources.push(if name.starts_with("session.") { "this session".to_owned() } else { name });
        if !found.is_empty() {
            mentions = found;
            break;
        }
    }
    for it in mentions.iter().take(MENTIONS_MAX) {
        text += &format!("\n  {it}");
    }
    if mentions.len() > MENTIONS_MAX {
        text += &format!("\n  … and {} times more", mentions.len() - MENTIONS_MAX);
    }
    let mut holders = Vec::new();
    for (vat, vref) in tables.clist.holders(kref) {
        let first = first_mention(block, vat, vref)?;
        let first = first.unwrap_or_else(|| "its transcript does not name it yet".to_owned());
        text += &format!("\n  {} knows it as {vref}: {first}", label(tables, vat));
        holders.push(json!({ "vatID": vat.to_string(), "vref": vref.to_string(), "first": first }));
    }
    if !holders.is_empty() {
        sources.push("the transcripts of those who know it".to_owned());
    }
    if let Some(row) = kref.promise().and_then(|it| tables.outside.get(&it)) {
        text += &format!("\n  the result of the message {} from outside to {}", row.method, row.to);
        sources.push("the messages from outside".to_owned());
    }
    let known = match kref {
        KRef::Promise(id) => tables.promises.get(&id).map(|it| table_of(&[promises::row(tables, id, it)])),
        KRef::Object(id) => tables.objects.get(&id).map(|it| table_of(&[objects::row(tables, id, it)])),
        KRef::Device(_) => None,
    };
    if known.is_none() && mentions.is_empty() {
        let hint = "give a recording of the state's past: --slog FILE";
        return Err(Refusal::new(format!("{kref} is not known here, nor is it named by what was looked at"), hint));
    }
    let now = known.unwrap_or_else(|| "it is gone by now".to_owned());
    text += &format!("\n{}", now.lines().map(|it| format!("  {it}")).collect::<Vec<_>>().join("\n"));
    text += &format!("\n  looked at: {}", sources.join(", "));
    let row = match kref {
        KRef::Promise(id) => view::answer_row(tables.promises.get(&id).map(|it| promises::row(tables, id, it))),
        KRef::Object(id) => view::answer_row(tables.objects.get(&id).map(|it| objects::row(tables, id, it))),
        KRef::Device(_) => serde_json::Value::Null,
    };
    let told: Vec<String> = mentions.iter().map(ToString::to_string).collect();
    let value =
        json!({ "kref": kref.to_string(), "now": row, "mentions": told, "knownBy": holders, "sources": sources });
    Ok(Reply { value, text, place: String::new() })
}

/// Finds the place at which a vat's transcript names a reference for the first time.
fn first_mention(block: &Block, vat: VatId, vref: VRef) -> Result<Option<String>, Refusal> {
    for entry in block.transcript(vat, history::begins_at(block, vat)?)? {
        let entry = entry?;
        if let Some(delivery) = entry.delivery.as_ref().filter(|it| it.refs().contains(&vref)) {
            return Ok(Some(format!("since {}, {}", entry.number, crate::debug::place::summary(delivery))));
        }
        let syscalls = entry.syscalls.iter().enumerate();
        if let Some((at, (syscall, _))) = syscalls.into_iter().find(|(_, (it, _))| it.refs().contains(&vref)) {
            let whose = if vref.is_own() { "it made it" } else { "first used" };
            return Ok(Some(format!("{whose} in {}, syscall {at}, {}", entry.number, syscall.kind())));
        }
    }
    Ok(None)
}
