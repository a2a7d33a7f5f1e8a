//! Endo's *smallcaps* JSON: `#["deposit",["+20","$0"]]`.
//!
//! | text       | is |
//! | ---------- | -- |
//! | `"+20"` `"-3"` | a bigint |
//! | `"$0"` `"$0.Alleged: Purse"` | the object in slot 0 |
//! | `"&1"`     | the promise in slot 1 |
//! | `"%name"`  | a symbol |
//! | `"#undefined"` `"#NaN"` `"#Infinity"` `"#-Infinity"` | constants |
//! | `"!text"`  | text that begins with a character from `!` to `-` |
//! | `{"#error":…,"name":…}` `{"#tag":…,"payload":…}` | errors, tagged values |
//!
//! Every message pays for this in fuel, so plain text is copied in runs, and numbers that are whole never become floats. Bodies come from
//! other vats: depth and number of values are bounded, and whatever is wrong is an error to answer with.

use core::ops::Range;

mod decode;
mod encode;

pub(crate) use decode::decode;
pub(crate) use encode::{encode, encode_message};

/// Part of a text. The codec cuts at ASCII characters only; indexing would link the message of a panic, some kilobytes.
fn part(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

fn tail(text: &str) -> &str {
    part(text, 1..text.len())
}

#[cfg(test)]
mod tests;
