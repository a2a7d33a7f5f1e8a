//! A VFS that SQLite knows by a name of its own, and what its methods find behind it.
//!
//! Invariants, on which the `unsafe` here and in the methods rests:
//!
//! * SQLite calls a method with the `sqlite3_vfs` that was registered: a field of a [`Registered`], which stays where it is until it is
//!   dropped. The connection that uses it was closed before (see `Database`).
//! * `pAppData` is a context of the type that the methods read there; it is a box's, and nobody frees it but `drop`.

#![allow(unsafe_code, reason = "a VFS is a table of C functions; each use stands on the invariants above")]

use std::{
    ffi::{CStr, CString, c_int},
    fmt, ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use rusqlite::ffi;

use crate::{model::blame::HostFault, store::files::RegisteredVfs};

/// A VFS that SQLite knows; until it is dropped, which must be after its last connection.
pub(crate) struct Registered<C> {
    vfs: Box<ffi::sqlite3_vfs>,
    name: CString,
    context: *mut C,
}

// SAFETY: the context may go to any thread, and SQLite has locks for its list of VFSs; freed by `drop` alone.
unsafe impl<C: Send> Send for Registered<C> {}

impl<C> fmt::Debug for Registered<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registered").field(&self.name).finish()
    }
}

/// A VFS without a method, a name, or a context, for files of this size.
pub(crate) fn no_methods(file_bytes: c_int, path_bytes: c_int) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        // With the clock that counts milliseconds, which supersedes the other.
        iVersion: 2,
        szOsFile: file_bytes,
        mxPathname: path_bytes,
        pNext: ptr::null_mut(),
        zName: ptr::null(),
        pAppData: ptr::null_mut(),
        xOpen: None,
        xDelete: None,
        xAccess: None,
        xFullPathname: None,
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: None,
        xSleep: None,
        xCurrentTime: None,
        xGetLastError: None,
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

impl<C: Send + Sync + 'static> Registered<C> {
    /// Gives SQLite a VFS with these methods, and a name that begins like this.
    ///
    /// # Safety
    ///
    /// The methods do what SQLite asks of a VFS, read a `C` at `pAppData` and nothing else, and do not change it without a lock.
    ///
    /// # Errors
    ///
    /// SQLite does not take it.
    pub(crate) unsafe fn new(kind: &str, methods: ffi::sqlite3_vfs, context: C) -> Result<Registered<C>, HostFault> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let fails = |why: &str| HostFault::new(format_args!("put a {kind} under SQLite"), why);
        let name = CString::new(format!("vathost-{kind}-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
            .map_err(|_| fails("its name"))?;
        let context = Box::into_raw(Box::new(context));
        let vfs = Box::new(ffi::sqlite3_vfs { zName: name.as_ptr(), pAppData: context.cast(), ..methods });
        let mut registered = Registered { vfs, name, context };
        // SAFETY: it is whole, as the caller says, and stays where it is until it is unregistered.
        match unsafe { ffi::sqlite3_vfs_register(&raw mut *registered.vfs, 0) } {
            ffi::SQLITE_OK => Ok(registered),
            _ => Err(fails("SQLite does not take it")),
        }
    }
}

impl<C: Send> RegisteredVfs for Registered<C> {
    fn name(&self) -> &CStr {
        &self.name
    }
}

impl<C> Drop for Registered<C> {
    fn drop(&mut self) {
        // SAFETY: no connection uses it any more; the context came from a box, and nobody frees it but this.
        unsafe {
            ffi::sqlite3_vfs_unregister(&raw mut *self.vfs);
            drop(Box::from_raw(self.context));
        }
    }
}
