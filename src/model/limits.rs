//! Every limit of the kernel, with its reason. (Those on the shape of a wasm module are in `vat::module::limits`.)
//!
//! All of them are in consensus, except `SNAPSHOT_BEFORE_EVICTION` and `CONSOLE_BYTES_PER_DELIVERY`: whoever changes one
//! of the others makes a new kernel version.

/// Bytes of a body. Large enough for a bundle's manifest or a page of text; small enough that a message is never a
/// problem.
pub const BODY_BYTES_MAX: u32 = 1 << 20;
/// References in one body. Each costs a c-list lookup on both sides.
pub const SLOTS_MAX: u32 = 4_096;
/// Bytes of a vatstore key: keys are held in memory.
pub const KEY_BYTES_MAX: u32 = 1 << 10;
/// Bytes of a vatstore value.
pub const VALUE_BYTES_MAX: u32 = 1 << 20;
/// Bytes of the answer to a `vatstoreScan`: the largest key and value fit, with their lengths.
pub const SCAN_BYTES_MAX: u32 = 8 + KEY_BYTES_MAX + VALUE_BYTES_MAX;
/// Syscalls in one delivery. A last resort: fuel ends a delivery long before.
pub const SYSCALLS_MAX: u32 = 65_536;
/// Bytes of a delivery's transcript entry: the delivery, each syscall, each answer. Far below what one value of the
/// database and of the codec can hold, so that whatever is recorded can be read again.
pub const ENTRY_BYTES_MAX: u64 = 128 << 20;
/// Bytes of the bodies and slots in one `resolve`: they are copied before the delivery's entry counts them.
pub const RESOLVE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the bodies and slots in one notify. The first promise is in it whatever its size; those that do not fit
/// follow in further notifies. Twice the bytes of a body, so that a vat that can take a message can take a notify.
pub const NOTIFY_BYTES_MAX: usize = 2 << 20;
/// Promises in one notify.
pub const NOTIFY_RESOLUTIONS_MAX: usize = 1_024;
/// References in one GC delivery; the rest follows in further ones.
pub const GC_REFS_PER_DELIVERY: usize = 10_000;
/// Bytes that a vatstore may count for, unless the vat's options say otherwise: its rows are held in memory.
pub const STORE_MAX: u64 = 256 << 20;
/// Bytes that a vatstore key counts for, besides its own bytes and its value's: about what a row takes elsewhere.
pub const STORE_KEY_OVERHEAD: u64 = 64;
/// References of its own (exports and promises) in a vat's c-list, unless its options say otherwise. Each takes some
/// 600 bytes of the host's memory.
pub const OWN_REFS_MAX: u64 = 1_000_000;
/// Live vats and held meters that a vat made, directly or through vats of its making, unless its options say otherwise.
/// An evicted vat takes some 10 KiB of the host's memory.
pub const VATS_MAX: u64 = 65_536;
/// The greatest depth of creation: a vat of the scenario, one that it created, one that this created, and so on. Each
/// birth and death is counted at all of its creators.
pub const CREATORS_MAX: usize = 16;
/// Bytes of the name that a guest gives a vat.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of the reason for which a vat is paused or ended, as its row keeps it; longer ones are cut.
pub const REASON_BYTES_MAX: usize = 1 << 10;
/// References in one `dropImports`, `retireImports`, `retireExports` or `abandonExports`; resolutions in one `resolve`.
pub const REFS_MAX: u32 = 65_536;
/// Bytes of a console line that reach the slog; the rest is cut.
pub const CONSOLE_BYTES_MAX: u32 = 8 << 10;
/// Bytes that the console lines of one delivery may take in the slog; the rest is cut, and the last line says so.
pub const CONSOLE_BYTES_PER_DELIVERY: u64 = 4 << 20;
/// Rows that one cleanup crank removes of a terminated vat: a vat with a million rows must not stall a block.
pub const CLEANUP_ROWS_PER_CRANK: usize = 1_000;
/// Fuel of one delivery, unless the vat's options say otherwise: a few seconds at most, except for guests whose loads miss
/// every cache, which may take minutes.
pub const FUEL_PER_DELIVERY: u64 = 1_000_000_000;
/// Fuel for instantiation and `_initialize`, apart from the deliveries.
pub const FUEL_INITIALIZE: u64 = 100_000_000;
/// Bytes of a vat's memory, unless its options say otherwise.
pub const MEMORY_MAX: u64 = 64 << 20;
/// Deliveries after which a vat is told to bring out its dead (SwingSet's default of 1 collects after each).
pub const REAP_INTERVAL: u64 = 1_000;
/// References of GC deliveries after which a vat is told to bring out its dead (SwingSet's default).
pub const REAP_GC_KREFS: u64 = 20;
/// Items of all queues that a vat made, unless its options say otherwise: its messages that are not delivered yet,
/// notifies of promises that it settled, wakeups that it asked for. As many as it could send in one delivery; each
/// takes some hundred bytes of memory.
pub const QUEUED_MAX: u64 = 65_536;
/// Bytes of the bodies and slots of those items, unless the vat's options say otherwise: as much as its own memory.
pub const QUEUED_BYTES_MAX: u64 = MEMORY_MAX;
/// The most items of the run-queue that one turn of a family takes: the other families wait for so many.
pub const WEIGHT_MAX: u32 = 16;
/// One crank in so many is given to GC actions while the run-queue holds items, since kernel version 3. GC actions
/// collect meanwhile and are delivered together, so that a flood of them delays the rest by at most a third.
pub const GC_CRANKS_APART: u32 = 4;
/// Paused vats over which one search for a GC action passes while the run-queue holds items, since kernel version 4: the next search goes on
/// behind them.
pub const GC_PAUSED_MAX: usize = 64;
/// Deliveries of a vat from one snapshot of its heap to the next, unless its options say otherwise; a snapshot that its
/// deliveries have not paid for waits. To replay so many takes a millisecond. A snapshot of 1 MiB costs as much as some
/// three deliveries.
pub const SNAPSHOT_INTERVAL: u64 = 200;
/// Deliveries after a vat's last snapshot beyond which an eviction takes another one first: to replay fewer is cheaper
/// than to write the pages.
pub const SNAPSHOT_BEFORE_EVICTION: u64 = 10;
/// Seconds from now within which a wakeup must lie: a year. If there is nothing else to do, the clock of all vats jumps
/// to the first wakeup, so this is how far one vat can move it for the others. A vat that wants a later time asks again
/// when it is woken.
pub const WAKEUP_HORIZON: u64 = 366 * 24 * 60 * 60;
/// Wakeups that a vat may wait for: each is a row in memory, and those of one time are messages of one block.
pub const WAKEUPS_MAX: u64 = 4_096;
/// Messages to the outside that may wait: in the mailbox for acknowledgement, in one embedder's device for the commit.
/// They are held in memory, which an outside that reads none must not fill.
pub const OUTBOX_MESSAGES_MAX: u64 = 65_536;
/// Bytes of those messages to the outside, for the mailbox and for each embedder's device.
pub const OUTBOX_BYTES_MAX: u64 = 64 << 20;
/// Sessions of a state that have not ended. An ended session is forgotten when its end was acknowledged, or when its
/// room is needed. An idle one takes some 2 KiB of the host's memory.
pub const SESSIONS_MAX: u64 = 65_536;
/// Events that may wait in a session's outbox: they are held in memory, and a client that reads none must not fill it.
pub const SESSION_EVENTS_MAX: u64 = 65_536;
/// Bytes of the events of one session: the largest message and the largest notify fit several times.
pub const SESSION_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the events of all sessions. One session may have half of what the others leave: if many clients read
/// nothing, the sessions that hold the most end first, long before one whose client reads.
pub const SESSIONS_BYTES_MAX: u64 = 1 << 30;
/// Bytes that an event counts for, besides its content: about what a row takes.
pub const SESSION_EVENT_OVERHEAD: u64 = 128;
/// Items of all queues that a session made: calls of its client that are under way.
pub const SESSION_QUEUED_MAX: u64 = 65_536;
/// References of its own in a session's c-list: objects of its client that vats hold, and calls under way.
pub const SESSION_REFS_MAX: u64 = 131_072;
/// Live vats and held meters that a session's client may have made, if it was given a reference that makes any.
pub const SESSION_VATS_MAX: u64 = 256;
/// Bytes of the rows of one embedder's device: they are held in memory, and vats may be able to make it keep more.
pub const DEVICE_BYTES_MAX: u64 = 256 << 20;
/// First kernel object. This and the other first ids are SwingSet's, so that transcripts compare.
pub const FIRST_OBJECT: u64 = 20;
/// First kernel promise.
pub const FIRST_PROMISE: u64 = 40;
/// First device.
pub const FIRST_DEVICE: u64 = 30;
/// First import of an object in a vat, `o-50`.
pub const FIRST_IMPORT: u64 = 50;
/// First import of a promise in a vat, `p-60`.
pub const FIRST_PROMISE_IMPORT: u64 = 60;
/// First device in a vat, `d-70`.
pub const FIRST_DEVICE_IMPORT: u64 = 70;
