//! SQLite's way to an overlay: a VFS that knows one file, whose bytes are the overlay's.
//!
//! Invariants, on which all `unsafe` below rests:
//!
//! * SQLite calls a method of a VFS with one whose `pAppData` is an [`Overlay`], for as long as it is registered (see `registered`).
//! * SQLite calls a method of a file with the `szOsFile` bytes that it gave to `xOpen`: a [`OverlayFile`], from an `xOpen` that set `pMethods` to
//!   its `xClose`.

#![allow(unsafe_code, reason = "a VFS is a table of C functions; each use stands on the invariants above")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr, slice,
};

use rusqlite::ffi;

use super::Overlay;
use crate::{
    model::blame::HostFault,
    store::{
        files::RegisteredVfs,
        registered::{Registered, no_methods},
    },
};

/// Gives SQLite a VFS with this overlay's file in it.
pub(super) fn register(overlay: Overlay) -> Result<Box<dyn RegisteredVfs>, HostFault> {
    let size = c_int::try_from(size_of::<OverlayFile>());
    let size = size.map_err(|_| HostFault::new("put an overlay under SQLite", "its files are too large"))?;
    let methods = ffi::sqlite3_vfs {
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_milliseconds),
        ..no_methods(size, 512)
    };
    // SAFETY: they do, and read an overlay there, which has a lock of its own.
    let registered = unsafe { Registered::new("overlay", methods, overlay) };
    Ok(Box::new(registered?))
}

/// The open file.
#[repr(C)]
struct OverlayFile {
    base: ffi::sqlite3_file,
    overlay: *mut Overlay,
}

impl OverlayFile {
    /// Returns the overlay of an open file.
    ///
    /// # Safety
    ///
    /// See the module: a file that this VFS opened and did not close.
    unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> &'a Overlay {
        // SAFETY: it is a `OverlayFile`, and its overlay is a box that lives until `xClose`.
        unsafe { &*(*file.cast::<OverlayFile>()).overlay }
    }
}

// ---- methods of the VFS

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the module's invariants. Until it is open the file has no methods, so that SQLite will not close it.
    let overlay = unsafe {
        (*file).pMethods = ptr::null();
        &*(*vfs).pAppData.cast::<Overlay>()
    };
    // Journals and temporary tables are in memory (see `Overlay::open`).
    if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 || std::mem::replace(&mut overlay.written().is_open, true) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite gave room for a `OverlayFile`, and asks for the flags unless the pointer is null.
    unsafe {
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        (*file.cast::<OverlayFile>()).overlay = Box::into_raw(Box::new(overlay.clone()));
        (*file).pMethods = &raw const METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync_dir: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // No journal or log stands beside the file.
    // SAFETY: SQLite's own argument.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a string that ends, and `size` bytes of room.
    let (name, room) = unsafe {
        let room = slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(size).unwrap_or(0));
        (CStr::from_ptr(name).to_bytes_with_nul(), room)
    };
    match room.get_mut(..name.len()) {
        Some(room) => {
            room.copy_from_slice(name);
            ffi::SQLITE_OK
        }
        None => ffi::SQLITE_CANTOPEN,
    }
}

/// SQLite takes what is random from its default VFS.
unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, _size: c_int, _out: *mut c_char) -> c_int {
    0
}

/// Nothing waits for an overlay.
unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, _microseconds: c_int) -> c_int {
    0
}

/// No statement asks for the time.
unsafe extern "C" fn current_milliseconds(_vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite's own argument.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_vfs: *mut ffi::sqlite3_vfs, _size: c_int, _out: *mut c_char) -> c_int {
    0
}

// ---- methods of the file

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the module's invariants; the overlay came from a box, and SQLite closes a file once.
    unsafe {
        let overlay = Box::from_raw((*file.cast::<OverlayFile>()).overlay);
        (*file).pMethods = ptr::null();
        overlay.written().is_open = false;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the module's invariants; SQLite gives `len` bytes of room at `into`.
    let (overlay, into) = unsafe {
        ptr::write_bytes(into.cast::<u8>(), 0, usize::try_from(len).unwrap_or(0));
        (OverlayFile::of(file), slice::from_raw_parts_mut(into.cast::<u8>(), usize::try_from(len).unwrap_or(0)))
    };
    match overlay.read(at.cast_unsigned(), into) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the module's invariants; SQLite gives `len` bytes at `from`, which stay for this call.
    let (overlay, bytes) =
        unsafe { (OverlayFile::of(file), slice::from_raw_parts(from.cast::<u8>(), usize::try_from(len).unwrap_or(0))) };
    match overlay.write(at.cast_unsigned(), bytes) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { OverlayFile::of(file) }.cut(len.cast_unsigned());
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the module's invariants; SQLite's own arguments.
    unsafe { *out = OverlayFile::of(file).file_bytes().cast_signed() };
    ffi::SQLITE_OK
}

/// There is one connection at a time.
unsafe extern "C" fn lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's own argument.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _op: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    0
}
