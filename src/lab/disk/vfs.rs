//! SQLite's way to the files, with a [`Disk`] in between: a VFS of its own name around SQLite's default one.
//!
//! Nothing is decided here. Each operation that changes a file asks the disk, does what it says, and tells it what was
//! done; all others go through, as long as the disk is not dead. Files without a name, and those that are thrown away
//! when they are closed, are not asked about: no crash leaves them.
//!
//! Invariants, on which all `unsafe` below rests:
//!
//! * SQLite calls a method of a VFS with one whose `pAppData` is a [`Context`], for as long as it is registered.
//! * SQLite calls a method of a file with the `szOsFile` bytes that it gave to `xOpen`: a [`File`], and behind it as many bytes as the
//!   default VFS asked for, which are that VFS's file. `File::of` is called on nothing else, and only between an `xOpen` that
//!   set `pMethods` and its `xClose`.
//! * The default VFS is never unregistered, and is called with itself and its own files alone.

#![allow(unsafe_code, reason = "a VFS is a table of C functions; each use stands on the invariants above")]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr, slice,
};

use crate::{
    lab::disk::{Disk, DiskVerdict, Errno, FileOp, Loss},
    model::blame::HostFault,
    store::{Registered, RegisteredVfs, no_methods, sqlite_ffi as ffi},
};

/// The context that a VFS's methods find by `pAppData`.
struct Context {
    real: *mut ffi::sqlite3_vfs,
    disk: Disk,
}

// SAFETY: the default VFS is used on any thread, under SQLite's own locks, and the disk has a lock.
unsafe impl Send for Context {}
// SAFETY: likewise.
unsafe impl Sync for Context {}

/// Gives SQLite a VFS with this disk in it.
pub(super) fn register(disk: &Disk) -> Result<Box<dyn RegisteredVfs>, HostFault> {
    let fails = |why: &str| HostFault::new("put a disk that fails under SQLite", why);
    // SAFETY: without a name it is the default VFS, or null.
    let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: not null, it is SQLite's for ever.
    let Some(model) = (unsafe { real.as_ref() }) else { return Err(fails("SQLite has no VFS")) };
    let Ok(header) = c_int::try_from(size_of::<File>()) else { return Err(fails("its files are too large")) };
    let methods = ffi::sqlite3_vfs {
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_milliseconds),
        ..no_methods(header + model.szOsFile, model.mxPathname)
    };
    // SAFETY: they do, and read a context there.
    let registered = unsafe { Registered::new("disk", methods, Context { real, disk: disk.clone() }) };
    Ok(Box::new(registered?))
}

/// An open file. Behind it stands the default VFS's.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// The record of an open file.
struct Handle {
    disk: Disk,
    /// `None` for one that no crash leaves.
    path: Option<PathBuf>,
    /// Set until the first sync, which will sync the file's folder.
    syncs_folder: bool,
}

impl File {
    /// Returns the handle and the real file behind a file of this VFS.
    ///
    /// # Safety
    ///
    /// See the module: a file that this VFS opened and did not close.
    unsafe fn of<'a>(file: *mut ffi::sqlite3_file) -> (&'a mut Handle, Real) {
        // SAFETY: it is a `File`, and its handle is a box that lives until `xClose`; SQLite calls one method at a time.
        unsafe {
            let this = file.cast::<File>();
            (&mut *(*this).handle, Real(this.add(1).cast()))
        }
    }
}

/// The default VFS's file.
#[derive(Clone, Copy)]
struct Real(*mut ffi::sqlite3_file);

impl Real {
    /// Calls a method of it; an error where it has none.
    fn call<M>(
        self,
        method: impl Fn(&ffi::sqlite3_io_methods) -> Option<M>,
        call: impl FnOnce(M, *mut ffi::sqlite3_file) -> c_int,
    ) -> c_int {
        // SAFETY: it is open, so that it has a table of methods.
        match method(unsafe { &*(*self.0).pMethods }) {
            Some(method) => call(method, self.0),
            None => ffi::SQLITE_IOERR,
        }
    }
}

fn code_of(op: FileOp, errno: Errno) -> c_int {
    match (op, errno) {
        (FileOp::Write { .. }, Errno::Enospc) => ffi::SQLITE_FULL,
        (FileOp::Write { .. }, Errno::Eio) => ffi::SQLITE_IOERR_WRITE,
        (FileOp::Truncate { .. }, _) => ffi::SQLITE_IOERR_TRUNCATE,
        (FileOp::Sync, _) => ffi::SQLITE_IOERR_FSYNC,
        (FileOp::Delete, _) => ffi::SQLITE_IOERR_DELETE,
        (FileOp::Create, _) => ffi::SQLITE_CANTOPEN,
        (FileOp::GrowIndex, _) => ffi::SQLITE_IOERR_SHMSIZE,
    }
}

