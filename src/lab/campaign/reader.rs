//! Reads a TOML file key by key. Every mistake is kept with its place; what is wrong is left out, and the reading continues.

use std::{cell::RefCell, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::directive::{Problem, Refused, nearest};

/// A file, and what is wrong with it so far.
pub(super) struct CampaignText<'a> {
    name: &'a str,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

/// A value, and where it stands in the file.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> CampaignText<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> CampaignText<'a> {
        CampaignText { name, text, problems: RefCell::default() }
    }

    /// Something is wrong there.
    pub(super) fn problem(&self, span: &Range<usize>, what: impl Into<String>, expected: impl Into<String>) {
        self.problem_hinted(span, what, expected, None);
    }

    pub(super) fn problem_hinted(
        &self,
        span: &Range<usize>,
        what: impl Into<String>,
        expected: impl Into<String>,
        hint: Option<String>,
    ) {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |it| it + 1);
        let line = self.text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let end = span.end.saturating_sub(line_start).min(line.len());
        let inside = (start - line_start).min(line.len())..end.max((start - line_start).min(line.len()));
        let mut problem = Problem::at(line, inside, what).expected(expected).hint(hint);
        problem.line = before.matches('\n').count() + 1;
        self.problems.borrow_mut().push(*problem);
    }

    /// Finds a text, as it is, within a part of the file.
    pub(super) fn find(&self, within: &Range<usize>, text: &str) -> Option<usize> {
        self.text.get(within.clone())?.find(text).map(|it| within.start + it)
    }

    /// The whole file, if it is TOML.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table),
            Err(err) => {
                let end = self.text.len();
                self.problem(&err.span().unwrap_or(end..end), "this is no TOML", err.message());
                None
            }
        }
    }

    /// Every mistake, in order of the lines.
    pub(super) fn end<T>(self, value: Option<T>) -> Result<T, Refused> {
        let mut problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                problems.sort_by_key(|it| (it.line, it.column));
                Err(Refused { file: self.name.to_owned(), problems })
            }
        }
    }
}

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) source: &'a CampaignText<'a>,
    /// As in an error: `[base]`.
    name: String,
    /// Where it begins.
    pub(super) span: Range<usize>,
    table: &'a DeTable<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        source: &'a CampaignText<'a>,
        name: &str,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        Section { source, name: name.to_owned(), span, table, known: RefCell::default() }
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        self.table.iter().find(|(it, _)| it.get_ref() == key).map(|(_, value)| value)
    }

    /// All keys that nobody has asked for, with their values.
    pub(super) fn rest(&self) -> Vec<(Placed<&'a str>, &'a Spanned<DeValue<'a>>)> {
        let known = self.known.borrow();
        let rest = self.table.iter().filter(|(it, _)| !known.iter().any(|known| known == it.get_ref()));
        rest.map(|(key, value)| (Placed { value: key.get_ref().as_ref(), span: key.span() }, value)).collect()
    }

    /// A key that must be there is not.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        self.source.problem(&self.span, format!("{} has no `{key}`", self.name), expected);
    }

    pub(super) fn text(&self, key: &'static str, expected: &str) -> Option<Placed<&'a str>> {
        let value = self.value(key)?;
        let text = text(value);
        if text.is_none() {
            self.wrong(value, key, expected);
        }
        text
    }

    pub(super) fn number(&self, key: &'static str) -> Option<Placed<u64>> {
        let value = self.value(key)?;
        let number = number(value);
        if number.is_none() {
            self.wrong(value, key, "expected a number from 0 on");
        }
        number
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        self.wrong(value, key, "expected true or false");
        None
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self, key: &'static str, expected: &str) -> Vec<Placed<&'a str>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(text).collect(),
            _ => vec![text(value)],
        };
        if items.iter().any(Option::is_none) {
            self.wrong(value, key, expected);
        }
        items.into_iter().flatten().collect()
    }

    /// Reads a table inside this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.source, &format!("[{key}]"), value.span(), table)),
            _ => {
                self.wrong(value, key, &format!("expected a table: [{key}]"));
                None
            }
        }
    }

    /// The tables of a list of them.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let tables: Option<Vec<_>> = match value.get_ref() {
            DeValue::Array(items) => items
                .iter()
                .map(|it| match it.get_ref() {
                    DeValue::Table(table) => Some(Section::new(self.source, &format!("[[{key}]]"), it.span(), table)),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        tables.unwrap_or_else(|| {
            self.wrong(value, key, &format!("expected tables: [[{key}]]"));
            Vec::new()
        })
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) {
        let what = format!("`{key}` of {} is {}", self.name, kind(value.get_ref()));
        self.source.problem(&value.span(), what, expected);
    }

    /// Reports each key that nobody has read as unknown.
    pub(super) fn end(self) {
        let known = self.known.borrow().clone();
        for (key, _) in self.rest() {
            let hint = nearest(key.value, known.iter().copied()).map(|it| format!("did you mean `{it}`?"));
            let expected = format!("expected {}", listed(&known));
            self.source.problem_hinted(&key.span, format!("{} knows no `{}`", self.name, key.value), expected, hint);
        }
    }
}

/// `a, b or c`
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

pub(super) fn text<'a>(value: &'a Spanned<DeValue<'a>>) -> Option<Placed<&'a str>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Placed { value: text.as_ref(), span: value.span() }),
        _ => None,
    }
}

pub(super) fn number(value: &Spanned<DeValue<'_>>) -> Option<Placed<u64>> {
    match value.get_ref() {
        DeValue::Integer(it) => {
            u64::from_str_radix(it.as_str(), it.radix()).ok().map(|number| Placed { value: number, span: value.span() })
        }
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
