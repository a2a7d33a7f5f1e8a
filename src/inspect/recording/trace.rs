//! The causal chain of a crank, a promise or an object: back to the message from outside, and forward to all that it led to.
//!
//! First the links are followed backwards, for the causes, then forwards, for what is shown. Of a recording with an index only the pieces
//! are read that have one of these links. A piece is read backwards by its spine (see `spine`). In memory are the cranks of the chain, the
//! links that they made, and the one crank that is read.

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
    link::{Link, is_undone, key_of},
    map::{Map, PieceReader},
    spine::{Knot, Spine, SpineWriter, Vertebra},
};
use crate::slog::{
    Detail, Indexing, ReadError, Record, RecordedEvent,
    index::{Key, Word},
};

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
/// The recording cannot be read, or is a pipe.
pub fn trace(
    path: &Path,
    subject: &Subject,
    limit: usize,
    rules: Indexing,
) -> Result<Result<Trace, Extent>, ReadError> {
    let map = Map::of_file(path, rules)?;
    let history = map.history()?;
    let place = Recorded { map: &map, history: &history, path };
    let Some(begins) = place.begins(subject)? else {
        return Ok(Err(Extent { cranks: history.cranks, deliveries: None }));
    };
    let (target, seeds) = match subject {
        Subject::Crank(_) => (Some(begins.crank), BTreeSet::new()),
        Subject::Reference(name) => {
            let seeds = [Link::Result(name.clone()), Link::Settled(name.clone())];
            (Some(begins.crank).filter(|_| begins.outside), seeds.iter().map(Link::knot).collect())
        }
    };
    let mut chain = Chain {
        past: BTreeMap::from([(begins.crank, BTreeSet::new())]),
        visits: BTreeSet::from([begins.piece]),
        target,
        seeds,
        limit,
        ..Chain::default()
    };
    chain.walk_back(&place, begins)?;
    if let Subject::Reference(name) = subject {
        chain.name = Some(name.clone());
    }
    chain.walk_forward(&place)?;
    Ok(Ok(chain.into_trace(&map, history.detail >= Detail::Syscalls)?))
}

/// The place at which the subject begins.
#[derive(Debug, Clone, Copy)]
struct Begins {
    crank: u64,
    /// The piece of the recording that the crank is in.
    piece: u64,
    /// Whether the subject came with the item that the crank took, and not from what the crank did.
    outside: bool,
}

/// The recording, of which only the cranks that count are read.
#[derive(Clone, Copy)]
struct Recorded<'a> {
    map: &'a Map,
    history: &'a History,
    path: &'a Path,
}

impl Recorded<'_> {
    fn cranks(&self, piece: u64) -> Result<Cranks<PieceReader>, ReadError> {
        Cranks::of_piece(self.map, piece, self.history)
    }

    fn begins(&self, subject: &Subject) -> Result<Option<Begins>, ReadError> {
        let key = match subject {
            Subject::Crank(number) => Word::Crank(*number).key(),
            Subject::Reference(name) => Word::Reference(name).key(),
        };
        for piece in self.map.having(key, 0) {
            let piece = piece?;
            for crank in self.cranks(piece)? {
                let (item, crank) =
                    (crank.as_ref().ok().and_then(|it| it.item().message()?.result.map(str::to_owned)), crank?);
                match subject {
                    Subject::Crank(number) if *number == crank.number => {
                        return Ok(Some(Begins { crank: *number, piece, outside: true }));
                    }
                    Subject::Reference(name) if fact::occurs(&crank, name) => {
                        return Ok(Some(Begins { crank: crank.number, piece, outside: item.as_ref() == Some(name) }));
                    }
                    _ => (),
                }
            }
        }
        Ok(None)
    }

    /// Returns the first crank from this piece on in which a vat ended.
    fn end_of(&self, vat: &str, from: u64) -> Result<Option<VatEnd>, ReadError> {
        for piece in self.map.having(Word::Ended(vat).key(), from) {
            let piece = piece?;
            for crank in self.cranks(piece)? {
                let crank = crank?;
                if crank.ended_vats().any(|it| it == vat) {
                    return Ok(Some(VatEnd { crank: crank.number, taken: crank.taken().map(|it| it.knot()), piece }));
                }
            }
        }
        Ok(None)
    }

    fn spine(&self, piece: u64) -> Result<Spine, ReadError> {
        let mut spine = SpineWriter::new().map_err(|why| self.scratch(why))?;
        for crank in self.cranks(piece)? {
            spine.push(&Vertebra::of(&crank?)).map_err(|why| self.scratch(why))?;
        }
        spine.finish().map_err(|why| self.scratch(why))
    }

    fn scratch(&self, why: io::Error) -> ReadError {
        ReadError::Open { path: self.path.to_owned(), why }
    }
}

