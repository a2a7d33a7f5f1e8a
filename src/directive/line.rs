//! One line, read from left to right. Whatever could stand at a place is noted, so that an error can say so.

use std::ops::Range;

use crate::{
    directive::plant::PLANTS,
    directive::{
        Action, Bit, Directive, HexPrefix, Spot, Trigger,
        grammar::{FORMS, Form, Reader, Want, any_of, form},
        problem::Problem,
        suggest,
        token::{Kind, Token, tokens},
    },
    model::{
        id::{BlockHeight, DeliveryNum, VatId},
        value::SYSCALL_KINDS,
    },
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

/// Reads a line; `None` if it is blank or a comment.
pub(super) fn parse(text: &str, reader: Reader) -> Result<Option<Parsed>, Box<Problem>> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut line = Line { text, reader, tokens, at: 0, wanted: Vec::new(), form: None, spans: Spans::default() };
    let directive = line.directive()?;
    line.end()?;
    Ok(Some(Parsed { directive, spans: line.spans }))
}

/// Reads a place, and nothing else.
pub(super) fn parse_place(text: &str) -> Result<Trigger, Box<Problem>> {
    let (reader, tokens) = (Reader::Operator, tokens(text)?);
    let mut line = Line { text, reader, tokens, at: 0, wanted: Vec::new(), form: None, spans: Spans::default() };
    let place = line.place_maybe()?.ok_or_else(|| line.unexpected())?;
    line.end()?;
    Ok(place)
}

/// A line that is being read.
pub(super) struct Line<'a> {
    text: &'a str,
    reader: Reader,
    tokens: Vec<Token<'a>>,
    at: usize,
    /// All that could stand at `at`, as far as it was tried.
    wanted: Vec<Want>,
    /// The form of the verb, once that is read.
    form: Option<&'static Form>,
    spans: Spans,
}

impl<'a> Line<'a> {
    fn directive(&mut self) -> Result<Directive, Box<Problem>> {
        let place = self.place_maybe()?;
        let Some(trigger) = place else {
            return if self.reader == Reader::Operator { self.expectation() } else { Err(self.unexpected()) };
        };
        if self.next_if(Want::Colon, |it| (it.kind == Kind::Colon).then_some(())).is_none() {
            return Err(self.unexpected());
        }
        let form = self.next_if(Want::Verb(self.reader), |it| form(it.text));
        let form = form.ok_or_else(|| self.unexpected())?;
        self.form = Some(form);
        self.spans.verb = self.span_of_last();
        let verb = self.at - 1;
        match (form.parse)(self) {
            Ok(action) => Ok(Directive { trigger, action }),
            // An operator who writes `kill v12` means no experiment.
            Err(_) if self.reader == Reader::Operator && !FORMS.iter().any(|it| it.verb == form.verb) => {
                (self.at, self.form, self.wanted) = (verb, None, vec![Want::Verb(self.reader)]);
                Err(self.unexpected())
            }
            Err(problem) => Err(problem),
        }
    }

    fn expectation(&mut self) -> Result<Directive, Box<Problem>> {
        self.word("expect")?;
        self.spans.verb = self.span_of_last();
        let state = self.hash("state")?;
        self.word("before")?;
        let trigger = self.place_maybe()?.ok_or_else(|| self.unexpected())?;
        Ok(Directive { trigger, action: Action::Expect { state } })
    }

    /// Reads a place, if one comes next; some are of more than one word.
    fn place_maybe(&mut self) -> Result<Option<Trigger>, Box<Problem>> {
        let Some(place) = self.next_if(Want::Place(self.reader), |it| place(it.text)) else { return Ok(None) };
        self.spans.place = self.span_of_last();
        let start = self.spans.place.start;
        let trigger = match place {
            LinePlace::Whole(Trigger::Delivery(vat, delivery)) if self.word_maybe("end") => {
                Trigger::Spot(Spot::DeliveryEnd(vat, delivery))
            }
            LinePlace::Whole(trigger) => trigger,
            LinePlace::Every(vat) => {
                self.word("every")?;
                Trigger::Spot(Spot::DeliveryEvery(vat, self.number()?))
            }
            LinePlace::Kind(vat, kind) => Trigger::Spot(Spot::SyscallOfKind(vat, kind, self.ordinal()?)),
        };
        self.spans.place = start..self.span_of_last().end;
        Ok(Some(trigger))
    }

    /// Reads an ordinal number: `#5`
    fn ordinal(&mut self) -> Result<u64, Box<Problem>> {
        let number = self.next_if(Want::Number, |it| it.text.strip_prefix('#').and_then(number));
        number.ok_or_else(|| self.unexpected())
    }

    /// Reads the id of a vat, if one comes next.
    pub(super) fn vat_maybe(&mut self) -> Option<VatId> {
        let vat = self.next_if(Want::Vat, |it| it.text.parse().ok())?;
        self.spans.vat = self.span_of_last();
        Some(vat)
    }

    /// Reads the id of a vat.
    pub(super) fn vat(&mut self) -> Result<VatId, Box<Problem>> {
        self.vat_maybe().ok_or_else(|| self.unexpected())
    }

    /// Reads a hash behind this word, if the word comes next.
    pub(super) fn hash_maybe(&mut self, word: &'static str) -> Result<Option<HexPrefix>, Box<Problem>> {
        if self.word_maybe(word) { self.hex().map(Some) } else { Ok(None) }
    }

    /// Reads a hash behind this word.
    pub(super) fn hash(&mut self, word: &'static str) -> Result<HexPrefix, Box<Problem>> {
        self.word(word)?;
        self.hex()
    }

