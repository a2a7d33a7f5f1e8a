//! The ways to name a state, a vat or a place on the command line, the same for every verb. A state is `DIR` or `--state DIR`, a vat `VAT` or
//! `--vat VAT`, by its number or by its name.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::{Usage, complete},
    directive::Trigger,
    inspect::view,
    model::id::{DeliveryNum, VatId},
    state::{block::Block, table::Tables},
    store::Database,
};

/// A state that must be named.
#[derive(Args, Debug, Clone)]
#[group(id = "named-state", required = true, multiple = false)]
pub(crate) struct StateArgs {
    /// The folder of the state
    #[arg(value_name = "DIR", id = "state-folder")]
    folder: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl From<&Path> for StateArgs {
    fn from(path: &Path) -> StateArgs {
        StateArgs { folder: Some(path.to_owned()), state: None }
    }
}

impl Deref for StateArgs {
    type Target = Path;
    fn deref(&self) -> &Path {
        // The group lets exactly one through.
        self.folder.as_deref().or(self.state.as_deref()).unwrap_or(Path::new(""))
    }
}

/// Finds the state and the other path of a verb that takes both as positional words. With `--state` only the other one is a word. `order` names
/// the two words without it, as in `["DIR", "FILE"]`.
pub(crate) fn state_and(
    state: Option<&Path>,
    given: [Option<&Path>; 2],
    order: [&str; 2],
    verb: &str,
) -> Result<[PathBuf; 2], Usage> {
    let state_is_first = order[0] == "DIR";
    let other = if state_is_first { order[1] } else { order[0] };
    match (state, given) {
        (None, [Some(first), Some(second)]) => Ok([first.to_owned(), second.to_owned()]),
        (Some(state), [Some(other), None]) if state_is_first => Ok([state.to_owned(), other.to_owned()]),
        (Some(state), [Some(other), None]) => Ok([other.to_owned(), state.to_owned()]),
        (state, _) => {
            let what = match state {
                Some(_) => format!("a state is named, and beside it exactly one {other} is wanted"),
                None => format!("{} and {} are wanted", order[0], order[1]),
            };
            let [first, second] = order;
            let hint = format!("as in `vathost {verb} {first} {second}`, or `vathost {verb} --state DIR {other}`");
            Err(Usage::new(what, hint))
        }
    }
}

/// A vat that must be named.
#[derive(Args, Debug, Clone)]
#[group(id = "named-vat", required = true, multiple = false)]
pub(crate) struct VatArgs {
    /// The vat: `v3`, or its name
    #[arg(value_name = "VAT", id = "vat-word", add = complete::vat())]
    word: Option<String>,
    /// The same
    #[arg(long, value_name = "VAT", add = complete::vat())]
    vat: Option<String>,
}

impl VatArgs {
    /// Finds the named vat in that state.
    pub(crate) fn find(&self, tables: &Tables) -> Result<VatId, Usage> {
        // The group lets exactly one through.
        find_vat(tables, self.word.as_deref().or(self.vat.as_deref()).unwrap_or_default())
    }
}

/// Finds the vat of this number or name.
pub(crate) fn find_vat(tables: &Tables, word: &str) -> Result<VatId, Usage> {
    const LISTED_MAX: usize = 20;
    view::find(tables, word).map_err(|unknown| {
        let known: Vec<String> =
            tables.vats.iter().take(LISTED_MAX).map(|(vat, row)| format!("{vat} ({})", row.name)).collect();
        let hint = match unknown.hint.strip_prefix("`vats`") {
            Some(_) if tables.vats.len() > LISTED_MAX => "`vathost inspect DIR vats` lists them".to_owned(),
            Some(_) => format!("there are: {}", known.join(", ")),
            None => unknown.hint,
        };
        Usage::new(unknown.what, hint)
    })
}

/// A place, as `--at` takes it: `crank-7890`, `block-12`, `v3/delivery-8`, or `bank/delivery-8` by the vat's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// A place given by number.
    Place(Trigger),
    /// A delivery of a vat that is named.
    Named(String, DeliveryNum),
}

impl std::str::FromStr for At {
    type Err = String;
    fn from_str(text: &str) -> Result<At, String> {
        let problem = match text.parse::<Trigger>() {
            Ok(trigger) => return Ok(At::Place(trigger)),
            Err(problem) => problem,
        };
        let named = text.rsplit_once("/delivery-").and_then(|(name, number)| Some((name, number.parse().ok()?)));
        match named {
            // If the name is an id such as `v7`, the text is a malformed place, and no name of a vat.
            Some((name, number)) if name.parse::<VatId>().is_err() && !name.is_empty() => {
                Ok(At::Named(name.to_owned(), DeliveryNum(number)))
            }
            _ => {
                let hint = problem.hint.map(|it| format!("; {it}")).unwrap_or_default();
                let places = "`crank-7890`, `v56/delivery-1234`, `bank/delivery-1234` or `block-12`";
                Err(format!("expected a place like {places}{hint}"))
            }
        }
    }
}

impl At {
    /// Returns the place, after looking a vat's name up in the state in this folder.
    pub(crate) fn find(&self, dir: &Path) -> anyhow::Result<Trigger> {
        match self {
            At::Place(trigger) => Ok(*trigger),
            At::Named(name, number) => {
                let block = Block::open_read_only(dir)?;
                Ok(Trigger::Delivery(find_vat(block.tables(), name)?, *number))
            }
        }
    }
}

/// Returns whether this is the folder of a state, and not one that holds a scenario.
pub(crate) fn is_state(path: &Path) -> bool {
    Database::exists(path) && !path.join("vat.toml").exists()
}
