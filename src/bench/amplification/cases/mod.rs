//! The cases: the extremes of every function that a guest may import, and of work that belongs to no single import.
//!
//! Invariant: [`all`] walks the table of imports, so an import without a case is an error of every run, and of a test.

mod devices;
mod host;
mod instructions;
mod messages;
mod promises;
mod references;
mod store;

use anyhow::Context;

use crate::{
    bench::guest::Guest,
    host::scenario::{Scenario, StaticVat},
    state::table::{DeviceRow, Options},
    vat::module::IMPORTS,
};

/// A case of amplification: the guest's code, and how it is to be run.
#[derive(Clone, Debug)]
pub struct Case {
    /// The group that the case belongs to: an import, `instructions`, or `host`.
    pub group: &'static str,
    /// The name of the case within its group.
    pub name: &'static str,
    /// The work in a line, for the list.
    pub about: &'static str,
    guest: Guest,
    options: Options,
    /// A second vat besides the guest.
    peer: Option<(Guest, Options)>,
    /// The module of the bundle `child`, of which the guest can create vats.
    child: Option<Guest>,
    devices: Vec<DeviceRow>,
    /// Times that one delivery does the work, at most.
    pub(super) in_a_delivery: u64,
    /// Times that one step does the work, at most.
    pub(super) at_most: u64,
    /// Messages of the setup.
    pub(super) setups: u64,
    /// The CPU that makes a step long enough, as a multiple of the usual: more if rare work, such as snapshots, is to count in proportion.
    pub(super) patience: f64,
    /// The reason why it is past the rule in CPU, if that is known and accepted.
    pub(super) known: Option<&'static str>,
}

/// The name of the first vat, which gets the messages `setup` and `go`.
pub(super) const GUEST: &str = "guest";

impl Case {
    fn new(group: &'static str, name: &'static str, about: &'static str, guest: Guest) -> Case {
        Case {
            group,
            name,
            about,
            guest,
            options: Options::default(),
            peer: None,
            child: None,
            devices: Vec::new(),
            in_a_delivery: 1_000,
            at_most: 1 << 20,
            setups: 1,
            patience: 1.0,
            known: None,
        }
    }

    fn peer(self, guest: Guest) -> Case {
        self.peer_with(guest, Options::default())
    }

    fn peer_with(self, guest: Guest, options: Options) -> Case {
        Case { peer: Some((guest, options)), ..self }
    }

    fn child(self, guest: Guest) -> Case {
        Case { child: Some(guest), ..self }
    }

    fn options(self, options: Options) -> Case {
        Case { options, ..self }
    }

    fn device(self, device: DeviceRow) -> Case {
        Case { devices: vec![device], ..self }
    }

    fn in_a_delivery(self, times: u64) -> Case {
        Case { in_a_delivery: times, ..self }
    }

    fn at_most(self, times: u64) -> Case {
        Case { at_most: times, ..self }
    }

    fn setups(self, setups: u64) -> Case {
        Case { setups, ..self }
    }

    fn patience(self, patience: f64) -> Case {
        Case { patience, ..self }
    }

    fn known(self, why: &'static str) -> Case {
        Case { known: Some(why), ..self }
    }

    /// Returns the full name of the case: `group/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Returns the guest of the case as WebAssembly text.
    pub fn wat(&self) -> String {
        self.guest.wat()
    }

    /// Makes the scenario of the case. Its first vat is given the other's root, the devices, and the vat admin.
    pub fn scenario(&self) -> anyhow::Result<Scenario> {
        let assemble = |guest: &Guest| {
            wat::parse_str(guest.wat()).with_context(|| format!("assemble the guest of {}", self.full_name()))
        };
        let vat = |name: &str, guest: &Guest, options: &Options| -> anyhow::Result<StaticVat> {
            let (name, wasm, options) = (name.to_owned(), assemble(guest)?, options.clone());
            Ok(StaticVat { name, wasm, options, parameters: "#{}".to_owned() })
        };
        let mut vats = vec![vat(GUEST, &self.guest, &self.options)?];
        if let Some((guest, options)) = &self.peer {
            vats.push(vat("peer", guest, options)?);
        }
        let child = self.child.as_ref().map(assemble).transpose()?;
        Ok(Scenario {
            vats,
            bootstrap: Some(GUEST.to_owned()),
            devices: self.devices.clone(),
            bundles: child.into_iter().map(|it| ("child".to_owned(), it)).collect(),
            ..Scenario::default()
        })
    }
}

/// Returns the cases of an import; `None` if there are none yet.
fn of_import(name: &str) -> Option<Vec<Case>> {
    Some(match name {
        "input_read" => store::input_read(),
        "result_read" => store::result_read(),
        "send" => messages::messages(),
        "call_now" => devices::call_now(),
        "subscribe" => promises::subscribe(),
        "resolve" => promises::resolve(),
        "exit" => host::exit(),
        "vatstore_get" => store::get(),
        "vatstore_next_key" => store::next_key(),
        "vatstore_set" => store::set(),
        "vatstore_delete" => store::delete(),
        "vatstore_scan" => store::scan(),
        "drop_imports" => references::drop_imports(),
        "retire_imports" => references::retire_imports(),
        "retire_exports" => references::retire_exports(),
        "abandon_exports" => references::abandon_exports(),
        "console" => devices::console(),
        _ => return None,
    })
}

/// The case that the others are compared with.
pub(in crate::bench) const FLOOR: &str = "instructions/empty-loop";

/// Returns every amplification case. The first is the floor.
pub(in crate::bench) fn all() -> anyhow::Result<Vec<Case>> {
    let mut cases = instructions::instructions();
    for import in IMPORTS {
        let of_import = of_import(import.name).filter(|it| !it.is_empty());
        cases.extend(of_import.with_context(|| format!("there is no amplification case for `{}`", import.name))?);
    }
    cases.extend(host::host());
    Ok(cases)
}
