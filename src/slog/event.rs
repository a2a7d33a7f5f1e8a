//! The events of the flight recorder: one enum, serialized under SwingSet's names and in SwingSet's shapes.

use std::fmt::Display;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::{
    id::{BlockHeight, BundleId, CrankNum, DeliveryNum, KRef, VRef, VatId},
    store::StateHash,
    value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
};

/// Something that happened. Times are added by the writer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "the fields are SwingSet's, listed in the documentation of the slog")]
pub enum Event<'a> {
    /// The host opened a state.
    HostStart {
        version: &'a str,
        kernel_version: u32,
        engine: &'a str,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
        directives_digest: Option<&'a str>,
        height: u64,
    },
    /// A vat came to be.
    CreateVat {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        name: &'a str,
        dynamic: bool,
        #[serde(serialize_with = "text")]
        bundle: BundleId,
        manager_type: &'static str,
        vat_parameters: Data<'a, KRef>,
    },
    /// `startVat` begins.
    VatStartupStart {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
    },
    /// `startVat` ended.
    VatStartupFinish {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
    },
    /// A block begins.
    BeginBlock {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
    },
    /// Its cranks ran.
    EndBlockStart {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
    },
    /// Its hash is known.
    EndBlockFinish {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
        cranks: u64,
    },
    /// It is on disk.
    CommitFinish {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
    },
    /// A crank begins.
    CrankStart {
        crank_type: &'static str,
        #[serde(serialize_with = "number")]
        crank_num: CrankNum,
        message_type: &'static str,
        message: Option<Queued<'a>>,
    },
    /// A crank is committed.
    CrankFinish {
        #[serde(serialize_with = "number")]
        crank_num: CrankNum,
        crankhash: String,
        #[serde(serialize_with = "text")]
        activityhash: StateHash,
    },
    /// A c-list entry came or went.
    #[serde(rename = "clist")]
    CList {
        #[serde(serialize_with = "number")]
        crank_num: CrankNum,
        mode: CListMode,
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        #[serde(serialize_with = "text")]
        kobj: KRef,
        #[serde(serialize_with = "text")]
        vobj: VRef,
    },
    /// A delivery begins.
    Deliver {
        #[serde(flatten)]
        at: At,
        replay: bool,
        dispatch: &'static str,
        kd: Shape<'a, Delivery<KRef>>,
        vd: Shape<'a, Delivery<VRef>>,
    },
    /// A delivery ended.
    DeliverResult {
        #[serde(flatten)]
        at: At,
        replay: bool,
        dispatch: &'static str,
        dr: DeliverResult<'a>,
    },
    /// A syscall begins. `ksc` is null where the vat may not make it.
    Syscall {
        #[serde(flatten)]
        at: At,
        syscall_num: u32,
        replay: bool,
        syscall: &'static str,
        ksc: Option<Shape<'a, Syscall<KRef>>>,
        vsc: Shape<'a, Syscall<VRef>>,
    },
    /// A syscall ended.
    SyscallResult {
        #[serde(flatten)]
        at: At,
        syscall_num: u32,
        replay: bool,
        ksr: SyscallResult<'a>,
        vsr: SyscallResult<'a>,
    },
    /// A vat wrote a line.
    Console {
        #[serde(flatten)]
        at: At,
        level: &'static str,
        args: [&'a str; 1],
        source: &'static str,
    },
    /// A promise that the host awaits was rejected, and its policy is to say so.
    PromiseRejected {
        #[serde(serialize_with = "number")]
        crank_num: CrankNum,
        #[serde(serialize_with = "text")]
        kpid: KRef,
        data: Data<'a, KRef>,
    },
    /// A vat ended.
    Terminate {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        should_reject: bool,
        info: Data<'a, KRef>,
    },
    /// Some rows of a dead vat were removed.
    VatCleanup {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        rows: usize,
    },
    /// The last of them is gone.
    VatCleanupComplete {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
    },
    /// A snapshot of a vat's heap was taken; it is stored with the block.
    HeapSnapshotSave {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        #[serde(serialize_with = "number")]
        snap_pos: DeliveryNum,
        hash: String,
        bytes: u64,
        new_bytes: usize,
    },
    /// A vat is brought up from a snapshot.
    HeapSnapshotLoad {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        #[serde(serialize_with = "number")]
        snap_pos: DeliveryNum,
        hash: String,
        bytes: u64,
    },
    /// A vat's heap is brought back by replaying its transcript.
    StartReplay {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        deliveries: u64,
    },
    /// The heap is back.
    FinishReplay {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        deliveries: u64,
    },
    /// The kernel is broken.
    KernelPanic {
        #[serde(flatten)]
        epitaph: &'a serde_json::Value,
    },
}

