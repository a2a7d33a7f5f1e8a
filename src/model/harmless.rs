//! Escapes for text from others (guests' words, names of modules and vats, files that somebody sent), so that it
//! cannot steer a terminal.
//!
//! Invariant: what these functions return holds no character that a terminal obeys, hides other characters, or turns
//! their direction. (Ends of lines and tabs stay where a function says so.) Escaping twice changes nothing.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// Returns whether a terminal obeys this character (C0, DEL, C1), or it hides its neighbours.
fn is_harmful(it: char) -> bool {
    it.is_control() || is_invisible(it)
}

/// Characters that turn the direction of text, take no room, or stand for other characters.
fn is_invisible(it: char) -> bool {
    matches!(
        it,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Escapes a guest's text for use within one line: ends of lines are escaped too, so that the guest cannot forge
/// another line.
pub fn harmless(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for it in text.chars() {
        match is_harmful(it) {
            true => line.extend(it.escape_default()),
            false => line.push(it),
        }
    }
    line
}

/// Quotes a word, if needed, so that a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-./:=@%+,".contains(it);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if word.chars().any(is_harmful) {
        let escaped = word.bytes().map(|it| match it {
            b'\\' | b'\'' => format!("\\{}", it as char),
            b' '..=b'~' => (it as char).to_string(),
            other => format!("\\x{other:02x}"),
        });
        return format!("$'{}'", escaped.collect::<String>());
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Escapes a text of several lines: ends of lines and tabs stay.
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |it, out| out.extend(it.escape_default()))
}

/// Rewrites JSON to the same value in harmless characters. Harmful ones occur only within its strings.
pub fn harmless_json(text: &str) -> Cow<'_, str> {
    escaped(text, |it, out| {
        for unit in it.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let is_left = |it: char| it == '\n' || it == '\t' || !is_harmful(it);
    if text.chars().all(is_left) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for it in text.chars() {
        match is_left(it) {
            true => out.push(it),
            false => escape(it, &mut out),
        }
    }
    Cow::Owned(out)
}

/// A stream of text that is harmless, escaped as [`harmless_json`] does.
#[derive(Debug)]
pub(crate) struct Harmless<W: Write> {
    out: W,
    /// The beginning of a character whose rest is still to come.
    rest: Vec<u8>,
}

impl<W: Write> Harmless<W> {
    /// Makes a writer that passes everything to `out`.
    pub(crate) fn new(out: W) -> Harmless<W> {
        Harmless { out, rest: Vec::new() }
    }
}

impl<W: Write> Write for Harmless<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        // At most one character is incomplete at the end.
        let incomplete = self.rest.utf8_chunks().last().map_or(0, |it| match str::from_utf8(it.invalid()) {
            Err(err) if err.error_len().is_none() => it.invalid().len(),
            _ => 0,
        });
        let rest = self.rest.split_off(self.rest.len() - incomplete);
        let text = std::mem::replace(&mut self.rest, rest);
        self.out.write_all(harmless_json(&String::from_utf8_lossy(&text)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\x1b[31mb\x07\r\x7f\u{9b}c\u{202e}\u{e0041}";

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_only_once() {
        let line = harmless(&format!("{NASTY}\n\tä…→"));
        assert_eq!(line, "a\\u{1b}[31mb\\u{7}\\r\\u{7f}\\u{9b}c\\u{202e}\\u{e0041}\\n\\tä…→");
        assert_eq!(harmless(&line), line);
        assert_eq!(harmless_lines(&line), line);
        assert_eq!(harmless_lines("one\n\ttwo\x1b"), "one\n\ttwo\\u{1b}");
        assert!(matches!(harmless_lines("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ NASTY: NASTY });
        let text = serde_json::to_string(&value).expect("JSON");
        let harmless = harmless_json(&text);
        assert!(harmless.chars().all(|it| !is_harmful(it)), "{harmless}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless).expect("JSON"), value);
    }

    #[test]
    fn a_stream_may_break_anywhere() {
        let text = format!("{NASTY}äö→\u{1f980}\n");
        let mut whole = Harmless::new(Vec::new());
        whole.write_all(text.as_bytes()).expect("writes");
        for size in 1..6 {
            let mut parts = Harmless::new(Vec::new());
            text.as_bytes().chunks(size).for_each(|it| parts.write_all(it).expect("writes"));
            assert_eq!(parts.out, whole.out);
        }
        assert_eq!(str::from_utf8(&whole.out), Ok(&*harmless_json(&text)));
        let mut torn = Harmless::new(Vec::new());
        torn.write_all(b"\xffa\xc2\x9bb").expect("writes");
        assert_eq!(str::from_utf8(&torn.out), Ok("\u{fffd}a\\u009bb"));
    }
}
