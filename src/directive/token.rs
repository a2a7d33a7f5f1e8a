//! A line, cut into words.

use std::ops::Range;

use crate::directive::problem::Problem;

/// The kind of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Anything else, up to a blank.
    Word,
    /// A colon: `:`
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

/// Splits a line into its tokens, up to its comment.
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
            '#' if is_ordinal(&tokens, &line[at..]) => (Kind::Word, 1 + digits(&line[at + 1..])),
            '#' => break,
            ':' => (Kind::Colon, 1),
            '"' => (Kind::Text, text_length(line, at)?),
            _ if first.is_whitespace() => {
                let what = format!("a blank of another kind (U+{:04X})", u32::from(first));
                return Err(Problem::at(line, at..at + first.len_utf8(), what).expected("expected an ordinary blank"));
            }
            _ => (Kind::Word, word_length(&line[at..])),
        };
        tokens.push(Token { kind, text: &line[at..at + length], span: at..at + length });
        at += length;
    }
    Ok(tokens)
}

/// Returns the number of bytes in the word that the text begins with. The colon of `v2/syscall:vatstoreGet` belongs
/// to it.
fn word_length(text: &str) -> usize {
    let end = |from: usize, stop: &str| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.find(|it: char| it.is_whitespace() || stop.contains(it)).unwrap_or(rest.len())
    };
    let length = end(0, ":#\"");
    let is_kind = text[..length].ends_with("/syscall") && text[length..].starts_with(':');
    if is_kind { end(length + 1, ":#\"") } else { length }
}

/// Returns whether `#5` is the number of a syscall of a kind, and no comment: it follows `v2/syscall:vatstoreGet`.
fn is_ordinal(before: &[Token<'_>], text: &str) -> bool {
    before.len() == 1 && before.last().is_some_and(|it| it.text.contains("/syscall:")) && digits(&text[1..]) > 0
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Returns the number of bytes that the quoted text at `start` takes.
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
