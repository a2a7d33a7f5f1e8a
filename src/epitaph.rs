//! What is left to say when the kernel is broken: where it was, and which invariant failed.

use serde::Serialize;

use crate::{fault::KernelPanic, kernel::Position};

/// Written beside the store as `panic-<crank>.json`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Epitaph {
    pub version: &'static str,
    pub kernel_version: u32,
    pub engine: String,
    pub crank: Option<u64>,
    #[serde(rename = "vatID")]
    pub vat: Option<String>,
    pub delivery: Option<u64>,
    pub dispatch: Option<&'static str>,
    pub syscall: Option<u32>,
    pub syscall_kind: Option<&'static str>,
    pub invariant: &'static str,
    pub detail: String,
    pub location: String,
}

impl Epitaph {
    /// Of this panic, at this place.
    pub fn new(panic: &KernelPanic, position: &Position) -> Epitaph {
        Epitaph {
            version: env!("CARGO_PKG_VERSION"),
            kernel_version: crate::KERNEL_VERSION,
            engine: crate::vat::engine_id(),
            crank: position.crank.map(|it| it.0),
            vat: position.delivery.map(|(vat, ..)| vat.to_string()),
            delivery: position.delivery.map(|(_, number, _)| number.0),
            dispatch: position.delivery.map(|(.., kind)| kind),
            syscall: position.syscall.map(|(number, _)| number),
            syscall_kind: position.syscall.map(|(_, kind)| kind),
            invariant: panic.invariant,
            detail: panic.detail.clone(),
            location: panic.location.to_string(),
        }
    }

    /// Its file.
    pub fn file_name(&self) -> String {
        match self.crank {
            Some(crank) => format!("panic-{crank}.json"),
            None => "panic.json".to_owned(),
        }
    }
}
