//! Checks of messages against a module's interface, before they are sent: does the object's kind have the method, and do the
//! arguments fit?

use std::fmt;

use serde_json::Value;

use super::{Exo, Method, Type};
use crate::{directive::nearest, model::smallcaps::SAFE_INTEGER_MAX};

/// A message that the object would refuse: why, and what it takes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The reason, with the name of the method.
    pub why: String,
    /// The signature and doc of the method, or of the one that may have been meant; else the names of all methods.
    pub hint: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.hint)
    }
}

impl std::error::Error for Misfit {}

impl Exo {
    /// Checks a message before it is sent. `is_reference` tells which values stand for an object or a promise.
    ///
    /// # Errors
    ///
    /// There is no such method, or the arguments are not those that it takes.
    pub fn check(&self, method: &str, args: &[Value], is_reference: &dyn Fn(&Value) -> bool) -> Result<(), Misfit> {
        let Some(found) = self.method(method) else { return Err(self.no_method(method)) };
        let misfit = |why: String| Misfit { why: format!("{method}: {why}"), hint: told(found) };
        if args.len() > found.args.len() {
            let taken = if found.args.is_empty() { "no argument".to_owned() } else { count(found.args.len()) };
            return Err(misfit(format!("it takes {taken}, and {} given", given(args.len()))));
        }
        for (at, argument) in found.args.iter().enumerate() {
            let place = format!("argument {} ({})", at + 1, argument.name);
            match args.get(at) {
                Some(value) if fits(&argument.kind, value, is_reference) => {}
                Some(value) => {
                    let (is, wanted) = (what(value, is_reference), wanted(&argument.kind));
                    return Err(misfit(format!("{place} is {is}, and {wanted} is wanted")));
                }
                None if argument.kind.may_be_missing() => {}
                None => return Err(misfit(format!("{place} is missing: {} is wanted", wanted(&argument.kind)))),
            }
        }
        Ok(())
    }

    fn no_method(&self, method: &str) -> Misfit {
        let near = nearest(method, self.methods.iter().map(|known| &*known.name));
        let hint = match near.and_then(|name| self.method(name)) {
            Some(meant) => format!("did you mean `{}`? {}", meant.name, told(meant)),
            None => {
                let names: Vec<&str> = self.methods.iter().map(|known| &*known.name).collect();
                format!("its methods are: {}", names.join(", "))
            }
        };
        Misfit { why: format!("{} has no method `{method}`", self.name), hint }
    }
}

fn count(number: usize) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} argument{s}")
}

fn given(number: usize) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{number} {verb}")
}

/// Returns the signature of a method, and the first paragraph of its doc.
fn told(method: &Method) -> String {
    let words = method.doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let colon = if words.is_empty() { "" } else { ": " };
    format!("`{method}`{colon}{words}")
}

fn fits(kind: &Type, value: &Value, is_reference: &dyn Fn(&Value) -> bool) -> bool {
    if is_reference(value) {
        return matches!(kind, Type::Remote | Type::Promise | Type::Device | Type::Object(_))
            || matches!(kind, Type::Any | Type::Named(_) | Type::Undefined)
            || matches!(kind, Type::Option(inner) if fits(inner, value, is_reference));
    }
    match kind {
        Type::Any | Type::Named(_) | Type::Undefined => true,
        Type::Remote | Type::Promise | Type::Device | Type::Object(_) => false,
        Type::Boolean => value.is_boolean(),
        Type::String => value.is_string(),
        // An integer beyond these bits is sent as a bigint, which no number with a fraction is read from.
        Type::F64 | Type::Decimal => value.is_f64() || integer(value).is_some_and(|it| it.unsigned_abs() <= SAFE),
        Type::Option(inner) => value.is_null() || fits(inner, value, is_reference),
        Type::List(inner) => {
            value.as_array().is_some_and(|items| items.iter().all(|item| fits(inner, item, is_reference)))
        }
        _ => kind.range().zip(integer(value)).is_some_and(|((least, most), it)| (least..=most).contains(&it)),
    }
}

const SAFE: u128 = SAFE_INTEGER_MAX as u128;

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn what(value: &Value, is_reference: &dyn Fn(&Value) -> bool) -> String {
    match value {
        _ if is_reference(value) => "a reference".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a truth value".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a record".to_owned(),
    }
}

fn wanted(kind: &Type) -> String {
    if let Some((least, most)) = kind.range() {
        return format!("an integer from {least} to {most}");
    }
    match kind {
        Type::F64 | Type::Decimal => "a number".to_owned(),
        Type::Boolean => "true or false".to_owned(),
        Type::String => "a text".to_owned(),
        Type::Remote => "a reference to an object".to_owned(),
        Type::Promise => "a reference to a promise".to_owned(),
        Type::Device => "a reference to a device".to_owned(),
        Type::Object(name) => format!("a reference to a {name} of that vat"),
        Type::Option(inner) => format!("{} or null", wanted(inner)),
        Type::List(inner) => format!("a list, each of it {},", wanted(inner)),
        other => other.to_string(),
    }
}
