//! Suggestions for what the writer of a line may have meant.

use std::iter;

use crate::directive::plant::PLANTS;
use crate::directive::{
    HexPrefix,
    grammar::{Reader, SYNONYMS, Want, quoted, verbs},
    token::{Kind, Token},
};

/// Returns a guess at what should be at `at`, if one of these things was wanted.
pub(super) fn hint(tokens: &[Token<'_>], at: usize, wanted: &[Want]) -> Option<String> {
    let (before, rest) = tokens.split_at_checked(at)?;
    let token = rest.first()?;
    let required = wanted.len() == 1;
    wanted.iter().find_map(|want| match want {
        Want::Place(_) => place(rest),
        Want::Colon => Some(colon(before, token)),
        Want::Verb(reader) => verb(before, token, *reader),
        Want::Vat => vat(rest, required),
        Want::Word(word) => keyword(word, token),
        Want::Text => Some(format!("did you mean `{}`?", quoted(token.text.trim_matches(['\'', '“', '”', '„'])))),
        Want::End => end(before, token),
        Want::Bug | Want::Invariant => nearest(token.text, PLANTS.iter().copied()).map(did_you_mean),
        Want::Hash | Want::Version | Want::Number | Want::Bit | Want::Bytes | Want::Sector => None,
    })
}

fn did_you_mean(text: &str) -> String {
    format!("did you mean `{text}`?")
}

/// `crank 7890`, `Crank-7890`, `crnk-7890`, `crank-007`, `v56 delivery 1234`, `v56/1234`, `v56/crank-1`, …
fn place(rest: &[Token<'_>]) -> Option<String> {
    let words: Vec<&str> = rest.iter().take_while(|it| it.kind == Kind::Word).map(|it| it.text).take(3).collect();
    let joined = match words[..] {
        [first, second, third, ..] => {
            vec![format!("{first}/{second}-{third}"), format!("{first}-{second}"), first.to_owned()]
        }
        [first, second] => vec![format!("{first}-{second}"), first.to_owned()],
        [first] => vec![first.to_owned()],
        [] => vec![],
    };
    joined.iter().find_map(|it| repaired_place(&it.to_lowercase()))
}

fn repaired_place(word: &str) -> Option<String> {
    let (vat, rest) = split_vat(word);
    let name_end = rest.trim_end_matches(|it: char| it.is_ascii_digit()).len();
    let number: Option<u64> = rest[name_end..].parse().ok();
    let name = rest[..name_end].trim_end_matches(['-', '_', '=', '/']);
    let Some(number) = number else {
        if name_end < rest.len() {
            return Some(format!("a number is {} at the most", u64::MAX));
        }
        let bare = rest.is_empty() && vat.is_some();
        return bare.then(|| format!("`{word}` is a vat, not a place: did you mean `{word}/delivery-` and a number?"));
    };
    match (vat, nearest(name, ["crank", "delivery", "block"])) {
        (None, Some("delivery")) => {
            Some(format!("a delivery number is one vat's: name the vat, as in `v56/delivery-{number}`"))
        }
        (None, Some(name)) => Some(did_you_mean(&format!("{name}-{number}"))),
        (Some(vat), Some("delivery")) => Some(did_you_mean(&format!("v{vat}/delivery-{number}"))),
        (Some(vat), None) if name.is_empty() => Some(did_you_mean(&format!("v{vat}/delivery-{number}"))),
        (Some(vat), Some(name)) => Some(format!(
            "a {name} is not one vat's: did you mean `{name}-{number}`, or the vat's own count, `v{vat}/delivery-{number}`?"
        )),
        (None | Some(_), None) => None,
    }
}

/// The number of the vat in front, and what follows behind a `/` or what people write instead of it.
fn split_vat(word: &str) -> (Option<u64>, &str) {
    let number = |text: &str| vat_number(text).filter(|_| text.starts_with('v'));
    let split = word.split_once('/').or_else(|| word.split_once('-')).or_else(|| word.split_once('.'));
    match split.and_then(|(vat, rest)| Some((number(vat)?, rest))) {
        Some((vat, rest)) => (Some(vat), rest),
        None => number(word).map_or((None, word), |vat| (Some(vat), "")),
    }
}

/// The number in `56`, `v56`, `V056`, `vat56`, `vat-56`.
fn vat_number(word: &str) -> Option<u64> {
    let word = word.to_lowercase();
    let digits = word.strip_prefix("vat").or_else(|| word.strip_prefix('v')).unwrap_or(&word);
    digits.trim_start_matches(['-', '_']).parse().ok()
}

fn colon(before: &[Token<'_>], token: &Token<'_>) -> String {
    let place = before.last().map_or("", |it| it.text);
    match nearest(token.text, verbs(Reader::Operator)) {
        Some(verb) => did_you_mean(&format!("{place}: {verb}")),
        None => format!("what to do there follows a colon, as in `{place}: halt`"),
    }
}

fn verb(before: &[Token<'_>], token: &Token<'_>, reader: Reader) -> Option<String> {
    let word = token.text.to_lowercase();
    if word == "expect" {
        let place = before.first().map_or("", |it| it.text);
        return Some(format!("an expectation begins its line: `expect state HASH before {place}`"));
    }
    let synonym = SYNONYMS.iter().find(|(it, _)| *it == word).map(|(_, verb)| *verb);
    synonym.or_else(|| nearest(&word, verbs(reader))).map(did_you_mean)
}

fn vat(rest: &[Token<'_>], required: bool) -> Option<String> {
    let word = rest.first()?.text;
    let next = rest.get(1).filter(|_| word.eq_ignore_ascii_case("vat")).and_then(|it| vat_number(it.text));
    match vat_number(word).or(next) {
        Some(number) => Some(did_you_mean(&format!("v{number}"))),
        None => required.then(|| "a vat is named by its number, not by its name in the scenario".to_owned()),
    }
}

fn keyword(word: &'static str, token: &Token<'_>) -> Option<String> {
    let takes_hash = ["expect", "bundle", "state"].contains(&word);
    let argument = match token.kind {
        Kind::Word => takes_hash && token.text.parse::<HexPrefix>().is_ok(),
        Kind::Text => word == "reason",
        Kind::Colon => false,
    };
    if argument {
        return Some(did_you_mean(&format!("{word} {}", token.text)));
    }
    nearest(token.text, [word]).map(did_you_mean)
}

fn end(before: &[Token<'_>], token: &Token<'_>) -> Option<String> {
    if token.text.starts_with("//") || token.text.starts_with(';') {
        return Some("a comment begins with `#`".to_owned());
    }
    let verb = before.get(2)?.text;
    let delivery = token.text.to_lowercase().starts_with("deliver") || token.text.eq_ignore_ascii_case("message");
    delivery.then(|| format!("`{verb}` alone is about the delivery of that place: leave `{}` out", token.text))
}

/// Returns the candidate that is at most a few slips away; upper and lower case do not matter.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(32).collect();
    let with_distance = candidates.into_iter().map(|it| (distance(&word, &it.chars().collect::<Vec<_>>()), it));
    let near = with_distance.min().filter(|(slips, it)| *slips <= it.len().div_ceil(3).min(3))?;
    Some(near.1)
}

/// Slips of the hand from one word to the other: a letter more, less, or another, or two exchanged.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let swapped = i > 0 && j > 0 && from[i - 1] == *other && to[j - 1] == *letter;
            let ways = [rows[i][j] + usize::from(letter != other), rows[i][j + 1] + 1, row[j] + 1];
            let swap = iter::once(if swapped { rows[i - 1][j - 1] + 1 } else { usize::MAX });
            row.push(ways.into_iter().chain(swap).fold(usize::MAX, usize::min));
        }
        rows.push(row);
    }
    rows.last().and_then(|it| it.last()).copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_letter_more_less_other_or_two_exchanged() {
        let slips = |from: &str, to: &str| distance(&from.chars().collect::<Vec<_>>(), &to.chars().collect::<Vec<_>>());
        for (word, count) in [("skip", 0), ("skp", 1), ("skiip", 1), ("slip", 1), ("sikp", 1), ("", 4), ("halt", 4)] {
            assert_eq!(slips(word, "skip"), count, "{word}");
        }
        assert_eq!(nearest("trminate", ["terminate"]), Some("terminate"));
        assert_eq!(nearest("v56", ["halt", "skip"]), None);
    }
}
