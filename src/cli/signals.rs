//! Signals that are to be errors of a system call instead.

/// Ignores the signal SIGXFSZ. Then a write past the file size limit fails with an error, which is reported as that of a full disk is; otherwise the
/// signal would end the process without a word.
#[allow(unsafe_code, reason = "one C function, proved at its place")]
pub(super) fn ignore_file_size_limit() {
    // SAFETY: no handler is installed, so nothing of ours runs in a signal; the call changes only what the system does with it.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
