//! The interfaces of modules and scenarios, printed in one form or another; messages checked by them before they are sent.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::{
    cli::{Exit, Output, Usage, output::harmless},
    host::scenario::{self, Scenario},
    model::id::VatId,
    state::block::Block,
    vat::interface::{Interface, openapi, text, typescript},
};

/// The form in which an interface is printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceForm {
    /// For people
    Text,
    /// A document of OpenAPI 3.1, of `POST /cap/NAME`
    Openapi,
    /// Declarations of TypeScript, for objects held through @endo/captp
    Typescript,
}

/// A module's interface, and the vats of the scenario that run the module.
struct ModuleTold {
    vats: Vec<String>,
    interface: Result<Option<Interface>, String>,
}

/// Reads the modules of a scenario, or the one of this file.
fn read(path: &Path) -> anyhow::Result<Vec<ModuleTold>> {
    if !path.is_dir() && path.extension().is_none_or(|it| it != "toml") {
        return Ok(vec![ModuleTold { vats: Vec::new(), interface: Interface::read(&scenario::read_module(path)?) }]);
    }
    let mut modules: Vec<(Vec<u8>, ModuleTold)> = Vec::new();
    for vat in Scenario::read(path)?.vats {
        match modules.iter_mut().find(|(wasm, _)| *wasm == vat.wasm) {
            Some((_, told)) => told.vats.push(vat.name),
            None => {
                let interface = Interface::read(&vat.wasm);
                modules.push((vat.wasm, ModuleTold { vats: vec![vat.name], interface }));
            }
        }
    }
    Ok(modules.into_iter().map(|(_, told)| told).collect())
}

/// Prints the interfaces of a module or a scenario.
pub(crate) fn print(path: &Path, form: InterfaceForm, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let modules = read(path)?;
    let name = path.display().to_string();
    for told in &modules {
        let whose = if told.vats.is_empty() { name.clone() } else { told.vats.join(", ") };
        match &told.interface {
            Ok(Some(_)) => {}
            Ok(None) => {
                output.note(format!("{whose}: the module has no interface: it does not say what its objects answer to"))
            }
            Err(why) => output.warn(malformed(&whose, why)),
        }
    }
    let readable = |told: &'_ ModuleTold| matches!(told.interface, Ok(Some(_)));
    let found: Vec<(&[String], &Interface)> =
        modules.iter().filter_map(|told| Some((&*told.vats, told.interface.as_ref().ok()?.as_ref()?))).collect();
    match form {
        InterfaceForm::Text if as_json => output.json(&object(&modules))?,
        InterfaceForm::Text => {
            for (at, (vats, interface)) in found.iter().enumerate() {
                let head = if vats.is_empty() { String::new() } else { format!("{}:\n\n", harmless(&vats.join(", "))) };
                let gap = if at == 0 { "" } else { "\n" };
                output.line(format!("{gap}{head}{}", text::write(interface).trim_end()))?;
            }
        }
        InterfaceForm::Openapi => {
            let title = path.file_stem().map_or(name, |it| it.to_string_lossy().into_owned());
            output.json(&openapi::document(&title, &found))?;
        }
        InterfaceForm::Typescript => output.line(typescript::write(&found).trim_end())?,
    }
    Ok(if modules.iter().all(readable) { Exit::Ok } else { Exit::Findings })
}

/// Writes the warning about an interface section that cannot be read.
pub(crate) fn malformed(whose: &str, why: &str) -> String {
    format!(
        "{whose}: the section vathost.interface is malformed, and taken for none: {why}. The module runs all the same; build it with \
         one SDK, or write the lines as vat1.h says"
    )
}

fn object(modules: &[ModuleTold]) -> Value {
    let one = |told: &ModuleTold| match &told.interface {
        Ok(interface) => json!(interface),
        Err(why) => json!({ "malformed": why }),
    };
    if let [told @ ModuleTold { vats, .. }] = modules
        && vats.is_empty()
    {
        return json!({ "interface": one(told) });
    }
    let mut vats = Map::new();
    for told in modules {
        vats.extend(told.vats.iter().map(|name| (name.clone(), one(told))));
    }
    json!({ "vats": vats })
}

/// Checks a message to the root of a vat against the interface of the module that the vat runs, if that has one.
pub(crate) fn check_message(
    block: &Block,
    vat: VatId,
    (name, method, args): (&str, &str, &[Value]),
    output: &Output,
) -> anyhow::Result<()> {
    let tables = block.tables();
    // If something is wrong with the vat, the host's own refusal is better.
    let Some(row) = tables.vats.get(&vat).filter(|_| tables.is_alive(vat)) else { return Ok(()) };
    let interface = match Interface::read(&block.bundle(row.bundle)?) {
        Ok(interface) => interface,
        Err(why) => {
            output.detail(malformed(name, &why));
            None
        }
    };
    let Some(root) = interface.as_ref().and_then(Interface::root) else { return Ok(()) };
    root.check(method, args, &is_reference).map_err(|misfit| {
        let what = harmless(&format!("nothing was sent: {name}: {}", misfit.why));
        Usage::new(what, harmless(&format!("{}. `--unchecked` sends it anyway", misfit.hint.trim_end_matches('.'))))
            .into()
    })
}

/// Returns whether an argument is a reference as the command line names it: `"@bank"`, and not the text `"@@bank"`.
fn is_reference(value: &Value) -> bool {
    value.as_str().and_then(|text| text.strip_prefix('@')).is_some_and(|rest| !rest.starts_with('@'))
}
