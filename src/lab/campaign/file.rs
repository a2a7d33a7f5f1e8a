//! The campaign file. Every mistake in it is reported with its line, its column, and what would be right.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeValue;

use crate::{
    directive::{HexPrefix, Refused, nearest},
    host::controller::BlockPolicy,
    lab::{
        campaign::{
            accept::{self, Bound, Limit},
            axis::{self, Axis, Values},
            invariant::{Asked, Check, Invariant},
            jaq::{CHECK_BYTES_MAX, Jaq},
            reader::{self, CampaignText, Placed, Section, listed},
            space::{self, Order, Space, Template},
        },
        experiment::{CampaignName, Class, Limits, Patience, Until, VatNames},
    },
};

/// Replicas of an experiment at most.
const REPLICAS_MAX: u64 = 16;
/// Faults of a random subset, if the file has no `size`.
const SWARM_SIZE: u64 = 6;
/// Random subsets, if the file has no `sample`.
const SWARM_SAMPLE: u64 = 1_000;

/// The state that a base must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The beginning of the base's chained hash.
    pub state: HexPrefix,
    /// The number of its next crank.
    pub crank: Option<u64>,
}

/// A campaign, as its file has it.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The campaign's name.
    pub name: String,
    /// The campaign's file.
    pub file: PathBuf,
    /// A scenario or the folder of a state.
    pub base: PathBuf,
    /// What the base must be.
    pub expect: Option<Expect>,
    /// How blocks end.
    pub policy: BlockPolicy,
    /// How far a run goes.
    pub until: Until,
    /// What an experiment may use.
    pub limits: Limits,
    /// What the golden run may take.
    pub patience: Patience,
    /// Replicas of each experiment.
    pub replicas: u32,
    /// Whether the kernel is audited after each crank.
    pub audit: bool,
    /// The space of the campaign's experiments.
    pub space: Space,
    /// Invariants and `sometimes`.
    pub invariants: Vec<Invariant>,
    /// What it must come to.
    pub accept: Vec<Limit>,
}

impl Campaign {
    /// Returns the name that tokens have for the campaign.
    pub fn named(&self) -> CampaignName {
        let hash = blake3::hash(self.question().as_bytes());
        let question = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        CampaignName { file: self.file.display().to_string(), question }
    }

    /// Returns all that the campaign adds to the verdict on one experiment: limits, replicas and invariants.
    pub(super) fn question(&self) -> String {
        let Campaign { until, limits, replicas, audit, .. } = self;
        // Where a command is run from depends on where the campaign is named from.
        let invariants: Vec<_> = self.invariants.iter().map(Invariant::anywhere).collect();
        format!("{until:?} {limits:?} {replicas} {audit} {invariants:?}")
    }

    /// Reads a file; `name` is what it is called in an error, and what its paths are relative to.
    ///
    /// # Errors
    ///
    /// Every mistake in it.
    pub fn parse(path: &Path, text: &str) -> Result<Campaign, Refused> {
        let name = path.display().to_string();
        let source = CampaignText::new(&name, text);
        let document = source.parse();
        let campaign = document.as_ref().and_then(|it| {
            let root = Section::new(&source, "the campaign", 0..0, it.get_ref());
            let dir = path.parent().unwrap_or(Path::new(""));
            let campaign = read(&root, dir);
            root.end();
            campaign.map(|it| Campaign { file: path.to_owned(), ..it })
        });
        source.end(campaign)
    }
}

