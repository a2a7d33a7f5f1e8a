//! Entries of transcripts as they are stored: a format version, how they are packed, then the entries, one behind the other.

use std::{borrow::Cow, fmt, io::Cursor};

use zstd::bulk::{Compressor, decompress};

use crate::model::blame::HostFault;

/// The version of the format, its first byte: 4 holds canonical encodings.
const FORMAT: u8 = 4;
/// The head of entries that stand as they are.
pub(crate) const PLAIN: [u8; 2] = [FORMAT, 0];
/// The head of those that are a Zstandard frame; their length follows, in eight bytes.
const PACKED: [u8; 2] = [FORMAT, 1];
/// Bytes of entries, unpacked: damage must not make the reader ask for more memory than there is.
const UNPACKED_MAX: usize = 1 << 30;
/// Entries of fewer bytes are not worth it.
const PACKED_MIN: usize = 512;
/// The level: most of what vats are told and ask looks like what they were told and asked before, and the quickest
/// finds that.
const PACKED_LEVEL: i32 = 1;
/// Bytes of room that are kept from one call to the next.
const ROOM_KEPT: usize = 16 << 20;

/// Puts entries together, and packs them.
#[derive(Default)]
pub(super) struct Packer {
    plain: Vec<u8>,
    packed: Cursor<Vec<u8>>,
    compressor: Option<Compressor<'static>>,
}

impl Packer {
    /// Returns these pieces, one behind the other, as they are stored.
    pub(super) fn pack<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> Result<&[u8], HostFault> {
        // One that was larger than usual is no reason to keep its room.
        for room in [&mut self.plain, self.packed.get_mut()] {
            room.clear();
            room.shrink_to(ROOM_KEPT);
        }
        self.plain.extend_from_slice(&PLAIN);
        pieces.for_each(|it| self.plain.extend_from_slice(it));
        let bytes = &self.plain[PLAIN.len()..];
        if bytes.len() < PACKED_MIN {
            return Ok(&self.plain);
        }
        let failed = |err| HostFault::new("pack a transcript", err);
        let compressor = match &mut self.compressor {
            Some(it) => it,
            none => none.insert(Compressor::new(PACKED_LEVEL).map_err(failed)?),
        };
        let packed = self.packed.get_mut();
        packed.extend_from_slice(&PACKED);
        packed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        let head = packed.len();
        packed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.packed.set_position(head as u64);
        compressor.compress_to_buffer(bytes, &mut self.packed).map_err(failed)?;
        Ok(self.packed.get_ref())
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

/// Returns the entries that are stored so, one behind the other.
pub(crate) fn unpack(stored: &[u8]) -> Result<Cow<'_, [u8]>, HostFault> {
    let fault = |why: &dyn fmt::Display| HostFault::new("unpack a transcript", why);
    match stored.split_at_checked(2) {
        Some((&[FORMAT, 0], entries)) => Ok(Cow::Borrowed(entries)),
        Some((&[FORMAT, 1], rest)) => {
            let (length, packed) = rest.split_first_chunk().ok_or_else(|| fault(&"it is cut short"))?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok().filter(|it| *it <= UNPACKED_MAX);
            let length = length.ok_or_else(|| fault(&"it says that it is larger than any can be"))?;
            decompress(packed, length).map(Cow::Owned).map_err(|err| fault(&err))
        }
        _ => Err(fault(&"unknown format, or unknown packing")),
    }
}
