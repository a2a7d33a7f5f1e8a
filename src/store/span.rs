//! Spans: the files of an archive, into which the deliveries go that leave a state.
//!
//! ```text
//!   v3-0000000100-0000000200.span   a line of JSON: the head │ a line: the hash of the head │ a Zstandard frame: the chunks, as they were stored
//!
//!   v3-…0-…100.span ◀── before ── v3-…100-…200.span ◀── link ── table `pruned` ◀── the chunks in the state
//! ```
//!
//! Beside them are the modules that left: `bundle-HASH.wasm`, so that the deliveries of a vat which has ended can be made again.
//!
//! Invariants: a span has its name once all of it is on the disk, and its rows leave after that. The head attests the bytes; the checksum
//! that the state keeps attests the last span, and each span the one before. Which file was written by a try that came to nothing does not
//! matter: no span of the chain names it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zstd::bulk::{compress, decompress};

use crate::{
    model::{
        blame::HostFault,
        files,
        id::{BlockHeight, BundleId, DeliveryNum, VatId},
    },
    store::{
        history::{Chunk, Stored, checksum},
        private,
    },
};

/// The version of the format of these files.
const FORMAT: u32 = 1;
/// Bytes of the two lines before the frame, at the most.
const LINES_MAX: u64 = 4_096;
/// Bytes of the chunks of a span, unpacked, at the most: damage must not make the reader ask for more memory than there is.
const UNPACKED_MAX: u64 = 2 << 30;
/// Bytes of a span, at the most: what cannot be packed becomes a little longer.
const FILE_MAX: u64 = UNPACKED_MAX + (64 << 20);
/// Bytes of a module, at the most.
const BUNDLE_MAX: u64 = 1 << 30;
/// The level of compression: entries are packed already where they are long.
const LEVEL: i32 = 3;
/// Numbers before the entries of a chunk: the first delivery, the next, height and time of the block, bytes.
const NUMBERS: usize = 5;

/// The chunks of one vat that leave together.
#[derive(Debug)]
pub struct SpanChunks {
    pub(super) vat: VatId,
    /// The checksum of the chunk before the first; 0 stands for none.
    pub(super) before: i64,
    pub(super) chunks: Vec<Stored>,
}

/// The first line of a span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SpanHead {
    span: u32,
    vat: u64,
    first: u64,
    next: u64,
    /// The checksum of the last chunk before these, as in the table `pruned`.
    before: i64,
    /// The checksum of the last of these.
    after: i64,
    chunks: u64,
    /// Bytes of the chunks, unpacked.
    bytes: u64,
    /// The hash of the frame.
    blake3: String,
}

impl SpanHead {
    fn name(&self) -> String {
        format!("v{}-{:010}-{:010}.span", self.vat, self.first, self.next)
    }

    /// Returns whether both hold the same deliveries, however they are packed.
    fn holds_the_same(&self, other: &SpanHead) -> bool {
        let of = |it: &SpanHead| (it.vat, it.first, it.next, it.before, it.after);
        of(self) == of(other)
    }
}

/// The vat and the deliveries in the name of a span.
fn parse_name(name: &str) -> Option<(VatId, DeliveryNum, DeliveryNum)> {
    let mut parts = name.strip_prefix('v')?.strip_suffix(".span")?.split('-').map(|it| it.parse::<u64>().ok());
    let (vat, first, next) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && first < next).then_some((VatId(vat), DeliveryNum(first), DeliveryNum(next)))
}

/// The folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanFolder(PathBuf);

/// The spans of a vat that lead without a gap to what the state has of its transcript.
#[derive(Debug, Default)]
pub struct Reach {
    /// The spans, the oldest first.
    spans: Vec<(PathBuf, SpanHead)>,
    /// The reason why they do not reach back to the first delivery of all, if they do not.
    pub gap: Option<String>,
}

impl Reach {
    /// Returns the first delivery that they hold.
    pub fn first(&self) -> Option<DeliveryNum> {
        self.spans.first().map(|(_, head)| DeliveryNum(head.first))
    }

    /// Reads the chunks from that with a delivery on, one span at a time.
    pub fn chunks(self, from: DeliveryNum) -> impl Iterator<Item = Result<Chunk, HostFault>> {
        let spans = self.spans.into_iter().filter(move |(_, head)| head.next > from.0);
        let chunks = spans.flat_map(|(path, head)| match read_chunks(&path, &head) {
            Ok(chunks) => chunks.into_iter().map(Ok).collect(),
            Err(fault) => vec![Err(fault)],
        });
        chunks.skip_while(move |it| it.as_ref().is_ok_and(|it| it.next <= from))
    }
}

