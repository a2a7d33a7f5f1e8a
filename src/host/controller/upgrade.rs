//! Upgrades of a state's vats to the code that a scenario has now, as by their admin facets: a new incarnation that
//! fails to start leaves the old one as it was.

use crate::{
    host::{
        controller::{Host, Sent, To, input},
        scenario::{Scenario, Send, StaticVat},
    },
    kernel::Halt,
    model::{
        blame::HostFault,
        id::{BundleId, VatId},
        value::CapData,
    },
    state::{block::BlockPolicy, table::Tables},
};

/// The method name under which the results of upgrades are listed among those of messages from outside.
pub const UPGRADE: &str = "upgrade";

impl Host {
    /// Queues an upgrade of each live vat that runs other code than the scenario has for the vat of its name, with the
    /// scenario's parameters, as the beginning of a block that the next [`run_block`](Host::run_block) continues.
    /// Bundles that the scenario names are known by these names from then on. Returns the vats, each with the handle for the result of its
    /// upgrade. Every replica must do it before the same block.
    pub fn upgrade(&mut self, scenario: &Scenario, policy: &BlockPolicy) -> Result<Vec<(VatId, Sent)>, Box<Halt>> {
        let changed = changed(self.block()?.tables(), scenario);
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        // Inputs that wait come in first: their senders know the ids of their results already.
        self.take_in(policy)?;
        let mut block = self.take()?;
        policy.keep(&mut block);
        for wasm in changed.iter().map(|(_, it)| &it.wasm).chain(scenario.bundles.values()) {
            block.put_bundle(wasm);
        }
        let (block, queued) = self.begin_with(block, policy, |crank| {
            for (name, wasm) in &scenario.bundles {
                crank.name_bundle(name, BundleId::of(wasm));
            }
            let upgrade = |(vat, it): &(VatId, &StaticVat)| {
                let label = Some((&*it.name, UPGRADE));
                let result = crank.upgrade_from_outside(*vat, BundleId::of(&it.wasm), &it.parameters, label)?;
                Ok((*vat, Sent(result)))
            };
            changed.iter().map(upgrade).collect::<Result<Vec<_>, _>>()
        })?;
        self.block = Some(block.commit(true)?);
        self.stand();
        Ok(queued)
    }

    /// Sends a message of a scenario with the next block, to a state that has the scenario's vats.
    ///
    /// # Errors
    ///
    /// The message names a vat that the state does not have, or that is terminated.
    pub fn send_of(&mut self, scenario: &Scenario, send: &Send) -> Result<Sent, HostFault> {
        let refused = |why: String| HostFault::new("send a message", why);
        let tables = self.block.as_ref().ok_or_else(super::halted)?.tables();
        let (target, to) = input::target(tables, To::Root(&send.to))?;
        let (body, slots) = scenario.methargs(send).map_err(refused)?;
        let mut krefs = Vec::new();
        for name in slots.into_iter().filter_map(|at| scenario.vats.get(at)).map(|it| &*it.name) {
            krefs.push(input::named(tables, name)?);
        }
        Ok(self.queue_send(target, to, &send.method, CapData { body: body.into(), slots: krefs }))
    }
}

fn changed<'a>(tables: &Tables, scenario: &'a Scenario) -> Vec<(VatId, &'a StaticVat)> {
    let other = |it: &'a StaticVat| {
        let vat = tables.vat_named(&it.name)?;
        let is_other = tables.vats.get(&vat)?.bundle != BundleId::of(&it.wasm) && tables.is_alive(vat);
        is_other.then_some((vat, it))
    };
    scenario.vats.iter().filter_map(other).collect()
}
