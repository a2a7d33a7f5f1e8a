//! The memory of the SDK: the vat's references, tasks and kinds. It is one static of the wasm instance; natively every test
//! thread has its own.
//!
//! Rule: no value of the user is dropped, and no code of the user runs, while one of these cells is borrowed. (The `Drop` of
//! a [`Remote`](crate::Remote) or [`Promise`](crate::Promise) borrows `litter`.)

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Weak;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use crate::executor::Task;
use crate::kind::Kind;
use crate::promise::Shared;
use crate::remote::Import;
use crate::vref::VRef;
use crate::{Exo, Rc};

/// A row of the table. There is one table for all rows, as each kind of map costs a vat some kilobytes of code.
#[derive(Clone)]
pub(crate) enum Row {
    /// An object of this vat that the kernel can reach.
    Reachable(Rc<dyn Exo>),
    /// An object of this vat that nobody outside can reach, and somebody may recognise.
    Recognizable(Weak<dyn Exo>),
    /// A durable object of this vat that was not sent out yet.
    Unsent(Weak<dyn Exo>),
    /// The reference of the object at this address, while it is in the table.
    Address(VRef),
    /// An object of another vat.
    Import(Weak<Import>),
    /// An unsettled promise that the kernel knows.
    Promise(Weak<Shared>),
}

/// The work that `Drop` leaves for later.
#[derive(Default)]
pub(crate) struct Litter {
    /// Imports whose last handle is gone; for the next `bringOutYourDead`.
    pub(crate) imports: Vec<VRef>,
    /// Unsettled promises whose last handle is gone before anybody awaited them; for the end of the delivery.
    pub(crate) promises: Vec<VRef>,
}

#[derive(Default)]
pub(crate) struct Vat {
    pub(crate) table: RefCell<BTreeMap<u64, Row>>,
    pub(crate) litter: RefCell<Litter>,
    /// Objects of this vat that are unreachable from outside; `bringOutYourDead` looks for those that died.
    pub(crate) unreachable: RefCell<Vec<VRef>>,
    pub(crate) tasks: RefCell<Vec<Option<Task>>>,
    /// Places in `tasks` whose task has ended.
    pub(crate) vacant: RefCell<Vec<usize>>,
    pub(crate) ready: RefCell<VecDeque<usize>>,
    pub(crate) kinds: RefCell<Vec<&'static dyn Kind>>,
    pub(crate) next_object: Cell<u64>,
    pub(crate) next_promise: Cell<u64>,
    /// How many references the vatstore holds; see `durable`.
    pub(crate) stored: Cell<u64>,
}

impl Vat {
    #[cfg(target_arch = "wasm32")]
    const fn new() -> Self {
        Vat {
            table: RefCell::new(BTreeMap::new()),
            litter: RefCell::new(Litter { imports: Vec::new(), promises: Vec::new() }),
            unreachable: RefCell::new(Vec::new()),
            tasks: RefCell::new(Vec::new()),
            vacant: RefCell::new(Vec::new()),
            ready: RefCell::new(VecDeque::new()),
            kinds: RefCell::new(Vec::new()),
            next_object: Cell::new(0),
            next_promise: Cell::new(0),
            stored: Cell::new(0),
        }
    }

    pub(crate) fn row(&self, key: u64) -> Option<Row> {
        self.table.borrow().get(&key).cloned()
    }

    pub(crate) fn set_row(&self, key: u64, row: Row) {
        let old = self.table.borrow_mut().insert(key, row);
        drop(old);
    }

    pub(crate) fn remove_row(&self, key: u64) -> Option<Row> {
        self.table.borrow_mut().remove(&key)
    }

    /// A number for a new object of this vat.
    pub(crate) fn new_object(&self) -> u64 {
        self.next_object.replace(self.next_object.get() + 1)
    }

    /// A number for a new promise of this vat.
    pub(crate) fn new_promise(&self) -> u64 {
        self.next_promise.replace(self.next_promise.get() + 1)
    }
}

/// Ids of one incarnation start here, so that they differ from those that an earlier one gave away.
const IDS_PER_INCARNATION: u64 = 1 << 32;

/// Called by `startVat`: finds out which incarnation this is, and how much the vatstore holds.
pub(crate) fn start() {
    const KEY: &[u8] = b"vat.incarnation";
    let stored = crate::sys::vatstore_get(KEY);
    let incarnation = stored.and_then(|text| crate::number::parse_u64(&text)).unwrap_or(0);
    let mut next = String::new();
    crate::number::push_u64(&mut next, incarnation + 1);
    crate::sys::vatstore_set(KEY, next.as_bytes());
    let first = incarnation * IDS_PER_INCARNATION + 1;
    vat().next_object.set(first);
    vat().next_promise.set(first);
    if incarnation > 0 {
        crate::durable::count_stored();
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn vat() -> &'static Vat {
    static VAT: crate::sys::SingleThreaded<Vat> = crate::sys::SingleThreaded(Vat::new());
    &VAT.0
}

#[cfg(not(target_arch = "wasm32"))]
std::thread_local! {
    static VAT: Cell<&'static Vat> = Cell::new(Box::leak(Box::default()));
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn vat() -> &'static Vat {
    VAT.get()
}

/// Forgets everything, as a new instance does. What a test still holds of the old one keeps working, to no effect.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn reset() {
    VAT.set(Box::leak(Box::default()));
}
