//! Scenario files, such as `vats/<name>/vat.toml`: the static vats with their code and options, the devices, and the messages sent from outside.
//!
//! Invariant: a [`Scenario`] that was read has only names of its own vats in it, and only modules that were checked as at load.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::json;
use toml::Value;

use crate::{
    model::{
        engine_version, files,
        id::{BundleId, hex},
        kernel_version, limits,
        smallcaps::{self, SAFE_INTEGER_MAX},
    },
    state::table::{DeviceRow, OnFault, Options},
    vat::module::{self, Rules},
};

/// A scenario that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct ScenarioError {
    /// The file at fault.
    pub path: PathBuf,
    why: String,
}

impl ScenarioError {
    fn new(path: &Path, why: impl ToString) -> ScenarioError {
        ScenarioError { path: path.to_owned(), why: why.to_string() }
    }
}

/// Most characters of an exported name: fewer than a token has, so that neither is taken for the other.
const EXPORT_CHARS_MAX: usize = 40;

/// A scenario, with the wasm of its vats.
#[derive(Debug, Default)]
pub struct Scenario {
    /// The static vats, in order of the file: their ids in a new state are `v1`, `v2`, ….
    pub vats: Vec<StaticVat>,
    /// The vat that gets the message `bootstrap`.
    pub bootstrap: Option<String>,
    /// The messages from outside, in order.
    pub sends: Vec<Send>,
    /// The devices of the scenario.
    pub devices: Vec<DeviceRow>,
    /// The files of the mailbox, if there are any.
    pub mailbox: MailboxPaths,
    /// Bundles that vats can be created from, by name, in addition to those of the static vats under their names.
    pub bundles: BTreeMap<String, Vec<u8>>,
    /// The version of the kernel's behaviour, if it is not that of new states.
    pub kernel: Option<u32>,
    /// The version of the engine, if it is not that of new states.
    pub engine: Option<u32>,
    /// The blocks for which the state keeps an answer to a message from outside; 0 or nothing is until it is forgotten.
    pub answer_blocks: Option<u64>,
    /// The vats whose roots a server opens by name: for each name the vat. They decide nothing in the state, and are in no digest.
    pub exports: BTreeMap<String, String>,
}

/// A vat of a scenario.
#[derive(Debug)]
pub struct StaticVat {
    /// The name of the vat.
    pub name: String,
    /// The code of the vat: a WebAssembly module.
    pub wasm: Vec<u8>,
    /// The options of the vat.
    pub options: Options,
    /// The vat parameters that `startVat` delivers, in smallcaps.
    pub parameters: String,
}

/// The files through which a mailbox speaks with the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailboxPaths {
    /// The file of incoming mail: JSON lines that other programs append.
    pub inbound: Option<PathBuf>,
    /// The file of outgoing mail: JSON lines that the host appends.
    pub outbound: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// A message of a scenario, from outside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The vat, by name.
    pub to: String,
    /// The method to call.
    pub method: String,
    /// The arguments of the call. A text `"@name"` is the root of that vat; `"@@name"` is the text `@name`.
    #[serde(default)]
    pub args: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    bootstrap: Option<String>,
    kernel: Option<u32>,
    engine: Option<u32>,
    answer_blocks: Option<u64>,
    #[serde(default)]
    vats: toml::Table,
    #[serde(default)]
    devices: toml::Table,
    #[serde(default)]
    send: Vec<Send>,
    #[serde(default)]
    bundles: BTreeMap<String, PathBuf>,
    #[serde(default)]
    exports: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VatFile {
    bundle: PathBuf,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(default)]
    options: OptionsFile,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OptionsFile {
    fuel_per_delivery: Option<u64>,
    memory_max: Option<Bytes>,
    store_max: Option<Bytes>,
    reap_interval: Option<u64>,
    reap_gc_krefs: Option<u64>,
    snapshot_interval: Option<u64>,
    on_fault: Option<OnFault>,
    critical: bool,
    pipelining: bool,
    weight: Option<u32>,
    queued_max: Option<u64>,
    queued_bytes_max: Option<Bytes>,
    refs_max: Option<u64>,
    vats_max: Option<u64>,
}

