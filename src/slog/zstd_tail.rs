//! Finds the end of the whole part of a Zstandard file, by its frame and block headers alone (RFC 8878, section 3.1):
//! nothing is decompressed, and all but the headers is skipped.

use std::io::{self, Read, Seek, SeekFrom};

/// An empty block that ends a frame.
pub(super) const LAST_BLOCK: [u8; 3] = [1, 0, 0];

const MAGIC: u32 = 0xfd2f_b528;
const MAGIC_SKIPPABLE: u32 = 0x184d_2a50;

/// The state of a file's last frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a whole frame.
    Whole,
    /// Within the header of the frame that begins here.
    Header { frame: u64 },
    /// Within the frame that begins here; the last whole block of it ends there. [`LAST_BLOCK`] makes it a whole frame.
    Blocks { frame: u64, end: u64 },
}

/// Looks for the end.
pub(super) fn find(file: &mut (impl Read + Seek)) -> io::Result<Tail> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut at = 0;
    while at < length {
        let frame = at;
        let Some(header) = Header::read(file, at, length)? else { return Ok(Tail::Header { frame }) };
        at += header.bytes;
        if let Some(skipped) = header.skippable {
            at += skipped;
            if at > length {
                return Ok(Tail::Header { frame });
            }
            continue;
        }
        loop {
            let Some((last, bytes)) = block(file, at, length)? else {
                if header.checksum {
                    return Err(io::Error::other("it ends in the middle of a compressed frame: choose another name"));
                }
                return Ok(Tail::Blocks { frame, end: at });
            };
            at += bytes;
            if last {
                break;
            }
        }
        at += if header.checksum { 4 } else { 0 };
    }
    if at > length { Err(io::Error::other("it ends within a checksum: choose another name")) } else { Ok(Tail::Whole) }
}

struct Header {
    bytes: u64,
    checksum: bool,
    skippable: Option<u64>,
}

impl Header {
    /// Reads bytes of the file; `None` if the file ends within them.
    fn read(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<Header>> {
        let Some(magic) = bytes::<4>(file, at, length)?.map(u32::from_le_bytes) else { return Ok(None) };
        if magic & !0xf == MAGIC_SKIPPABLE {
            let size = bytes::<4>(file, at + 4, length)?.map(u32::from_le_bytes);
            return Ok(size.map(|it| Header { bytes: 8, checksum: false, skippable: Some(u64::from(it)) }));
        }
        if magic != MAGIC {
            return Err(io::Error::other(format!("at byte {at} is no Zstandard frame: choose another name")));
        }
        let Some([descriptor]) = bytes::<1>(file, at + 4, length)? else { return Ok(None) };
        let single_segment = descriptor & 0x20 != 0;
        let window = u64::from(!single_segment);
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content_size = match descriptor >> 6 {
            0 => u64::from(single_segment),
            it => 1 << it,
        };
        let header = 5 + window + dictionary + content_size;
        let whole = at + header <= length;
        Ok(whole.then_some(Header { bytes: header, checksum: descriptor & 4 != 0, skippable: None }))
    }
}

/// Reads a block's header: whether the block is its frame's last, and its bytes. `None` if the file ends within it.
fn block(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<(bool, u64)>> {
    let Some([a, b, c]) = bytes::<3>(file, at, length)? else { return Ok(None) };
    let header = u32::from_le_bytes([a, b, c, 0]);
    let bytes = match (header >> 1) & 3 {
        // One byte, repeated.
        1 => 3 + 1,
        0 | 2 => 3 + u64::from(header >> 3),
        _ => return Err(io::Error::other(format!("at byte {at} is no Zstandard block: choose another name"))),
    };
    Ok((at + bytes <= length).then_some((header & 1 != 0, bytes)))
}

fn bytes<const N: usize>(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<Option<[u8; N]>> {
    if at + N as u64 > length {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