impl SpanFolder {
    /// Names a folder; it is made when the first span goes there.
    pub fn at(dir: impl Into<PathBuf>) -> SpanFolder {
        SpanFolder(dir.into())
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a span, so that it is there after a loss of power. One that is there already stays.
    ///
    /// # Errors
    ///
    /// The folder cannot be written, or another history has a span of this name there.
    pub fn put(&self, span: &SpanChunks) -> Result<(), HostFault> {
        let (head, bytes) = encode(span).map_err(|err| HostFault::new("pack a span of a transcript", err))?;
        let path = self.0.join(head.name());
        let failed = |err: io::Error| HostFault::new(format_args!("write `{}`", path.display()), err);
        match read_head(&path).and_then(|found| read_chunks(&path, &found).map(|_| found)) {
            Ok(found) if found.holds_the_same(&head) => {
                // Whoever wrote it may have died before it was on the disk.
                File::open(&path).and_then(|it| it.sync_all()).map_err(failed)?;
            }
            Ok(_) => {
                let why = "another state, or another history of this one, left its deliveries there";
                let fault = HostFault::new(format_args!("write `{}`", path.display()), why);
                return Err(fault.with_way_out("name a folder of its own for each state"));
            }
            // It is not there, or damaged.
            Err(_) => self.write(&path, &bytes).map_err(failed)?,
        }
        File::open(&self.0).and_then(|it| it.sync_all()).map_err(failed)
    }

    /// Returns where a module is, if it is there.
    pub fn bundle_path(&self, id: BundleId) -> PathBuf {
        self.0.join(format!("bundle-{id}.wasm"))
    }

    /// Writes a module, so that it is there after a loss of power. One that is there already stays.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub fn put_bundle(&self, id: BundleId, wasm: &[u8]) -> Result<(), HostFault> {
        let path = self.bundle_path(id);
        let put = || match self.bundle(id) {
            Ok(Some(_)) => File::open(&path)?.sync_all(),
            _ => self.write(&path, wasm),
        };
        let synced = put().and_then(|()| File::open(&self.0)?.sync_all());
        synced.map_err(|err| HostFault::new(format_args!("write `{}`", path.display()), err))
    }

    /// Reads a module, if it is there.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is another.
    pub fn bundle(&self, id: BundleId) -> Result<Option<Vec<u8>>, HostFault> {
        let path = self.bundle_path(id);
        match files::read(&path, BUNDLE_MAX) {
            Ok(wasm) if BundleId::of(&wasm) == id => Ok(Some(wasm)),
            Ok(_) => Err(altered(&path, CHANGED)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(altered(&path, err)),
        }
    }

    /// Writes a file under another name first.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        private::make_folder(&self.0)?;
        let draft = path.with_extension("draft");
        let mut file = private::open_file(&draft)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    }

    /// Finds the spans of a vat that lead to delivery `next`, with the checksum `link` of the chunk before it.
    pub(super) fn reach(&self, vat: VatId, next: DeliveryNum, link: i64) -> Reach {
        let (mut reach, mut at) = (Reach::default(), (next, link));
        let names = match self.names(vat) {
            Ok(names) => names,
            Err(err) => return Reach { gap: Some(format!("read `{}`: {err}", self.0.display())), ..reach },
        };
        while at.0.0 > 0 {
            match self.before(&names, vat, at) {
                Ok((path, head)) => {
                    at = (DeliveryNum(head.first), head.before);
                    reach.spans.push((path, head));
                }
                Err(gap) => {
                    reach.gap = Some(gap);
                    break;
                }
            }
        }
        reach.spans.reverse();
        reach
    }

    /// The span that ends where another begins; otherwise what is wrong.
    fn before(
        &self,
        names: &BTreeMap<DeliveryNum, Vec<DeliveryNum>>,
        vat: VatId,
        (next, link): (DeliveryNum, i64),
    ) -> Result<(PathBuf, SpanHead), String> {
        let dir = self.0.display();
        let mut why =
            format!("`{dir}` has no file `{vat}-…-{:010}.span`: deliveries of {vat} before {next} are missing", next.0);
        for first in names.get(&next).into_iter().flatten() {
            let path = self.0.join(format!("{vat}-{:010}-{:010}.span", first.0, next.0));
            why = match read_head(&path) {
                Ok(head) if (head.vat, head.first, head.next) != (vat.0, first.0, next.0) => {
                    format!("`{}` was renamed: it is `{}`", path.display(), head.name())
                }
                Ok(head) if head.after != link || (head.first == 0 && head.before != 0) => {
                    format!("`{}` is of another state, or of another history of this one", path.display())
                }
                Ok(head) => return Ok((path, head)),
                Err(fault) => fault.finding(),
            };
        }
        Err(why)
    }

