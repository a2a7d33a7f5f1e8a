//! Events in a compact form, on their way from where they happen to the thread that writes them, and in binary recordings.
//!
//! ```text
//!   Event ─Packer─▶ page (bytes) ─┬─▶ a frame of a binary recording ─▶ Unpacker ─▶ a line of JSON, by whoever reads it
//!                                 └─▶ Unpacker ─▶ a line of JSON, by the thread that writes
//! ```
//!
//! A page can be read by itself: the times in it count from its first event, and what an event repeats of one before (its place, the body
//! of a message) is left out within a page. Frequent events are packed field by field, all others as JSON. Both recordings of a run hold
//! the same lines, since both come from the same pages.

mod kept;
mod pack;
mod page;
#[cfg(test)]
mod tests;
mod unpack;

pub(super) use pack::Packer;
pub(super) use page::{HEAD, Pages};
pub(super) use unpack::Unpacker;

/// The kinds of events in a page.
mod tag {
    pub(super) const TEXT: u8 = 0;
    pub(super) const CRANK_START: u8 = 1;
    pub(super) const CRANK_FINISH: u8 = 2;
    pub(super) const CLIST: u8 = 3;
    pub(super) const DELIVER: u8 = 4;
    pub(super) const DELIVER_RESULT: u8 = 5;
    pub(super) const SYSCALL: u8 = 6;
    pub(super) const SYSCALL_RESULT: u8 = 7;
    /// Added where the event ends something whose duration follows.
    pub(super) const WITH_SECONDS: u8 = 0x80;
    /// Added where the event is part of a replay.
    pub(super) const REPLAY: u8 = 0x40;
}

/// The types of cranks' items, by the number that stands for them. Numbers keep their meaning: new ones are added at the end.
const MESSAGE_TYPES: [&str; 8] = [
    "gc-action",
    "send",
    "notify",
    "startVat",
    "upgrade-vat",
    "changeVatOptions",
    "bringOutYourDead",
    "cleanup-terminated-vat",
];

/// The type of all cranks.
const CRANK_TYPE: &str = "delivery";
