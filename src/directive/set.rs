//! All directives in force, and the one question that is asked about them at every crank.

use std::{fmt, str};

use serde::{Deserialize, Serialize};

use crate::{
    directive::{
        Directive, Trigger,
        grammar::Reader,
        line::{self, Parsed},
        problem::{Problem, Refused},
        rules::{self, Contradiction, Part},
    },
    model::id::{BlockHeight, CrankNum, DeliveryNum, VatId, hex},
};

/// The directives in force, none of which contradict. Prints as its canonical form, which is a directive file.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DirectiveSet {
    /// Sorted, so that those of one place stand together, in the order of effect.
    list: Vec<Directive>,
    filter: Filter,
    named: NamedPlaces,
}

/// The BLAKE3 hash of a set's canonical form: what operators compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetDigest(pub [u8; 32]);

impl fmt::Display for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A directive and the line on which it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The line of the file, from 1.
    pub line: usize,
    /// The directive on that line.
    pub directive: Directive,
}

impl DirectiveSet {
    /// Adds what a file says, and returns it in order of its lines.
    ///
    /// # Errors
    ///
    /// Every mistake in the file; the set is then as it was.
    pub fn read(&mut self, file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Refused> {
        self.read_as(Reader::Operator, file, bytes)
    }

    /// Adds the faults of an experiment that a text holds, and returns them in order of its lines.
    ///
    /// # Errors
    ///
    /// As for [`read`](DirectiveSet::read).
    pub fn read_faults(&mut self, file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Refused> {
        self.read_as(Reader::Experiment, file, bytes)
    }

    fn read_as(&mut self, reader: Reader, file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Refused> {
        let mut set = self.clone();
        let (mut placed, mut problems) = (Vec::new(), Vec::new());
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (at, line) in bytes.split(|it| *it == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match set.read_line(reader, line, &placed) {
                Ok(Some(directive)) => placed.push(Placed { line: at + 1, directive }),
                Ok(None) => {}
                Err(mut problem) => {
                    problem.line = at + 1;
                    problems.push(*problem);
                }
            }
        }
        if problems.is_empty() {
            *self = set;
            Ok(placed)
        } else {
            Err(Refused { file: file.to_owned(), problems })
        }
    }

    fn read_line(&mut self, reader: Reader, line: &[u8], placed: &[Placed]) -> Result<Option<Directive>, Box<Problem>> {
        let text = str::from_utf8(line).map_err(|err| not_utf8(line, err.valid_up_to()))?;
        let Some(Parsed { directive, spans }) = line::parse(text, reader)? else { return Ok(None) };
        let inserted = self.insert_for(reader, directive.clone());
        inserted.map(|()| Some(directive)).map_err(|contradiction| {
            let span = match contradiction.part {
                Part::Place => spans.place,
                Part::Verb => spans.verb,
                Part::Vat => spans.vat,
            };
            let what = match &contradiction.other {
                None if contradiction.reader.is_some() => "this is not for this file".to_owned(),
                None => "this makes no sense".to_owned(),
                Some(other) => match placed.iter().find(|it| it.directive == *other) {
                    Some(it) => format!("this contradicts line {}, `{other}`", it.line),
                    None => format!("this contradicts `{other}`"),
                },
            };
            Problem::at(text, span, what).expected(contradiction.why)
        })
    }

    /// Adds an operator's directive. It is refused if it makes no sense, or contradicts another.
    ///
    /// # Errors
    ///
    /// The directive makes no sense, is in the set already, or contradicts another of its place; the set is then as
    /// it was.
    pub fn insert(&mut self, directive: Directive) -> Result<(), Box<Contradiction>> {
        self.insert_for(Reader::Operator, directive)
    }

    /// Adds a fault of an experiment, which may have places and actions that no operator has.
    ///
    /// # Errors
    ///
    /// As for [`insert`](DirectiveSet::insert).
    pub fn insert_fault(&mut self, fault: Directive) -> Result<(), Box<Contradiction>> {
        self.insert_for(Reader::Experiment, fault)
    }

    fn insert_for(&mut self, reader: Reader, directive: Directive) -> Result<(), Box<Contradiction>> {
        rules::readable(reader, &directive)?;
        rules::alone(&directive)?;
        self.of(directive.trigger).iter().try_for_each(|it| rules::together(&directive, it))?;
        self.filter.add(directive.trigger, &self.list);
        self.named.add(directive.trigger);
        let at = self.list.partition_point(|it| *it < directive);
        self.list.insert(at, directive);
        Ok(())
    }

    /// Iterates over all directives, by place and then in the order of effect.
    pub fn iter(&self) -> impl Iterator<Item = &Directive> {
        self.list.iter()
    }

    /// Returns whether the set has no directives.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns whether nothing can fire in this crank of this block, as the two alone show: it is so in almost every crank, and saves
    /// asking for more.
    pub fn is_quiet_at(&self, crank: CrankNum, height: BlockHeight) -> bool {
        self.list.is_empty() || self.named.is_quiet_at(crank, height)
    }

    /// Returns the digest of the directives held, not of the way they were written.
    pub fn digest(&self) -> SetDigest {
        SetDigest(*blake3::hash(self.to_string().as_bytes()).as_bytes())
    }

    /// Returns the directives that fire in this crank, in the order of effect: those of the crank's number, and, if
    /// the crank is a delivery, those of the delivery's. Costs one bit test each if nothing fires, however many
    /// directives wait.
    pub fn due(&self, crank: CrankNum, delivery: Option<(VatId, DeliveryNum)>) -> Due<'_> {
        let delivery = delivery.map_or(&[][..], |(vat, number)| self.of(Trigger::Delivery(vat, number)));
        Due { crank: self.of(Trigger::Crank(crank)), delivery }
    }

    /// Returns the directives that fire before the first crank of this block.
    pub fn due_at_block(&self, height: BlockHeight) -> Due<'_> {
        Due { crank: self.of(Trigger::Block(height)), delivery: &[] }
    }

    fn of(&self, trigger: Trigger) -> &[Directive] {
        if self.list.is_empty() || !self.filter.may_hold(trigger) {
            return &[];
        }
        let start = self.list.partition_point(|it| it.trigger < trigger);
        let rest = &self.list[start..];
        &rest[..rest.partition_point(|it| it.trigger == trigger)]
    }
}

impl fmt::Display for DirectiveSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.iter().try_for_each(|it| writeln!(f, "{it}"))
    }
}