/// A size: a number of bytes, or a text like `"16MiB"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes(pub u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Integer(bytes) => u64::try_from(bytes).map(Bytes).map_err(D::Error::custom),
            Value::String(text) => text.parse().map_err(D::Error::custom),
            other => Err(D::Error::custom(format_args!("{other} is not a size like \"16MiB\""))),
        }
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
        let unit = match text[digits.len()..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            unit => return Err(format!("unknown unit `{unit}`: use B, KiB, MiB or GiB, or kB, MB or GB")),
        };
        let number: u64 = digits.trim().parse().map_err(|_| format!("`{text}` is not a size like \"16MiB\""))?;
        number.checked_mul(unit).map(Bytes).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl Scenario {
    /// Reads a `vat.toml`, or the one in a folder, and the bundles that it names. Every bundle is checked as it will be at load.
    pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
        let path = if path.is_dir() { path.join("vat.toml") } else { path.to_owned() };
        let text = files::read_text(&path, files::TEXT_BYTES_MAX).map_err(|err| ScenarioError::new(&path, err))?;
        let file: ScenarioFile = toml::from_str(&text).map_err(|err| ScenarioError::new(&path, err))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (devices, mailbox) = devices(&file.devices, folder).map_err(|why| ScenarioError::new(&path, why))?;
        let mut modules = BTreeMap::new();
        let mut vats = Vec::new();
        for (name, value) in file.vats {
            let at = |why: String| ScenarioError::new(&path, format!("[vats.{name}] {why}"));
            let vat: VatFile = value.try_into().map_err(|err: toml::de::Error| at(err.message().to_owned()))?;
            let bundle = folder.join(&vat.bundle);
            if !modules.contains_key(&bundle) {
                modules.insert(bundle.clone(), read_bundle(&bundle)?);
            }
            let wasm = modules.get(&bundle).cloned().unwrap_or_default();
            let parameters = vat.parameters.unwrap_or(Value::Table(toml::Table::new()));
            let mut slots = Vec::new();
            let parameters = format!("#{}", encode(&parameters, &mut |_| None, &mut slots).map_err(at)?);
            let options = options(vat.options).map_err(at)?;
            vats.push(StaticVat { name, wasm, options, parameters });
        }
        let mut bundles: BTreeMap<_, _> =
            vats.iter().map(|it: &StaticVat| (it.name.clone(), it.wasm.clone())).collect();
        for (name, bundle) in file.bundles {
            bundles.insert(name, read_bundle(&folder.join(bundle))?);
        }
        let scenario = Scenario {
            vats,
            bootstrap: file.bootstrap,
            sends: file.send,
            devices,
            mailbox,
            bundles,
            kernel: file.kernel,
            engine: file.engine,
            answer_blocks: file.answer_blocks,
            exports: file.exports,
        };
        scenario.check(&path)?;
        Ok(scenario)
    }

    /// Checks that there are vats, and that all names and numbers in the scenario are valid.
    fn check(&self, path: &Path) -> Result<(), ScenarioError> {
        if self.vats.is_empty() {
            return Err(ScenarioError::new(
                path,
                "it has no vats: add a table like `[vats.bank]` with `bundle = \"bank.wasm\"`",
            ));
        }
        let names = || self.vats.iter().map(|it| &*it.name).collect::<Vec<_>>().join(", ");
        let known = |what: String, name: &str| match self.position(name) {
            Some(_) => Ok(()),
            None => Err(ScenarioError::new(path, format!("{what}: there is no vat `{name}`; there are: {}", names()))),
        };
        if let Some(version) = self.kernel.filter(|it| !kernel_version::is_known(*it)) {
            let why = format!("kernel = {version}: this binary can run {}", kernel_version::known());
            return Err(ScenarioError::new(path, why));
        }
        if let Some(version) = self.engine.filter(|it| !engine_version::is_known(*it)) {
            let why = format!("engine = {version}: this binary can run {}", engine_version::known());
            return Err(ScenarioError::new(path, why));
        }
        for (name, vat) in &self.exports {
            known(format!("[exports] {name}"), vat)?;
            let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
            if name.is_empty() || name.len() > EXPORT_CHARS_MAX || !name.chars().all(is_plain) {
                let why = format!("[exports] `{name}`: a name has 1 to {EXPORT_CHARS_MAX} letters, digits and -_.");
                return Err(ScenarioError::new(path, why));
            }
        }
        if let Some(name) = &self.bootstrap {
            known("bootstrap".to_owned(), name)?;
        }
        for (at, send) in self.sends.iter().enumerate() {
            let what = || format!("[[send]] {} to `{}`", at + 1, send.to);
            known(what(), &send.to)?;
            self.methargs(send).map_err(|why| ScenarioError::new(path, format!("{}: {why}", what())))?;
        }
        Ok(())
    }

    /// Returns the index of the static vat with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.vats.iter().position(|it| it.name == name)
    }

    /// Returns the body of a message from outside, and the vats whose roots are its slots.
    pub fn methargs(&self, send: &Send) -> Result<(String, Vec<usize>), String> {
        let mut slots = Vec::new();
        let mut root = |name: &str| self.position(name);
        let args = encode(&Value::Array(send.args.clone()), &mut root, &mut slots)?;
        let method = encode(&Value::String(send.method.clone()), &mut |_| None, &mut Vec::new())?;
        Ok((format!("#[{method},{args}]"), slots))
    }

    /// Returns a digest that tells this scenario from others: its vats, their code, options and parameters, named bundles, devices,
    /// messages, kernel and engine version, and how long answers are kept; not the mailbox's files or the exports.
    pub fn digest(&self) -> String {
        let vats: Vec<_> = self
            .vats
            .iter()
            .map(|it| json!([it.name, BundleId::of(&it.wasm).to_string(), it.options, it.parameters]))
            .collect();
        let sends: Vec<_> = self.sends.iter().map(|it| json!([it.to, self.methargs(it).ok()])).collect();
        let bundles: Vec<_> =
            self.bundles.iter().map(|(name, wasm)| json!([name, BundleId::of(wasm).to_string()])).collect();
        let devices: Vec<_> = self.devices.iter().map(DeviceRow::name).collect();
        let mut parts = json!([vats, self.bootstrap, sends, bundles, devices, self.kernel]);
        // So that a scenario which has none of these has the digest that it always had.
        if let Some(parts) = parts.as_array_mut() {
            parts.extend(self.engine.map(|it| json!(it)));
            parts.extend(self.answer_blocks.map(|it| json!({ "answerBlocks": it })));
        }
        let text = parts.to_string();
        hex(blake3::hash(text.as_bytes()).as_bytes())
    }
}

