//! A recorded event, as its readers match on it: the one place that knows what its fields are called.
//!
//! ```text
//!   Record (a line of JSON) ──Record::event──▶ RecordedEvent ─▶ Operation (a delivery or syscall), QueuedItem (the item that a crank took)
//! ```
//!
//! It looks at the JSON and believes little of it: a recording may be SwingSet's own, whose vats have references and syscalls that
//! ours have not, or be of a later version. What is missing is `None`; what is not known is [`RecordedEvent::Other`].

use serde_json::Value;

use crate::slog::{CListMode, Record};

/// An event of a recording.
#[derive(Debug, Clone, Copy)]
pub enum RecordedEvent<'a> {
    /// A host opened the state: what was under way before is lost, and runs again.
    Start {
        /// The height of the last block that was committed.
        height: Option<u64>,
    },
    /// A block begins.
    BeginBlock {
        /// The height of the block.
        height: Option<u64>,
        /// The time of the block, in seconds.
        time: Option<u64>,
    },
    /// The cranks of a block ran, and its hash is known.
    EndBlockFinish {
        /// The number of cranks that the block has so far.
        cranks: Option<u64>,
        /// The hash of the state.
        state_hash: Option<&'a str>,
    },
    /// A block is on disk.
    CommitFinish {
        /// The height of the block.
        height: Option<u64>,
    },
    /// A vat was created.
    CreateVat {
        /// The vat's number.
        vat: &'a str,
        /// The vat's name.
        name: &'a str,
    },
    /// A crank begins.
    CrankStart {
        /// The number of the crank.
        crank: Option<u64>,
        /// The item that the crank took from its queue.
        item: QueuedItem<'a>,
    },
    /// A crank is part of its block.
    CrankFinish,
    /// A c-list entry came or went.
    CList {
        /// The change of the entry.
        mode: CListMode,
        /// The vat of the c-list.
        vat: &'a str,
        /// The kernel's reference.
        kobj: &'a str,
        /// The vat's reference.
        vobj: &'a str,
    },
    /// A delivery begins.
    Deliver {
        /// The delivery in the kernel's references.
        kernel: Operation<'a>,
        /// The delivery in the vat's references.
        vat: Operation<'a>,
    },
    /// A delivery ended well, and used this fuel.
    Delivered {
        /// Units of fuel, where they are told.
        fuel: Option<u64>,
    },
    /// A delivery failed.
    DeliveryFailed {
        /// The reason, as it is recorded: mostly a text.
        why: &'a Value,
        /// Units of fuel, where they are told.
        fuel: Option<u64>,
    },
    /// A syscall begins.
    Syscall {
        /// The number of the syscall in its delivery, from 0.
        number: Option<u64>,
        /// The syscall in the kernel's references; nothing of it if the vat may not make it.
        kernel: Operation<'a>,
        /// The syscall in the vat's references.
        vat: Operation<'a>,
    },
    /// A syscall was answered.
    SyscallResult {
        /// The number of the syscall in its delivery, from 0.
        number: Option<u64>,
        /// `["ok", …]` or `["error", …]`, in the kernel's references.
        kernel: &'a Value,
        /// `["ok", …]` or `["error", …]`, in the vat's references.
        vat: &'a Value,
    },
    /// A vat wrote a line.
    Console,
    /// A promise that the host awaits was rejected.
    PromiseRejected {
        /// The promise.
        kpid: &'a str,
    },
    /// A directive was obeyed.
    Directive {
        /// The directive, as it was written.
        line: &'a str,
        /// The outcome of the directive.
        status: &'a str,
        /// The delivery that the directive consumed, if it did.
        consumed: Option<&'a str>,
    },
    /// A vat ended.
    Terminate {
        /// The vat's number.
        vat: Option<&'a str>,
        /// Whether its crank was undone.
        is_failure: bool,
        /// The reason, as capdata.
        info: &'a Value,
    },
    /// Rows of a dead vat were removed: so many.
    VatCleanup {
        /// The number of rows.
        rows: Option<u64>,
    },
    /// The last row of a dead vat is gone.
    VatCleanupComplete,
    /// A vat is brought back by replay of so many deliveries.
    StartReplay {
        /// The number of deliveries.
        deliveries: Option<u64>,
    },
    /// A vat is back.
    FinishReplay {
        /// The number of deliveries.
        deliveries: Option<u64>,
    },
    /// The kernel is broken; the event is the epitaph.
    KernelPanic {
        /// The name of the invariant that does not hold.
        invariant: &'a Value,
        /// The details, in words.
        detail: &'a Value,
    },
    /// The event belongs to the replay of a vat, and to nothing new.
    Replayed,
    /// An event of another kind.
    Other,
}

