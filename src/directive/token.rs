//! A line, cut into words.

use std::ops::Range;

use crate::directive::problem::Problem;

/// What a piece of a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Anything else, up to a blank.
    Word,
    /// `:`
    Colon,
    /// A text in double quotes, both quotes included.
    Text,
}

/// A piece of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// In bytes of the line.
    pub(super) span: Range<usize>,
}

/// The pieces of a line, up to its comment.
pub(super) fn tokens(line: &str) -> Result<Vec<Token<'_>>, Box<Problem>> {
    let stray = line.char_indices().find(|(_, it)| it.is_control() && *it != '\t');
    if let Some((at, stray)) = stray {
        let what = format!("a control character (U+{:04X}) in the text", u32::from(stray));
        return Err(Problem::at(line, at..at + stray.len_utf8(), what).expected("expected none, not even in a comment"));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = line[at..].chars().next() {
        let (kind, length) = match first {
            ' ' | '\t' => {
                at += 1;
                continue;
            }
            '#' => break,
            ':' => (Kind::Colon, 1),
            '"' => (Kind::Text, text_length(line, at)?),
            _ if first.is_whitespace() => {
                let what = format!("a blank of another kind (U+{:04X})", u32::from(first));
                return Err(Problem::at(line, at..at + first.len_utf8(), what).expected("expected an ordinary blank"));
            }
            _ => (
                Kind::Word,
                line[at..].find(|it: char| it.is_whitespace() || ":#\"".contains(it)).unwrap_or(line.len() - at),
            ),
        };
        tokens.push(Token { kind, text: &line[at..at + length], span: at..at + length });
        at += length;
    }
    Ok(tokens)
}

/// How many bytes the quoted text at `start` takes.
fn text_length(line: &str, start: usize) -> Result<usize, Box<Problem>> {
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(at + 1 - start),
            _ => {}
        }
    }
    let end = line.trim_end().len();
    Err(Problem::at(line, start..end, "a text without an end")
        .expected("expected a closing `\"` before the end of the line"))
}