fn devices(given: &toml::Table, folder: &Path) -> Result<(Vec<DeviceRow>, MailboxPaths), String> {
    let mut devices = Vec::new();
    let mut mailbox = MailboxPaths::default();
    for (name, options) in given {
        let known = || DeviceRow::ALL.map(|it| it.name().to_owned()).join(", ");
        let device =
            DeviceRow::named(name).ok_or_else(|| format!("there is no device `{name}`; there are: {}", known()))?;
        let at = |err: toml::de::Error| format!("[devices] {name}: {}", err.message());
        if let DeviceRow::Mailbox(_) = device {
            mailbox = options.clone().try_into().map_err(at)?;
            for path in [&mut mailbox.inbound, &mut mailbox.outbound].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        } else {
            let NoOptions {} = options.clone().try_into().map_err(at)?;
        }
        devices.push(device);
    }
    Ok((devices, mailbox))
}

fn options(file: OptionsFile) -> Result<Options, String> {
    let default = Options::default();
    // 0 turns a threshold off.
    let threshold = |given: Option<u64>, default: Option<u64>| given.map_or(default, |it| (it > 0).then_some(it));
    let weight = file.weight.unwrap_or(default.weight);
    if !(1..=limits::WEIGHT_MAX).contains(&weight) {
        return Err(format!("options: weight = {weight} is not from 1 to {}", limits::WEIGHT_MAX));
    }
    Ok(Options {
        fuel_per_delivery: file.fuel_per_delivery.unwrap_or(default.fuel_per_delivery),
        memory_max: file.memory_max.map_or(default.memory_max, |it| it.0),
        store_max: file.store_max.map_or(default.store_max, |it| it.0),
        reap_interval: threshold(file.reap_interval, default.reap_interval),
        reap_gc_krefs: threshold(file.reap_gc_krefs, default.reap_gc_krefs),
        on_fault: file.on_fault.unwrap_or_default(),
        critical: file.critical,
        pipelining: file.pipelining,
        meter: None,
        snapshot_interval: threshold(file.snapshot_interval, default.snapshot_interval),
        weight,
        queued_max: file.queued_max.unwrap_or(default.queued_max),
        queued_bytes_max: file.queued_bytes_max.map_or(default.queued_bytes_max, |it| it.0),
        refs_max: file.refs_max.unwrap_or(default.refs_max),
        vats_max: file.vats_max.unwrap_or(default.vats_max),
    })
}

/// Returns a hint how to build a module that is missing, if its path or the files next to it show that.
fn how_to_build(path: &Path) -> &'static str {
    let is_rusts = path.components().any(|it| it.as_os_str() == "wasm32-unknown-unknown");
    let folder = path.parent().unwrap_or(Path::new(""));
    match path.extension().is_some_and(|it| it == "wasm") {
        true if is_rusts => ": it is not built yet: `cargo wasm` in the folder of the vat makes it",
        true if folder.join("build.sh").is_file() => {
            ": it is not built yet: `./build.sh` in the folder of the vat makes it"
        }
        _ => "",
    }
}

