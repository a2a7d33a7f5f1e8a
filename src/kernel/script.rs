//! Scripted vats: closures in the place of wasm modules, for tests, benchmarks, and programs that want a mock of a vat.
//!
//! A [`ScriptedVat`] answers one delivery, as a guest does: it may make syscalls, and says what it used. [`Scripts`] casts
//! one for each vat that the kernel brings up.
//!
//! ```
//! use std::{cell::RefCell, rc::Rc};
//! use vathost::{
//!     CapData, VRef,
//!     kernel::{self, ScriptedVat, Scripts, Usage},
//!     model::{id::BundleId, value::{Delivery, Message, Syscall}},
//!     slog::Slog,
//!     state::{block::Block, table::Options},
//! };
//!
//! # fn main() -> anyhow::Result<()> {
//! // A vat that says hello to the first reference in each message, and keeps what it was told.
//! let heard = Rc::new(RefCell::new(Vec::new()));
//! let told = heard.clone();
//! let mut scripts = Scripts::new(move |_vat, _row| -> ScriptedVat {
//!     let told = told.clone();
//!     Box::new(move |delivery, _fuel, syscalls| {
//!         if let Delivery::Message { message, .. } = delivery {
//!             told.borrow_mut().extend(message.methargs.body.as_text().map(str::to_owned));
//!             if let Some(target) = message.methargs.slots.first().copied() {
//!                 let message = Message { methargs: CapData::plain("#[\"hello\",[]]"), result: None };
//!                 syscalls.call(Syscall::Send { target, message })?;
//!             }
//!         }
//!         Ok(Usage { fuel: 1, memory: 0 })
//!     })
//! });
//! let (mut block, ()) = kernel::outside(Block::memory(Slog::default())?, |crank| {
//!     let vat = crank.create_vat("echo", BundleId::of(b""), Options::default(), CapData::plain("#{}"))?;
//!     let root = crank.root(vat)?;
//!     let to_itself = CapData { body: "#[\"pass\",[\"$0\"]]".into(), slots: vec![root.into()] };
//!     crank.queue_from_outside(root.into(), to_itself, None)
//! })?;
//! while !kernel::is_quiescent(&block) {
//!     (block, _) = kernel::crank(block, &mut scripts)?;
//! }
//! assert_eq!(*heard.borrow(), ["#[\"pass\",[\"$0\"]]", "#[\"hello\",[]]"]);
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, fmt};

use crate::{
    kernel::{Syscalls, Usage, Worker, Workers},
    model::{
        blame::{Fault, HostFault},
        id::{VRef, VatId},
        value::Delivery,
    },
    state::{snapshot::Snapshot, table::Vat},
};

/// A vat without wasm: it answers one delivery, given the fuel that it may use. A fault that a syscall returns must be
/// returned. In a replay it must make the same syscalls again: what it remembers lives in the closure, which is made
/// anew when the vat is brought up.
pub type ScriptedVat = Box<dyn FnMut(&Delivery<VRef>, u64, &mut Syscalls) -> Result<Usage, Fault>>;

/// Makes the script of a vat that is brought up, by its number and its row.
type Casting = Box<dyn FnMut(VatId, &Vat) -> ScriptedVat>;

/// The workers of vats that are all scripted.
pub struct Scripts {
    casting: Casting,
    live: BTreeMap<VatId, Actor>,
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts").field("live", &self.live.keys()).finish_non_exhaustive()
    }
}

impl Scripts {
    /// Makes workers whose scripts come from `casting`, which is asked each time that a vat is brought up.
    pub fn new(casting: impl FnMut(VatId, &Vat) -> ScriptedVat + 'static) -> Scripts {
        Scripts { casting: Box::new(casting), live: BTreeMap::new() }
    }

    /// Lists the vats that are up.
    pub fn live(&self) -> impl Iterator<Item = VatId> {
        self.live.keys().copied()
    }

    /// Ends every script, as a restart of the host does: the vats are brought up again when they are needed.
    pub fn evict_all(&mut self) {
        self.live.clear();
    }
}

/// The worker of one scripted vat.
struct Actor(ScriptedVat);

impl Worker for Actor {
    fn deliver(
        &mut self,
        delivery: &Delivery<VRef>,
        fuel_max: u64,
        mut syscalls: Syscalls,
    ) -> (Syscalls, Result<Usage, Fault>) {
        let result = (self.0)(delivery, fuel_max, &mut syscalls);
        (syscalls, result)
    }
}

impl Workers for Scripts {
    fn worker(&mut self, vat: VatId) -> Option<&mut dyn Worker> {
        self.live.get_mut(&vat).map(|actor| actor as &mut dyn Worker)
    }

    fn start(
        &mut self,
        vat: VatId,
        row: &Vat,
        _: Option<Snapshot<'_>>,
        _: &dyn Fn() -> Result<Vec<u8>, HostFault>,
    ) -> Result<(), Fault> {
        self.live.insert(vat, Actor((self.casting)(vat, row)));
        Ok(())
    }

    fn stop(&mut self, vat: VatId) {
        self.live.remove(&vat);
    }
}
