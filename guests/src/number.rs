//! Numbers and their text, without `core::fmt`: a vat that only counts links no formatting machinery.

use alloc::string::String;

/// A number of JSON that is not a whole one, kept as its text: floats are linked only into a vat that asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(pub(crate) String);

impl Decimal {
    /// Converts the number to the nearest float.
    pub fn to_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// The text: a JSON number, or `NaN`, `Infinity`, `-Infinity`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<f64> for Decimal {
    fn from(number: f64) -> Self {
        Decimal(if number.is_nan() {
            "NaN".into()
        } else if number.is_infinite() {
            if number > 0.0 { "Infinity".into() } else { "-Infinity".into() }
        } else {
            alloc::format!("{number}")
        })
    }
}

/// Appends the digits of a number.
pub(crate) fn push_u64(out: &mut String, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[start..].iter().map(|&d| char::from(d)));
}

/// Appends a number with its sign; a positive number has a sign only if `plus` is set.
pub(crate) fn push_i128(out: &mut String, number: i128, plus: bool) {
    if number < 0 {
        out.push('-');
    } else if plus {
        out.push('+');
    }
    push_u128(out, number.unsigned_abs());
}

/// Digits of a number that may be wide. It is divided in limbs of 32 bits, as a division of 128 bits is a large function.
fn push_u128(out: &mut String, number: u128) {
    const CHUNK: u64 = 1_000_000_000;
    if let Ok(small) = u64::try_from(number) {
        return push_u64(out, small);
    }
    let (mut quotient, mut rest) = (0u128, 0u64);
    for limb in number.to_be_bytes().chunks_exact(4) {
        let part = limb.iter().fold(rest, |part, &byte| part << 8 | u64::from(byte));
        quotient = quotient << 32 | u128::from(part / CHUNK);
        rest = part % CHUNK;
    }
    push_u128(out, quotient);
    // Nine digits, with their zeros: a one in front of them is put down and taken away again.
    let start = out.len();
    push_u64(out, rest + CHUNK);
    out.replace_range(start..=start, "");
}

/// Reads decimal digits, at least one and nothing else.
pub(crate) fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
}

/// Reads an integer of up to 38 digits, with a sign in front or none.
pub(crate) fn parse_i128(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (high, low) = digits.split_at(digits.len().saturating_sub(19));
    let mut number = i128::from(parse_u64(low)?);
    if !high.is_empty() {
        let high = parse_u64(high)?;
        // 10^19 is just below 2^64.
        number += i128::from(high) * 10_000_000_000_000_000_000;
    }
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_the_way_to_text_and_back() {
        let powers = (0..127).flat_map(|bit| [(1i128 << bit) - 1, 1 << bit, -(1 << bit)]);
        for number in powers.chain([i128::MAX, i128::MIN, 10i128.pow(19), 10i128.pow(38) - 7]) {
            let mut text = String::new();
            push_i128(&mut text, number, false);
            assert_eq!(text, number.to_string());
            let readable = number.unsigned_abs() < 10u128.pow(38);
            assert_eq!(parse_i128(text.as_bytes()), readable.then_some(number), "{number}");
        }
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        for text in ["", "-", "+", "1x", "--1", "1.5", "100000000000000000000000000000000000000"] {
            assert_eq!(parse_i128(text.as_bytes()), None, "{text}");
        }
    }
}
