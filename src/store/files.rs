//! The door between SQLite and the files of a state: another way to them than SQLite's own can stand there. A production
//! host uses none.

use std::{ffi::CStr, fmt, path::Path};

use crate::model::blame::HostFault;

/// A way from SQLite to the files of a state, in the place of SQLite's own.
pub trait StateFiles: fmt::Debug + Send + Sync {
    /// Registers a VFS with SQLite for one connection.
    ///
    /// # Errors
    ///
    /// SQLite does not take it.
    fn register(&self) -> Result<Box<dyn RegisteredVfs>, HostFault>;

    /// Notes that a file was written and synced past SQLite, to this content.
    fn forced(&self, path: &Path, bytes: &[u8]);
}

/// A VFS that SQLite knows, until it is dropped: after the connection that uses it.
pub trait RegisteredVfs: fmt::Debug + Send {
    /// Returns the name with which to open a connection.
    fn name(&self) -> &CStr;
}
