//! Campaigns: their files, their experiments, what they come to, and their reports.

mod command;
mod file;
mod interrupted;
mod invariants;
mod report;
mod trust;
mod vats;

use std::path::Path;

use vathost::lab::campaign::Campaign;

/// A campaign in `vats/bank` of this text.
fn parse(text: &str) -> Result<Campaign, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank/c.toml");
    let name = format!("{}/", path.parent().unwrap().display());
    Campaign::parse(&path, text).map_err(|refused| refused.to_string().replace(&name, ""))
}

/// The head of a campaign on the bank, one fault, and more.
fn text(more: &str) -> String {
    let head = "schema = 1\nname = \"test\"\nseed = 7\n[base]\nscenario = \"vat.toml\"\n";
    format!("{head}[[fault]]\nid = \"a\"\nat = \"v2/delivery-{{n}}\"\ndo = \"skip\"\nn = \"1..=4\"\n{more}\n")
}
