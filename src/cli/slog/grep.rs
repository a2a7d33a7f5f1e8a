use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Exit, Output, Usage,
        output::harmless,
        slog::{FileArgs, text, unreadable},
    },
    inspect::recording::{NamedVats, Range, Spoken, SpokenLine, vats_named},
    model::id::VatId,
};

/// Find what vats wrote to their consoles, and what ended their deliveries
///
/// Prints each line in which the text occurs, with its crank and its vat.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost slog grep panicked bank.slog
  vathost slog grep -i 'no such purse' bank.slog.zst --vat bank
  vathost slog grep '' bank.slog --crank 7000..7100
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
    /// In these cranks only, both included
    #[arg(long, value_name = "N..M")]
    crank: Option<Range>,
}

pub(crate) fn cmd_grep(args: GrepArgs, output: &Output) -> anyhow::Result<Exit> {
    let lower = |text: &str| if args.ignore_case { text.to_lowercase() } else { text.to_owned() };
    let wanted = lower(&args.text);
    find(&args.file, args.vat.as_deref(), args.crank, &|it| lower(it).contains(&wanted), output)
}

/// Prints the wanted lines of this vat, or of all vats; of these cranks, or of the whole recording.
pub(super) fn find(
    file: &FileArgs,
    vat: Option<&str>,
    cranks: Option<Range>,
    is_wanted: &dyn Fn(&str) -> bool,
    output: &Output,
) -> anyhow::Result<Exit> {
    let vat = vat.map(|it| vat_of(file, it)).transpose()?;
    let mut lines = Vec::new();
    let mut printed = Ok(());
    let mut take = |line: SpokenLine| {
        if is_wanted(&line.text) && file.json {
            lines.push(line);
        } else if is_wanted(&line.text) {
            output.page();
            printed = output.lines([shown(&line)]);
        }
        printed.is_ok()
    };
    Spoken { vat, cranks }.find(&file.file, file.rules(), &mut take).map_err(unreadable)?;
    printed?;
    if file.json {
        output.json(&json!({ "lines": lines }))?;
    }
    Ok(Exit::Ok)
}

/// Finds the id of a vat that is given by its id or by its name.
pub(super) fn vat_of(file: &FileArgs, word: &str) -> anyhow::Result<String> {
    if word.parse::<VatId>().is_ok() {
        return Ok(word.to_owned());
    }
    let NamedVats { found, known } = vats_named(&file.file, word, file.rules()).map_err(unreadable)?;
    match &found[..] {
        [id] => Ok(id.clone()),
        [] => {
            let known: Vec<String> = known.iter().take(20).map(|(id, name)| format!("{id} ({name})")).collect();
            let what = format!("no vat `{word}` is created in this recording");
            Err(Usage::new(what, format!("name it by its number; it tells of: {}", known.join(", "))).into())
        }
        many => {
            let what = format!("{} vats are named `{word}`", many.len());
            Err(Usage::new(what, format!("give the number: {}", many.join(", "))).into())
        }
    }
}

fn shown(line: &SpokenLine) -> String {
    let crank = line.crank_num.map_or_else(String::new, |it| format!("crank {it}, "));
    let delivery = line.delivery_num.map_or_else(String::new, |it| format!(" delivery {it}"));
    let vat = text::vat(&line.vat_id, line.name.as_deref());
    format!("{crank}{vat}{delivery}: {}: {}", line.level, harmless(&line.text))
}
