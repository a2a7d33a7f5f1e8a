//! Vats by name in the lines of faults: `north/delivery-3: skip` is `v2/delivery-3: skip` on a base whose vat `v2` is called north.
//!
//! Invariant: a schedule holds numbers alone. Names are replaced before it is read, so that they change no hash and no result.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{directive::nearest, host::scenario::Scenario, model::id::VatId, state::block::Block, store::Database};

/// Actions that may name a vat.
const ACTIONS: [&str; 5] = ["terminate", "pause", "resume", "upgrade", "flip"];

/// The vats of a base that have a name when an experiment begins. The base is opened when the first name is met.
#[derive(Clone, Debug, Default)]
pub struct VatNames {
    base: PathBuf,
    names: OnceCell<BTreeMap<String, VatId>>,
}

impl VatNames {
    /// Makes the names of a base's vats.
    pub fn of(base: &Path) -> VatNames {
        VatNames { base: base.to_owned(), names: OnceCell::new() }
    }

    /// A base that cannot be read has no names: who opens it says why.
    fn names(&self) -> &BTreeMap<String, VatId> {
        self.names.get_or_init(|| {
            let names = if Database::exists(&self.base) { of_state(&self.base) } else { of_scenario(&self.base) };
            names.unwrap_or_default()
        })
    }

    /// Returns the line with the numbers of the vats that it names.
    ///
    /// # Errors
    ///
    /// A place names a vat that the base does not have: what is wrong, and what may have been meant.
    pub fn number(&self, line: &str) -> Result<String, (String, Option<String>)> {
        let (place, action) = line.split_once(": ").unwrap_or((line, ""));
        let behind = ["/delivery", "/syscall"].iter().filter_map(|it| place.rfind(it)).min();
        let Some((name, rest)) = behind.map(|at| place.split_at(at)).filter(|(name, _)| is_name(name)) else {
            return Ok(self.number_action(line, place, action));
        };
        match self.names().get(name.trim()) {
            Some(vat) => Ok(self.number_action(&format!("{vat}{rest}: {action}"), &format!("{vat}{rest}"), action)),
            None if self.names().is_empty() => Ok(line.to_owned()),
            None => {
                let meant = nearest(name.trim(), self.names().keys().map(String::as_str));
                let hint = meant.map(|it| format!("did you mean `{it}`?"));
                Err((format!("there is no vat `{}`", name.trim()), hint))
            }
        }
    }

    /// Returns the names, for an error.
    pub fn listed(&self) -> String {
        const LISTED_MAX: usize = 20;
        let names: Vec<String> =
            self.names().iter().take(LISTED_MAX).map(|(name, vat)| format!("{name} ({vat})")).collect();
        names.join(", ")
    }

    fn number_action(&self, line: &str, place: &str, action: &str) -> String {
        let Some((verb, rest)) = action.split_once(' ').filter(|(verb, _)| ACTIONS.contains(verb)) else {
            return line.to_owned();
        };
        let (name, after) = rest.split_once(' ').map_or((rest, ""), |(name, _)| (name, &rest[name.len()..]));
        // A word of the grammar is no name.
        if !is_name(name) || ["reason", "bundle"].contains(&name) {
            return line.to_owned();
        }
        match self.names().get(name) {
            Some(vat) => format!("{place}: {verb} {vat}{after}"),
            None => line.to_owned(),
        }
    }
}

/// Returns whether a word is no vat's number, and is not meant to be one.
fn is_name(word: &str) -> bool {
    let word = word.trim();
    let is_misspelt = word.trim_start_matches(['v', 'V', '-', '_']).chars().all(|it| it.is_ascii_digit());
    !is_misspelt && word.parse::<VatId>().is_err()
}

fn of_scenario(path: &Path) -> Option<BTreeMap<String, VatId>> {
    let scenario = Scenario::read(path).ok()?;
    Some((1..).zip(scenario.vats).map(|(number, vat)| (vat.name, VatId(number))).collect())
}

fn of_state(dir: &Path) -> Option<BTreeMap<String, VatId>> {
    let block = Block::open_read_only(dir).ok()?;
    // Of two vats with one name, the first has it.
    Some(block.tables().vats.iter().map(|(vat, row)| (row.name.clone(), *vat)).rev().collect())
}
