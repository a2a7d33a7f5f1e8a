use std::{collections::BTreeMap, path::Path};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        output::harmless,
        slog::{FileArgs, text, unreadable},
    },
    inspect::recording::Console,
    model::id::VatId,
    slog::{Reader, Record, RecordedEvent},
};

/// Find what vats wrote to their consoles, and what ended their deliveries
///
/// Prints each line in which the text occurs, with its crank and its vat.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog grep panicked bank.slog
  vathost slog grep -i 'no such purse' bank.slog.zst --vat bank
  vathost slog grep '' bank.slog --json | jq -r '.lines[].text'      all of them, as `slog show --console`")]
pub(crate) struct GrepArgs {
    /// What is to occur in a line
    text: String,
    #[command(flatten)]
    file: FileArgs,
    /// Whether letters are capital makes no difference
    #[arg(short, long)]
    ignore_case: bool,
    /// Of this vat: `v3`, or its name
    #[arg(long, value_name = "VAT")]
    vat: Option<String>,
}

/// A line that a vat wrote, or that says why its delivery ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GrepLine {
    crank_num: Option<u64>,
    #[serde(rename = "vatID")]
    vat_id: String,
    name: Option<String>,
    delivery_num: Option<u64>,
    level: String,
    text: String,
}

pub(crate) fn cmd_grep(args: GrepArgs, output: &Output) -> anyhow::Result<Exit> {
    let lower = |text: &str| if args.ignore_case { text.to_lowercase() } else { text.to_owned() };
    let wanted = lower(&args.text);
    find(&args.file, args.vat.as_deref(), &|it| lower(it).contains(&wanted), output)
}

/// Prints the wanted lines of this vat, or of all vats.
pub(super) fn find(
    file: &FileArgs,
    vat: Option<&str>,
    is_wanted: &dyn Fn(&str) -> bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let vat = vat.map(|it| vat_of(&file.file, it)).transpose()?;
    let mut names = BTreeMap::new();
    let mut lines = Vec::new();
    for record in file.open()? {
        let record = record.map_err(unreadable)?;
        learn(&mut names, &record);
        let Some(line) = line_of(&record, &names) else { continue };
        if vat.as_ref().is_some_and(|it| *it != line.vat_id) || !is_wanted(&line.text) {
            continue;
        }
        if file.json {
            lines.push(line);
        } else {
            output.lines([shown(&line)])?;
        }
    }
    if file.json {
        output.json(&json!({ "lines": lines }))?;
    }
    Ok(Exit::Ok)
}

/// Finds the id of a vat that is given by its id or by its name.
pub(super) fn vat_of(file: &Path, word: &str) -> anyhow::Result<String> {
    if word.parse::<VatId>().is_ok() {
        return Ok(word.to_owned());
    }
    let mut names = BTreeMap::new();
    for record in Reader::open(file).map_err(unreadable)? {
        learn(&mut names, &record.map_err(unreadable)?);
    }
    let found: Vec<&String> = names.iter().filter(|(_, name)| *name == word).map(|(id, _)| id).collect();
    match &found[..] {
        [id] => Ok((*id).clone()),
        [] => {
            let known: Vec<String> = names.iter().take(20).map(|(id, name)| format!("{id} ({name})")).collect();
            let what = format!("no vat `{word}` is created in this recording");
            Err(Usage::new(what, format!("name it by its number; it tells of: {}", known.join(", "))).into())
        }
        many => {
            let ids: Vec<&str> = many.iter().map(|it| it.as_str()).collect();
            let what = format!("{} vats are named `{word}`", many.len());
            Err(Usage::new(what, format!("give the number: {}", ids.join(", "))).into())
        }
    }
}

fn learn(names: &mut BTreeMap<String, String>, record: &Record) {
    if let RecordedEvent::CreateVat { vat, name } = record.event() {
        names.insert(vat.to_owned(), name.to_owned());
    }
}

fn line_of(record: &Record, names: &BTreeMap<String, String>) -> Option<GrepLine> {
    let (level, text) = match record.event() {
        RecordedEvent::Console => {
            let Console { level, text, .. } = Console::of(record);
            (level, text)
        }
        RecordedEvent::DeliveryFailed { why, .. } => ("fault".to_owned(), why.as_str()?.to_owned()),
        _ => return None,
    };
    let vat_id = record.vat()?.to_owned();
    let name = names.get(&vat_id).cloned();
    let (crank_num, delivery_num) = (record.crank(), record.delivery());
    Some(GrepLine { crank_num, vat_id, name, delivery_num, level, text })
}

fn shown(line: &GrepLine) -> String {
    let crank = line.crank_num.map_or_else(String::new, |it| format!("crank {it}, "));
    let delivery = line.delivery_num.map_or_else(String::new, |it| format!(" delivery {it}"));
    let vat = text::vat(&line.vat_id, line.name.as_deref());
    format!("{crank}{vat}{delivery}: {}: {}", line.level, harmless(&line.text))
}
