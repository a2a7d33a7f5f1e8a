//! Expressions in jaq's dialect of jq, compiled and run.
//!
//! Invariant: an expression sees its document, and nothing else: no clock, no environment, no other file. It may run for ever, or
//! deeper than the stack: who runs one is a process that can be spared (see `asked`).

use std::ops::Range;

use jaq_core::{
    Compiler, Ctx, Vars,
    data::JustLut,
    load::{self, Arena, File, Loader},
    native::{self, bome},
    unwrap_valr,
};
use jaq_json::{Val, read};

/// Bytes of an expression: it is read by a parser that goes as deep as the text does.
pub(super) const CHECK_BYTES_MAX: usize = 8 << 10;

/// A compiled jaq expression.
pub(super) struct Jaq {
    filter: jaq_core::Filter<JustLut<Val>>,
}

/// What would make an answer depend on more than the state.
const IMPURE: [&str; 5] = ["now", "env", "halt", "localtime", "strflocaltime"];

impl Jaq {
    /// Compiles an expression; an error is its place in the text, and what is wrong.
    pub(super) fn compile(text: &str) -> Result<Jaq, (Range<usize>, String)> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let all = jaq_core::funs::<JustLut<Val>>().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = all.map(|(name, arity, fun)| {
            if IMPURE.contains(&name) {
                native::run((name, arity, |_| bome(Err(refusal()))))
            } else {
                (name, arity, fun)
            }
        });
        let arena = Arena::default();
        let file = File { code: text, path: () };
        let modules = Loader::new(defs).load(&arena, file).map_err(|errors| loading(text, errors))?;
        let compiled = Compiler::default().with_funs(funs).with_global_vars(["$golden"]).compile(modules);
        let filter = compiled.map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, it)| it).next();
            first.map_or((0..text.len(), "it does not compile".to_owned()), |(name, kind)| {
                (span(text, name), format!("there is no {} `{name}`", kind.as_str()))
            })
        })?;
        Ok(Jaq { filter })
    }

    /// Returns whether the expression holds of a document.
    pub(super) fn holds(&self, document: &str) -> Result<bool, String> {
        let mut any = false;
        let mut holds = true;
        self.each(document, &mut |answer| {
            any = true;
            holds = !matches!(answer, Val::Null | Val::Bool(false));
            holds
        })?;
        if any { Ok(holds) } else { Err("the expression gives nothing: it is to give true or false".to_owned()) }
    }

    /// Returns the values that the expression gives of a document, as JSON, at most this many.
    pub(super) fn values(&self, document: &str, max: usize) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        self.each(document, &mut |value| {
            values.push(value.to_string());
            values.len() < max
        })?;
        Ok(values)
    }

    /// Shows each value that the expression gives of a document, until `show` has seen enough.
    fn each(&self, document: &str, show: &mut dyn FnMut(Val) -> bool) -> Result<(), String> {
        let document = read::parse_single(document.as_bytes()).map_err(|err| err.to_string())?;
        let golden = match &document {
            Val::Obj(members) => members.get(&Val::from("golden".to_owned())).cloned(),
            _ => None,
        };
        let ctx = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([golden.unwrap_or(Val::Null)]));
        for answer in self.filter.id.run((ctx, document)).map(unwrap_valr) {
            if !show(answer.map_err(|err| err.to_string())?) {
                break;
            }
        }
        Ok(())
    }
}

fn refusal() -> jaq_core::Error<Val> {
    jaq_core::Error::str(
        "an invariant cannot ask for the time, the environment or an exit: the same state must give the same answer",
    )
}

fn loading(text: &str, errors: load::Errors<&str, ()>) -> (Range<usize>, String) {
    match errors.into_iter().map(|(_, it)| it).next() {
        Some(load::Error::Lex(all)) => {
            all.first().map(|(wanted, at)| (span(text, at), format!("{} is expected here", wanted.as_str())))
        }
        Some(load::Error::Parse(all)) => {
            all.first().map(|(wanted, at)| (span(text, at), format!("a {} is expected here", wanted.as_str())))
        }
        Some(load::Error::Io(_)) => Some((0..text.len(), "an invariant cannot read other files".to_owned())),
        None => None,
    }
    .unwrap_or((0..text.len(), "it cannot be read".to_owned()))
}

/// Where a part of a text stands in it; the end, where it is no part.
fn span(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if start <= text.len() && start + part.len() <= text.len() {
        start..start + part.len()
    } else {
        text.len()..text.len()
    }
}
