//! The causal chain of a crank, a promise or an object: back to the message from outside, and forward to all that it led to.
//!
//! It takes two passes over the file. The first writes the links between cranks to a temporary file (see `spine`), which is then read
//! from its end, for the causes; the second collects what is shown. In memory are the cranks of the chain, the links that they made,
//! the vats' names, and the one crank that is read.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use serde::Serialize;
use serde_json::Value;

use crate::inspect::recording::{
    Extent, Place,
    crank::{Cranks, RecordedCrank},
    fact::{self, Fact},
    history::History,
    link::{Link, is_undone},
    spine::{Knot, Spine, SpineWriter, Vertebra},
};
use crate::slog::{Detail, ReadError, Reader, Record, RecordedEvent, reader::must_be_a_file};

/// The subject of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The crank with this number.
    Crank(u64),
    /// A promise or an object, by the kernel's name for it.
    Reference(String),
}

/// A causal chain of cranks.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The events of the promise or object: where it was made, delivered, settled, notified.
    pub facts: Vec<Fact>,
    /// The cranks of the chain, in order: each comes after its cause.
    pub steps: Vec<TraceStep>,
    /// Whether more cranks followed than were asked for.
    pub cut: bool,
    /// Whether syscalls are recorded: without them, nothing ties cranks together.
    pub has_syscalls: bool,
}

/// A crank of a causal chain.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceStep {
    /// The crank, and its delivery, if it made one.
    #[serde(flatten)]
    pub place: Place,
    /// The vat's name, unless it was created before the recording.
    pub name: Option<String>,
    /// The height of the crank's block, unless that began before the recording.
    pub block_height: Option<u64>,
    /// The crank and syscall that caused this one. `None` if that is not in the recording: the item came from
    /// outside, or the kernel acted by itself.
    pub cause: Option<StepCause>,
    /// The item that the crank took from its queue, in SwingSet's shape.
    pub message: Value,
    /// The kind of that item.
    pub message_type: String,
    /// The delivery, in the kernel's references.
    pub kd: Option<Value>,
    /// The reason why the delivery failed, if it did.
    pub error: Option<Value>,
    /// Whether everything that the crank did was undone.
    pub undone: bool,
    /// Whether the crank ends within the recording.
    pub ended: bool,
    /// The vats that ended in it.
    pub terminated: Vec<String>,
    /// The directives that were obeyed in it.
    pub directives: Vec<String>,
    /// The syscalls of the crank that belong to the chain.
    pub acts: Vec<Act>,
}

/// The cause of a crank: another crank, and its syscall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepCause {
    /// The crank that caused it.
    #[serde(rename = "crankNum")]
    pub crank: u64,
    /// The number of the syscall; `None` if the kernel did it, which settled a promise, or made or ended a vat.
    #[serde(rename = "syscallNum")]
    pub syscall: Option<u64>,
}

/// A syscall that belongs to the chain.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    /// The syscall's number in its delivery.
    #[serde(rename = "syscallNum")]
    pub number: u64,
    /// The syscall, in the kernel's references.
    pub ksc: Value,
}

/// Traces a subject, at most this many cranks forward; returns the extent of the recording if it is not there.
///
/// # Errors
///
/// The recording cannot be read to its end, or, being a pipe, not twice.
pub fn trace(path: &Path, subject: &Subject, limit: usize) -> Result<Result<Trace, Extent>, ReadError> {
    must_be_a_file(path)?;
    let scratch = |why: io::Error| ReadError::Open { path: path.to_owned(), why };
    let mut first = First::new(subject).map_err(scratch)?;
    for crank in Cranks::all(Reader::open(path)?) {
        first.add(&crank?).map_err(scratch)?;
    }
    let First { history, spine, begins, .. } = first;
    let Some(begins) = begins else {
        return Ok(Err(Extent { cranks: history.cranks, deliveries: None }));
    };
    let (target, seeds) = match subject {
        Subject::Crank(_) => (Some(begins.crank), BTreeSet::new()),
        Subject::Reference(name) => {
            let seeds = [Link::Result(name.clone()), Link::Settled(name.clone())];
            (Some(begins.crank).filter(|_| begins.outside), seeds.iter().map(Link::knot).collect())
        }
    };
    let mut chain =
        Chain { past: BTreeMap::from([(begins.crank, BTreeSet::new())]), target, seeds, ..Chain::default() };
    let mut spine = spine.finish().map_err(scratch)?;
    chain.walk_back(&mut spine, begins.crank).map_err(scratch)?;
    chain.limit = limit;
    chain.name = match subject {
        Subject::Reference(name) => Some(name.clone()),
        Subject::Crank(_) => None,
    };
    for crank in Cranks::that_count(path, &history)? {
        chain.add(&crank?);
    }
    Ok(Ok(chain.into_trace(history.detail >= Detail::Syscalls)))
}

/// The place at which the subject begins.
#[derive(Debug, Clone, Copy)]
struct Begins {
    crank: u64,
    /// Whether the subject came with the item that the crank took, and not from what the crank did.
    outside: bool,
}