/// A delivery or syscall, in SwingSet's shape: an array that begins with its kind.
#[derive(Debug, Clone, Copy)]
pub struct Operation<'a>(pub &'a Value);

/// A message within a delivery, a syscall or a queued item.
#[derive(Debug, Clone, Copy)]
pub struct RecordedMessage<'a> {
    /// The target of the message.
    pub target: Option<&'a str>,
    /// The promise for its result.
    pub result: Option<&'a str>,
    /// The method and arguments, as capdata.
    pub methargs: &'a Value,
}

/// A promise that is settled.
#[derive(Debug, Clone, Copy)]
pub struct RecordedResolution<'a> {
    /// The promise.
    pub promise: &'a str,
    /// Whether it is rejected.
    pub rejected: bool,
}

/// The item that a crank took from its queue, in SwingSet's shape; `null` if it took none.
#[derive(Debug, Clone, Copy)]
pub struct QueuedItem<'a> {
    /// The item as JSON.
    pub value: &'a Value,
    /// The kind of the item, as the crank's event tells it.
    pub kind: &'a str,
}

const NULL: Value = Value::Null;

impl<'a> Operation<'a> {
    /// Returns the kind: `message`, `send`, `notify`, `resolve` …
    pub fn kind(self) -> Option<&'a str> {
        self.part(0).as_str()
    }

    /// Returns the message that is delivered or sent, if it is one.
    pub fn message(self) -> Option<RecordedMessage<'a>> {
        matches!(self.kind(), Some("message" | "send")).then(|| message(self.part(1), self.part(2)))
    }

    /// Returns the promises that are settled: by a `resolve`, or as a `notify` reports.
    pub fn resolutions(self) -> impl Iterator<Item = RecordedResolution<'a>> {
        let list = matches!(self.kind(), Some("resolve" | "notify")).then(|| self.part(1).as_array()).flatten();
        list.into_iter().flatten().filter_map(|resolution| {
            Some(RecordedResolution { promise: resolution.get(0)?.as_str()?, rejected: resolution.get(1)? == true })
        })
    }

    /// Returns whether a reference is in it.
    pub fn mentions(self, name: &str) -> bool {
        mentions(self.0, name)
    }

    fn part(self, at: usize) -> &'a Value {
        self.0.get(at).unwrap_or(&NULL)
    }
}

impl<'a> QueuedItem<'a> {
    /// Returns the kind that the item itself tells.
    pub fn item_kind(self) -> Option<&'a str> {
        self.text("type")
    }

    /// Returns the message, if the item is one.
    pub fn message(self) -> Option<RecordedMessage<'a>> {
        (self.item_kind()? == "send").then(|| message(self.field("target"), self.field("msg")))
    }

    /// Returns the promise of which a vat is to be notified.
    pub fn promise(self) -> Option<&'a str> {
        self.text("kpid").filter(|_| self.item_kind() == Some("notify"))
    }

    /// Returns the vat that the item is for, unless it is a message.
    pub fn vat(self) -> Option<&'a str> {
        self.text("vatID")
    }

    /// Returns whether a reference is in it.
    pub fn mentions(self, name: &str) -> bool {
        mentions(self.value, name)
    }

    fn field(self, name: &str) -> &'a Value {
        self.value.get(name).unwrap_or(&NULL)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.field(name).as_str()
    }
}

impl RecordedMessage<'_> {
    /// Returns the body of the method and arguments, if it is text.
    pub fn body(&self) -> Option<&str> {
        self.methargs.get("body")?.as_str()
    }
}

fn message<'a>(target: &'a Value, message: &'a Value) -> RecordedMessage<'a> {
    RecordedMessage {
        target: target.as_str(),
        result: message.get("result").and_then(Value::as_str),
        methargs: message.get("methargs").unwrap_or(&NULL),
    }
}

