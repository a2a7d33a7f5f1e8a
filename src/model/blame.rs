//! Errors, typed by blame: the guest's, the kernel's, or the machine's. [`Fault`] adds three stops that blame nobody.
//!
//! Invariant: what a guest does is a [`VatFault`] and nothing else; a [`KernelPanic`] is by definition a bug in the
//! host and leaves no block to commit; a [`HostFault`] (disk, memory, a file) halts this host only and is never
//! blamed on a vat.

use std::{backtrace::Backtrace, fmt, ops::Deref, panic::Location};

use serde::{Deserialize, Serialize};

/// A fault that a guest committed. Deterministic: every replica sees the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum VatFault {
    /// A syscall that the vat may not make.
    #[error("illegal syscall {syscall}: {why}")]
    IllegalSyscall {
        /// The kind of the syscall, or the import of the guest ABI that is no syscall (`input_read`, `console`).
        syscall: String,
        /// The reason why it is illegal.
        why: String,
    },
    /// A wasm trap. The first line is the engine's. A second line, for operators only, has the function that trapped
    /// and the guest's last error on the console.
    #[error("trap: {}", .0.replacen('\n', "; ", 1))]
    Trap(String),
    /// The delivery used up its fuel.
    #[error("out of fuel")]
    OutOfFuel,
    /// Calls nested deeper than the call-depth counter allows.
    #[error("call stack exhausted")]
    StackExhausted,
    /// The vat cannot be instantiated.
    #[error("cannot start: {0}")]
    Start(String),
    /// The delivery ended with an error of the vat's own: a scripted vat's, or an upgraded vat ended itself.
    #[error("{0}")]
    Delivery(String),
    /// The vat crossed a limit of its own: one of `limits`, or of its options.
    #[error("limit of {name} crossed: {value}, at most {max}")]
    Limit {
        /// The name of the limit in `limits`, or of the option.
        name: String,
        /// The value that it would have been.
        value: u64,
        /// The greatest value allowed.
        max: u64,
    },
}

impl VatFault {
    /// Refuses what would cross a limit.
    #[inline]
    pub fn limit(name: &str, value: u64, max: u64) -> Result<(), VatFault> {
        if value <= max { Ok(()) } else { Err(VatFault::crossed(name, value, max)) }
    }

    #[cold]
    fn crossed(name: &str, value: u64, max: u64) -> VatFault {
        VatFault::Limit { name: name.to_owned(), value, max }
    }

    /// Returns the part of the fault that other vats may learn: without the guest's console, which only operators see.
    pub fn told(&self) -> String {
        match self {
            VatFault::Trap(text) => format!("trap: {}", text.lines().next().unwrap_or_default()),
            fault => fault.to_string(),
        }
    }

    /// Adds the place of a trap and the guest's last words to the fault; other kinds of fault are returned unchanged.
    pub(crate) fn with_last_words(self, place: Option<String>, said: Option<&str>) -> VatFault {
        const CHARS_MAX: usize = 300;
        let VatFault::Trap(text) = self else { return self };
        let said = said.map(|it| it.chars().take(CHARS_MAX).map(|it| if it.is_control() { ' ' } else { it }).collect());
        let words: Vec<String> = place.map(|it| format!("in {it}")).into_iter().chain(said).collect();
        VatFault::Trap(if words.is_empty() { text } else { format!("{text}\n{}", words.join(": ")) })
    }

    /// Makes the fault of an illegal syscall of this kind.
    #[cold]
    pub fn illegal(syscall: &str, why: impl fmt::Display) -> VatFault {
        VatFault::IllegalSyscall { syscall: syscall.to_owned(), why: why.to_string() }
    }
}

/// A broken invariant of the kernel. The host halts; nothing of the open block is committed.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct KernelPanic(Box<BrokenInvariant>);

/// The facts about a broken invariant.
#[derive(Debug, Clone, thiserror::Error)]
#[error("invariant `{invariant}` failed: {detail} ({location})")]
pub struct BrokenInvariant {
    /// The name in the kernel's table of invariants.
    pub invariant: &'static str,
    /// The finding that broke it.
    pub detail: String,
    /// The place in the host's source.
    pub location: String,
    /// The call stack that led there.
    pub backtrace: String,
}

impl KernelPanic {
    /// Makes the panic for the invariant of this name, which does not hold.
    #[cold]
    #[track_caller]
    pub fn new(invariant: &'static str, detail: impl fmt::Display) -> KernelPanic {
        let (detail, location) = (detail.to_string(), Location::caller().to_string());
        let backtrace = Backtrace::force_capture().to_string();
        KernelPanic(Box::new(BrokenInvariant { invariant, detail, location, backtrace }))
    }
}

impl Deref for KernelPanic {
    type Target = BrokenInvariant;

    fn deref(&self) -> &BrokenInvariant {
        &self.0
    }
}

/// A failure of this machine: disk, memory, or a file with unexpected contents.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct HostFault(Box<HostFailure>);