/// The first pass: where the subject begins, and the spine.
struct First<'a> {
    subject: &'a Subject,
    history: History,
    next: u64,
    spine: SpineWriter,
    begins: Option<Begins>,
}

impl First<'_> {
    fn new(subject: &Subject) -> io::Result<First<'_>> {
        Ok(First { subject, history: History::default(), next: 0, spine: SpineWriter::new()?, begins: None })
    }

    fn add(&mut self, crank: &RecordedCrank) -> io::Result<()> {
        crank.events.iter().for_each(|it| self.history.add(it, &mut self.next));
        // Its numbers turn back: what was found in a crank that was lost is to be found again.
        self.begins.take_if(|it| it.crank >= crank.number);
        match self.subject {
            Subject::Crank(number) if *number == crank.number => {
                self.begins = Some(Begins { crank: *number, outside: true });
            }
            Subject::Reference(name) if self.begins.is_none() && fact::occurs(crank, name) => {
                let outside = crank.item().message().and_then(|it| it.result) == Some(name.as_str());
                self.begins = Some(Begins { crank: crank.number, outside });
            }
            _ => (),
        }
        self.spine.push(&Vertebra::of(crank))
    }
}

/// A crank that is wanted: one that takes this link.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    source: StepCause,
    /// Whether all that follows from the crank belongs to the chain.
    all: bool,
}

#[derive(Default)]
struct Chain {
    /// The cranks among the causes, and the links by which each leads on.
    past: BTreeMap<u64, BTreeSet<Knot>>,
    /// The crank from which on all belongs to the chain.
    target: Option<u64>,
    /// Links from which on all belongs to the chain.
    seeds: BTreeSet<Knot>,
    /// The promise or object.
    name: Option<String>,
    limit: usize,
    wanted: BTreeMap<Knot, Wanted>,
    /// The promises that the kernel will settle when a vat ends, by vat.
    decided: BTreeMap<String, Vec<Knot>>,
    names: BTreeMap<String, String>,
    facts: Vec<Fact>,
    steps: BTreeMap<u64, TraceStep>,
    cut: bool,
}

impl Chain {
    /// Finds the causes. If a promise was settled because its decider ended, the end may come after the promise's message: then the way
    /// back begins once more at the end.
    fn walk_back(&mut self, spine: &mut Spine, begins: u64) -> io::Result<()> {
        let mut seeds: Vec<(Knot, u64)> = self.seeds.iter().map(|it| (*it, u64::MAX)).collect();
        let mut target = Some(begins);
        loop {
            let mut wanted: BTreeMap<Knot, u64> = seeds.drain(..).collect();
            let mut ended: BTreeMap<String, (u64, Option<Knot>)> = BTreeMap::new();
            let mut lowest = u64::MAX;
            spine.backwards(|it| {
                let crank = it.crank;
                // What was lost with its host has run again.
                if crank >= lowest {
                    return;
                }
                lowest = crank;
                let mut leads_on = target.take_if(|it| *it == crank).is_some();
                for knot in &it.made {
                    if wanted.get(knot).is_some_and(|it| *it > crank) {
                        wanted.remove(knot);
                        self.past.entry(crank).or_default().insert(*knot);
                        leads_on = true;
                    }
                }
                if let Some(knot) = it.settles
                    && let Some(before) = wanted.get(&knot).copied().filter(|it| *it > crank)
                {
                    wanted.remove(&knot);
                    let end = it.vat.as_ref().and_then(|it| ended.get(it)).filter(|(end, _)| *end < before);
                    self.past.entry(end.map_or(crank, |it| it.0)).or_default().insert(knot);
                    match end {
                        Some((end, taken)) => seeds.extend(taken.map(|it| (it, *end))),
                        None => leads_on = true,
                    }
                }
                if let (true, Some(taken)) = (leads_on, it.taken) {
                    let before = wanted.entry(taken).or_insert(crank);
                    *before = crank.max(*before);
                }
                ended.extend(it.ended.into_iter().map(|vat| (vat, (crank, it.taken))));
            })?;
            if seeds.is_empty() {
                return Ok(());
            }
        }
    }

    /// The second pass.
    fn add(&mut self, crank: &RecordedCrank) {
        self.names.extend(crank.created());
        if let Some(name) = &self.name {
            let facts = fact::facts(crank, name);
            self.cut |= self.facts.len() + facts.len() > self.limit;
            self.facts.extend(facts);
            self.facts.truncate(self.limit);
        }
        let taken = crank.taken();
        let cause = taken.as_ref().and_then(|it| self.wanted.get(&it.knot())).copied();
        if let Some(link @ Link::Message(_)) = &taken {
            self.wanted.remove(&link.knot());
        }
        let leads_on = self.past.get(&crank.number).cloned();
        let mut belongs = leads_on.is_some() || cause.is_some();
        if belongs && leads_on.is_none() && self.steps.len() >= self.limit + self.past.len() {
            (belongs, self.cut) = (false, true);
        }
        let all = self.target == Some(crank.number) || cause.is_some_and(|it| it.all);
        let links = self.links(crank, taken.as_ref(), &leads_on.unwrap_or_default(), belongs, all);
        if belongs {
            let step = self.step(crank, cause.map(|it| it.source), &links, all);
            self.steps.insert(crank.number, step);
        }
    }

