//! Exports of a recording in the formats of other tools, of all cranks or of a range.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::Value;

use crate::inspect::recording::{chrome, dot};
use crate::slog::{ReadError, Reader, Record, RecordedMessage};

/// Characters of a method's name that are shown.
const METHOD_CHARS: usize = 60;

/// The format of another tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// JSON that Perfetto opens.
    ChromeTrace,
    /// A graph for Graphviz.
    Dot,
}

/// A range of cranks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first crank.
    pub first: u64,
    /// The last crank.
    pub last: u64,
}

impl Default for Range {
    fn default() -> Range {
        Range { first: 0, last: u64::MAX }
    }
}

impl Range {
    pub(super) fn has(self, crank: u64) -> bool {
        (self.first..=self.last).contains(&crank)
    }

    /// Returns whether an event belongs to a crank of the range, or to no crank at all.
    pub(super) fn holds(self, record: &Record) -> bool {
        record.crank().is_none_or(|it| self.has(it))
    }
}

/// `12..40`, `12..`, `..40`, `12`.
impl std::str::FromStr for Range {
    type Err = String;
    fn from_str(text: &str) -> Result<Range, String> {
        let number = |it: &str| it.parse::<u64>().map_err(|_| format!("`{it}` is no number of a crank"));
        let all = Range::default();
        let range = match text.split_once("..") {
            None => number(text).map(|it| Range { first: it, last: it })?,
            Some((first, last)) => Range {
                first: if first.is_empty() { all.first } else { number(first)? },
                last: if last.is_empty() { all.last } else { number(last)? },
            },
        };
        if range.first > range.last {
            return Err(format!("{} lies behind {}", range.first, range.last));
        }
        Ok(range)
    }
}

/// The reason why a recording was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The recording cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes these cranks of a recording in another format. For [`ExportFormat::Dot`] the file is read twice, so it must not be a pipe.
///
/// # Errors
///
/// The recording cannot be read to its end, or the result cannot be written.
pub fn export(path: &Path, format: ExportFormat, range: Range, out: &mut dyn Write) -> Result<(), ExportError> {
    match format {
        ExportFormat::ChromeTrace => chrome::write(Reader::open(path)?, range, out),
        ExportFormat::Dot => dot::write(path, range, out),
    }
}

/// Returns the method that a message calls: the first of the two elements of its body, if that is a text; `()` for a call
/// of a function, which has none.
pub(super) fn method(message: &RecordedMessage<'_>) -> String {
    let text = message.body().unwrap_or_default();
    let json = text.strip_prefix('#').unwrap_or(text);
    match serde_json::from_str::<Value>(json).as_ref().map(|it| &it[0]) {
        Ok(Value::String(method)) => method.chars().take(METHOD_CHARS).collect(),
        Ok(_) if text.starts_with(['#', '[']) => "()".to_owned(),
        _ => "?".to_owned(),
    }
}
