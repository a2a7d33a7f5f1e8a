//! Reports of a halt for its operators. [`Epitaph`] is that of a kernel panic, [`Mishap`] that of a host fault; both say where the host was,
//! what failed, and what can be done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    kernel::Halt,
    model::{
        blame::{BrokenInvariant, Fault, HostFailure},
        harmless::{harmless, quoted},
        id::hex,
        kernel_version::VERSIONS,
    },
    state::block::BlockPolicy,
};

/// The report of a kernel panic. It is written next to the store as `panic-<crank>.json` (`panic.json` outside a crank).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Epitaph {
    pub version: String,
    pub kernel_version: u32,
    pub engine: String,
    pub block: u64,
    pub state_hash: String,
    pub crank: Option<u64>,
    #[serde(rename = "vatID")]
    pub vat: Option<String>,
    pub vat_name: Option<String>,
    pub delivery: Option<u64>,
    pub dispatch: Option<String>,
    pub syscall: Option<u32>,
    pub syscall_kind: Option<String>,
    pub message_hash: Option<String>,
    /// The method, if a message was being delivered.
    #[serde(default)]
    pub method: Option<String>,
    /// The queue entry that the crank took, if that was no delivery.
    #[serde(default)]
    pub entry: Option<String>,
    pub invariant: String,
    pub detail: String,
    pub location: String,
    pub backtrace: String,
    pub directives_digest: String,
    /// The directives in force, in canonical form.
    #[serde(default)]
    pub directives: Vec<String>,
    /// The file of the guest's core dump, next to this one, if the guest was live.
    pub core_dump: Option<String>,
    /// The guest's functions that were under way, the innermost first; `None` if it had returned, or was not live.
    pub guest_backtrace: Option<Vec<String>>,
    /// The settings of the host: another host must run with the same ones to halt at the same place.
    #[serde(default)]
    pub run: RunSettings,
}

/// The settings that decide, besides the state and the directives, what a host computes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "they are the flags of `vathost run`")]
pub struct RunSettings {
    pub cranks_per_block: Option<u64>,
    pub fuel_per_block: Option<u64>,
    pub block_time: Option<u64>,
    pub audit: Option<u64>,
    pub plants: Vec<String>,
}

impl RunSettings {
    /// Returns the policy for ending blocks.
    pub fn policy(&self) -> BlockPolicy {
        let default = BlockPolicy::default();
        BlockPolicy {
            cranks: self.cranks_per_block.unwrap_or(default.cranks),
            fuel: self.fuel_per_block,
            wall_millis: None,
            block_time: self.block_time.unwrap_or(default.block_time),
        }
    }

    /// Notes how blocks are cut.
    pub fn set_policy(&mut self, policy: &BlockPolicy) {
        self.cranks_per_block = Some(policy.cranks);
        self.fuel_per_block = policy.fuel;
        self.block_time = Some(policy.block_time);
    }
}

/// The host's position at its last commit, and its settings. Also known after a halt.
#[derive(Debug, Clone, Default)]
pub struct HostPosition {
    /// The version of the kernel.
    pub kernel_version: u32,
    /// The runtime of the host's vats.
    pub runtime: String,
    /// The height of the last commit's block.
    pub height: u64,
    /// Whether that block is still open: its inputs were committed, or it was interrupted.
    pub is_open: bool,
    /// The chained hash there.
    pub state_hash: String,
    /// The digest of the directives in force.
    pub directives_digest: String,
    /// The directives in force, in canonical form.
    pub directives: Vec<String>,
    /// The settings of the host.
    pub run: RunSettings,
}

impl HostPosition {
    /// Returns the block in which the host halted: the open one, or the one after the last.
    fn block(&self) -> u64 {
        self.height + u64::from(!self.is_open)
    }
}

