//! Signals that are errors in disguise.

/// A file that may not grow any further is then an error of the write, as a full disk is, and told as one; otherwise the signal that
/// comes with it would end the process without a word.
#[allow(unsafe_code, reason = "one C function, proved at its place")]
pub(super) fn ignore_file_size_limit() {
    // SAFETY: no handler is installed, so nothing of ours runs in a signal; the call changes only what the system does with it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
