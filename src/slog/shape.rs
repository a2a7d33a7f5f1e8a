//! Values in SwingSet's shapes: arrays that begin with their kind, bodies as strings where they are text.

use std::fmt::Display;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use crate::model::value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall};

/// A value in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a, T>(pub &'a T);

/// Capdata in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a, R>(pub &'a CapData<R>);

/// A queued message or notify, in SwingSet's shape.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a>(pub &'a crate::model::item::Item);

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
        use crate::model::item::Item;
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
    /// The delivery succeeded, and used this fuel.
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
    /// The syscall was made, with this answer.
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
                    Answer::Device(Ok(body) | Err(body)) => Some(body),
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
