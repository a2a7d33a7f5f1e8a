//! One line, read from left to right. Whatever could stand at a place is noted, so that an error can say so.

use std::ops::Range;

use crate::{
    directive::{
        Action, Directive, HexPrefix, Trigger,
        grammar::{FORMS, Form, Want, any_of},
        problem::Problem,
        suggest,
        token::{Kind, Token, tokens},
    },
    id::VatId,
};

/// A directive, and where its parts stand in the line.
pub(super) struct Parsed {
    pub(super) directive: Directive,
    pub(super) spans: Spans,
}

/// In bytes of the line.
#[derive(Default)]
pub(super) struct Spans {
    pub(super) place: Range<usize>,
    pub(super) verb: Range<usize>,
    pub(super) vat: Range<usize>,
}

/// Reads a line; `None` where it is blank or a comment.
pub(super) fn parse(text: &str) -> Result<Option<Parsed>, Box<Problem>> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut line = Line { text, tokens, at: 0, wanted: Vec::new(), form: None, spans: Spans::default() };
    let directive = line.directive()?;
    line.end()?;
    Ok(Some(Parsed { directive, spans: line.spans }))
}

/// Reads a place, and nothing else.
pub(super) fn parse_place(text: &str) -> Result<Trigger, Box<Problem>> {
    let mut line = Line { text, tokens: tokens(text)?, at: 0, wanted: Vec::new(), form: None, spans: Spans::default() };
    let place = line.place_maybe().ok_or_else(|| line.unexpected())?;
    line.end()?;
    Ok(place)
}

/// A line that is being read.
pub(super) struct Line<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// All that could stand at `at`, as far as it was tried.
    wanted: Vec<Want>,
    /// Of the verb, once it is read.
    form: Option<&'static Form>,
    spans: Spans,
}

impl<'a> Line<'a> {
    fn directive(&mut self) -> Result<Directive, Box<Problem>> {
        let place = self.place_maybe();
        self.spans.place = self.span_of_last();
        let Some(trigger) = place else { return self.expectation() };
        if self.next_if(Want::Colon, |it| (it.kind == Kind::Colon).then_some(())).is_none() {
            return Err(self.unexpected());
        }
        let form = self.next_if(Want::Verb, |it| FORMS.iter().find(|form| form.verb == it.text));
        let form = form.ok_or_else(|| self.unexpected())?;
        self.form = Some(form);
        self.spans.verb = self.span_of_last();
        Ok(Directive { trigger, action: (form.parse)(self)? })
    }

    fn expectation(&mut self) -> Result<Directive, Box<Problem>> {
        self.word("expect")?;
        self.spans.verb = self.span_of_last();
        let state = self.hash("state")?;
        self.word("before")?;
        let trigger = self.place_maybe().ok_or_else(|| self.unexpected())?;
        self.spans.place = self.span_of_last();
        Ok(Directive { trigger, action: Action::Expect { state } })
    }

    fn place_maybe(&mut self) -> Option<Trigger> {
        self.next_if(Want::Place, |it| place(it.text))
    }

    /// A vat, if one stands here.
    pub(super) fn vat_maybe(&mut self) -> Option<VatId> {
        let vat = self.next_if(Want::Vat, |it| it.text.parse().ok())?;
        self.spans.vat = self.span_of_last();
        Some(vat)
    }

    /// A vat.
    pub(super) fn vat(&mut self) -> Result<VatId, Box<Problem>> {
        self.vat_maybe().ok_or_else(|| self.unexpected())
    }

    /// A hash behind this word, if the word stands here.
    pub(super) fn hash_maybe(&mut self, word: &'static str) -> Result<Option<HexPrefix>, Box<Problem>> {
        if self.word_maybe(word) { self.hex().map(Some) } else { Ok(None) }
    }

    /// A hash behind this word.
    pub(super) fn hash(&mut self, word: &'static str) -> Result<HexPrefix, Box<Problem>> {
        self.word(word)?;
        self.hex()
    }

    /// A reason, if one stands here.
    pub(super) fn why_maybe(&mut self) -> Result<Option<String>, Box<Problem>> {
        if !self.word_maybe("reason") {
            return Ok(None);
        }
        let quoted = self.next_if(Want::Text, |it| (it.kind == Kind::Text).then_some(it.text));
        let quoted = quoted.ok_or_else(|| self.unexpected())?;
        serde_json::from_str(quoted).map(Some).map_err(|_| {
            Problem::at(self.text, self.span_of_last(), format!("{quoted} is no text"))
                .expected(r#"expected escapes as in JSON: `\"`, `\\`, `\n`, `\u00e9`"#)
        })
    }

    /// The number of a version of the kernel.
    pub(super) fn version(&mut self) -> Result<u32, Box<Problem>> {
        let version = |it: &Token<'_>| it.text.parse().ok().filter(|number: &u32| number.to_string() == it.text);
        self.next_if(Want::Version, version).ok_or_else(|| self.unexpected())
    }

    fn hex(&mut self) -> Result<HexPrefix, Box<Problem>> {
        let word = self.next_if(Want::Hash, |it| (it.kind == Kind::Word).then_some(it.text));
        let word = word.ok_or_else(|| self.unexpected())?;
        word.parse().map_err(|err| {
            Problem::at(self.text, self.span_of_last(), format!("`{word}` is no prefix of a hash: {err}"))
                .expected(format!("expected {}", Want::Hash.describe()))
        })
    }

    fn word_maybe(&mut self, word: &'static str) -> bool {
        self.next_if(Want::Word(word), |it| (it.text == word).then_some(())).is_some()
    }

    fn word(&mut self, word: &'static str) -> Result<(), Box<Problem>> {
        if self.word_maybe(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn end(&mut self) -> Result<(), Box<Problem>> {
        self.wanted.push(Want::End);
        if self.at == self.tokens.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Goes past the next token, if it can be read so.
    fn next_if<T>(&mut self, want: Want, read: impl FnOnce(&Token<'a>) -> Option<T>) -> Option<T> {
        self.wanted.push(want);
        let value = read(self.tokens.get(self.at)?)?;
        self.at += 1;
        self.wanted.clear();
        Some(value)
    }

    fn span_of_last(&self) -> Range<usize> {
        self.at.checked_sub(1).and_then(|it| self.tokens.get(it)).map_or(0..0, |it| it.span.clone())
    }

    fn unexpected(&self) -> Box<Problem> {
        let (span, what) = match self.tokens.get(self.at) {
            Some(token) => (token.span.clone(), format!("unexpected `{}`", token.text)),
            None => (self.span_of_last().end..self.span_of_last().end, "the line ends too early".to_owned()),
        };
        let wanted: Vec<String> = self.wanted.iter().map(|it| it.describe().into_owned()).collect();
        let form = || self.form.map(|it| format!("the whole form: {}{}", it.verb, it.arguments));
        Problem::at(self.text, span, what)
            .expected(format!("expected {}", any_of(&wanted)))
            .hint(suggest::hint(&self.tokens, self.at, &self.wanted).or_else(form))
    }
}

/// The places there are. An experiment's are to be added here.
fn place(word: &str) -> Option<Trigger> {
    let crank = || word.parse().map(Trigger::Crank).ok();
    let block = || word.parse().map(Trigger::Block).ok();
    let delivery = || {
        let (vat, delivery) = word.split_once('/')?;
        Some(Trigger::Delivery(vat.parse().ok()?, delivery.parse().ok()?))
    };
    crank().or_else(block).or_else(delivery)
}