/// The facts about a failure of this machine.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}: {why}{}", way_out.map(|it| format!(": {it}")).unwrap_or_default())]
pub struct HostFailure {
    /// The host's action, and its object.
    pub what: String,
    /// The error that caused the failure.
    pub why: String,
    /// The remedy, unless `why` names it.
    pub way_out: Option<&'static str>,
}

/// The remedy for a damaged state.
const OF_DAMAGE: &str = "the state is damaged; `vathost verify` lists all that is, and a sound state comes of `vathost import` with an \
                         export of before, or of `vathost fork` from another replica";

impl HostFault {
    /// Makes a fault: `what` failed because of `why`.
    #[cold]
    pub fn new(what: impl fmt::Display, why: impl fmt::Display) -> HostFault {
        HostFault(Box::new(HostFailure { what: what.to_string(), why: why.to_string(), way_out: None }))
    }

    /// Makes the fault of a state that is damaged: what was read at `what` is not what was written.
    #[cold]
    pub fn damage(what: impl fmt::Display, why: impl fmt::Display) -> HostFault {
        HostFault::new(what, why).with_way_out(OF_DAMAGE)
    }

    /// Names the remedy of the fault.
    #[must_use]
    pub fn with_way_out(mut self, way_out: &'static str) -> HostFault {
        self.0.way_out = Some(way_out);
        self
    }

    /// Puts another reason in the place of the fault's.
    #[must_use]
    pub fn because(mut self, why: String) -> HostFault {
        self.0.why = why;
        self
    }

    /// Wraps a fault that was met while `what` was done.
    #[cold]
    #[must_use]
    pub fn within(mut self, what: impl fmt::Display) -> HostFault {
        self.0.why = self.finding();
        self.0.what = what.to_string();
        self
    }

    /// Describes the fault without what can be done: for a list of many.
    pub fn finding(&self) -> String {
        format!("{}: {}", self.what, self.why)
    }
}

impl Deref for HostFault {
    type Target = HostFailure;

    fn deref(&self) -> &HostFailure {
        &self.0
    }
}

/// The difference between a replay, or another replica, and the record.
#[derive(Debug, Clone, thiserror::Error)]
#[error("anachronism in {vat} delivery {delivery}: {what}: recorded {recorded}, now {actual}")]
pub struct Anachronism {
    /// The vat that was replayed.
    pub vat: crate::model::id::VatId,
    /// The number of the delivery.
    pub delivery: u64,
    /// The difference: a syscall by its number, the fuel, the outcome.
    pub what: String,
    /// The recorded value.
    pub recorded: String,
    /// The present value.
    pub actual: String,
}

/// The halt of a host before a crank, by a directive that orders it or whose condition does not hold.
#[derive(Debug, Clone, thiserror::Error)]
#[error("halted before {crank} by `{line}`{}", why.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
pub struct Halted {
    /// The crank that did not run.
    pub crank: crate::model::id::CrankNum,
    /// The text of the directive.
    pub line: String,
    /// The condition that does not hold; `None` if the directive just says to halt.
    pub why: Option<String>,
}

/// The stop of a host in the middle of a crank, because its operator asked for it and the guest did not end by itself.
/// Nobody is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted in the middle of a crank: what is not committed runs again at the next start")]
pub struct Interrupted;

/// Any of the six reasons to stop, on its way up: through a syscall handler, across wasm frames, out of the crank loop.
///
/// Two words, whatever the reason: every step of a crank has room for one, and few need it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// A fault of the guest.
    #[error(transparent)]
    Vat(Box<VatFault>),
    /// A bug of the kernel.
    #[error(transparent)]
    Kernel(KernelPanic),
    /// A failure of the machine.
    #[error(transparent)]
    Host(HostFault),
    /// A replay that differs from its record.
    #[error(transparent)]
    Anachronism(Box<Anachronism>),
    /// A halt that a directive ordered.
    #[error(transparent)]
    Halted(Box<Halted>),
    /// An interruption by the host's operator.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

// Cold: so the compiler knows, wherever a `?` may return a fault, that it seldom does.

impl From<VatFault> for Fault {
    #[cold]
    fn from(fault: VatFault) -> Fault {
        Fault::Vat(Box::new(fault))
    }
}

impl From<KernelPanic> for Fault {
    #[cold]
    fn from(panic: KernelPanic) -> Fault {
        Fault::Kernel(panic)
    }
}

impl From<HostFault> for Fault {
    #[cold]
    fn from(fault: HostFault) -> Fault {
        Fault::Host(fault)
    }
}

impl From<Anachronism> for Fault {
    #[cold]
    fn from(anachronism: Anachronism) -> Fault {
        Fault::Anachronism(Box::new(anachronism))
    }
}

impl From<Halted> for Fault {
    #[cold]
    fn from(halted: Halted) -> Fault {
        Fault::Halted(Box::new(halted))
    }
}

/// Returns a [`KernelPanic`] from the enclosing function unless the condition holds.
#[macro_export]
#[doc(hidden)]
macro_rules! invariant {
    ($holds:expr, $name:literal, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::model::blame::KernelPanic::new($name, format_args!($($detail)+)).into());
        }
    };
}