/// Where in the course of things.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// The crank; the one that the delivery was made in is not known in a replay.
    #[serde(serialize_with = "number")]
    pub crank_num: CrankNum,
    /// The vat.
    #[serde(rename = "vatID", serialize_with = "text")]
    pub vat: VatId,
    /// The delivery.
    #[serde(serialize_with = "number")]
    pub delivery_num: DeliveryNum,
}

/// What happened to a c-list entry.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CListMode {
    /// The kernel introduced it to the vat.
    Import,
    /// The vat introduced it to the kernel.
    Export,
    /// It is gone.
    Drop,
}

fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Ids that are plain numbers in a slog.
trait Number {
    fn number(&self) -> u64;
}
impl Number for CrankNum {
    fn number(&self) -> u64 {
        self.0
    }
}
impl Number for DeliveryNum {
    fn number(&self) -> u64 {
        self.0
    }
}
impl Number for BlockHeight {
    fn number(&self) -> u64 {
        self.0
    }
}

fn number<T: Number, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.number())
}

/// A value in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a, T>(pub &'a T);

/// Capdata in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a, R>(pub &'a CapData<R>);

/// A queued message or notify, in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a>(pub &'a crate::table::Item);

struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &BASE64_STANDARD.encode(self.0))?;
                map.end()
            }
        }
    }
}

struct Name<'a, R>(&'a R);

impl<R: Display> Serialize for Name<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

struct Names<'a, R>(&'a [R]);

impl<R: Display> Serialize for Names<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Name))
    }
}

impl<R: Display> Serialize for Data<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("body", &Text(&self.0.body))?;
        map.serialize_entry("slots", &Names(&self.0.slots))?;
        map.end()
    }
}

impl<R: Display> Serialize for Shape<'_, Message<R>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("methargs", &Data(&self.0.methargs))?;
        map.serialize_entry("result", &self.0.result.as_ref().map(Name))?;
        map.end()
    }
}

impl<R: Display> Serialize for Shape<'_, Resolution<R>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Name(&self.0.promise), self.0.rejected, Data(&self.0.data)).serialize(serializer)
    }
}

impl<R: Display> Serialize for Shape<'_, Vec<Resolution<R>>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Shape))
    }
}

impl<R: Display> Serialize for Shape<'_, Delivery<R>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.0.kind();
        match self.0 {
            Delivery::StartVat(data) | Delivery::ChangeOptions(data) => (kind, Data(data)).serialize(serializer),
            Delivery::Message { target, message } => (kind, Name(target), Shape(message)).serialize(serializer),
            Delivery::Notify(resolutions) => (kind, Shape(resolutions)).serialize(serializer),
            Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => {
                (kind, Names(refs)).serialize(serializer)
            }
            Delivery::BringOutYourDead => (kind,).serialize(serializer),
        }
    }
}

