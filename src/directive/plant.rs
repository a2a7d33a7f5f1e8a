//! The names of the bugs that an experiment can plant in the kernel.

/// Every fault that can be planted.
pub const PLANTS: &[&str] = &[
    "object.known",
    "object.counts",
    "promise.known",
    "promise.refs",
    "promise.settled-once",
    "promise.decider",
    "promise.policy",
    "clist.known",
    "vat.known",
    "vat.critical",
    "worker.brought-up",
    "kernel.no-panic",
    "audit.clist-bijection",
    "audit.clist-target",
    "audit.object-counts",
    "audit.promise-refs",
    "audit.decider",
    "audit.settlement",
    "audit.queue",
    "audit.reap",
    "audit.dead-vat",
    RESOLVE_NON_DECIDER,
    LOST_DECREF,
    POISON_QUEUE,
    REPLAY_CHARGES,
    HALF_COMMIT,
    HOST_ABORT,
    HOST_HANG,
];

/// The authority check is missing at the boundary, from that crank on.
pub const RESOLVE_NON_DECIDER: &str = "resolve-non-decider";
/// A count is never given back.
pub const LOST_DECREF: &str = "lost-decref";

/// The plant that puts an entry whose routing panics into the run-queue: the panic comes in a later crank, which has
/// no vat.
pub const POISON_QUEUE: &str = "poison-queue";
/// From that crank on, a vat that is brought up by replay pays for the replay: a state that depends on who was evicted when.
pub const REPLAY_CHARGES: &str = "replay-charges";
/// From that crank on, a block is written in two transactions.
pub const HALF_COMMIT: &str = "half-commit";
/// The process aborts, as where a native stack overflows.
pub const HOST_ABORT: &str = "host-abort";
/// The host goes round for ever.
pub const HOST_HANG: &str = "host-hang";

/// Plants that end their process. Only a process that was made to die allows them; others refuse them.
pub const DEADLY: &[&str] = &[HALF_COMMIT, HOST_ABORT, HOST_HANG];

/// Plants that are in force from their crank on, and not only in it.
pub const LASTING: &[&str] = &[RESOLVE_NON_DECIDER, REPLAY_CHARGES, HALF_COMMIT];
