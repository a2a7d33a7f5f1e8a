//! The values that a broken invariant saw: the two sides of its comparisons, and what is not as at the end of the golden run.
//!
//! Invariant: a function of the expression and the documents alone; at most [`VALUES_MAX`] values, each of one short line.

use serde_json::Value;

/// Values of one outcome.
pub(super) const VALUES_MAX: usize = 8;
/// Characters of one value.
const CHARS_MAX: usize = 120;

/// The comparisons at the end of an expression, made into an expression that gives their sides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sides {
    /// The expression: it gives one array of a pair for each comparison.
    pub(super) expression: String,
    operators: Vec<&'static str>,
}

/// The operators that compare. The longer ones come first.
const OPERATORS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

impl Sides {
    /// Finds the comparisons that decide an expression; `None` if it ends in anything else, or is too involved.
    pub(super) fn of(text: &str) -> Option<Sides> {
        let depths = depths(text)?;
        let top = |from: usize, word: &str| {
            text.match_indices(word)
                .map(|(at, _)| at)
                .filter(move |at| *at >= from)
                .find(|at| depths.get(*at) == Some(&0))
        };
        let last = |from: usize, word: &str| {
            text.rmatch_indices(word)
                .map(|(at, _)| at)
                .filter(move |at| *at >= from)
                .find(|at| depths.get(*at) == Some(&0))
        };
        let body = last(0, ";").map_or(0, |at| at + 1);
        let tail = last(body, "|").map_or(body, |at| at + 1);
        // Operators that bind looser than a comparison, and what has an inside of its own.
        if ["//", ",", "|="].iter().any(|it| top(tail, it).is_some())
            || text.get(tail..)?.split_whitespace().any(is_block)
        {
            return None;
        }
        let (mut pairs, mut operators) = (Vec::new(), Vec::new());
        for term in terms(text.get(tail..)?, depths.get(tail..)?) {
            let inside = |word: &&&'static str| {
                let mut found =
                    text.match_indices(**word).map(|(at, _)| at).filter(|at| term.contains(&(at - tail.min(*at))));
                found.any(|at| at >= tail && depths.get(at) == Some(&0))
            };
            let Some(operator) = OPERATORS.iter().find(inside) else { continue };
            let term_text = text.get(tail + term.start..tail + term.end)?;
            let at = top(tail + term.start, operator)? - tail - term.start;
            let (left, right) = (term_text.get(..at)?, term_text.get(at + operator.len()..)?);
            pairs.push(format!("[({left}), ({right})]"));
            operators.push(*operator);
        }
        let expression = format!("{}[{}]", text.get(..tail)?, pairs.join(", "));
        (!pairs.is_empty()).then_some(Sides { expression, operators })
    }

    /// Writes the sides that the expression gave, as in `98 == 100`.
    pub(super) fn written(&self, values: &[String]) -> Vec<String> {
        let mut written = Vec::new();
        for value in values {
            let Ok(pairs) = serde_json::from_str::<Vec<Vec<Value>>>(value) else { continue };
            for (pair, operator) in pairs.iter().zip(&self.operators) {
                if let [left, right] = &pair[..] {
                    written.push(short(&format!("{left} {operator} {right}")));
                }
            }
        }
        written
    }
}

/// Returns whether a word opens a form with an inside of its own.
fn is_block(word: &str) -> bool {
    ["if", "reduce", "foreach", "try", "label", "limit"].contains(&word)
}

/// Returns how deep in brackets and strings each byte is; `None` for a text with comments or interpolations.
fn depths(text: &str) -> Option<Vec<u32>> {
    let (mut depths, mut depth, mut quoted, mut escaped) = (Vec::new(), 0_u32, false, false);
    for byte in text.bytes() {
        match byte {
            b'(' if quoted && escaped => return None,
            _ if quoted => {
                quoted = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                depths.push(depth + 1);
                continue;
            }
            b'#' => return None,
            b'"' => quoted = true,
            b'(' | b'[' | b'{' => {
                depth += 1;
                depths.push(depth);
                continue;
            }
            b')' | b']' | b'}' => {
                depths.push(depth);
                depth = depth.checked_sub(1)?;
                continue;
            }
            _ => (),
        }
        depths.push(depth);
    }
    Some(depths)
}

