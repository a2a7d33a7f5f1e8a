//! The beginning of a state: the vats, devices, and messages of a scenario, as block 0.

use std::num::NonZeroU64;

use serde_json::{Map, json};

use crate::{
    host::{
        controller::{Host, run::commit},
        scenario::Scenario,
    },
    kernel::{self, Halt},
    model::{
        blame::HostFault,
        engine_version,
        id::{BundleId, KRef},
        smallcaps,
        value::CapData,
    },
    slog::{Detail, Event},
    state::table::DeviceRow,
};

impl Host {
    /// Gives a new state the vats, devices and messages of a scenario, and commits them as block 0.
    pub fn install(&mut self, scenario: &Scenario) -> Result<(), Box<Halt>> {
        install(self, scenario).inspect_err(|halt| self.record_halt(halt))
    }
}

/// `bootstrap({ vats, devices, vatAdmin })`, with a presence of each root and each device.
fn bootstrap_body(scenario: &Scenario, own: &[String]) -> String {
    let mut slots = 0..;
    let mut presence = |name: &str| {
        let at = slots.next().unwrap_or(0);
        (smallcaps::text(name), json!(format!("${at}.Alleged: {name}")))
    };
    let vats: Map<_, _> = scenario.vats.iter().map(|it| presence(&it.name)).collect();
    let devices = scenario.devices.iter().map(DeviceRow::name).chain(own.iter().map(String::as_str));
    let devices: Map<_, _> = devices.map(&mut presence).collect();
    let (_, admin) = presence("vatAdmin");
    format!("#{}", json!(["bootstrap", [{ "vats": vats, "devices": devices, "vatAdmin": admin }]]))
}

fn install(host: &mut Host, scenario: &Scenario) -> Result<(), Box<Halt>> {
    let mut block = host.take()?;
    let globals = block.tables().globals();
    let (height, time) = (globals.height, globals.time);
    block.slog().record(Detail::Cranks, || Event::BeginBlock { block_height: height, block_time: time });
    block.describe(host.options.runtime.name(), &scenario.digest());
    for wasm in scenario.vats.iter().map(|it| &it.wasm).chain(scenario.bundles.values()) {
        block.put_bundle(wasm);
    }
    let own: Vec<String> = host.devices.iter().map(|it| it.name().to_owned()).collect();
    let answer_blocks = host.options.answer_blocks.or(scenario.answer_blocks);
    let (block, ()) = kernel::outside(block, |crank| {
        if let Some(version) = scenario.kernel {
            crank.set_kernel_version(version);
        }
        crank.set_engine_version(scenario.engine.unwrap_or(engine_version::DEFAULT));
        crank.tables_mut().keep_answers(answer_blocks.and_then(NonZeroU64::new));
        for (name, wasm) in &scenario.bundles {
            crank.name_bundle(name, BundleId::of(wasm));
        }
        let mut devices: Vec<KRef> = scenario.devices.iter().map(|it| crank.add_device(it.clone()).into()).collect();
        devices.extend(own.iter().map(|name| KRef::from(crank.add_own_device(name))));
        let mut roots = Vec::new();
        for vat in &scenario.vats {
            let bundle = BundleId::of(&vat.wasm);
            let parameters = CapData::plain(&vat.parameters);
            let id = crank.create_vat(&vat.name, bundle, vat.options.clone(), parameters)?;
            let root = crank.root(id)?;
            crank.pin(root)?;
            roots.push(KRef::from(root));
        }
        if let Some((name, at)) = scenario.bootstrap.as_ref().and_then(|it| Some((it, scenario.position(it)?))) {
            let slots = roots.iter().copied().chain(devices).chain([crank.vat_admin()?.into()]).collect();
            let data = CapData { body: bootstrap_body(scenario, &own).into(), slots };
            crank.send_from_outside(roots[at], data, Some((name, "bootstrap")))?;
        }
        for send in &scenario.sends {
            let (body, slots) = scenario.methargs(send).map_err(|why| HostFault::new("send", why))?;
            let slots = slots.into_iter().map(|at| roots[at]).collect();
            let to = scenario.position(&send.to).ok_or_else(|| HostFault::new("send", "no such vat"))?;
            crank.send_from_outside(roots[to], CapData { body: body.into(), slots }, Some((&send.to, &send.method)))?;
        }
        Ok(())
    })?;
    host.block = Some(commit(block, height, time, true)?);
    host.stand();
    Ok(())
}
