use super::*;
use crate::{
    model::{
        id::{DeliveryNum, TextOrd, VRef},
        value::CapData,
    },
    state::{
        block::stored,
        table::{CListEntry, Options, Promise, PromiseState, Tally, Vat},
    },
    store::{Database, Digest, Fold, Reading},
};

const ANNA: VatId = VatId(1);
const BERT: VatId = VatId(2);
const NOWHERE: VatId = VatId(9);
const CUP: ObjectId = ObjectId(20);
const JUG: ObjectId = ObjectId(21);
const OPEN: PromiseId = PromiseId(40);
const KEPT: PromiseId = PromiseId(41);
const ALIKE: PromiseId = PromiseId(42);

fn vref(text: &str) -> VRef {
    text.parse().expect("a reference")
}

fn know(tables: &mut Tables, vat: VatId, name: &str, kref: impl Into<KRef>, reachable: bool) {
    tables.clist.insert((vat, vref(name)), CListEntry { kref: kref.into(), reachable });
}

/// Two vats: Anna's cup and jug are known to Bert, who only recognizes the jug; he waits for a promise of hers, and knows two others, both
/// settled with the cup.
fn sound() -> Tables {
    let mut tables = Tables::default();
    tables.update_globals(|it| {
        (it.next_vat, it.next_object, it.next_promise) = (VatId(3), ObjectId(22), PromiseId(43));
    });
    for vat in [ANNA, BERT] {
        let row = Vat {
            name: vat.to_string(),
            family: vat,
            creator: None,
            made: 0,
            bundle: BundleId::of(b"it"),
            options: Options::default(),
            incarnation: 0,
            status: Status::Running,
            first_delivery: DeliveryNum(0),
            may_be_asked: false,
            ending: None,
        };
        tables.vats.insert(vat, row);
        tables.tallies.insert(vat, Tally { served: vat, ..Tally::default() });
    }
    for (id, name, counts) in [(CUP, "o+1", (2, 2)), (JUG, "o+2", (0, 1))] {
        let (reachable, recognizable) = counts;
        let owner = Some(Owner::Vat(ANNA));
        tables.objects.insert(id, Object { owner, reachable, recognizable, pinned: false });
        know(&mut tables, ANNA, name, id, true);
    }
    know(&mut tables, BERT, "o-50", CUP, true);
    know(&mut tables, BERT, "o-51", JUG, false);
    know(&mut tables, ANNA, "p+1", OPEN, true);
    for (id, name) in [(OPEN, "p-60"), (KEPT, "p-61"), (ALIKE, "p-62")] {
        know(&mut tables, BERT, name, id, true);
    }
    tables.subscribers.insert((OPEN, TextOrd(BERT.0)), ());
    let state = PromiseState::Fulfilled { with: KEPT, presence: Some(CUP) };
    tables.promises.insert(OPEN, Promise { refs: 2, ..Promise::new(Some(ANNA)) });
    tables.promises.insert(KEPT, Promise { state, refs: 1, ..Promise::new(None) });
    tables.promises.insert(ALIKE, Promise { state, refs: 1, ..Promise::new(None) });
    tables.settlements.insert(KEPT, CapData { body: "#\"$0\"".into(), slots: vec![CUP.into()] });
    tables.sharers.insert(KEPT, 1);
    tables
}

/// The same rows, of which references are in the file alone.
fn in_file(mut tables: Tables, database: &mut Database) -> Tables {
    let globals = tables.globals();
    let mut transaction = database.transaction().expect("begins");
    for table in tables.each() {
        table.seal(&mut Fold::of_step("test"), None, None).expect("sealed");
        table.flush(&mut transaction, &mut Digest::default()).expect("written");
    }
    transaction.commit().expect("committed");
    let mut tables = Tables::default();
    stored::leave_references(&mut tables, database, &globals);
    for table in tables.each() {
        let mut reading = Reading::default();
        database.load(table.name(), |row| table.load(row, &mut reading)).expect("read");
    }
    assert!(!tables.are_whole());
    tables
}

fn found(tables: &Tables) -> Option<String> {
    match audit(tables) {
        Ok(()) => None,
        Err(Fault::Kernel(panic)) => Some(panic.invariant.to_string()),
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn each_broken_invariant_is_found_whether_references_are_in_memory_or_in_the_file() {
    type Break = fn(&mut Tables);
    let breaks: [(Option<&str>, Break); 20] = [
        (None, |_| ()),
        (Some("audit.clist-bijection"), |it| know(it, BERT, "o-52", CUP, true)),
        (Some("audit.clist-bijection"), |it| know(it, BERT, "o-52", ALIKE, true)),
        (Some("audit.clist-target"), |it| know(it, BERT, "o-52", ObjectId(19), true)),
        (Some("audit.clist-target"), |it| know(it, BERT, "p-63", PromiseId(39), true)),
        (Some("audit.clist-target"), |it| {
            it.clist.remove(&(BERT, vref("o-51")));
            know(it, BERT, "o+1", JUG, true);
        }),
        (Some("audit.object-counts"), |it| {
            it.clist.remove(&(BERT, vref("o-50")));
        }),
        (Some("audit.object-counts"), |it| know(it, BERT, "o-51", JUG, true)),
        (Some("audit.object-counts"), |it| {
            it.objects.update(&JUG, |it| it.pinned = true);
        }),
        (Some("audit.object-counts"), |it| {
            it.objects.update(&CUP, |it| it.reachable = 1);
        }),
        (Some("audit.promise-refs"), |it| {
            it.clist.remove(&(BERT, vref("p-62")));
        }),
        (Some("audit.promise-refs"), |it| {
            it.promises.update(&OPEN, |it| it.refs = 3);
        }),
        (Some("audit.decider"), |it| {
            let state = PromiseState::Unresolved { decider: Some(NOWHERE) };
            it.promises.update(&OPEN, |it| it.state = state);
        }),
        (Some("audit.decider"), |it| {
            it.subscribers.insert((OPEN, TextOrd(NOWHERE.0)), ());
        }),
        (Some("audit.settlement"), |it| {
            it.subscribers.insert((KEPT, TextOrd(BERT.0)), ());
        }),
        (Some("audit.settlement"), |it| {
            it.settlements.remove(&KEPT);
        }),
        (Some("audit.settlement"), |it| {
            it.settlements.insert(OPEN, CapData::plain("#0"));
        }),
        (Some("audit.settlement"), |it| {
            it.sharers.remove(&KEPT);
        }),
        (Some("audit.settlement"), |it| {
            it.sharers.insert(KEPT, 2);
        }),
        (Some("audit.settlement"), |it| {
            it.sharers.insert(OPEN, 1);
        }),
    ];
    for (at, (expected, alter)) in breaks.into_iter().enumerate() {
        let mut tables = sound();
        alter(&mut tables);
        assert_eq!(found(&tables).as_deref(), expected, "{at}");
        let mut database = Database::memory(&Tables::layout()).expect("a database");
        let tables = in_file(tables, &mut database);
        assert_eq!(found(&tables).as_deref(), expected, "{at}, in the file");
        assert!(!tables.are_whole());
    }
}

#[test]
fn what_a_cleaned_up_vat_left_is_found_wherever_it_is() {
    let gone = Status::Terminated { reason: String::new(), cleaned: true };
    let mut tables = sound();
    tables.vats.update(&BERT, |it| it.status = gone);
    assert_eq!(found(&tables).as_deref(), Some("audit.dead-vat"));
    let mut database = Database::memory(&Tables::layout()).expect("a database");
    assert_eq!(found(&in_file(tables, &mut database)).as_deref(), Some("audit.dead-vat"));
}