/// Returns the parts of a text between `and` and `or`.
fn terms(text: &str, depths: &[u32]) -> Vec<std::ops::Range<usize>> {
    let mut cuts: Vec<(usize, usize)> = ["and", "or"]
        .into_iter()
        .flat_map(|word| text.match_indices(word).map(|(at, it)| (at, at + it.len())))
        .filter(|(from, to)| {
            let is_word = |at: Option<u8>| at.is_none_or(|it| !it.is_ascii_alphanumeric() && !b"_.$".contains(&it));
            let before = from.checked_sub(1).and_then(|it| text.as_bytes().get(it)).copied();
            depths.get(*from) == Some(&0) && is_word(before) && is_word(text.as_bytes().get(*to).copied())
        })
        .collect();
    cuts.sort_unstable();
    let (mut terms, mut start) = (Vec::new(), 0);
    for (from, to) in cuts {
        terms.push(start..from);
        start = to;
    }
    terms.push(start..text.len());
    terms
}

/// Lists the values of a document that are not those of the golden run's end: those with a name that `text` mentions, or all if
/// none has.
pub(super) fn differences(document: &Value, golden: &Value, text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for part in ["vats", "kernel"] {
        compare(&format!(".{part}"), document.get(part), golden.get(part), false, text, &mut all);
    }
    let some = all.iter().any(|(mentioned, _)| *mentioned);
    all.into_iter().filter(|(mentioned, _)| *mentioned || !some).map(|(_, it)| it).take(VALUES_MAX).collect()
}

fn compare(
    path: &str,
    here: Option<&Value>,
    there: Option<&Value>,
    mentioned: bool,
    text: &str,
    into: &mut Vec<(bool, String)>,
) {
    if here == there {
        return;
    }
    let step = |key: &str| match key.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
        true => format!("{path}.{key}"),
        false => format!("{path}.{}", Value::from(key)),
    };
    match (here, there) {
        (Some(Value::Object(here)), Some(Value::Object(there))) => {
            let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
            for key in keys {
                // `kv` and `results` are mentioned with anything in them.
                let mentioned = (mentioned && !matches!(&**key, "kv")) || (key != "kv" && text.contains(&**key));
                compare(&step(key), here.get(key), there.get(key), mentioned, text, into);
            }
        }
        (Some(Value::Array(here)), Some(Value::Array(there))) if here.len() == there.len() => {
            for (at, (here, there)) in here.iter().zip(there).enumerate() {
                compare(&format!("{path}[{at}]"), Some(here), Some(there), mentioned, text, into);
            }
        }
        (here, there) => {
            let said = |it: Option<&Value>| it.map_or_else(|| "absent".to_owned(), |it| short(&it.to_string()));
            into.push((mentioned, format!("{path} = {} (golden run: {})", said(here), said(there))));
        }
    }
}

fn short(text: &str) -> String {
    match text.chars().count() > CHARS_MAX {
        true => text.chars().take(CHARS_MAX).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sides(text: &str) -> Option<String> {
        Sides::of(text).map(|it| it.expression)
    }

    #[test]
    fn the_sides_of_the_last_comparison_are_found() {
        for (text, found) in [
            (
                "[.vats[].kv.balance // 0] | add == $golden.sum",
                Some("[.vats[].kv.balance // 0] |[[( add ), ( $golden.sum)]]"),
            ),
            ("def f: . | 1; f <= 2", Some("def f: . | 1;[[( f ), ( 2)]]")),
            (".a == 1 and .b != \"x and y\"", Some("[[(.a ), ( 1 )], [( .b ), ( \"x and y\")]]")),
            ("all(.a[]; . == 1)", None),
            ("if .a == 1 then true else false end", None),
            (".a // 0 == 1", None),
            (". as $x | $x.order >= 3", Some(". as $x |[[( $x.order ), ( 3)]]")),
        ] {
            assert_eq!(sides(text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn what_is_mentioned_and_differs_is_listed() {
        let (here, golden) = (
            json!({ "vats": { "a": { "kv": { "total": 3, "other": 1 } } }, "kernel": {} }),
            json!({ "vats": { "a": { "kv": { "total": 2, "other": 0 } } }, "kernel": {} }),
        );
        assert_eq!(differences(&here, &golden, ".vats[].kv.total"), [".vats.a.kv.total = 3 (golden run: 2)"]);
        assert_eq!(differences(&here, &golden, "").len(), 2);
    }
}