    /// The spans of a vat by their ends, with where they begin.
    fn names(&self, vat: VatId) -> io::Result<BTreeMap<DeliveryNum, Vec<DeliveryNum>>> {
        let mut names: BTreeMap<DeliveryNum, Vec<DeliveryNum>> = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            if let Some((_, first, next)) = name.to_str().and_then(parse_name).filter(|it| it.0 == vat) {
                names.entry(next).or_default().push(first);
            }
        }
        // The order of a folder is that of its file system.
        names.values_mut().for_each(|it| it.sort_unstable());
        Ok(names)
    }
}

/// The whole contents of a span's file, and its head.
fn encode(span: &SpanChunks) -> io::Result<(SpanHead, Vec<u8>)> {
    let empty = || io::Error::other("it holds no delivery");
    let (first, last) = span.chunks.first().zip(span.chunks.last()).ok_or_else(empty)?;
    let mut body = Vec::new();
    for (chunk, (height, time), _) in &span.chunks {
        let numbers: [u64; NUMBERS] = [chunk.first.0, chunk.next.0, height.0, *time, chunk.entries.len() as u64];
        numbers.iter().for_each(|it| body.extend_from_slice(&it.to_le_bytes()));
        body.extend_from_slice(&chunk.entries);
    }
    let frame = compress(&body, LEVEL)?;
    let head = SpanHead {
        span: FORMAT,
        vat: span.vat.0,
        first: first.0.first.0,
        next: last.0.next.0,
        before: span.before,
        after: last.2,
        chunks: span.chunks.len() as u64,
        bytes: body.len() as u64,
        blake3: blake3::hash(&frame).to_string(),
    };
    let line = serde_json::to_string(&head)?;
    let mut bytes = format!("{line}\n{}\n", blake3::hash(line.as_bytes())).into_bytes();
    bytes.extend_from_slice(&frame);
    Ok((head, bytes))
}

fn altered(path: &Path, why: impl std::fmt::Display) -> HostFault {
    HostFault::new(format_args!("read `{}`", path.display()), why)
        .with_way_out("take the file from a backup of the archive, or from that of another replica")
}

const CHANGED: &str = "it is not as it was written";

fn read_head(path: &Path) -> Result<SpanHead, HostFault> {
    let file = files::open(path).map_err(|err| altered(path, err))?;
    take_head(path, &mut BufReader::new(file.take(LINES_MAX)))
}

fn take_head(path: &Path, lines: &mut impl BufRead) -> Result<SpanHead, HostFault> {
    let mut take = || {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(|err| altered(path, err))?;
        line.pop_if(|it| *it == b'\n').ok_or_else(|| altered(path, "it is cut short"))?;
        Ok::<_, HostFault>(line)
    };
    let (line, hash) = (take()?, take()?);
    if blake3::hash(&line).to_string().as_bytes() != hash {
        return Err(altered(path, CHANGED));
    }
    let head: SpanHead = serde_json::from_slice(&line).map_err(|err| altered(path, err))?;
    match head.span {
        FORMAT => Ok(head),
        other => Err(altered(path, format_args!("it has format {other}, and this version reads {FORMAT}"))),
    }
}

/// Reads all of a span, and proves it from its head on.
fn read_chunks(path: &Path, head: &SpanHead) -> Result<Vec<Chunk>, HostFault> {
    let file = files::read(path, FILE_MAX).map_err(|err| altered(path, err))?;
    let mut frame = &file[..];
    if take_head(path, &mut frame)? != *head || blake3::hash(frame).to_string() != head.blake3 {
        return Err(altered(path, CHANGED));
    }
    let room = usize::try_from(head.bytes.min(UNPACKED_MAX)).map_err(|err| altered(path, err))?;
    let body = decompress(frame, room).map_err(|err| altered(path, err))?;
    decode(head, &body).ok_or_else(|| altered(path, "its chunks are not those that its head attests"))
}

