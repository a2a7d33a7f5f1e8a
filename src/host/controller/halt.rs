//! The end of a host that halts: the event that it records, and the files that it leaves beside the state for the operators.
//!
//! Invariant: a kernel panic leaves an epitaph in the state's folder, and a core dump of the guest if it was live, whatever program embeds the
//! host. A state in memory, or one that is only read, gets no files.

use std::path::Path;

use crate::{
    host::{controller::Host, epitaph::Epitaph},
    kernel::Halt,
    model::blame::Fault,
    slog::{Detail, Event},
    state::block::Block,
    store::write_private,
    vat::CoreDump,
};

impl Host {
    /// Evicts all instances, since none outlives its block. First it keeps a core dump of the guest in whose delivery the kernel panicked.
    pub(super) fn clear_up(&mut self, halt: Box<Halt>) -> Box<Halt> {
        if let (Fault::Kernel(_), Some((vat, ..))) = (&halt.fault, halt.position.delivery) {
            self.core_dump = self.warehouse.core_dump(vat);
        }
        self.warehouse.evict_all();
        halt
    }

    /// Records the halt as the last event, and leaves an epitaph of a kernel panic. An error of the recorder is reported by the next
    /// flush, at the end.
    pub(super) fn record_halt(&mut self, halt: &Halt) {
        let Some(mut epitaph) = Epitaph::of(halt, &self.standing, None) else { return };
        epitaph.guest_backtrace = self.core_dump.as_ref().and_then(CoreDump::backtrace);
        if let Ok(epitaph) = serde_json::to_value(&epitaph) {
            self.slog.record(Detail::Cranks, || Event::KernelPanic { epitaph: &epitaph });
        }
        let dir = self.options.state.clone().filter(|_| !self.options.read_only);
        self.epitaph = Some(match dir {
            Some(dir) => self.bury(epitaph, halt, &dir),
            None => epitaph,
        });
    }

    /// Writes the epitaph beside the store, and the guest's core dump.
    fn bury(&mut self, mut epitaph: Epitaph, halt: &Halt, dir: &Path) -> Epitaph {
        // The committed state; the vat may be younger, and have no name there.
        let block = Block::open_read_only(dir).ok();
        let name = |block: &Block| Some(block.tables().vats.get(&halt.position.delivery?.0)?.name.clone());
        epitaph.vat_name = block.as_ref().and_then(name);
        if let (Some(dump), Some(block)) = (&self.core_dump, &block) {
            let file = epitaph.core_dump_name();
            let vat = epitaph.vat_name.as_deref().or(epitaph.vat.as_deref()).unwrap_or_default();
            let encoded = block.bundle(dump.bundle()).map_err(|err| err.to_string());
            let written = encoded.and_then(|wasm| {
                write_private(&dir.join(&file), &dump.encode(&wasm, vat)).map_err(|err| err.to_string())
            });
            match written {
                Ok(()) => epitaph.core_dump = Some(file),
                // The epitaph matters more.
                Err(err) => self.unburied.push(format!("no core dump of the guest: {err}")),
            }
        }
        let path = dir.join(epitaph.file_name());
        let text = serde_json::to_vec_pretty(&epitaph).map_err(std::io::Error::from);
        if let Err(err) = text.and_then(|text| write_private(&path, text.as_ref())) {
            self.unburied.push(format!("write {}: {err}", path.display()));
        }
        epitaph
    }

    /// Returns the epitaph of the kernel panic that halted the host. It is in the state's folder too.
    pub fn epitaph(&self) -> Option<&Epitaph> {
        self.epitaph.as_ref()
    }

    /// Returns which files could not be written into the state's folder, and why.
    pub fn unburied(&self) -> &[String] {
        &self.unburied
    }

    /// Returns the core dump of the guest in whose delivery the kernel panicked, if the guest was live.
    pub fn core_dump(&self) -> Option<&CoreDump> {
        self.core_dump.as_ref()
    }
}