impl Epitaph {
    /// Makes the epitaph of this halt; `None` if it is not a kernel panic.
    pub fn of(halt: &Halt, standing: &HostPosition, vat_name: Option<String>) -> Option<Epitaph> {
        let Fault::Kernel(panic) = &halt.fault else { return None };
        let BrokenInvariant { invariant, detail, location, backtrace } = &**panic;
        let position = &halt.position;
        let taken = halt.taken.clone().unwrap_or_default();
        Some(Epitaph {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_version: standing.kernel_version,
            engine: standing.runtime.clone(),
            block: standing.block(),
            state_hash: standing.state_hash.clone(),
            crank: position.crank.map(|it| it.0),
            vat: position.delivery.map(|(vat, ..)| vat.to_string()),
            vat_name,
            delivery: position.delivery.map(|(_, number, _)| number.0),
            dispatch: position.delivery.map(|(.., kind)| kind.to_owned()),
            syscall: position.syscall.map(|(number, _)| number),
            syscall_kind: position.syscall.map(|(_, kind)| kind.to_owned()),
            message_hash: taken.hash.map(|it| hex(&it)),
            method: taken.method,
            entry: taken.entry,
            invariant: (*invariant).to_owned(),
            detail: detail.clone(),
            location: location.clone(),
            backtrace: backtrace.clone(),
            directives_digest: standing.directives_digest.clone(),
            directives: standing.directives.clone(),
            core_dump: None,
            guest_backtrace: None,
            run: standing.run.clone(),
        })
    }

    /// Returns the name of the file for the guest's core dump.
    pub fn core_dump_name(&self) -> String {
        self.file_name().replace(".json", ".core.wasm")
    }

    /// Returns the name of the epitaph's file.
    pub fn file_name(&self) -> String {
        match self.crank {
            Some(crank) => format!("panic-{crank}.json"),
            None => "panic.json".to_owned(),
        }
    }

    /// Returns the directive lines that might let the host continue, each by itself; the guards are this crank's own.
    /// Only a trial tells what they lead to.
    pub fn ways_out(&self) -> Vec<String> {
        let Some(crank) = self.crank else { return Vec::new() };
        let hash = self.message_hash.as_deref();
        match (&self.vat, &self.dispatch) {
            (Some(vat), Some(dispatch)) => ways_past(crank, vat, dispatch, hash),
            _ => self.entry.iter().map(|_| format!("crank-{crank}: skip{}", guard(hash))).collect(),
        }
    }

    /// Returns the lines that replace the broken kernel by a newer one, from the block of the panic on.
    pub fn other_kernels(&self) -> Vec<String> {
        let newer = VERSIONS.iter().filter(|it| it.number > self.kernel_version);
        newer.map(|it| format!("block-{}: replace-kernel {}", self.block, it.number)).collect()
    }

    /// Returns the first message to the operator: where the kernel was, and how to look at the state. `state` is the
    /// folder of the state.
    pub fn message(&self, state: Option<&str>) -> String {
        let mut text = format!("{self}\n");
        let Some(state) = state else {
            return text
                + "  the state was in memory, and is gone: with --state DIR it can be looked at, and gone on from\n";
        };
        let hash = self.state_hash.get(..8).unwrap_or_default();
        text += &format!("  state is intact at block {} (state hash {hash}…)\n", self.block - 1);
        let dir = quoted(state);
        if let (Some(method), None) = (&self.method, &self.entry) {
            text += &format!("  it was:      a message `{}`\n", harmless(method));
        }
        if let Some(crank) = self.crank {
            text += &format!("  see it:      vathost debug --state {dir} --at crank-{crank}\n");
        }
        if let (Some(vat), Some(delivery)) = (&self.vat, self.delivery) {
            text += &format!("  replay it:   vathost replay --state {dir} --vat {vat} --delivery {delivery}\n");
        }
        if let Some(file) = &self.core_dump {
            let file = quoted(&format!("{state}/{file}"));
            text += &format!("  its guest:   {file}, a WebAssembly core dump, which `wasmgdb` reads\n");
            text += &format!("               alive, in lldb: vathost debug --state {dir} --at panic --lldb\n");
        }
        for (at, frame) in self.guest_backtrace.iter().flatten().enumerate().take(8) {
            text += &format!("               {} {}\n", if at == 0 { "in" } else { "by" }, harmless(frame));
        }
        text += &format!("  all of it:   {}\n", quoted(&format!("{state}/{}", self.file_name())));
        if !self.directives.is_empty() {
            text += &format!("  in force:    directives of digest {:.8}…\n", self.directives_digest);
        }
        for line in &self.directives {
            text += &format!("               {}\n", harmless(line));
        }
        text
    }
}

/// The guard of a `skip`: it holds for this message alone.
fn guard(message_hash: Option<&str>) -> String {
    message_hash.and_then(|it| it.get(..8)).map(|it| format!(" expect {it}")).unwrap_or_default()
}