fn read(root: &Section<'_>, dir: &Path) -> Option<Campaign> {
    let source = root.source;
    match root.number("schema") {
        None => root.missing("schema", "expected `schema = 1` at its head"),
        Some(it) if it.value != 1 => source.problem(&it.span, format!("schema {} is unknown", it.value), "expected 1"),
        Some(_) => (),
    }
    let name = root.text("name", "expected a text").map(|it| it.value.to_owned());
    let seed = root.number("seed").map_or(0, |it| it.value);
    let base = root.section("base");
    if base.is_none() && root.value("base").is_none() {
        root.missing("base", "expected a table [base] with `scenario = \"…/vat.toml\"` or `state = \"…\"`");
    }
    let base = base.and_then(|it| {
        let read = BaseTable::read(&it, dir);
        it.end();
        read
    });
    let faults = root.sections("fault");
    if faults.is_empty() {
        root.missing("fault", "expected at least one table [[fault]] with `at = …` and `do = …`");
    }
    let templates: Vec<Template> = faults.into_iter().enumerate().flat_map(|(at, it)| fault(it, at)).collect();
    let names = base.as_ref().map(|it| VatNames::of(&it.path)).unwrap_or_default();
    let singles = space::expand(&templates, source, &names);
    let space = schedule(root.section("schedule"), seed, singles);
    if space.is_too_large() {
        let expected = "expected ten million at the most: `sample = 5_000` in [schedule] draws some";
        source.problem(&(0..0), format!("{} experiments are too many", space.drawn()), expected);
    }
    let mut invariants: Vec<Invariant> = Vec::new();
    for (key, sometimes) in [("invariant", false), ("sometimes", true)] {
        for section in root.sections(key) {
            let span = section.span.clone();
            let Some(it) = invariant(section, dir, sometimes) else { continue };
            if invariants.iter().any(|other| other.name == it.name) {
                source.problem(&span, format!("`{}` comes twice", it.name), "expected each name once");
            }
            invariants.push(it);
        }
    }
    let accept = limits_of(root.section("accept"));
    let base = base?;
    Some(Campaign {
        name: name.unwrap_or_else(|| "campaign".to_owned()),
        file: PathBuf::new(),
        base: base.path,
        expect: base.expect,
        policy: base.policy,
        until: base.until,
        limits: base.limits,
        patience: base.patience,
        replicas: base.replicas,
        audit: base.audit,
        space,
        invariants,
        accept,
    })
}

/// The folder of a file that was named without one.
fn here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// The table `[base]` of a campaign file.
struct BaseTable {
    path: PathBuf,
    expect: Option<Expect>,
    policy: BlockPolicy,
    until: Until,
    limits: Limits,
    patience: Patience,
    replicas: u32,
    audit: bool,
}

impl BaseTable {
    fn read(section: &Section<'_>, dir: &Path) -> Option<BaseTable> {
        let source = section.source;
        let scenario = section.text("scenario", "expected the path of a vat.toml or its folder");
        let state = section.text("state", "expected the path of a state's folder");
        let path = match (scenario, state) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(_), Some(state)) => {
                source.problem(&state.span, "both a scenario and a state are given", "expected one of the two");
                None
            }
            (None, None) => {
                section.missing("scenario", "expected `scenario = \"…/vat.toml\"` or `state = \"…\"`");
                None
            }
        };
        let mut policy = BlockPolicy::default();
        if let Some(it) = section.number("cranks_per_block") {
            if it.value == 0 {
                source.problem(&it.span, "a block of no cranks", "expected 1 or more");
            }
            policy.cranks = it.value.max(1);
        }
        let replicas = section.number("replicas").map_or(1, |it| {
            if !(1..=REPLICAS_MAX).contains(&it.value) {
                source.problem(&it.span, format!("{} replicas", it.value), format!("expected 1 to {REPLICAS_MAX}"));
            }
            u32::try_from(it.value.clamp(1, REPLICAS_MAX)).unwrap_or(1)
        });
        let expect = parsed(section, "expect", "expected `state HASH` or `state HASH at crank N`", expect);
        let until = parsed(section, "until", UNTIL, until).unwrap_or_default();
        let limits = limits(section);
        let patience = patience(section);
        let audit = section.flag("audit").unwrap_or(false);
        let path = path?;
        if !dir.join(path.value).exists() {
            source.problem(&path.span, "there is nothing of that name", "expected a path relative to this file");
        }
        let at = if path.value == "." { here(dir).to_owned() } else { dir.join(path.value) };
        Some(BaseTable { path: at, expect, policy, until, limits, patience, replicas, audit })
    }
}

