//! Additions to a state that exists: the vats of a scenario that the state does not have yet, with the scenario's messages to them.

use std::collections::BTreeMap;

use crate::{
    host::{
        controller::Host,
        scenario::{Scenario, StaticVat},
    },
    kernel::Halt,
    model::{
        blame::HostFault,
        id::{BundleId, KRef, VatId},
        value::CapData,
    },
    state::block::BlockPolicy,
};

impl Host {
    /// Adds to a state those vats of a scenario whose names it does not have, and the scenario's messages to them, as
    /// the beginning of a block that the next [`run_block`](Host::run_block) continues. From then on the state counts as one of this
    /// scenario. Returns the names of the vats. Every replica must do it before the same block.
    ///
    /// # Errors
    ///
    /// A message names a vat that is terminated.
    pub fn add(&mut self, scenario: &Scenario, policy: &BlockPolicy) -> Result<Vec<String>, Box<Halt>> {
        // Inputs that wait come in first: their senders know the ids of their results already.
        self.take_in(policy)?;
        let known = known_vats(self, scenario)?;
        let new = |it: &StaticVat| !known.contains_key(&*it.name);
        let names: Vec<String> = scenario.vats.iter().filter(|it| new(it)).map(|it| it.name.clone()).collect();
        let mut block = self.take()?;
        policy.keep(&mut block);
        block.describe(self.options.runtime.name(), &scenario.digest());
        let fresh: Vec<&StaticVat> = scenario.vats.iter().filter(|it| new(it)).collect();
        for wasm in fresh.iter().map(|it| &it.wasm).chain(scenario.bundles.values()) {
            block.put_bundle(wasm);
        }
        let tables = block.tables();
        let unnamed = |name: &str| !tables.bundles.contains(&name.into());
        let named: Vec<_> = scenario.bundles.iter().filter(|(name, _)| unnamed(name)).collect();
        let (block, ()) = self.begin_with(block, policy, |crank| {
            named.iter().for_each(|(name, wasm)| crank.name_bundle(name, BundleId::of(wasm)));
            let mut roots: BTreeMap<&str, KRef> = BTreeMap::new();
            for vat in &fresh {
                let parameters = CapData::plain(&vat.parameters);
                let id = crank.create_vat(&vat.name, BundleId::of(&vat.wasm), vat.options.clone(), parameters)?;
                let root = crank.root(id)?;
                crank.pin(root)?;
                roots.insert(&vat.name, root.into());
            }
            for send in scenario.sends.iter().filter(|it| names.contains(&it.to)) {
                let (body, slots) = scenario.methargs(send).map_err(|why| HostFault::new("send", why))?;
                let mut krefs = Vec::new();
                for name in slots.into_iter().filter_map(|at| scenario.vats.get(at)).map(|it| &*it.name) {
                    let root = match (roots.get(name), known.get(name)) {
                        (Some(root), _) => *root,
                        (None, Some(vat)) => crank.root(*vat)?.into(),
                        (None, None) => return Err(HostFault::new("send", "no such vat").into()),
                    };
                    krefs.push(root);
                }
                let to = *roots.get(&*send.to).ok_or_else(|| HostFault::new("send", "no such vat"))?;
                let data = CapData { body: body.into(), slots: krefs };
                crank.send_from_outside(to, data, Some((&send.to, &send.method)))?;
            }
            Ok(())
        })?;
        self.block = Some(block.commit(true)?);
        self.stand();
        Ok(names)
    }
}

/// The vats of the scenario that the state has, by name.
fn known_vats(host: &Host, scenario: &Scenario) -> Result<BTreeMap<String, VatId>, Box<Halt>> {
    let tables = host.block()?.tables();
    let known: BTreeMap<_, _> =
        scenario.vats.iter().filter_map(|it| Some((it.name.clone(), tables.vat_named(&it.name)?))).collect();
    for send in scenario.sends.iter().filter(|it| !known.contains_key(&it.to)) {
        let slots = scenario.methargs(send).map(|(_, slots)| slots).unwrap_or_default();
        for name in slots.into_iter().filter_map(|at| scenario.vats.get(at)).map(|it| &it.name) {
            if let Some(vat) = known.get(name).filter(|it| !tables.is_alive(**it)) {
                let why = format_args!(
                    "the message {} to `{}` names {vat} (`{name}`), which is terminated",
                    send.method, send.to
                );
                return Err(HostFault::new("add vats", why).into());
            }
        }
    }
    Ok(known)
}