/// The directives that go past one delivery, each by itself.
fn ways_past(crank: u64, vat: &str, dispatch: &str, message_hash: Option<&str>) -> Vec<String> {
    let expect = guard(message_hash);
    // A vat cannot do without its first delivery.
    let skip = (dispatch != "startVat").then(|| format!("crank-{crank}: skip {vat}{expect}"));
    let others = [format!("crank-{crank}: terminate {vat}"), format!("crank-{crank}: pause {vat}")];
    skip.into_iter().chain(others).collect()
}

/// Writes the ways out as a text for the operator; `to` says what they are for.
fn offered(to: &str, ways: &[String], state: &str) -> String {
    let Some(first) = ways.first() else { return String::new() };
    let mut text = format!(
        "  {to}, agree with the other operators on ONE of these lines, put it in your directive file, and start again:\n"
    );
    for line in ways {
        text += &format!("      {line}\n");
    }
    text + &format!("  try them first: vathost directives plan --state {} --add '{first}'\n", quoted(state))
}

/// Writes the place of a halt: the crank, and its delivery.
fn place(crank: Option<u64>, delivery: Option<(&str, u64)>, vat_name: Option<&str>) -> String {
    let mut text = crank.map_or(String::new(), |it| format!(" in crank {it}"));
    if let Some((vat, delivery)) = delivery {
        text += &format!(": delivery {delivery} to {vat}");
        text += &vat_name.map_or(String::new(), |it| format!(" ({})", harmless(it)));
    }
    text
}

/// The report of a host fault: where the host was, and what can be done if the fault happens there each time.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the contract's")]
pub struct Mishap {
    pub block: u64,
    pub state_hash: String,
    pub crank: Option<u64>,
    #[serde(rename = "vatID")]
    pub vat: Option<String>,
    pub vat_name: Option<String>,
    pub delivery: Option<u64>,
    pub dispatch: Option<String>,
    pub message_hash: Option<String>,
    pub what: String,
    pub why: String,
    pub way_out: Option<&'static str>,
}

impl Mishap {
    /// Makes the report of this halt; `None` if it is not a host fault.
    pub fn of(halt: &Halt, standing: &HostPosition, vat_name: Option<String>) -> Option<Mishap> {
        let Fault::Host(fault) = &halt.fault else { return None };
        let HostFailure { what, why, way_out } = &**fault;
        let position = &halt.position;
        Some(Mishap {
            block: standing.block(),
            state_hash: standing.state_hash.clone(),
            crank: position.crank.map(|it| it.0),
            vat: position.delivery.map(|(vat, ..)| vat.to_string()),
            vat_name,
            delivery: position.delivery.map(|(_, number, _)| number.0),
            dispatch: position.delivery.map(|(.., kind)| kind.to_owned()),
            message_hash: halt.taken.as_ref().and_then(|it| it.hash).map(|it| hex(&it)),
            what: what.clone(),
            why: why.clone(),
            way_out: *way_out,
        })
    }

    /// Returns the message to the operator. `state` is the folder of the state.
    pub fn message(&self, state: Option<&str>) -> String {
        let delivery = self.vat.as_deref().zip(self.delivery);
        let mut text = format!(
            "host fault{}: {}: {}\n",
            place(self.crank, delivery, self.vat_name.as_deref()),
            self.what,
            self.why
        );
        let Some(state) = state else { return text };
        let hash = self.state_hash.get(..8).unwrap_or_default();
        text += &format!("  state is intact at block {} (state hash {hash}…)\n", self.block - 1);
        if let Some(way_out) = self.way_out {
            return text + "  " + way_out + "\n";
        }
        text += "  it is this machine's: once that is mended, the same command goes on from there\n";
        let (Some(crank), Some(vat), Some(dispatch)) = (self.crank, &self.vat, &self.dispatch) else { return text };
        let ways = ways_past(crank, vat, dispatch, self.message_hash.as_deref());
        text + &offered("should it come here each time, to go past it", &ways, state)
    }
}

/// The one line that matters.
impl fmt::Display for Epitaph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivery = self.vat.as_deref().zip(self.delivery);
        write!(f, "kernel panic{}", place(self.crank, delivery, self.vat_name.as_deref()))?;
        if let Some(entry) = &self.entry {
            write!(f, ": {}, which is no delivery", harmless(entry))?;
        }
        if let (Some(number), Some(kind)) = (self.syscall, &self.syscall_kind) {
            write!(f, ", syscall {number} {kind}")?;
        }
        write!(f, ": invariant `{}` failed: {}", harmless(&self.invariant), harmless(&self.detail))
    }
}
