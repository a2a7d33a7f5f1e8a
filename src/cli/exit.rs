//! Exit codes, decided here and nowhere else. They are a contract.

use std::process::ExitCode;

use crate::{
    host::scenario::ScenarioError,
    inspect::archive::ArchiveError,
    kernel::Halt,
    lab::experiment::Useless,
    model::blame::{Fault, HostFault},
};

/// The exit codes of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command did what it was asked.
    Ok = 0,
    /// A check, a verification, a comparison found something.
    Findings = 1,
    /// The command line, or a file that it names, is wrong.
    Usage = 2,
    /// A directive stopped the host.
    Halted = 3,
    /// An invariant of the kernel is broken.
    KernelPanic = 70,
    /// This machine failed.
    HostFault = 74,
    /// A replay did something else than the transcript says.
    Divergence = 75,
    /// Interrupted by the user with ^C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A mistake in what the user gave, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Usage {
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Usage {
    pub(crate) fn new(what: impl ToString, hint: impl ToString) -> Usage {
        Usage { what: what.to_string(), hint: hint.to_string() }
    }
}

/// The code for an error that reached the top.
pub(crate) fn code_of(err: &anyhow::Error) -> Exit {
    for cause in err.chain() {
        if let Some(halt) = cause.downcast_ref::<Halt>() {
            return code_of_fault(&halt.fault);
        }
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return code_of_fault(fault);
        }
        if let Some(err) = cause.downcast_ref::<ArchiveError>() {
            return match err {
                ArchiveError::Damaged { .. } => Exit::Findings,
                ArchiveError::Foreign { .. } => Exit::Usage,
                ArchiveError::Host(_) => Exit::HostFault,
            };
        }
        if cause.is::<HostFault>() {
            return Exit::HostFault;
        }
        if cause.is::<Usage>() || cause.is::<ScenarioError>() || cause.is::<Useless>() {
            return Exit::Usage;
        }
    }
    Exit::HostFault
}

/// The code for a halt.
#[cfg(feature = "serve")]
pub(crate) fn code_of_halt(halt: &Halt) -> Exit {
    code_of_fault(&halt.fault)
}

fn code_of_fault(fault: &Fault) -> Exit {
    match fault {
        Fault::Vat(_) | Fault::Kernel(_) => Exit::KernelPanic,
        Fault::Host(_) => Exit::HostFault,
        Fault::Anachronism(_) => Exit::Divergence,
        Fault::Halted(_) => Exit::Halted,
        Fault::Interrupted(_) => Exit::Interrupted,
    }
}