fn not_utf8(line: &[u8], valid: usize) -> Box<Problem> {
    let text = String::from_utf8_lossy(line);
    let width = char::REPLACEMENT_CHARACTER.len_utf8();
    Problem::at(&text, valid..valid + width, "bytes that are no text").expected("expected UTF-8")
}

/// The directives that fire at one crank, in the order of effect.
#[derive(Clone, Debug)]
pub struct Due<'a> {
    crank: &'a [Directive],
    delivery: &'a [Directive],
}

impl Due<'_> {
    /// Refuses to obey two that contradict in a crank that delivers to `to`: one of the crank's number and one of the
    /// delivery's, or two of which one names no vat. Where the lines alone show it, the set has refused it already.
    ///
    /// # Errors
    ///
    /// The first such pair.
    pub fn refuse_contradictions(&self, to: Option<VatId>) -> Result<(), Box<Contradiction>> {
        refuse_contradictions(self.clone(), to)
    }
}

/// Refuses to obey two directives that fire at one crank, a delivery to `to`, and contradict each other.
///
/// # Errors
///
/// The first such pair.
pub fn refuse_contradictions<'a>(
    due: impl IntoIterator<Item = &'a Directive>,
    to: Option<VatId>,
) -> Result<(), Box<Contradiction>> {
    let mut earlier: Vec<&Directive> = Vec::new();
    for directive in due {
        earlier.iter().try_for_each(|it| rules::at_once(directive, it, to))?;
        earlier.push(directive);
    }
    Ok(())
}

impl<'a> Iterator for Due<'a> {
    type Item = &'a Directive;

    fn next(&mut self) -> Option<&'a Directive> {
        let from_crank = match (self.crank.first(), self.delivery.first()) {
            (Some(crank), Some(delivery)) => crank.action <= delivery.action,
            (crank, _) => crank.is_some(),
        };
        let side = if from_crank { &mut self.crank } else { &mut self.delivery };
        side.split_off_first()
    }
}

/// The first and the last of the cranks and of the blocks that are named, and whether a delivery is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct NamedPlaces {
    cranks: Option<[CrankNum; 2]>,
    blocks: Option<[BlockHeight; 2]>,
    has_deliveries: bool,
}

impl NamedPlaces {
    fn add(&mut self, trigger: Trigger) {
        fn widen<T: Ord + Copy>(span: &mut Option<[T; 2]>, it: T) {
            let [first, last] = span.unwrap_or([it, it]);
            *span = Some([first.min(it), last.max(it)]);
        }
        match trigger {
            Trigger::Crank(crank) => widen(&mut self.cranks, crank),
            Trigger::Block(height) => widen(&mut self.blocks, height),
            Trigger::Delivery(..) => self.has_deliveries = true,
            // Never asked for by number.
            Trigger::Spot(_) => (),
        }
    }

    fn is_quiet_at(&self, crank: CrankNum, height: BlockHeight) -> bool {
        let is_outside_cranks = self.cranks.is_none_or(|[first, last]| crank < first || crank > last);
        let is_outside_blocks = self.blocks.is_none_or(|[first, last]| height < first || height > last);
        is_outside_cranks && is_outside_blocks && !self.has_deliveries
    }
}

