//! The end of a process that was made to die: the child of an experiment, or a host whose operator planted that.

use crate::{directive::plant::HOST_HANG, model::blame::HostFault};

/// The way in which a process takes the order of a planted bug to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Life {
    /// The process refuses, and the bug is a [`HostFault`]: nothing was done.
    #[default]
    Dear,
    /// The process ends: whoever started it made it to die.
    Expendable,
}

impl Life {
    /// Ends this process, or never returns, as the planted bug of that name says.
    ///
    /// # Errors
    ///
    /// The process was not made to die.
    pub(super) fn end_process(self, bug: &str) -> Result<(), HostFault> {
        match self {
            Life::Expendable if bug == HOST_HANG => loop {
                std::hint::spin_loop();
            },
            Life::Expendable => std::process::abort(),
            Life::Dear => Err(HostFault::new(
                format_args!("obey the plant `{bug}`"),
                "it ends its process, and this one was not made to die: `vathost run --plant` and `vathost fault` are",
            )),
        }
    }
}