    /// Reads a reason, if one comes next.
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

    /// Reads the number of a version of the kernel.
    pub(super) fn version(&mut self) -> Result<u32, Box<Problem>> {
        let version = |it: &Token<'_>| it.text.parse().ok().filter(|number: &u32| number.to_string() == it.text);
        self.next_if(Want::Version, version).ok_or_else(|| self.unexpected())
    }

    /// Reads a number, in decimal digits.
    pub(super) fn number(&mut self) -> Result<u64, Box<Problem>> {
        self.next_if(Want::Number, |it| number(it.text)).ok_or_else(|| self.unexpected())
    }

    /// Reads the name of a planted bug, or of an invariant; quotes around it do not matter.
    pub(super) fn plant(&mut self, want: Want) -> Result<&'static str, Box<Problem>> {
        let known = |it: &&&str| want == Want::Bug || it.contains('.');
        let name = |it: &Token<'a>| {
            let bare = it.text.trim_matches(['\'', '"']);
            PLANTS.iter().filter(known).find(|name| **name == bare).copied()
        };
        self.next_if(want, name).ok_or_else(|| self.unexpected())
    }

    /// Reads a bit of a memory.
    pub(super) fn bit(&mut self) -> Result<Bit, Box<Problem>> {
        let bit = |it: &Token<'a>| {
            let (address, bit) = it.text.split_once('.')?;
            let bit = u8::try_from(number(bit)?).ok().filter(|it| *it < 8)?;
            Some(Bit::At { address: number(address)?, bit })
        };
        self.next_if(Want::Bit, bit).ok_or_else(|| self.unexpected())
    }

    /// Reads a text, or bytes in hexadecimal digits.
    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Box<Problem>> {
        let bytes = |it: &Token<'a>| match it.kind {
            Kind::Text => serde_json::from_str(it.text).map(String::into_bytes).ok(),
            _ => it.text.strip_prefix("0x").and_then(unhex),
        };
        self.next_if(Want::Bytes, bytes).ok_or_else(|| self.unexpected())
    }

    /// Reads the size of a disk's sector.
    pub(super) fn sector(&mut self) -> Result<u32, Box<Problem>> {
        let sizes = 512..=65_536;
        let size = |it: &Token<'a>| number(it.text).filter(|it| it.is_power_of_two() && sizes.contains(it));
        let size = self.next_if(Want::Sector, size).ok_or_else(|| self.unexpected())?;
        Ok(u32::try_from(size).unwrap_or(512))
    }

    fn hex(&mut self) -> Result<HexPrefix, Box<Problem>> {
        let word = self.next_if(Want::Hash, |it| (it.kind == Kind::Word).then_some(it.text));
        let word = word.ok_or_else(|| self.unexpected())?;
        word.parse().map_err(|err| {
            Problem::at(self.text, self.span_of_last(), format!("`{word}` is no prefix of a hash: {err}"))
                .expected(format!("expected {}", Want::Hash.describe()))
        })
    }

    pub(super) fn word_maybe(&mut self, word: &'static str) -> bool {
        self.next_if(Want::Word(word), |it| (it.text == word).then_some(())).is_some()
    }

    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Box<Problem>> {
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

    pub(super) fn unexpected(&self) -> Box<Problem> {
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

/// A place, or how one begins.
enum LinePlace {
    Whole(Trigger),
    /// `v3/delivery`, and `every 7` is to follow.
    Every(VatId),
    /// `v3/syscall:vatstoreGet`, and `#5` is to follow.
    Kind(VatId, &'static str),
}

/// The places there are.
fn place(word: &str) -> Option<LinePlace> {
    let crank = || word.parse().map(Trigger::Crank).ok();
    let block = || word.parse().map(Trigger::Block).ok();
    let of_vat = || {
        let (vat, rest) = word.split_once('/')?;
        place_of_vat(vat.parse().ok()?, rest)
    };
    crank().or_else(block).or_else(|| commit(word)).map(LinePlace::Whole).or_else(of_vat)
}

fn place_of_vat(vat: VatId, rest: &str) -> Option<LinePlace> {
    if let Ok(delivery) = rest.parse() {
        return Some(LinePlace::Whole(Trigger::Delivery(vat, delivery)));
    }
    if rest == "delivery" {
        return Some(LinePlace::Every(vat));
    }
    let kind_of = |name: &str| SYSCALL_KINDS.iter().find(|it| **it == name).copied();
    if let Some(kind) = rest.strip_prefix("syscall:") {
        return kind_of(kind).map(|kind| LinePlace::Kind(vat, kind));
    }
    let spot = match rest.strip_prefix("syscall-") {
        Some(rest) => {
            let (kind, at) = rest.rsplit_once('-')?;
            Spot::SyscallOfKind(vat, kind_of(kind)?, number(at)?)
        }
        None => {
            let (delivery, syscall) = rest.split_once('/')?;
            let delivery: DeliveryNum = delivery.parse().ok()?;
            Spot::Syscall(vat, delivery, number(syscall.strip_prefix("syscall-")?)?)
        }
    };
    Some(LinePlace::Whole(Trigger::Spot(spot)))
}

fn commit(word: &str) -> Option<Trigger> {
    let rest = word.strip_prefix("commit-")?;
    let spot = match rest.split_once('/') {
        None => Spot::Commit(BlockHeight(number(rest)?)),
        Some((height, op)) => Spot::StoreOp(BlockHeight(number(height)?), number(op.strip_prefix("store-op-")?)?),
    };
    Some(Trigger::Spot(spot))
}

/// A number in its canonical spelling.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|it: &u64| it.to_string() == text)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
