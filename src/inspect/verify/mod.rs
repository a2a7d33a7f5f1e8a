//! `vathost verify`: an audit of a committed state, from its file. Each [`Check`] covers one part.
//!
//! Nothing here trusts what it reads: damage is a finding, never a panic, and every check that still makes sense is made. Only a file
//! that SQLite cannot open at all ends the audit early.

mod history;
mod snapshots;

use std::collections::BTreeSet;

use crate::{
    inspect::rerun::{Rerun, beginning, rerun},
    inspect::view::text::counted,
    kernel::{self, AuditedRow, Workers},
    model::{
        blame::{Fault, HostFault},
        engine_version,
        id::{BundleId, DeliveryNum, VRef, VRefKind, VatId},
        kernel_version,
    },
    state::{
        block::{Block, proof, stored},
        table::{Item, Status, Tables, Vat},
    },
    store::{Cut, Database, Digest, Layout, Meta, Reading},
};

/// The number of findings of one check that are listed.
const FINDINGS_MAX: usize = 20;

/// One check of the audit, and its findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name of the check.
    pub name: &'static str,
    /// The things that the check looked at, in words.
    pub of: String,
    /// The first findings of the check.
    pub findings: Vec<String>,
    /// The number of further findings.
    pub more: usize,
    /// The reason why the check was left out, if it was.
    pub skipped: Option<&'static str>,
}

impl Check {
    /// Makes a check that has found nothing yet.
    pub fn new(name: &'static str) -> Check {
        Check { name, of: String::new(), findings: Vec::new(), more: 0, skipped: None }
    }