/// The crank in which a vat ended, the link of the item that it took, and its piece of the recording.
#[derive(Debug, Clone, Copy)]
struct VatEnd {
    crank: u64,
    taken: Option<Knot>,
    piece: u64,
}

/// What the way back is looking for.
struct Backwards {
    target: Option<u64>,
    /// Links, and the cranks before which they are to be found.
    wanted: BTreeMap<Knot, u64>,
    /// The links to look for on the next way back.
    seeds: Vec<(Knot, u64)>,
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
    /// The pieces of the recording that they are in.
    visits: BTreeSet<u64>,
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
    facts: Vec<Fact>,
    steps: BTreeMap<u64, TraceStep>,
    cut: bool,
}

impl Chain {
    /// Finds the causes. If a promise was settled because its decider ended, the end may come after the promise's message: then the way
    /// back begins once more at the end.
    fn walk_back(&mut self, place: &Recorded<'_>, begins: Begins) -> Result<(), ReadError> {
        let seeds = self.seeds.iter().map(|it| (*it, u64::MAX)).collect();
        let mut back = Backwards { target: Some(begins.crank), wanted: BTreeMap::new(), seeds };
        let mut held: Option<(u64, Spine)> = None;
        loop {
            back.wanted = back.seeds.drain(..).collect();
            let mut before = place.map.last() + 1;
            loop {
                let mut next = back.target.map(|_| begins.piece).filter(|it| *it < before);
                for knot in back.wanted.keys() {
                    next = next.max(place.map.previous(key_of(*knot), before)?);
                }
                let Some(piece) = next else { break };
                let mut spine = match held.take() {
                    Some((of, spine)) if of == piece => spine,
                    _ => place.spine(piece)?,
                };
                self.back_through(place, piece, &mut spine, &mut back)?;
                held = Some((piece, spine));
                before = piece;
            }
            if back.seeds.is_empty() {
                return Ok(());
            }
        }
    }

    fn back_through(
        &mut self,
        place: &Recorded<'_>,
        piece: u64,
        spine: &mut Spine,
        back: &mut Backwards,
    ) -> Result<(), ReadError> {
        let mut ended: BTreeMap<String, VatEnd> = BTreeMap::new();
        let mut failure = None;
        let read = spine.backwards(|it| {
            if failure.is_none()
                && let Err(err) = self.back_over(place, piece, it, &mut ended, back)
            {
                failure = Some(err);
            }
        });
        read.map_err(|why| place.scratch(why))?;
        failure.map_or(Ok(()), Err)
    }

