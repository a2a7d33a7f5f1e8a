//! The differences between a scenario and a state that was made from another one, or from an older version of it: what changed, as far as
//! the state shows, and what can be done.

use std::path::Path;

use crate::{
    cli::Usage,
    host::scenario::{Scenario, StaticVat},
    model::id::{BundleId, VatId},
    state::table::Tables,
};

/// The differences between a scenario and a state that was made from another.
pub(super) struct Changed<'a> {
    /// Vats that the state does not have.
    pub(super) new: Vec<&'a StaticVat>,
    /// Vats that run other code in the state.
    pub(super) other_code: Vec<(VatId, &'a StaticVat)>,
    /// Vats that have other options in the state.
    other_options: Vec<(VatId, &'a StaticVat)>,
}

impl<'a> Changed<'a> {
    pub(super) fn of(tables: &Tables, scenario: &'a Scenario) -> Changed<'a> {
        let mut changed = Changed { new: Vec::new(), other_code: Vec::new(), other_options: Vec::new() };
        for vat in &scenario.vats {
            match tables.vats.iter().find(|(_, row)| row.name == vat.name) {
                None => changed.new.push(vat),
                Some((id, row)) if row.bundle != BundleId::of(&vat.wasm) => changed.other_code.push((*id, vat)),
                Some((id, row)) if row.options != vat.options => changed.other_options.push((*id, vat)),
                Some(_) => (),
            }
        }
        changed
    }

    /// The changes, in words.
    fn list(&self) -> Vec<String> {
        let mut list: Vec<String> = self
            .other_code
            .iter()
            .map(|(id, vat)| format!("{id} (`{}`) runs other code in the state", vat.name))
            .collect();
        list.extend(
            self.other_options.iter().map(|(id, vat)| format!("{id} (`{}`) has other options there", vat.name)),
        );
        list.extend(self.new.iter().map(|vat| format!("`{}` is not in the state", vat.name)));
        if list.is_empty() {
            list.push(
                "its vats run the same code: messages, parameters, devices, named bundles or names differ".to_owned(),
            );
        }
        list
    }

    /// Makes the refusal to run this state with this scenario.
    pub(super) fn refusal(&self, dir: &Path, scenario: &Path, add: bool) -> Usage {
        let (dir, scenario) = (dir.display(), scenario.display());
        let mut what = format!("the state in `{dir}` was made from another scenario, or this one has changed since");
        what.extend(self.list().iter().map(|it| format!("\n  {it}")));
        if add && self.new.is_empty() {
            what += "\n  so there is no vat to add";
        } else if add {
            what += "\n  so no vat is added: first the others must be as the scenario has them";
        }
        let mut hint = "leave the scenario out to go on with the state, or name a new folder".to_owned();
        for (id, vat) in &self.other_code {
            let bundle = BundleId::of(&vat.wasm).to_string();
            hint += &format!(
                "\n  new code: `crank-N: upgrade {id} bundle {}` in a directive file, and `run --state {dir} --directives FILE --bundle \
                 FILE.wasm`",
                &bundle[..16]
            );
        }
        if !self.new.is_empty() {
            hint += &format!("\n  new vats: `vathost run {scenario} --state {dir} --add`");
        }
        hint += &format!("\n  new messages: `vathost send {dir} VAT METHOD JSON…`");
        Usage::new(what, hint)
    }
}
