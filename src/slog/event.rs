//! The events of the flight recorder: one enum, serialized under SwingSet's names and in SwingSet's shapes.

use std::fmt::Display;

use serde::{Serialize, Serializer};

use crate::{
    model::{
        id::{BlockHeight, BundleId, CrankNum, DeliveryNum, KRef, VRef, VatId},
        value::{Delivery, Syscall},
    },
    slog::{Data, DeliverResult, Queued, Shape, SyscallResult},
    store::{CrankMark, StateHash},
};

/// An event of the slog, as the kernel and the host report it. Times are added by the writer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "the fields are SwingSet's, listed in the documentation of the slog")]
pub enum Event<'a> {
    /// The host opened a state.
    HostStart {
        version: &'a str,
        kernel_version: u32,
        engine_version: u32,
        engine: &'a str,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
        directives_digest: Option<&'a str>,
        height: u64,
    },
    /// Recording resumes after the file could not be written for a while: what happened since the event before is
    /// missing.
    SlogResumed,
    /// A new file of the recording begins, behind the one that is named.
    SlogContinued {
        after: &'a str,
        part: u64,
        version: &'a str,
        engine: Option<&'a str>,
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
    },
    /// A vat was created in an earlier file of the recording, and lives.
    #[serde(rename = "create-vat")]
    CreateVatEarlier {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
        name: &'a str,
        dynamic: bool,
        #[serde(serialize_with = "text")]
        bundle: BundleId,
        manager_type: &'a str,
        earlier: bool,
    },
    /// The kernel is ready: the engine is up, the state is loaded.
    ImportKernelFinish,
    /// A vat was created.
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
    /// A vat's `startVat` delivery begins.
    VatStartupStart {
        #[serde(rename = "vatID", serialize_with = "text")]
        vat: VatId,
    },
    /// A vat's `startVat` delivery ended.
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
    /// The cranks of the block ran.
    EndBlockStart {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
    },
    /// The hash of the block is known.
    EndBlockFinish {
        #[serde(serialize_with = "number")]
        block_height: BlockHeight,
        block_time: u64,
        #[serde(serialize_with = "text")]
        state_hash: StateHash,
        cranks: u64,
    },
    /// The block is on disk.
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
        #[serde(serialize_with = "text")]
        crankhash: CrankMark,
        #[serde(serialize_with = "text")]
        activityhash: CrankMark,
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
        dispatch: &'a str,
        dr: DeliverResult<'a>,
    },
    /// A syscall begins. `ksc` is null if the vat may not make it.
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
    /// A directive was obeyed.
    Directive {
        #[serde(serialize_with = "number")]
        crank_num: CrankNum,
        #[serde(rename = "vatID")]
        vat: Option<String>,
        delivery_num: Option<u64>,
        action: String,
        line: String,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        consumed: Option<String>,
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

/// Place of an event in a run: its crank, vat and delivery.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct At {
    /// The crank; the one that the delivery was made in is not known in a replay.
    #[serde(serialize_with = "number")]
    pub crank_num: CrankNum,
    /// The vat of the delivery.
    #[serde(rename = "vatID", serialize_with = "text")]
    pub vat: VatId,
    /// The number of the delivery.
    #[serde(serialize_with = "number")]
    pub delivery_num: DeliveryNum,
}

/// A change of a c-list entry.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CListMode {
    /// The kernel introduced it to the vat.
    Import,
    /// The vat introduced it to the kernel.
    Export,
    /// The entry was removed.
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
