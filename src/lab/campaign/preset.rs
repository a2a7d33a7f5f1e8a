//! Campaigns to begin with: written for a base, with its own numbers.

use std::{collections::BTreeMap, fmt::Write, str::FromStr};

use crate::{
    host::controller::BlockPolicy,
    lab::experiment::{Points, VatPoints},
    model::id::BlockHeight,
};

/// The campaigns that there are.
pub const PRESETS: [(&str, &str); 7] = [
    ("skip-each", "every delivery to every vat is skipped once"),
    ("kill-each", "every vat is terminated at each of its deliveries"),
    ("syscall-errors", "every syscall of every vat fails once"),
    ("oom", "every delivery runs out of fuel or memory midway"),
    ("seu", "one bit of a vat's memory turns over, now and then"),
    ("power-loss", "the process is killed, the disk fails or loses power at each operation on a file of each commit"),
    ("swarm", "random sets of skips, delays, duplicates, deaths and traps"),
];

/// A campaign to begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preset(&'static str);

impl FromStr for Preset {
    type Err = String;
    fn from_str(text: &str) -> Result<Preset, String> {
        let found = PRESETS.iter().find(|(name, _)| *name == text);
        found.map(|(name, _)| Preset(name)).ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            format!("there is no preset `{text}`; there are {}", names.join(", "))
        })
    }
}

/// The base that a preset's campaign is written for, and its numbers.
#[derive(Clone, Debug)]
pub struct Ground<'a> {
    /// The path of the base, as it is to stand in the file.
    pub base: &'a str,
    /// How its blocks end.
    pub block_cranks: u64,
    /// Whether it is a state.
    pub is_state: bool,
    /// The beginning of the base's chained hash.
    pub state_hash: &'a str,
    /// The base's fault space.
    pub points: &'a Points,
    /// How many operations each commit has, where the preset [asks for them](Preset::is_about_the_store).
    pub store_ops: &'a [(BlockHeight, u64)],
}

impl Preset {
    /// Returns the preset's name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Returns whether the preset needs to know the file operations of each commit.
    pub fn is_about_the_store(self) -> bool {
        self.0 == "power-loss"
    }

    /// Writes the text of a campaign file.
    pub fn write(self, ground: &Ground<'_>) -> String {
        let mut text = String::new();
        let _ = self.write_all(ground, &mut text);
        text
    }

    fn write_all(self, ground: &Ground<'_>, out: &mut String) -> std::fmt::Result {
        let says = PRESETS.iter().find(|(name, _)| *name == self.0).map_or("", |(_, says)| says);
        let kind = if ground.is_state { "state   " } else { "scenario" };
        writeln!(out, "# {}: {says}.\n#", self.0)?;
        writeln!(
            out,
            "#   vathost fault plan FILE      how many, how long\n#   vathost fault run FILE       run it\n"
        )?;
        writeln!(out, "schema = 1\nname   = {:?}\nseed   = 1                        # the only randomness\n", self.0)?;
        writeln!(out, "[base]\n{kind} = {:?}", ground.base)?;
        let comment = if ground.block_cranks == BlockPolicy::default().cranks { "# " } else { "" };
        writeln!(out, "{comment}cranks_per_block = {}", ground.block_cranks)?;
        writeln!(out, "# expect = \"state {}\"   # refuse to run on anything else", ground.state_hash)?;
        writeln!(out, "# until  = \"quiescent\"          # or \"end-of-golden\", \"+500 cranks\"")?;
        writeln!(out, "# limits = {{ cranks = 5_000, fuel = \"2G\", wall = \"10s\", memory = \"2GiB\" }}")?;
        writeln!(out, "# replicas = 4                   # compare the hashes of every crank on so many\n")?;
        writeln!(
            out,
            "# Where, and what. Both may be lists; {{n}} stands for each of the values of the axis `n`, which is a list such as"
        )?;
        writeln!(
            out,
            "# [1, 10, 100] or a range such as \"1..=20\" or \"0..100 step 10\"; `with = [\"v3/delivery-7: skip\"]` are lines that"
        )?;
        writeln!(out, "# always go along. `vathost fault grammar` prints the places and the actions.\n")?;
        self.faults(ground, out)?;
        if !matches!(self.0, "seu" | "swarm") {
            writeln!(
                out,
                "# [schedule]\n# order  = 2                      # every two of them; or \"swarm\": random sets"
            )?;
            writeln!(out, "# sample = 5_000                  # so many of them, drawn by the seed\n")?;
        }
        writeln!(
            out,
            "# What must hold at the end of each experiment: a jaq expression over {{vats, kernel, slog, golden}},"
        )?;
        writeln!(out, "# or `command = [\"./check\"]`, which gets the same as JSON on its standard input.")?;
        writeln!(out, "# [[invariant]]\n# name  = \"every result is there\"")?;
        writeln!(out, "# check = 'all(.kernel.results[]; .status != \"pending\")'\n")?;
        writeln!(out, "# What must hold in one experiment at the least: or else the campaign is too weak.")?;
        writeln!(out, "# [[sometimes]]\n# name  = \"somebody is told\"")?;
        writeln!(out, "# check = 'any(.kernel.results[]; .status == \"rejected\")'\n")?;
        writeln!(
            out,
            "# The verdict, and the exit code. Bugs of the host, and broken invariants, are 0 unless something else is said."
        )?;
        writeln!(out, "[accept]\nsilent = 0                       # or \"<= 3\", \"<= 5%\", \"<= 0.1% @95\"")
    }