    fn find(&mut self, what: impl ToString) {
        match self.findings.len() {
            FINDINGS_MAX => self.more += 1,
            _ => self.findings.push(what.to_string()),
        }
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.find(what());
        }
    }

    fn result<T>(&mut self, result: Result<T, HostFault>) -> Option<T> {
        result.map_err(|err| self.find(err.finding())).ok()
    }

    /// Lists what a proof finds.
    fn list<T>(&mut self, prove: impl FnOnce(&mut proof::Damaged<'_>) -> Result<T, HostFault>) -> Option<T> {
        let result = prove(&mut |fault| self.find(fault.finding()));
        self.result(result)
    }

    /// Returns whether the check found nothing.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The results of all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification(pub Vec<Check>);

impl Verification {
    /// Returns whether no check found anything.
    pub fn is_ok(&self) -> bool {
        self.0.iter().all(Check::is_ok)
    }

    /// Returns the first finding, and the check that found it.
    pub fn first_finding(&self) -> Option<(&'static str, &str)> {
        self.0.iter().find_map(|it| Some((it.name, it.findings.first()?.as_str())))
    }
}

/// Audits a whole state. What is wrong with the state is a finding; an error is this machine's.
pub fn verify(database: &Database) -> Result<Verification, HostFault> {
    let mut checks = vec![file(database)];
    checks.extend(contents(database)?);
    Ok(Verification(checks))
}

/// Checks that a state holds what was committed, and all of it. Only such a state may be handed on, as a copy or as
/// an archive. [`verify`] checks in addition SQLite's file, the engine, and the kernel's invariants.
pub fn prove(database: &Database) -> Result<(), HostFault> {
    let of_integrity = |it: &Check| !["facts", "invariants"].contains(&it.name);
    let checks = Verification(contents(database)?.into_iter().filter(of_integrity).collect());
    match checks.first_finding() {
        None => Ok(()),
        Some((check, finding)) => Err(HostFault::damage(format_args!("prove the state ({check})"), finding)),
    }
}

/// Makes all checks except that of the file.
fn contents(database: &Database) -> Result<Vec<Check>, HostFault> {
    let known = Database::memory(&Tables::layout())?.layouts()?;
    let (layout, usable) = layout(database, &known);
    let (facts, meta) = facts(database);
    let (records, read) = records(database, &usable);
    let Records { mut tables, digests, damaged } = read;
    let any = (!damaged.is_empty()).then_some("records are damaged");
    // The reason to skip a check, if one of the tables that it needs is damaged.
    let of = |names: &[&str]| any.filter(|_| names.iter().any(|it| damaged.contains(it)));
    let vats = of(&["vat", "tally"]);
    let unattested = meta.is_none().then_some("the facts are damaged");
    let facts_of = meta.as_ref();
    let mut checks = vec![layout, facts, records];
    checks.push(skippable("invariants", any, |check| invariants(&tables, check)));
    checks.push(skippable("digest", any.or(unattested), |check| {
        digest(database, &mut tables, &digests, facts_of, check);
    }));
    checks.push(skippable("bundles", None, |check| bundles(database, &tables, check)));
    checks.push(skippable("transcripts", vats, |check| history::transcripts(database, &tables, facts_of, check)));
    checks.push(skippable("snapshots", vats, |check| snapshots::check(database, &tables, facts_of, check)));
    checks.push(skippable("blocks", of(&["globals"]).or(unattested), |check| {
        history::blocks(database, &tables, facts_of, check);
    }));
    Ok(checks)
}

fn skippable(name: &'static str, skipped: Option<&'static str>, run: impl FnOnce(&mut Check)) -> Check {
    let mut check = Check { skipped, ..Check::new(name) };
    if skipped.is_none() {
        run(&mut check);
    }
    check
}

/// Makes the result for a state that could not even be opened.
pub fn unreadable(why: &HostFault) -> Verification {
    let mut check = Check::new("file");
    check.find(why);
    Verification(vec![check])
}

fn file(database: &Database) -> Check {
    let mut check = Check::new("file");
    check.of = "SQLite's own check".to_owned();
    if let Some(lines) = check.result(database.integrity()) {
        lines.into_iter().for_each(|it| check.find(it));
    }
    check
}

/// Checks the tables of the file, and returns those that can be read.
fn layout(database: &Database, known: &[Layout]) -> (Check, BTreeSet<String>) {
    let mut check = Check::new("tables");
    let found = check.result(database.layouts()).unwrap_or_default();
    for it in known {
        check.expect(found.contains(it), || {
            format!("table `{}` {:?} is missing, or has other columns", it.name, it.columns)
        });
    }
    for it in found.iter().filter(|it| !known.iter().any(|known| known.name == it.name)) {
        check.find(format!("table `{}` is not known", it.name));
    }
    if check.is_ok() {
        check.list(|damaged| proof::layout(database, damaged));
    }
    check.of = counted(found.len() as u64, "table", "tables");
    (check, found.into_iter().filter(|it| known.contains(it)).map(|it| it.name).collect())
}

fn facts(database: &Database) -> (Check, Option<Meta>) {
    let mut check = Check::new("facts");
    let meta = check.result(database.meta());
    if let Some(None) = meta {
        check.find("there is no committed block");
    }
    let meta = meta.flatten();
    if let Some(meta) = &meta {
        check.of = format!("run by {}", meta.runtime);
    }
    (check, meta)
}

/// The decoded rows, and what was wrong with them.
struct Records {
    tables: Tables,
    /// The digest of each table, as its rows are stored.
    digests: Vec<Option<Digest>>,
    /// The tables that have a row which cannot be read, or is not what was written.
    damaged: BTreeSet<&'static str>,
}

/// Proves and decodes every record.
fn records(database: &Database, usable: &BTreeSet<String>) -> (Check, Records) {
    let mut check = Check::new("records");
    let (mut tables, mut digests, mut damaged) = (Tables::default(), Vec::new(), BTreeSet::new());
    let mut rows = 0;
    // They may be larger than the memory: each is proved and counted, and none is kept.
    tables.vatstore.leave_in_file(Cut::End, None);
    let references_stay = stored::too_many(database).unwrap_or(false);
    for at in 0..Tables::COUNT {
        // The first table has the counters, from which it is known what can be in the file.
        if at == 1 && references_stay {
            let globals = tables.globals();
            stored::leave_references(&mut tables, database, &globals);
        }
        let table = &mut *tables.each()[at];
        let name = table.name();
        let mut reading = Reading::default();
        if usable.contains(name) {
            let loaded = database.load(name, |row| {
                rows += 1;
                if let Err(err) = table.load(row, &mut reading) {
                    damaged.insert(name);
                    check.find(err.finding());
                }
                Ok(())
            });
            if check.result(loaded).is_none() {
                damaged.insert(name);
            }
        }
        digests.push(Some(reading.digest));
    }
    check.of = counted(rows, "row", "rows");
    (check, Records { tables, digests, damaged })
}

fn invariants(tables: &Tables, check: &mut Check) {
    let globals = tables.globals();
    check.of = "the kernel's audit".to_owned();
    check.expect(kernel_version::is_known(globals.kernel_version), || {
        format!("its kernel has version {}, which this binary does not know", globals.kernel_version)
    });
    check.expect(engine_version::is_known(tables.engine_version()), || {
        format!("its engine has version {}, which this binary does not know", tables.engine_version())
    });
    let late = |what: String| format!("{what} has a number that is still to be given out");
    let audited = kernel::audit_seeing(tables, &mut |row| match row {
        AuditedRow::Object(object) => check.expect(object < globals.next_object, || late(object.to_string())),
        AuditedRow::Promise(promise) => check.expect(promise < globals.next_promise, || late(promise.to_string())),
        AuditedRow::Entry(vat, vref) => {
            let tally = tables.tallies.get(&vat).copied().unwrap_or_default();
            let next = match vref.kind() {
                VRefKind::Promise => VRef::imported_promise(tally.next_promise_import),
                VRefKind::Object => VRef::imported_object(tally.next_import),
                VRefKind::Device => return,
            };
            check.expect(vref.is_own() || vref < next, || late(format!("{vref} of {vat}")));
        }
    });
    match audited {
        Err(Fault::Kernel(panic)) => check.find(format!("`{}`: {}", panic.invariant, panic.detail)),
        Err(fault) => check.find(fault),
        Ok(()) => (),
    }
    for (vat, _) in tables.vats.iter() {
        check.expect(*vat < globals.next_vat, || late(vat.to_string()));
        check.expect(tables.tallies.contains(vat), || format!("{vat} has no tally"));
    }
    for (vat, _) in tables.tallies.iter() {
        check.expect(tables.vats.contains(vat), || format!("there is a tally of {vat}, and no such vat"));
    }
}

fn digest(database: &Database, tables: &mut Tables, stored: &[Option<Digest>], meta: Option<&Meta>, check: &mut Check) {
    let mut swept = Digest::default();
    for (table, stored) in tables.each().into_iter().zip(stored).filter(|(table, _)| !table.is_derived()) {
        match stored {
            Some(stored) if table.is_in_file() => swept = Digest::sum(&[swept, *stored]),
            _ => drop(check.result(table.sweep(&mut swept))),
        }
    }
    check.of = swept.to_string();
    if let Some(meta) = meta {
        check.expect(swept == meta.digest, || format!("the rows have digest {swept}, recorded is {}", meta.digest));
        check.list(|damaged| {
            proof::digests(stored, &meta.proof, damaged);
            let sums = proof::sums(database, Some(meta), damaged)?;
            proof::counted(tables, &sums, damaged);
            Ok(())
        });
    }
}

/// Checks that every bundle has its hash, and that none is missing that a live vat, a queue or a name needs.
fn bundles(database: &Database, tables: &Tables, check: &mut Check) {
    let stored = check.result(database.bundles()).unwrap_or_default();
    for id in &stored {
        check.result(database.bundle(*id));
    }
    let alive = |row: &Vat| !matches!(row.status, Status::Terminated { .. });
    let live = tables.vats.iter().filter(|(vat, row)| alive(row) && !tables.is_session(**vat));
    let queued = tables.queue.iter().filter_map(|(_, it)| match &it.item {
        Item::UpgradeVat { bundle, .. } => Some(*bundle),
        _ => None,
    });
    let named = tables.bundles.iter().map(|(_, id)| *id);
    let needed: BTreeSet<BundleId> = live.map(|(_, row)| row.bundle).chain(queued).chain(named).collect();
    for id in needed.iter().filter(|it| !stored.contains(it)) {
        check.find(format!("bundle {id} is needed, and missing"));
    }
    check.of = counted(stored.len() as u64, "bundle", "bundles");
}

/// Replays every live vat, and compares syscalls, fuel and memory with the record. `each` is called after every delivery.
pub fn replay(block: &Block, workers: &mut dyn Workers, each: &mut dyn FnMut()) -> Result<Check, HostFault> {
    let mut check = Check::new("replay");
    let mut count = 0_u64;
    let vats: Vec<VatId> = block
        .tables()
        .vats
        .iter()
        .map(|(vat, _)| *vat)
        .filter(|it| block.tables().is_alive(*it) && !block.tables().is_session(*it))
        .collect();
    for vat in &vats {
        let Some(tally) = block.tables().tallies.get(vat) else { continue };
        let last = DeliveryNum(tally.deliveries);
        // A vat that never started well has no heap.
        let Some(first) = beginning(block, *vat, last)? else { continue };
        let what = Rerun { vat: *vat, first, last, wasm: None };
        let mut memory = None;
        let ran = rerun(block, workers, &what, &mut |it| {
            count += 1;
            memory = it.recorded.map(|_| it.usage.memory).or(memory);
            each();
            true
        });
        workers.stop(*vat);
        match ran {
            Ok(()) => check.expect(memory.is_none_or(|it| it == tally.memory), || {
                format!("{vat}: memory of {} bytes is recorded, replay comes to {}", tally.memory, memory.unwrap_or(0))
            }),
            Err(Fault::Host(fault)) => return Err(fault),
            Err(fault) => check.find(fault),
        }
    }
    check.of = format!("{} of {}", counted(count, "delivery", "deliveries"), counted(vats.len() as u64, "vat", "vats"));
    Ok(check)
}