/// Returns whether a reference is in a value, as a text of its own. Bodies of messages are not searched.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(fields) => fields.iter().any(|(field, value)| field != "body" && mentions(value, name)),
        _ => false,
    }
}

impl Record {
    /// Returns what the event says.
    pub fn event(&self) -> RecordedEvent<'_> {
        let field = |name: &str| self.value.get(name).unwrap_or(&NULL);
        let (number, text) = (|name: &str| self.number(name), |name: &str| self.text(name));
        match self.kind() {
            "host-start" | "import-kernel-start" => RecordedEvent::Start { height: number("height") },
            "begin-block" => RecordedEvent::BeginBlock { height: number("blockHeight"), time: number("blockTime") },
            "end-block-finish" => {
                RecordedEvent::EndBlockFinish { cranks: number("cranks"), state_hash: text("stateHash") }
            }
            "commit-finish" => RecordedEvent::CommitFinish { height: number("blockHeight") },
            "create-vat" => match (text("vatID"), text("name")) {
                (Some(vat), Some(name)) => RecordedEvent::CreateVat { vat, name },
                _ => RecordedEvent::Other,
            },
            "crank-start" => {
                let item = QueuedItem { value: field("message"), kind: text("messageType").unwrap_or_default() };
                RecordedEvent::CrankStart { crank: number("crankNum"), item }
            }
            "crank-finish" => RecordedEvent::CrankFinish,
            "clist" => RecordedEvent::CList {
                mode: match text("mode") {
                    Some("import") => CListMode::Import,
                    Some("export") => CListMode::Export,
                    _ => CListMode::Drop,
                },
                vat: text("vatID").unwrap_or("?"),
                kobj: text("kobj").unwrap_or("?"),
                vobj: text("vobj").unwrap_or("?"),
            },
            "start-replay" => RecordedEvent::StartReplay { deliveries: number("deliveries") },
            "finish-replay" => RecordedEvent::FinishReplay { deliveries: number("deliveries") },
            _ if self.is_replay() => RecordedEvent::Replayed,
            "deliver" => RecordedEvent::Deliver { kernel: Operation(field("kd")), vat: Operation(field("vd")) },
            "deliver-result" => {
                let dr = field("dr");
                let fuel = dr.get(2).and_then(|usage| usage.get("compute")?.as_u64());
                match dr.get(0).and_then(Value::as_str) {
                    Some("ok") => RecordedEvent::Delivered { fuel },
                    _ => RecordedEvent::DeliveryFailed { why: dr.get(1).unwrap_or(&NULL), fuel },
                }
            }
            "syscall" => RecordedEvent::Syscall {
                number: number("syscallNum"),
                kernel: Operation(field("ksc")),
                vat: Operation(field("vsc")),
            },
            "syscall-result" => {
                RecordedEvent::SyscallResult { number: number("syscallNum"), kernel: field("ksr"), vat: field("vsr") }
            }
            "console" => RecordedEvent::Console,
            "promise-rejected" => RecordedEvent::PromiseRejected { kpid: text("kpid").unwrap_or("?") },
            "directive" => RecordedEvent::Directive {
                line: text("line").unwrap_or_default(),
                status: text("status").unwrap_or_default(),
                consumed: text("consumed"),
            },
            "terminate" => RecordedEvent::Terminate {
                vat: text("vatID"),
                is_failure: field("shouldReject") == true,
                info: field("info"),
            },
            "vat-cleanup" => RecordedEvent::VatCleanup { rows: number("rows") },
            "vat-cleanup-complete" => RecordedEvent::VatCleanupComplete,
            "kernel-panic" => RecordedEvent::KernelPanic { invariant: field("invariant"), detail: field("detail") },
            _ => RecordedEvent::Other,
        }
    }

    /// Returns the vat of the event.
    pub fn vat(&self) -> Option<&str> {
        self.text("vatID")
    }

    /// Returns the crank of the event.
    pub fn crank(&self) -> Option<u64> {
        self.number("crankNum")
    }

    /// Returns the number of the event's delivery.
    pub fn delivery(&self) -> Option<u64> {
        self.number("deliveryNum")
    }
}
