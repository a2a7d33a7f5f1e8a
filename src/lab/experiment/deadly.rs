//! The end of a process that was made to die: the child of an experiment, or a host whose operator planted that.

use crate::directive::plant::HOST_HANG;

/// Ends this process, or never returns, as the plant of that name says. Given to a block as its `End`.
pub fn end_process(plant: &str) {
    if plant == HOST_HANG {
        loop {
            std::hint::spin_loop();
        }
    }
    std::process::abort();
}