    fn back_over(
        &mut self,
        place: &Recorded<'_>,
        piece: u64,
        it: Vertebra,
        ended: &mut BTreeMap<String, VatEnd>,
        back: &mut Backwards,
    ) -> Result<(), ReadError> {
        let crank = it.crank;
        let mut leads_on = back.target.take_if(|it| *it == crank).is_some();
        for knot in &it.made {
            if back.wanted.get(knot).is_some_and(|it| *it > crank) {
                back.wanted.remove(knot);
                self.note(crank, piece, *knot);
                leads_on = true;
            }
        }
        if let Some(knot) = it.settles
            && let Some(before) = back.wanted.get(&knot).copied().filter(|it| *it > crank)
        {
            back.wanted.remove(&knot);
            let end = match &it.vat {
                Some(vat) => match ended.get(vat) {
                    Some(end) => Some(*end),
                    None => place.end_of(vat, piece + 1)?,
                },
                None => None,
            };
            match end.filter(|it| it.crank < before) {
                Some(end) => {
                    self.note(end.crank, end.piece, knot);
                    back.seeds.extend(end.taken.map(|it| (it, end.crank)));
                }
                None => {
                    self.note(crank, piece, knot);
                    leads_on = true;
                }
            }
        }
        if let (true, Some(taken)) = (leads_on, it.taken) {
            let before = back.wanted.entry(taken).or_insert(crank);
            *before = crank.max(*before);
        }
        ended.extend(it.ended.into_iter().map(|vat| (vat, VatEnd { crank, taken: it.taken, piece })));
        Ok(())
    }

    /// Notes that a crank is among the causes, and the link by which it leads on.
    fn note(&mut self, crank: u64, piece: u64, knot: Knot) {
        self.past.entry(crank).or_default().insert(knot);
        self.visits.insert(piece);
    }

    /// Reads the pieces that may have something of the chain, in order.
    fn walk_forward(&mut self, place: &Recorded<'_>) -> Result<(), ReadError> {
        let mut ahead = Ahead { from: 0, found: BTreeMap::new() };
        while let Some(piece) = self.next_piece(place.map, &mut ahead)? {
            for crank in place.cranks(piece)? {
                self.add(&crank?);
            }
            ahead.from = piece + 1;
        }
        Ok(())
    }

    fn next_piece(&self, map: &Map, ahead: &mut Ahead) -> Result<Option<u64>, ReadError> {
        let mut first = self.visits.range(ahead.from..).next().copied();
        let knots = self.wanted.keys().map(|it| key_of(*it));
        let ends = self.decided.keys().map(|it| Word::Ended(it).key());
        // Once there are more facts than are shown, it is enough.
        let is_full = self.cut && self.facts.len() >= self.limit;
        let name = self.name.iter().filter(|_| !is_full).map(|it| Word::Reference(it).key());
        for key in knots.chain(ends).chain(name) {
            first = [first, ahead.next(map, key)?].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Takes the next crank on the way forward.
    fn add(&mut self, crank: &RecordedCrank) {
        if let Some(name) = &self.name {
            let facts = fact::facts(crank, name);
            self.cut |= self.facts.len() + facts.len() > self.limit;
            self.facts.extend(facts);
            self.facts.truncate(self.limit);
        }
        let taken = crank.taken();
        let cause = taken.as_ref().and_then(|it| self.wanted.get(&it.knot())).copied();
        if let Some(link @ Link::Message(..)) = &taken {
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
            name: None,
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

    fn into_trace(mut self, map: &Map, has_syscalls: bool) -> Result<Trace, ReadError> {
        let name = |place: &Place| place.vat.as_ref().map(|it| map.name(it)).transpose().map(Option::flatten);
        for fact in &mut self.facts {
            fact.name = name(&fact.place)?;
        }
        for step in self.steps.values_mut() {
            step.name = name(&step.place)?;
        }
        Ok(Trace { facts: self.facts, steps: self.steps.into_values().collect(), cut: self.cut, has_syscalls })
    }
}

/// The pieces ahead that have keys, as far as they were looked up.
struct Ahead {
    /// The pieces before were read.
    from: u64,
    found: BTreeMap<Key, u64>,
}

impl Ahead {
    fn next(&mut self, map: &Map, key: Key) -> Result<Option<u64>, ReadError> {
        let known = self.found.get(&key).copied().filter(|it| *it >= self.from);
        let found = match known {
            Some(found) => found,
            None => map.next(key, self.from)?.unwrap_or(u64::MAX),
        };
        self.found.insert(key, found);
        Ok(Some(found).filter(|it| *it < u64::MAX))
    }
}