/// Reads a module from a file. Text is assembled; a file that is neither text nor a binary module is refused, and the
/// error says what the file is.
pub fn read_module(path: &Path) -> Result<Vec<u8>, ScenarioError> {
    let refused = |why: &dyn std::fmt::Display| ScenarioError::new(path, why);
    let bytes = files::read(path, files::MODULE_BYTES_MAX).map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => refused(&format_args!("{err}{}", how_to_build(path))),
        _ => refused(&err),
    })?;
    if bytes.starts_with(b"\0asm") {
        return Ok(bytes);
    }
    let packed = match bytes[..] {
        [0x1f, 0x8b, ..] => Some("gzip (`gunzip` unpacks it)"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("Zstandard (`unzstd` unpacks it)"),
        [b'P', b'K', 3, 4, ..] => Some("a zip archive (`unzip` unpacks it)"),
        [b'B', b'Z', b'h', ..] => Some("bzip2 (`bunzip2` unpacks it)"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz (`unxz` unpacks it)"),
        _ => None,
    };
    if let Some(packed) = packed {
        return Err(refused(&format_args!("this is not a WebAssembly module but {packed}: unpack it first")));
    }
    let Ok(text) = str::from_utf8(&bytes) else {
        let why = "this is not a WebAssembly module, which begins with \\0asm, and not the text of one";
        return Err(refused(&why));
    };
    let assembled = wat::Parser::new().parse_str(Some(path), text);
    let not_text = || {
        let begins_so = text.trim_start().starts_with(['(', ';']);
        if begins_so { "" } else { "this is neither a WebAssembly module nor the text of one: " }
    };
    assembled.map_err(|err| refused(&format_args!("{}{err}", not_text())))
}

/// Reads a module (see [`read_module`]), and checks it.
pub fn read_bundle(path: &Path) -> Result<Vec<u8>, ScenarioError> {
    let wasm = read_module(path)?;
    module::prepare(&wasm, &Rules::default()).map_err(|refusals| ScenarioError::new(path, refusals))?;
    Ok(wasm)
}

/// A TOML value as smallcaps. `root` finds the vat of an `"@name"`.
fn encode(
    value: &Value,
    root: &mut dyn FnMut(&str) -> Option<usize>,
    slots: &mut Vec<usize>,
) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('@') {
            Some(escaped) if escaped.starts_with('@') => json!(escaped).to_string(),
            Some(name) => {
                let vat = root(name).ok_or_else(|| format!("there is no vat `{name}` for \"@{name}\""))?;
                let at = slots.iter().position(|it| *it == vat).unwrap_or_else(|| {
                    slots.push(vat);
                    slots.len() - 1
                });
                json!(format!("${at}.Alleged: {name}")).to_string()
            }
            None => json!(smallcaps::text(text)).to_string(),
        },
        Value::Integer(number) if number.unsigned_abs() <= SAFE_INTEGER_MAX => number.to_string(),
        Value::Integer(number) => format!("\"{number:+}\""),
        Value::Float(number) if number.is_finite() => json!(number).to_string(),
        Value::Float(number) if number.is_nan() => "\"#NaN\"".to_owned(),
        Value::Float(number) => format!("\"#{}Infinity\"", if *number < 0.0 { "-" } else { "" }),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => json!(time.to_string()).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|it| encode(it, root, slots)).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(","))
        }
        Value::Table(table) => {
            let mut members = Vec::new();
            for (key, value) in table {
                members.push(format!("{}:{}", json!(smallcaps::text(key)), encode(value, root, slots)?));
            }
            format!("{{{}}}", members.join(","))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_becomes_smallcaps() {
        let text = r##"it = ["-x", "plain", "@bank", "@@bank", 1, 9007199254740992, -0.5, true, { a = [], "#b" = inf }, "@bank"]"##;
        let table: toml::Table = toml::from_str(text).expect("parses");
        let mut slots = vec![];
        let body = encode(&table["it"], &mut |name| (name == "bank").then_some(3), &mut slots).expect("known");
        assert_eq!(
            body,
            r##"["!-x","plain","$0.Alleged: bank","@bank",1,"+9007199254740992",-0.5,true,{"a":[],"!#b":"#Infinity"},"$0.Alleged: bank"]"##
        );
        assert_eq!(slots, [3]);
        assert!(encode(&Value::String("@nobody".into()), &mut |_| None, &mut slots).is_err());
    }

    #[test]
    fn sizes_have_units() {
        #[derive(Deserialize)]
        struct Sized {
            it: Bytes,
        }
        let size = |text: &str| toml::from_str::<Sized>(&format!("it = {text}")).map(|row| row.it.0).ok();
        assert_eq!(size("7"), Some(7));
        assert_eq!(size("\"16MiB\""), Some(16 << 20));
        assert_eq!(size("\"2 GiB\""), Some(2 << 30));
        assert_eq!(size("\"2 GB\""), Some(2_000_000_000));
        assert_eq!(size("\"2 Gi\""), None);
        assert_eq!(size("\"99999999999GiB\""), None);
        assert_eq!(size("-1"), None);
    }
}
