//! Files that somebody names: scenarios, modules, directives, campaigns, recordings, mail.
//!
//! Invariants: nothing is read whole that exceeds a bound; no read waits for something that may never come. Whatever is
//! no ordinary file (a FIFO, a device, a socket, a folder) is refused by its kind, before it is opened. The exception
//! is a pipe or socket that this process was started with (`/dev/stdin`, `/dev/fd/63`): whoever started it wants it to
//! be read as it comes, up to the same bound.

use std::{
    fmt,
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Bytes of a file that people write: a scenario, directives, a campaign, a script. A directive file of a hundred
/// thousand lines takes a third of that.
pub(crate) const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a module, or of its text, which is some ten times as long. The check of the module is stricter.
pub(crate) const MODULE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of what a program wrote as one JSON value: an epitaph, a vector, the head of a campaign's results.
pub(crate) const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one line of a file of lines (mail, results). The largest body fits, with every byte of it escaped.
pub(crate) const LINE_BYTES_MAX: u64 = 16 << 20;

/// Opens an ordinary file, or a pipe that this process was started with.
///
/// # Errors
///
/// The file cannot be opened, or is of another kind. If it does not exist, the kind is [`io::ErrorKind::NotFound`].
pub fn open(path: &Path) -> io::Result<File> {
    if is_inherited(path) {
        let file = File::open(path)?;
        let kind = file.metadata()?.file_type();
        return if kind.is_fifo() || kind.is_socket() { Ok(file) } else { ordinary(kind).map(|()| file) };
    }
    ordinary(fs::metadata(path)?.file_type())?;
    // Whatever took its place meanwhile is not waited for.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    ordinary(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads all of a file that has at most this many bytes.
///
/// # Errors
///
/// Those of [`open`]; or the file is longer.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata()?.len();
    if len > max {
        return Err(too_long(max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    // It may grow while it is read, or not say how long it is.
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(too_long(max)) } else { Ok(bytes) }
}

/// Reads all of a file of text.
///
/// # Errors
///
/// Those of [`read`]; or the text is not UTF-8.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err.utf8_error()))
}

/// Returns whether the path names something that this process was started with.
fn is_inherited(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

fn ordinary(kind: FileType) -> io::Result<()> {
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, Unordinary(what)))
}

fn too_long(max: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it has more than the {} MiB that are read of such a file", max >> 20),
    )
}

/// The error for a path that is no file of bytes.
#[derive(Debug)]
struct Unordinary(&'static str);

impl fmt::Display for Unordinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is {}: an ordinary file is needed", self.0)
    }
}

impl std::error::Error for Unordinary {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_no_further() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("it");
        fs::write(&path, "12345678").expect("writes");
        assert_eq!(read(&path, 8).expect("reads"), b"12345678");
        assert_eq!(read(&path, 7).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&dir.path().join("other"), 7).expect_err("absent").kind(), io::ErrorKind::NotFound);
        fs::write(&path, b"\xff").expect("writes");
        assert_eq!(read_text(&path, 8).expect_err("no text").kind(), io::ErrorKind::InvalidData);
        // A file that does not say how long it is.
        assert!(read(Path::new("/proc/self/maps"), 16).is_err());
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("a FIFO");
        let why = |path: &Path| open(path).expect_err("refused").to_string();
        assert_eq!(why(&fifo), "it is a FIFO: an ordinary file is needed");
        assert_eq!(why(Path::new("/dev/zero")), "it is a device: an ordinary file is needed");
        assert_eq!(open(dir.path()).expect_err("refused").kind(), io::ErrorKind::IsADirectory);
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("a socket");
        assert_eq!(why(&dir.path().join("socket")), "it is a socket: an ordinary file is needed");
    }
}