/// One bit per place, by its hash: says at once of almost every place that nothing is to be done there.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Filter(Vec<u64>);

impl Filter {
    /// Words per directive: about one place in 128 is looked up in vain.
    const WORDS: usize = 2;

    /// Adds a place; `rest` are the directives held so far.
    fn add(&mut self, trigger: Trigger, rest: &[Directive]) {
        let size = (rest.len() + 1).next_power_of_two() * Filter::WORDS;
        if size != self.0.len() {
            self.0 = vec![0; size];
            rest.iter().for_each(|it| self.set(it.trigger));
        }
        self.set(trigger);
    }

    fn set(&mut self, trigger: Trigger) {
        let (word, bit) = self.place(trigger);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn may_hold(&self, trigger: Trigger) -> bool {
        let (word, bit) = self.place(trigger);
        self.0.get(word).is_some_and(|it| it & bit != 0)
    }

    /// The word and the bit in it.
    fn place(&self, trigger: Trigger) -> (usize, u64) {
        let hash = match trigger {
            Trigger::Crank(CrankNum(number)) => spread(number),
            Trigger::Delivery(VatId(vat), DeliveryNum(number)) => spread(spread(!vat) ^ number),
            Trigger::Block(BlockHeight(height)) => spread(!height),
            // Never asked for by number alone.
            Trigger::Spot(_) => 0,
        };
        #[expect(clippy::cast_possible_truncation, reason = "the length is that of a vector")]
        let word = (hash & (self.0.len() as u64).wrapping_sub(1)) as usize;
        (word, 1 << (hash >> 58))
    }
}

/// Numbers that follow one another, evenly or not, become numbers that look like chance (the end of splitmix64).
fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::Action;

    #[test]
    fn where_it_is_quiet_nothing_is_due() {
        let set = |triggers: &[Trigger]| {
            let mut set = DirectiveSet::default();
            for trigger in triggers {
                set.insert(Directive { trigger: *trigger, action: Action::Halt }).expect("no contradiction");
            }
            set
        };
        let (crank, block) = (|it| Trigger::Crank(CrankNum(it)), |it| Trigger::Block(BlockHeight(it)));
        let delivery = Trigger::Delivery(VatId(1), DeliveryNum(3));
        let quiet = |set: &DirectiveSet| {
            let places = (0..10).flat_map(|crank| (0..10).map(move |height| (CrankNum(crank), BlockHeight(height))));
            let is_quiet = |(crank, height): &(CrankNum, BlockHeight)| {
                let is_quiet = set.is_quiet_at(*crank, *height);
                let due = set.due(*crank, Some((VatId(1), DeliveryNum(3)))).chain(set.due_at_block(*height));
                assert!(!is_quiet || due.count() == 0, "{crank}, {height}");
                is_quiet
            };
            places.filter(is_quiet).count()
        };
        for (triggers, places) in [
            (&[][..], 100),
            (&[crank(4)], 90),
            (&[crank(4), crank(2)], 70),
            (&[block(9)], 90),
            (&[block(1), crank(8), block(3)], 7 * 9),
            (&[crank(20), delivery], 0),
        ] {
            assert_eq!(quiet(&set(triggers)), places, "{triggers:?}");
        }
    }

    /// Checks the reason why a thousand directives are as fast as none: nearly every place is answered by one bit.
    #[test]
    fn nearly_no_place_where_nothing_is_due_is_looked_up_however_many_directives_wait() {
        for (step, vats) in [(1, 1), (1_000, 1), (1_024, 3), (1 << 20, 1_000)] {
            let mut set = DirectiveSet::default();
            for at in 1..=500 {
                let crank = Trigger::Crank(CrankNum(at * step * 2));
                let delivery = Trigger::Delivery(VatId(at % vats), DeliveryNum(at * step * 2));
                for trigger in [crank, delivery] {
                    set.insert(Directive { trigger, action: Action::Halt }).expect("no contradiction");
                }
            }
            let in_vain =
                |places: &mut dyn Iterator<Item = Trigger>| places.filter(|it| set.filter.may_hold(*it)).count();
            let odd = || (0..10_000).map(|it| it * 2 + 1);
            let cranks = in_vain(&mut odd().map(|it| Trigger::Crank(CrankNum(it))));
            let far_cranks = in_vain(&mut odd().map(|it| Trigger::Crank(CrankNum(it * step))));
            let deliveries = in_vain(&mut odd().map(|it| Trigger::Delivery(VatId(it % vats), DeliveryNum(it))));
            assert!(
                [cranks, far_cranks, deliveries].iter().all(|it| *it < 200),
                "{step}: {cranks} {far_cranks} {deliveries}"
            );
        }
    }
}
