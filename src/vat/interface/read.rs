//! Reads the lines of the section, and refuses those that could mislead people or programs.

use serde::Deserialize;
use wasmparser::{Parser, Payload};

use super::{BYTES_MAX, Exo, Interface, Method, SECTION, Type, VERSION};

/// A line of the section: of a kind of object, or of the root.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SectionLine {
    #[serde(rename = "vathost-interface")]
    version: u32,
    exo: Option<String>,
    root: Option<String>,
    #[serde(default)]
    doc: String,
    methods: Option<Vec<Method>>,
    parameters: Option<Type>,
}

/// The version of a line alone, so that a later version is reported as such.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "vathost-interface")]
    version: u32,
}

/// Levels of `option` and `list` inside one another.
const DEPTH_MAX: usize = 8;
/// Bytes of a name.
const NAME_MAX: usize = 128;

pub(super) fn read(wasm: &[u8]) -> Result<Option<Interface>, String> {
    let mut lines = Vec::new();
    let mut found = false;
    for payload in Parser::new(0).parse_all(wasm) {
        // The module check refuses what is not a module.
        let Ok(payload) = payload else { break };
        let Payload::CustomSection(section) = payload else { continue };
        if section.name() != SECTION {
            continue;
        }
        found = true;
        lines.extend_from_slice(section.data());
        if lines.len() > BYTES_MAX {
            return Err(format!("it is larger than {BYTES_MAX} bytes"));
        }
    }
    if !found {
        return Ok(None);
    }
    let text =
        std::str::from_utf8(&lines).map_err(|err| format!("it is not UTF-8 from byte {} on", err.valid_up_to()))?;
    let mut interface = Interface::default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        add(&mut interface, line).map_err(|why| format!("line {}: {why}", at + 1))?;
    }
    Ok(Some(interface))
}

fn add(interface: &mut Interface, text: &str) -> Result<(), String> {
    let json = |err: serde_json::Error| err.to_string();
    let Versioned { version } = serde_json::from_str(text).map_err(json)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this vathost reads version {VERSION}"));
    }
    let line: SectionLine = serde_json::from_str(text).map_err(json)?;
    debug_assert_eq!(line.version, VERSION, "read twice");
    match line {
        SectionLine { exo: Some(name), root: None, methods: Some(methods), parameters: None, doc, .. } => {
            let exo = Exo { name, doc, methods };
            check(&exo)?;
            if interface.exo(&exo.name).is_some() {
                return Err(format!("`{}` is there twice: give one of the types another name", exo.name));
            }
            interface.exos.push(exo);
        }
        SectionLine { exo: None, root: Some(root), methods: None, parameters, doc, .. } => {
            if !interface.root.is_empty() {
                return Err(format!("there are two roots, `{}` and `{root}`", interface.root));
            }
            parameters.as_ref().map_or(Ok(()), |kind| check_type(kind, 0))?;
            // A root whose kind the section does not describe counts as none.
            (interface.root, interface.doc, interface.parameters) = (root, doc, parameters);
        }
        _ => return Err("it is neither of an object (`exo`, `methods`) nor of the root (`root`)".to_owned()),
    }
    Ok(())
}

fn check(exo: &Exo) -> Result<(), String> {
    check_name(&exo.name)?;
    for (at, method) in exo.methods.iter().enumerate() {
        check_name(&method.name)?;
        if exo.methods.iter().take(at).any(|other| other.name == method.name) {
            return Err(format!("`{}` has the method `{}` twice", exo.name, method.name));
        }
        check_type(&method.answer, 0)?;
        for argument in &method.args {
            check_name(&argument.name)?;
            check_type(&argument.kind, 0)?;
        }
    }
    Ok(())
}

fn check_type(kind: &Type, depth: usize) -> Result<(), String> {
    match kind {
        _ if depth > DEPTH_MAX => Err(format!("types are more than {DEPTH_MAX} deep")),
        Type::Option(inner) | Type::List(inner) => check_type(inner, depth + 1),
        Type::Object(name) | Type::Named(name) => check_name(name),
        _ => Ok(()),
    }
}

/// Checks that a name is an identifier of Rust, C and JavaScript, so that printed and generated text needs no escapes.
fn check_name(name: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let is_good = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(is_letter);
    match is_good && name.len() <= NAME_MAX {
        true => Ok(()),
        false => Err(format!("{name:.40?} is no name of at most {NAME_MAX} letters, digits, _ and $")),
    }
}