/// Asks the disk, and does what it says.
fn guarded(disk: &Disk, op: FileOp, path: &Path, bytes: &[u8], folder: bool, act: impl FnOnce() -> c_int) -> c_int {
    match disk.ask(op, path) {
        DiskVerdict::Fail(errno) => return code_of(op, errno),
        DiskVerdict::Pretend if op == FileOp::Sync => return ffi::SQLITE_OK,
        DiskVerdict::Go | DiskVerdict::Pretend => (),
        DiskVerdict::Die(loss) => {
            // What is under way may reach the disk in part.
            let torn = matches!(loss, Loss::Torn { .. }) && op != FileOp::Sync && !disk.is_dead();
            if torn && act() == ffi::SQLITE_OK {
                disk.done(op, path, bytes, false);
            }
            disk.end(loss);
            return ffi::SQLITE_IOERR;
        }
    }
    let code = act();
    if code == ffi::SQLITE_OK {
        disk.done(op, path, bytes, folder);
    }
    code
}

/// The context of a VFS, and the default VFS.
///
/// # Safety
///
/// See the module: the VFS that was registered.
unsafe fn context<'a>(vfs: *mut ffi::sqlite3_vfs) -> (&'a Context, &'a ffi::sqlite3_vfs) {
    // SAFETY: the context lives as long as the VFS is registered, the default VFS for ever.
    unsafe {
        let context = &*(*vfs).pAppData.cast::<Context>();
        (context, &*context.real)
    }
}

/// The path that SQLite names.
///
/// # Safety
///
/// Null, or a string that ends.
unsafe fn path_of<'a>(name: *const c_char) -> Option<&'a Path> {
    // SAFETY: not null, it is a string of SQLite's that outlives the call.
    (!name.is_null()).then(|| Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

// ---- methods of the VFS

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the module's invariants. Until it is open the file has no methods, so that SQLite will not close it.
    let (context, real) = unsafe {
        (*file).pMethods = ptr::null();
        context(vfs)
    };
    let Some(real_open) = real.xOpen else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite's name.
    let lasting = flags & ffi::SQLITE_OPEN_DELETEONCLOSE == 0;
    let path = unsafe { path_of(name) }.filter(|_| lasting).map(Path::to_owned);
    let this = file.cast::<File>();
    // SAFETY: behind the `File` there is room for the default VFS's, as `szOsFile` says.
    let inner: *mut ffi::sqlite3_file = unsafe { this.add(1).cast() };
    // SAFETY: the default VFS, with itself, its own file, and SQLite's own arguments.
    let act = || unsafe { real_open(context.real, name, inner, flags, out_flags) };
    let code = match &path {
        Some(path) if flags & ffi::SQLITE_OPEN_CREATE != 0 && !path.exists() => {
            guarded(&context.disk, FileOp::Create, path, &[], false, act)
        }
        Some(_) if context.disk.is_dead() => ffi::SQLITE_CANTOPEN,
        // Before it is opened: closing a file ends the locks that this process has on it.
        Some(path) if path.exists() && context.disk.opened(path).is_err() => ffi::SQLITE_CANTOPEN,
        _ => act(),
    };
    let is_log = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
    // SAFETY: SQLite gave zeroed memory, and the default VFS sets the methods of what is to be closed.
    unsafe {
        if !(*inner).pMethods.is_null() {
            let handle = Handle { disk: context.disk.clone(), path, syncs_folder: flags & is_log != 0 };
            (*this).handle = Box::into_raw(Box::new(handle));
            (*file).pMethods = &raw const METHODS;
        }
    }
    code
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: the module's invariants, and SQLite's name.
    let ((context, real), path) = unsafe { (context(vfs), path_of(name)) };
    let (Some(method), Some(path)) = (real.xDelete, path) else { return ffi::SQLITE_IOERR_DELETE };
    // SAFETY: the default VFS, with itself.
    let act = || unsafe { method(context.real, name, sync_dir) };
    match path.exists() {
        true => guarded(&context.disk, FileOp::Delete, path, &[], sync_dir != 0, act),
        false => act(),
    }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        real.xAccess.map_or(ffi::SQLITE_IOERR, |method| method(context.real, name, flags, out))
    }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        real.xFullPathname.map_or(ffi::SQLITE_IOERR, |method| method(context.real, name, size, out))
    }
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        real.xRandomness.map_or(0, |method| method(context.real, size, out))
    }
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        real.xSleep.map_or(0, |method| method(context.real, microseconds))
    }
}

