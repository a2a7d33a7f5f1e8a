//! A mistake in a line, shown under the line.

use std::{fmt, ops::Range};

/// A mistake in a directive file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    /// The mistake that was found.
    pub what: String,
    /// The text that was expected there instead, or the reason why it cannot be.
    pub expected: String,
    /// The text to write instead, if that can be guessed.
    pub hint: Option<String>,
    /// The line as it can be shown: without control characters.
    text: String,
    /// Characters to underline.
    width: usize,
}

impl Problem {
    /// Makes a problem with the bytes `span` of the line.
    pub(crate) fn at(line: &str, span: Range<usize>, what: impl Into<String>) -> Box<Problem> {
        let text =
            line.chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>().trim_end().to_owned();
        let count = |range: Range<usize>| line.get(range).map_or(0, |it| it.chars().count());
        let (column, width) = (count(0..span.start) + 1, count(span).max(1));
        Box::new(Problem { line: 1, column, what: what.into(), expected: String::new(), hint: None, text, width })
    }

    pub(crate) fn expected(mut self: Box<Problem>, expected: impl Into<String>) -> Box<Problem> {
        self.expected = expected.into();
        self
    }

    pub(crate) fn hint(mut self: Box<Problem>, hint: Option<String>) -> Box<Problem> {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let (blanks, carets) = (" ".repeat(self.column - 1), "^".repeat(self.width));
        writeln!(f, "{number} | {}", self.text)?;
        write!(f, "{margin} | {blanks}{carets} {}", self.expected)?;
        self.hint.as_ref().map_or(Ok(()), |it| write!(f, "\n{margin} = {it}"))
    }
}

/// A directive file that cannot be used: every mistake in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The name of the file, as it was given.
    pub file: String,
    /// In order of the lines; at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n\n" };
            write!(f, "{end}{}:{}:{}: {}\n{problem}", self.file, problem.line, problem.column, problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