fn decode(head: &SpanHead, mut body: &[u8]) -> Option<Vec<Chunk>> {
    let (vat, mut sum, mut at) = (VatId(head.vat), head.before, head.first);
    let mut chunks = Vec::new();
    while !body.is_empty() {
        let mut take = || {
            let (number, rest) = body.split_first_chunk()?;
            body = rest;
            Some(u64::from_le_bytes(*number))
        };
        let [first, next, height, time, bytes] = [take()?, take()?, take()?, take()?, take()?];
        let (entries, rest) = body.split_at_checked(usize::try_from(bytes).ok()?)?;
        body = rest;
        if first != at || next <= first {
            return None;
        }
        let (first, of) = (DeliveryNum(first), (BlockHeight(height), time));
        sum = checksum(vat, sum, (first, DeliveryNum(next)), of, entries);
        at = next;
        chunks.push(Chunk { first, next: DeliveryNum(next), entries: entries.to_vec() });
    }
    (sum == head.after && at == head.next && chunks.len() as u64 == head.chunks).then_some(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of ten deliveries each, from this one on, chained behind `before`.
    fn span(vat: VatId, first: u64, count: u64, before: i64) -> SpanChunks {
        let (mut sum, mut chunks) = (before, Vec::new());
        for at in (first..first + count * 10).step_by(10) {
            let (first, next, of) = (DeliveryNum(at), DeliveryNum(at + 10), (BlockHeight(at / 10), at * 7));
            let entries = format!("entries from {at}").repeat(9).into_bytes();
            sum = checksum(vat, sum, (first, next), of, &entries);
            chunks.push((Chunk { first, next, entries }, of, sum));
        }
        SpanChunks { vat, before, chunks }
    }

    fn after(span: &SpanChunks) -> i64 {
        span.chunks.last().expect("has chunks").2
    }

    const VAT: VatId = VatId(3);

    #[test]
    fn spans_lead_back_to_the_first_delivery_past_files_that_came_to_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = SpanFolder::at(dir.path().join("archive"));
        let one = span(VAT, 0, 3, 0);
        let two = span(VAT, 30, 2, after(&one));
        for span in [&one, &two, &two, &span(VAT, 0, 5, 0), &span(VAT, 0, 2, 0), &span(VatId(4), 30, 2, 0)] {
            folder.put(span).expect("writes");
        }
        let reach = folder.reach(VAT, DeliveryNum(50), after(&two));
        assert_eq!((reach.first(), &reach.gap), (Some(DeliveryNum(0)), &None));
        let chunks: Result<Vec<Chunk>, _> = reach.chunks(DeliveryNum(15)).collect();
        let all = one.chunks.iter().chain(&two.chunks).map(|it| it.0.clone());
        assert_eq!(chunks.expect("reads"), all.skip(1).collect::<Vec<_>>());
        // Another history ends in the same place.
        let gap = folder.reach(VAT, DeliveryNum(50), after(&two) + 1).gap.expect("none leads there");
        assert!(gap.contains("another history"), "{gap}");
        let why = folder.put(&span(VAT, 30, 2, 7)).expect_err("another history").to_string();
        assert!(why.contains("v3-0000000030-0000000050.span") && why.contains("a folder of its own"), "{why}");
    }

    #[test]
    fn each_bit_of_a_span_is_proved_and_what_is_damaged_is_written_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = SpanFolder::at(dir.path());
        let it = span(VAT, 0, 2, 0);
        folder.put(&it).expect("writes");
        let path = dir.path().join("v3-0000000000-0000000020.span");
        let sound = fs::read(&path).expect("reads");
        let why = || {
            let reach = folder.reach(VAT, DeliveryNum(20), after(&it));
            let gap = reach.gap.clone();
            gap.or_else(|| reach.chunks(DeliveryNum(0)).find_map(Result::err).map(|fault| fault.to_string()))
        };
        assert_eq!(why(), None);
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).expect("writes");
            assert!(why().is_some_and(|it| it.contains("v3-0000000000-0000000020.span")), "byte {at}: {:?}", why());
        }
        for length in [0, 10, sound.len() - 1] {
            fs::write(&path, &sound[..length]).expect("writes");
            assert!(why().is_some(), "{length}");
        }
        folder.put(&it).expect("writes");
        assert_eq!((why(), fs::read(&path).expect("reads")), (None, sound));
        fs::remove_file(&path).expect("removes");
        assert!(why().is_some_and(|it| it.contains("no file `v3-…-0000000020.span`")), "{:?}", why());
    }
}