const UNTIL: &str = "expected \"quiescent\", \"end-of-golden\" or \"+500 cranks\"";

fn parsed<T>(section: &Section<'_>, key: &'static str, expected: &str, read: fn(&str) -> Option<T>) -> Option<T> {
    let text = section.text(key, expected)?;
    let value = read(text.value);
    if value.is_none() {
        section.source.problem(&text.span, format!("`{}` is no `{key}`", text.value), expected);
    }
    value
}

fn expect(text: &str) -> Option<Expect> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (hash, crank) = match words[..] {
        ["state", hash] => (hash, None),
        ["state", hash, "at", "crank", crank] => (hash, Some(crank.parse().ok()?)),
        _ => return None,
    };
    Some(Expect { state: hash.trim_end_matches('…').parse().ok()?, crank })
}

fn until(text: &str) -> Option<Until> {
    match text {
        "quiescent" => Some(Until::Quiescent),
        "end-of-golden" => Some(Until::EndOfGolden),
        _ => {
            text.strip_prefix('+')?.strip_suffix("cranks")?.trim().parse().ok().filter(|it| *it > 0).map(Until::Cranks)
        }
    }
}

/// A number with a unit, or without one.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|it: char| !it.is_ascii_digit());
    let unit = text.get(digits.len()..)?.trim();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    digits.trim().parse::<u64>().ok()?.checked_mul(factor)
}

