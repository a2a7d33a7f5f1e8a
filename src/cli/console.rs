//! The lines that vats print while they run: those of the console device, and of their own consoles.

use crate::{
    cli::{Output, output::harmless},
    host::controller::BlockEnd,
    model::id::VatId,
};

/// Prints what vats wrote in a committed block: lines of the console device, and warnings and errors of their own consoles; with `-v` all lines.
pub(super) fn tell(end: &BlockEnd, output: &Output) {
    let name = |vat: VatId| end.names.get(&vat).cloned().unwrap_or_else(|| vat.to_string());
    for it in &end.heard.lines {
        let line = harmless(&format!("{} {}: {}", name(it.vat), it.level, it.text));
        match it.level {
            "warn" | "error" => output.note(line),
            _ => output.detail(line),
        }
    }
    let [loud, others] = end.heard.left_out;
    let left_out = if output.is_verbose() { loud + others } else { loud };
    if left_out > 0 {
        output.note(format!("… and {left_out} more console lines: a recording (--slog FILE) has all of them"));
    }
    for it in &end.console {
        output.note(harmless(&format!("{}: {}", name(it.vat), it.text)));
    }
}
