//! The console output of vats, for the host's operator. Outside of every hash, and bounded.

use crate::{model::id::VatId, state::block::Block};

/// The console lines that vats wrote since the last call of `take_heard`, up to a bound: for the host's operator, and
/// in no hash. Also what a delivery wrote that was undone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// The lines, in order.
    pub lines: Vec<Printed>,
    /// Number of lines left out: warnings and errors, and others.
    pub left_out: [u64; 2],
    /// Number of the lines that are warnings and errors: the others do not crowd them out.
    loud: usize,
}

impl Heard {
    /// Lines that are kept, of the loud ones and of the others.
    const MAX: usize = 1_000;

    fn hear(&mut self, vat: VatId, level: &'static str, text: &str) {
        let is_loud = matches!(level, "warn" | "error");
        let kept = if is_loud { self.loud } else { self.lines.len() - self.loud };
        if kept >= Heard::MAX {
            self.left_out[usize::from(!is_loud)] += 1;
            return;
        }
        self.loud += usize::from(is_loud);
        self.lines.push(Printed { vat, level, text: text.to_owned() });
    }
}

/// A line for the host's operator, from the console device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Printed {
    /// The vat that wrote it.
    pub vat: VatId,
    /// `debug`, `log`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text of the line.
    pub text: String,
}

/// The lines that vats wrote, and that the host has not taken yet.
#[derive(Debug, Default)]
pub struct Console {
    printed: Vec<Printed>,
    heard: Heard,
}

impl Console {
    /// Takes the lines from the console device since the last call, to be shown when the block is committed.
    pub fn take_printed(&mut self) -> Vec<Printed> {
        std::mem::take(&mut self.printed)
    }

    /// Takes the console lines that vats wrote since the last call.
    pub fn take_heard(&mut self) -> Heard {
        std::mem::take(&mut self.heard)
    }

    pub(crate) fn keep_printed(&mut self, lines: Vec<Printed>) {
        self.printed.extend(lines);
    }

    pub(crate) fn hear(&mut self, vat: VatId, level: &'static str, text: &str) {
        self.heard.hear(vat, level, text);
    }
}

impl Block {
    /// Returns the lines that vats wrote, and that the host has not taken yet.
    pub fn console(&mut self) -> &mut Console {
        &mut self.0.console
    }
}