unsafe extern "C" fn current_milliseconds(vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        real.xCurrentTimeInt64.map_or(ffi::SQLITE_ERROR, |method| method(context.real, out))
    }
}

unsafe extern "C" fn get_last_error(vfs: *mut ffi::sqlite3_vfs, size: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the module's invariants; the default VFS, with itself.
    unsafe {
        let (context, real) = context(vfs);
        let real = || real.xGetLastError.map_or(0, |method| method(context.real, size, out));
        context.disk.errno().unwrap_or_else(real)
    }
}

// ---- methods of a file

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Without memory maps of the file itself: what is read and written comes through here.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Asks before `act`, where the file has a name.
fn change(handle: &Handle, op: FileOp, bytes: &[u8], folder: bool, act: impl FnOnce() -> c_int) -> c_int {
    match &handle.path {
        Some(path) => guarded(&handle.disk, op, path, bytes, folder, act),
        None => act(),
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the module's invariants; the handle came from a box, and SQLite closes a file once.
    unsafe {
        let (handle, real) = File::of(file);
        let code = real.call(|it| it.xClose, |method, real| method(real));
        drop(Box::from_raw(ptr::from_mut(handle)));
        (*file).pMethods = ptr::null();
        code
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the module's invariants; SQLite's own arguments.
    let (handle, real) = unsafe { File::of(file) };
    match handle.disk.is_dead() {
        true => ffi::SQLITE_IOERR_READ,
        // SAFETY: the same.
        false => real.call(|it| it.xRead, |method, real| unsafe { method(real, into, len, at) }),
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the module's invariants; SQLite gives `len` bytes at `from`, which stay for this call.
    let ((handle, real), bytes) =
        unsafe { (File::of(file), slice::from_raw_parts(from.cast::<u8>(), usize::try_from(len).unwrap_or(0))) };
    let op = FileOp::Write { at: at.cast_unsigned(), len: bytes.len() };
    // SAFETY: SQLite's own arguments.
    let act = || real.call(|it| it.xWrite, |method, real| unsafe { method(real, from, len, at) });
    change(handle, op, bytes, false, act)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the module's invariants.
    let (handle, real) = unsafe { File::of(file) };
    // SAFETY: SQLite's own arguments.
    let act = || real.call(|it| it.xTruncate, |method, real| unsafe { method(real, len) });
    change(handle, FileOp::Truncate { len: len.cast_unsigned() }, &[], false, act)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the module's invariants.
    let (handle, _) = unsafe { File::of(file) };
    // Not of the real file: what is synced is what the disk keeps as such, and only that is left of a loss of power.
    let act = || ffi::SQLITE_OK;
    let code = change(handle, FileOp::Sync, &[], handle.syncs_folder, act);
    handle.syncs_folder &= code != ffi::SQLITE_OK;
    code
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the module's invariants; SQLite's own arguments.
    unsafe { File::of(file).1.call(|it| it.xFileSize, |method, real| method(real, out)) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xLock, |method, real| method(real, level)) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xUnlock, |method, real| method(real, level)) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the module's invariants; SQLite's own arguments.
    unsafe { File::of(file).1.call(|it| it.xCheckReservedLock, |method, real| method(real, out)) }
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the module's invariants; SQLite's own arguments.
    unsafe { File::of(file).1.call(|it| it.xFileControl, |method, real| method(real, op, argument)) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xSectorSize, |method, real| method(real)) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xDeviceCharacteristics, |method, real| method(real)) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the module's invariants.
    let (handle, real) = unsafe { File::of(file) };
    // SAFETY: SQLite's own arguments.
    let act = || real.call(|it| it.xShmMap, |method, real| unsafe { method(real, region, size, extend, out) });
    if extend == 0 { act() } else { change(handle, FileOp::GrowIndex, &[], false, act) }
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xShmLock, |method, real| method(real, first, count, flags)) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    let barrier = |method: unsafe extern "C" fn(*mut ffi::sqlite3_file), real| {
        // SAFETY: the default VFS's own file.
        unsafe { method(real) };
        ffi::SQLITE_OK
    };
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xShmBarrier, barrier) };
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: the module's invariants.
    unsafe { File::of(file).1.call(|it| it.xShmUnmap, |method, real| method(real, delete)) }
}