    /// Notes the links that the crank makes, and returns those that belong to the chain.
    fn links(
        &mut self,
        crank: &RecordedCrank,
        taken: Option<&Link>,
        leads_on: &BTreeSet<Knot>,
        belongs: bool,
        all: bool,
    ) -> BTreeSet<Knot> {
        let made = crank.made();
        let mut follow: BTreeMap<Knot, Option<u64>> = leads_on.iter().map(|it| (*it, None)).collect();
        let mut lost = Vec::new();
        // The kernel will settle it, unless the vat does.
        if let Some(knot) = taken.and_then(Link::settled_result).map(|it| it.knot()) {
            if belongs && all {
                follow.insert(knot, None);
            }
            if let Some(vat) = crank.deliver().and_then(|it| it.vat()) {
                self.decided.entry(vat.to_owned()).or_default().push(knot);
            }
        }
        for vat in crank.ended_vats() {
            for knot in self.decided.remove(vat).unwrap_or_default() {
                let open = self.wanted.get(&knot).is_some_and(|it| it.source.syscall.is_none());
                if open && belongs && all {
                    follow.entry(knot).or_insert(None);
                } else if open {
                    lost.push(knot);
                }
            }
        }
        for (link, by) in &made {
            for knot in [Some(link.knot()), link.settled_result().map(|it| it.knot())].into_iter().flatten() {
                if belongs && all || leads_on.contains(&knot) || belongs && self.is_about(crank, *by) {
                    follow.insert(knot, *by);
                } else if matches!(link, Link::Settled(_)) {
                    lost.push(knot);
                }
            }
        }
        self.wanted.retain(|it, _| !lost.contains(it));
        for (knot, syscall) in &follow {
            let source = StepCause { crank: crank.number, syscall: *syscall };
            self.wanted.insert(*knot, Wanted { source, all: all || self.seeds.contains(knot) });
        }
        // A decider is of interest while a promise that it decides belongs to the chain.
        let wanted = &self.wanted;
        self.decided.retain(|_, knots| {
            knots.retain(|it| wanted.contains_key(it));
            !knots.is_empty()
        });
        follow.into_keys().collect()
    }

    /// Returns whether a syscall of a crank is about the object that is traced.
    fn is_about(&self, crank: &RecordedCrank, syscall: Option<u64>) -> bool {
        let (Some(name), Some(number)) = (&self.name, syscall) else { return false };
        crank.events.iter().any(|it| match it.event() {
            RecordedEvent::Syscall { number: found, kernel, .. } => found == Some(number) && kernel.mentions(name),
            _ => false,
        })
    }

    fn step(&self, crank: &RecordedCrank, cause: Option<StepCause>, links: &BTreeSet<Knot>, all: bool) -> TraceStep {
        let deliver = crank.deliver();
        let vat = deliver.and_then(Record::vat).or_else(|| crank.item().vat());
        let undone = is_undone(&crank.events);
        let acts = crank.events.iter().filter(|_| !undone).filter_map(|it| {
            let RecordedEvent::Syscall { number: Some(number), kernel: ksc, .. } = it.event() else { return None };
            let shown = match ksc.kind() {
                Some("send" | "resolve" | "exit") => {
                    let made = Link::of_syscall(ksc).into_iter().flat_map(|it| [it.settled_result(), Some(it)]);
                    all || made.flatten().any(|it| links.contains(&it.knot()))
                }
                _ => false,
            };
            (shown || self.is_about(crank, Some(number))).then(|| Act { number, ksc: ksc.0.clone() })
        });
        let error = crank.events.iter().find_map(|it| match it.event() {
            RecordedEvent::DeliveryFailed { why, .. } => Some(why.clone()),
            _ => None,
        });
        let directives = crank.events.iter().filter_map(|it| match it.event() {
            RecordedEvent::Directive { line, .. } => Some(line.to_owned()),
            _ => None,
        });
        TraceStep {
            place: Place {
                crank: crank.number,
                vat: vat.map(str::to_owned),
                delivery: deliver.and_then(Record::delivery),
            },
            name: vat.and_then(|it| self.names.get(it)).cloned(),
            block_height: crank.block.map(|it| it.0),
            cause,
            message: crank.item().value.clone(),
            message_type: crank.item().kind.to_owned(),
            kd: deliver.map(|it| it.value["kd"].clone()),
            error,
            undone,
            ended: crank.ended,
            terminated: crank.ended_vats().map(str::to_owned).collect(),
            directives: directives.collect(),
            acts: acts.collect(),
        }
    }

    fn into_trace(self, has_syscalls: bool) -> Trace {
        let name =
            |fact: Fact| Fact { name: fact.place.vat.as_ref().and_then(|it| self.names.get(it)).cloned(), ..fact };
        let facts = self.facts.into_iter().map(name).collect();
        Trace { facts, steps: self.steps.into_values().collect(), cut: self.cut, has_syscalls }
    }
}
