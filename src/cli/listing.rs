//! Lists that are printed as they are made: what is listed may be larger than memory.

use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
};

use serde::Serialize;

use crate::{
    cli::Output,
    inspect::view::{self, Row},
    model::harmless::harmless_lines,
};

/// Rows that are laid out together: their columns are as wide as the widest of them.
const PIECE: usize = 1_000;

/// Bytes that are written at once.
const BUFFER: usize = 64 << 10;

/// A list on its way to standard output: a table or lines for people, one JSON array for scripts.
pub(super) struct Listing<'a> {
    output: &'a Output,
    stream: Box<dyn Write>,
    json: bool,
    /// Items that may still be printed.
    left: usize,
    shown: usize,
    is_cut: bool,
}

impl<'a> Listing<'a> {
    /// Begins a list of at most `limit` items.
    pub(super) fn new(output: &'a Output, json: bool, limit: Option<usize>) -> Listing<'a> {
        if !json {
            output.page();
        }
        let (left, shown, is_cut) = (limit.unwrap_or(usize::MAX), 0, false);
        let stream = Box::new(BufWriter::with_capacity(BUFFER, output.stream()));
        Listing { output, stream, json, left, shown, is_cut }
    }

    /// Prints some rows, as many as the limit allows. Tells to stop when it is reached.
    pub(super) fn rows<T: Row>(&mut self, rows: &[T]) -> anyhow::Result<ControlFlow<()>> {
        self.is_cut = rows.len() > self.left;
        let rows = rows.get(..self.left).unwrap_or(rows);
        if self.json {
            rows.iter().try_for_each(|it| self.json(it))?;
        } else if !rows.is_empty() {
            let table = view::table_of(rows);
            // The names of the columns stand above the first piece alone.
            let rest = || table.split_once('\n').map_or("", |(_, rest)| rest);
            writeln!(self.stream, "{}", if self.shown == 0 { &table } else { rest() })?;
            self.count(rows.len());
        }
        Ok(self.flow())
    }

    /// Prints one item of a list. Tells to stop when the limit is reached.
    pub(super) fn item<T: Serialize>(
        &mut self,
        json: impl FnOnce() -> T,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<ControlFlow<()>> {
        self.is_cut = self.left == 0;
        match (self.is_cut, self.json) {
            (true, _) => (),
            (false, true) => self.json(&json())?,
            (false, false) => {
                writeln!(self.stream, "{}", harmless_lines(&text()))?;
                self.count(1);
            }
        }
        Ok(self.flow())
    }

    /// Prints all rows, piece by piece, and ends the list.
    pub(super) fn all<T: Row>(mut self, rows: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
        let mut rows = rows.into_iter();
        let total = match rows.size_hint() {
            (least, Some(most)) if least == most => Some(least),
            _ => None,
        };
        loop {
            let piece: Vec<T> = rows.by_ref().take(PIECE).collect();
            if piece.is_empty() || self.rows(&piece)?.is_break() {
                return self.end_table::<T>(total);
            }
        }
    }

    /// Ends a table: one without rows has the names of its columns.
    pub(super) fn end_table<T: Row>(mut self, total: Option<usize>) -> anyhow::Result<()> {
        if self.shown == 0 && !self.json {
            writeln!(self.stream, "{}", view::table_of::<T>(&[]))?;
        }
        self.end(total)
    }

    /// Ends the list, and says whether more could be shown.
    pub(super) fn end(mut self, total: Option<usize>) -> anyhow::Result<()> {
        if self.json {
            writeln!(self.stream, "{}]", if self.shown == 0 { "[" } else { "" })?;
        }
        self.stream.flush()?;
        let Listing { output, stream, shown, is_cut, .. } = self;
        drop(stream);
        if is_cut {
            let of = total.map_or_else(|| format!("{shown} rows"), |total| format!("{shown} of {total}"));
            output.note(format!("{of}; a larger --limit shows more"));
        }
        Ok(())
    }

    fn json(&mut self, item: &impl Serialize) -> anyhow::Result<()> {
        self.stream.write_all(if self.shown == 0 { b"[" } else { b"," })?;
        serde_json::to_writer(&mut self.stream, item)?;
        self.count(1);
        Ok(())
    }

    fn count(&mut self, items: usize) {
        (self.left, self.shown) = (self.left - items, self.shown + items);
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.is_cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
