//! Writes the recording to a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use crate::{
    fault::HostFault,
    slog::{Event, Recorder},
};

/// Writes JSON lines.
#[derive(Debug)]
pub struct Writer(BufWriter<File>);

impl Writer {
    /// Writes to this file, made anew.
    pub fn create(path: &Path) -> Result<Writer, HostFault> {
        let file = File::create(path)
            .map_err(|err| HostFault::new(format_args!("write the slog `{}`", path.display()), err))?;
        Ok(Writer(BufWriter::new(file)))
    }
}

impl Recorder for Writer {
    fn record(&mut self, event: &Event<'_>) {
        let _ = serde_json::to_writer(&mut self.0, event);
        let _ = self.0.write_all(b"\n");
    }
    fn flush(&mut self) {
        let _ = self.0.flush();
    }
}
