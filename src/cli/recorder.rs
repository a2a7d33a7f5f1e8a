//! The options for a recording: how much is recorded, and when it goes on in a new file.

use std::{path::Path, str::FromStr};

use clap::ValueEnum;

use crate::{
    host::scenario::Bytes,
    model::blame::HostFault,
    slog::{Detail, Rotation, Slog, SlogFormat, Writer},
};

/// The detail of a recording.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SlogDetail {
    None,
    Cranks,
    Deliveries,
    #[default]
    Syscalls,
}

/// The format of a recording, as it is asked for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedFormat {
    Binary,
    Json,
}

/// The end of a file's name that says that the file is a binary recording.
const BINARY: &str = "vslog";

/// Returns the format that is meant: what was asked for; or what is there already; or what the name says.
fn meant(path: &Path, asked: Option<AskedFormat>) -> SlogFormat {
    let by_name = || match path.extension().is_some_and(|it| it == BINARY) {
        true => SlogFormat::Binary,
        false => SlogFormat::Json,
    };
    match asked {
        Some(AskedFormat::Binary) => SlogFormat::Binary,
        Some(AskedFormat::Json) => SlogFormat::Json,
        None => SlogFormat::of_file(path).unwrap_or_else(by_name),
    }
}

/// The rules of rotation, as the command line gives them: the size of a file, and the number of earlier ones that are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlogMax(Rotation);

impl FromStr for SlogMax {
    type Err = String;

    fn from_str(text: &str) -> Result<SlogMax, String> {
        let (size, keep) = text.split_once(',').map_or((text, None), |(size, keep)| (size, Some(keep)));
        let Bytes(max_bytes) = size.parse()?;
        let number = |keep: &str| keep.trim().parse().map_err(|_| format!("`{keep}` is no number of files"));
        Ok(SlogMax(Rotation { max_bytes, keep: keep.map(number).transpose()? }))
    }
}

impl From<SlogDetail> for Detail {
    fn from(detail: SlogDetail) -> Detail {
        match detail {
            SlogDetail::None => Detail::None,
            SlogDetail::Cranks => Detail::Cranks,
            SlogDetail::Deliveries => Detail::Deliveries,
            SlogDetail::Syscalls => Detail::Syscalls,
        }
    }
}

/// Opens the recording at this path, to write it.
pub(super) fn open(
    path: &Path,
    detail: SlogDetail,
    max: Option<SlogMax>,
    format: Option<AskedFormat>,
) -> Result<Slog, HostFault> {
    let mut writer = Writer::append_as(path, meant(path, format))?;
    if let Some(SlogMax(rotation)) = max {
        writer = writer.rotated(rotation)?;
    }
    Ok(Slog::new(detail.into(), writer))
}