    fn faults(self, ground: &Ground<'_>, out: &mut String) -> std::fmt::Result {
        let points = ground.points;
        let each = |out: &mut String, id: &str, action: &str| {
            points.vats.iter().filter(|it| it.deliveries.1 > 0).try_for_each(|it| per_delivery(out, it, id, action))
        };
        match self.0 {
            "skip-each" => each(out, "skip", "\"skip\""),
            "kill-each" => each(out, "kill", "\"terminate\""),
            "oom" => each(out, "oom", "[\"trap after 0 fuel\", \"trap after 10000 fuel\", \"trap after 100000 fuel\"]"),
            "seu" => {
                for it in points.vats.iter().filter(|it| it.deliveries.1 > 0) {
                    per_delivery(out, it, "seu", &format!("\"flip {} memory bit random\"", it.vat))?;
                }
                writeln!(out, "[schedule]\nseeds = 8                        # each with so many seeds: other bits\n")
            }
            "syscall-errors" => points.vats.iter().try_for_each(|it| per_syscall(out, it)),
            "power-loss" => per_commit(out, ground),
            _ => {
                each(out, "skip", "[\"skip\", \"delay 3 cranks\", \"duplicate\"]")?;
                each(out, "die", "[\"terminate\", \"trap after 10000 fuel\"]")?;
                writeln!(
                    out,
                    "[schedule]\norder  = \"swarm\"                 # or 1: each alone, 2: every two of them"
                )?;
                writeln!(
                    out,
                    "sample = 1_000\nsize   = 6                        # faults of one experiment at the most\n"
                )
            }
        }
    }
}

fn per_delivery(out: &mut String, vat: &VatPoints, id: &str, action: &str) -> std::fmt::Result {
    let (first, count) = vat.deliveries;
    let name: String = vat.name.chars().filter(|it| !it.is_control()).collect();
    writeln!(out, "[[fault]]\nid = {:?}", format!("{id} {name}"))?;
    writeln!(out, "at = \"{}/delivery-{{n}}\"\ndo = {action}\nn  = \"{first}..={}\"\n", vat.vat, first + count - 1)
}

fn per_commit(out: &mut String, ground: &Ground<'_>) -> std::fmt::Result {
    let (first, count) = ground.points.commits;
    let actions = "[\"kill -9\", \"lose unsynced\", \"tear at 512\", \"eio\", \"enospc\"]";
    let last = (first + count).saturating_sub(1);
    writeln!(
        out,
        "# As a commit begins, or, for a loss of power, when it has returned; `eio` and `enospc` are for ever."
    )?;
    writeln!(out, "[[fault]]\nid = \"commit\"\nat = \"commit-{{b}}\"\ndo = {actions}\nb  = \"{first}..={last}\"\n")?;
    let mut by_count: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (height, ops) in ground.store_ops.iter().filter(|(_, ops)| *ops > 0) {
        by_count.entry(*ops).or_default().push(height.0);
    }
    writeln!(
        out,
        "# At each operation of a commit that changes a file: one [[fault]] for the commits that have as many."
    )?;
    for (ops, heights) in by_count {
        writeln!(out, "[[fault]]\nid = \"{ops} operations\"\nat = \"commit-{{b}}/store-op-{{k}}\"\ndo = {actions}")?;
        writeln!(out, "b  = {heights:?}\nk  = \"1..={ops}\"\n")?;
    }
    Ok(())
}

fn per_syscall(out: &mut String, vat: &VatPoints) -> std::fmt::Result {
    for (kind, count) in &vat.syscalls {
        let actions = match *kind {
            "vatstoreGet" => "[\"error absent\", \"error illegal\", \"error out-of-fuel\"]",
            _ => "[\"error illegal\", \"error out-of-fuel\"]",
        };
        writeln!(out, "[[fault]]\nid = {:?}", format!("{kind} of {}", vat.name))?;
        writeln!(out, "at = \"{}/syscall-{kind}-{{k}}\"\ndo = {actions}\nk  = \"1..={count}\"\n", vat.vat)?;
    }
    Ok(())
}