fn limits(section: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = section.section("limits") else { return limits };
    limits.cranks = section.number("cranks").map(|it| it.value);
    let fuel = |it: &str| with_unit(it, &[("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)]);
    limits.fuel = parsed(&section, "fuel", "expected fuel, as in \"2G\" or \"500M\"", fuel);
    limits.wall_ms = time(&section, "wall").unwrap_or(limits.wall_ms);
    limits.memory = memory(&section);
    section.end();
    limits
}

/// `golden = { … }`: what the golden run may take.
fn patience(section: &Section<'_>) -> Patience {
    let mut patience = Patience::default();
    let Some(section) = section.section("golden") else { return patience };
    patience.cranks = section.number("cranks").map_or(patience.cranks, |it| it.value);
    patience.cpu = time(&section, "cpu").map_or(patience.cpu, Duration::from_millis);
    patience.memory = memory(&section).unwrap_or(patience.memory);
    section.end();
    patience
}

fn time(section: &Section<'_>, key: &'static str) -> Option<u64> {
    let time = |it: &str| with_unit(it, &[("ms", 1), ("s", 1_000), ("m", 60_000)]);
    parsed(section, key, "expected a time, as in \"10s\" or \"500ms\"", time)
}

fn memory(section: &Section<'_>) -> Option<u64> {
    let memory = |it: &str| with_unit(it, &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]);
    parsed(section, "memory", "expected a size, as in \"512MiB\"", memory)
}

/// The lines of a `[[fault]]`, each with the axes that it names.
fn fault(section: Section<'_>, at: usize) -> Vec<Template> {
    let source = section.source;
    let id =
        section.text("id", "expected a text").map_or_else(|| format!("fault-{}", at + 1), |it| it.value.to_owned());
    let places = section.texts("at", "expected a place, as in \"v3/delivery-{n}\", or a list of them");
    let actions = section.texts("do", "expected an action, as in \"terminate\", or a list of them");
    let with = section.texts("with", "expected lines such as \"v3/delivery-7: skip\"");
    for (key, empty) in [("at", places.is_empty()), ("do", actions.is_empty())] {
        if empty && section.value(key).is_none() {
            section.missing(key, "expected a place in `at`, and what to do there in `do`");
        }
    }
    let mut axes: Vec<(Axis, Range<usize>)> = Vec::new();
    for (key, value) in section.rest() {
        match Values::read(value) {
            Some(values) => axes.push((Axis { name: key.value.to_owned(), values }, key.span)),
            None => {
                let hint = near(key.value);
                source.problem_hinted(&value.span(), format!("`{}` is no axis", key.value), axis::EXPECTED, hint);
            }
        }
    }
    let mut templates = Vec::new();
    let mut used: Vec<String> = Vec::new();
    for place in &places {
        for action in &actions {
            let line = Placed { value: format!("{}: {}", place.value, action.value), span: action.span.clone() };
            let with: Vec<String> = with.iter().map(|it| it.value.to_owned()).collect();
            let all = format!("{}\n{}", line.value, with.join("\n"));
            let names = match axis::names(&all) {
                Ok(names) => names,
                Err(why) => {
                    source.problem(&line.span, why, "expected names in braces, as in `v3/delivery-{n}`");
                    continue;
                }
            };
            let unknown = names.iter().find(|it| !axes.iter().any(|(axis, _)| axis.name == **it));
            if let Some(unknown) = unknown {
                let span = if place.value.contains(&format!("{{{unknown}}}")) { &place.span } else { &action.span };
                let expected = format!("expected a list or a range of that name: `{unknown} = \"1..=10\"`");
                source.problem(span, format!("there is no axis `{unknown}`"), expected);
                continue;
            }
            used.extend(names.iter().map(|it| (*it).to_owned()));
            let axes = axes.iter().map(|(it, _)| it).filter(|it| names.contains(&&*it.name)).cloned().collect();
            templates.push(Template { fault: id.clone(), line, place: place.span.clone(), with, axes });
        }
    }
    for (axis, span) in axes.iter().filter(|(it, _)| !used.contains(&it.name)) {
        let hint = near(&axis.name);
        let what = format!("neither `at` nor `do` mentions {{{}}}", axis.name);
        source.problem_hinted(
            span,
            what,
            "expected `id`, `at`, `do`, `with`, or an axis that one of them mentions",
            hint,
        );
    }
    templates
}

/// What the name of an axis may have been meant to be.
fn near(name: &str) -> Option<String> {
    // A word of two letters is near to everything: only its own letters count.
    let letters = |it: &str| {
        let mut letters: Vec<char> = it.chars().collect();
        letters.sort_unstable();
        letters
    };
    let meant = ["id", "at", "do", "with"].into_iter().find(|it| letters(it) == letters(name));
    meant.or_else(|| nearest(name, ["with"])).map(|it| format!("did you mean `{it}`?"))
}

fn schedule(section: Option<Section<'_>>, seed: u64, singles: Vec<space::Single>) -> Space {
    let mut space = Space { singles, order: Order::Singles, sample: None, seeds: 1, size: SWARM_SIZE, seed };
    let Some(section) = section else { return space };
    const EXPECTED: &str = "expected 1, 2 or \"swarm\"";
    if let Some(value) = section.value("order") {
        let order = match (reader::number(value).map(|it| it.value), reader::text(value).map(|it| it.value)) {
            (Some(1), _) => Some(Order::Singles),
            (Some(2), _) => Some(Order::Pairs),
            (_, Some("swarm")) => Some(Order::Swarm),
            _ => None,
        };
        match order {
            Some(order) => space.order = order,
            None => section.source.problem(&value.span(), "this is no `order`", EXPECTED),
        }
    }
    let positive = |key| {
        let number = section.number(key)?;
        if number.value == 0 {
            section.source.problem(&number.span, format!("`{key}` is 0"), "expected 1 or more");
        }
        Some(number.value.max(1))
    };
    space.sample = positive("sample");
    space.seeds = positive("seeds").unwrap_or(1);
    space.size = positive("size").unwrap_or(SWARM_SIZE);
    if space.order == Order::Swarm {
        space.sample.get_or_insert(SWARM_SAMPLE);
    }
    section.end();
    space
}

fn invariant(section: Section<'_>, dir: &Path, sometimes: bool) -> Option<Invariant> {
    let source = section.source;
    let name = section.text("name", "expected a text");
    if name.is_none() && section.value("name").is_none() {
        section.missing("name", "expected `name = \"…\"`: a report names it");
    }
    let when = |it: &str| match it {
        "end" => Some(Asked::End),
        "every-block" => Some(Asked::EveryBlock),
        "every-crank" => Some(Asked::EveryCrank),
        _ => None,
    };
    let when =
        parsed(&section, "when", "expected \"end\", \"every-block\" or \"every-crank\"", when).unwrap_or_default();
    let jaq = section.text("check", "expected a jaq expression");
    let argv = section.texts("command", "expected a program and its arguments, as in [\"./check.sh\", \"-v\"]");
    let slog = section.flag("slog").unwrap_or(false);
    let check = match (jaq, argv.is_empty()) {
        (Some(jaq), true) => {
            if jaq.value.len() > CHECK_BYTES_MAX {
                let what = format!("an expression of {} bytes", jaq.value.len());
                source.problem(
                    &jaq.span,
                    what,
                    format!("expected {CHECK_BYTES_MAX} at the most: a command can be longer"),
                );
            } else if let Err((inside, why)) = Jaq::compile(jaq.value) {
                source.problem(&inside_of(source, &jaq, inside), why, "in this jaq expression");
            }
            Some(Check::Jaq(jaq.value.to_owned()))
        }
        (None, false) => {
            let argv = argv.iter().map(|it| it.value.to_owned()).collect();
            Some(Check::Command { argv, slog, dir: here(dir).to_owned() })
        }
        _ => {
            section
                .missing("check", "expected either `check = \"a jaq expression\"` or `command = [\"a\", \"program\"]`");
            None
        }
    };
    section.end();
    Some(Invariant { name: name?.value.to_owned(), check: check?, when, sometimes })
}

/// Where a part of a text stands in the file, unless escapes stand between.
fn inside_of(source: &CampaignText<'_>, text: &Placed<&str>, part: Range<usize>) -> Range<usize> {
    match source.find(&text.span, text.value) {
        Some(start) => start + part.start..start + part.end,
        None => text.span.clone(),
    }
}

fn limits_of(section: Option<Section<'_>>) -> Vec<Limit> {
    let mut limits = accept::defaults();
    let Some(section) = section else { return limits };
    let source = section.source;
    for (key, value) in section.rest() {
        let Some(class) = Class::ALL.into_iter().find(|it| accept::key(*it) == key.value) else {
            let classes = ["not-reached", "no-effect", "harness", "host-crash", "host-hang", "durability", "diverged"];
            let more = [
                "kernel-panic",
                "invariant",
                "stalled",
                "latent",
                "contained",
                "spread",
                "silent",
                "recovered",
                "masked",
            ];
            let all: Vec<&'static str> = classes.into_iter().chain(more).collect();
            let hint = nearest(key.value, all.iter().copied()).map(|it| format!("did you mean `{it}`?"));
            let expected = format!("expected {}", listed(&all));
            source.problem_hinted(&key.span, format!("there is no class `{}`", key.value), expected, hint);
            continue;
        };
        let bound = match value.get_ref() {
            DeValue::Integer(_) => reader::number(value).map(|it| Bound::Most(it.value)),
            DeValue::String(text) => Bound::read(text),
            _ => None,
        };
        match bound {
            Some(bound) => {
                limits.retain(|it| it.class != class);
                limits.push(Limit { class, bound });
            }
            None => source.problem(&value.span(), format!("this is no limit for `{}`", key.value), accept::EXPECTED),
        }
    }
    limits.sort_by_key(|it| it.class);
    limits
}
