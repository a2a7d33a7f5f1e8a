//! Campaigns: many experiments on one base, and what they come to together.
//!
//! ```text
//!   campaign.toml ─▶ Campaign ─▶ Space ─▶ Work ─▶ results.jsonl ─▶ Tally ─▶ Report ─▶ html, md, junit, json
//! ```
//!
//! Invariants: which experiments there are depends on the file alone; a report depends on the results alone, not on when, where,
//! in which order or in how many goes they were had.

mod accept;
mod asked;
mod axis;
mod command;
pub mod document;
mod file;
mod invariant;
mod jaq;
pub mod preset;
mod random;
mod reader;
pub mod report;
mod results;
mod saw;
mod space;
mod tally;
mod wilson;
mod work;

pub use accept::{Bound, Checked, Limit, about, key};
pub use asked::answer;
pub use file::{Campaign, Expect};
pub use invariant::{Ask, Asked, Check, Invariant, dress};
pub use results::{Earlier, Folder, Header, Results, ResultsError, folders_below, load};
pub use space::{Drawn, Experiment, Order, Single, Space};
pub use tally::{Counting, Finding, Heat, Reason, Score, Share, Tally, without_numbers};
pub use work::{CampaignWork, Ended, run};