impl<R: Display> Serialize for Shape<'_, Syscall<R>> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.0.kind();
        match self.0 {
            Syscall::Send { target, message } => (kind, Name(target), Shape(message)).serialize(serializer),
            Syscall::Subscribe(promise) => (kind, Name(promise)).serialize(serializer),
            Syscall::Resolve(resolutions) => (kind, Shape(resolutions)).serialize(serializer),
            Syscall::Exit { failure, info } => (kind, failure, Data(info)).serialize(serializer),
            Syscall::VatstoreGet(key) | Syscall::VatstoreDelete(key) | Syscall::VatstoreGetNextKey(key) => {
                (kind, Text(key)).serialize(serializer)
            }
            Syscall::VatstoreSet(key, value) => (kind, Text(key), Text(value)).serialize(serializer),
            Syscall::VatstoreScan { prefix, after, max } => {
                (kind, Text(prefix), Text(after), max).serialize(serializer)
            }
            Syscall::DropImports(refs)
            | Syscall::RetireImports(refs)
            | Syscall::RetireExports(refs)
            | Syscall::AbandonExports(refs) => (kind, Names(refs)).serialize(serializer),
            Syscall::CallNow { device, methargs } => (kind, Name(device), Data(methargs)).serialize(serializer),
        }
    }
}

impl Serialize for Queued<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use crate::table::Item;
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            Item::Send { target, message } => {
                map.serialize_entry("type", "send")?;
                map.serialize_entry("target", &Name(target))?;
                map.serialize_entry("msg", &Shape(message))?;
            }
            Item::Notify { vat, promise } => {
                map.serialize_entry("type", "notify")?;
                map.serialize_entry("vatID", &Name(vat))?;
                map.serialize_entry("kpid", &Name(promise))?;
            }
            Item::StartVat { vat, parameters, .. } => {
                map.serialize_entry("type", "startVat")?;
                map.serialize_entry("vatID", &Name(vat))?;
                map.serialize_entry("vatParameters", &Data(parameters))?;
            }
            Item::UpgradeVat { vat, bundle, parameters, .. } => {
                map.serialize_entry("type", "upgrade-vat")?;
                map.serialize_entry("vatID", &Name(vat))?;
                map.serialize_entry("bundleID", &Name(bundle))?;
                map.serialize_entry("vatParameters", &Data(parameters))?;
            }
            Item::ChangeOptions { vat, options } => {
                map.serialize_entry("type", "changeVatOptions")?;
                map.serialize_entry("vatID", &Name(vat))?;
                map.serialize_entry("options", &Data(options))?;
            }
            Item::Reap(vat) => {
                map.serialize_entry("type", "bringOutYourDead")?;
                map.serialize_entry("vatID", &Name(vat))?;
            }
            Item::Cleanup(vat) => {
                map.serialize_entry("type", "cleanup-terminated-vat")?;
                map.serialize_entry("vatID", &Name(vat))?;
            }
        }
        map.end()
    }
}

/// `["ok", null, {"compute": fuel}]` or `["error", text, null]`.
#[derive(Debug, Clone, Copy)]
pub enum DeliverResult<'a> {
    /// It went well, and used this fuel.
    Ok(u64),
    /// The vat faulted.
    Error(&'a dyn ErrorText),
}

/// A fault, as text.
pub trait ErrorText: Display + std::fmt::Debug {}
impl<T: Display + std::fmt::Debug> ErrorText for T {}

#[derive(Serialize)]
struct Compute {
    compute: u64,
}

impl Serialize for DeliverResult<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            DeliverResult::Ok(fuel) => ("ok", (), Compute { compute: *fuel }).serialize(serializer),
            DeliverResult::Error(fault) => ("error", Name(fault), ()).serialize(serializer),
        }
    }
}

/// `["ok", answer]` or `["error", text]`.
#[derive(Debug, Clone, Copy)]
pub enum SyscallResult<'a> {
    /// It was made.
    Ok(&'a Answer),
    /// The vat may not make it.
    Error(&'a dyn ErrorText),
}

impl Serialize for SyscallResult<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(2))?;
        match self {
            SyscallResult::Ok(answer) => {
                seq.serialize_element("ok")?;
                let value: Option<&Bytes> = match answer {
                    Answer::Done => None,
                    Answer::Value(value) => value.as_ref(),
                };
                seq.serialize_element(&value.map(|it| Text(it)))?;
            }
            SyscallResult::Error(fault) => {
                seq.serialize_element("error")?;
                seq.serialize_element(&Name(fault))?;
            }
        }
        seq.end()
    }
}
