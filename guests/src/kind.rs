//! Objects that survive an upgrade.
//!
//! A durable object is a number: its kind, and which one of the kind it is. Its state is in the vatstore under that number, and the
//! object in memory is made again when the kernel mentions it, in whichever incarnation.

use alloc::string::String;

use crate::number::{parse_u64, push_u64};
use crate::state::{Row, vat};
use crate::vref::{self, VRef};
use crate::{Exo, Rc, sys};

/// A kind of durable objects.
///
/// ```
/// use vat::{DurableKind, DurableMap, Rc};
///
/// struct Purse(u64);
/// static PURSES: DurableKind<Purse> = DurableKind::new(1, Purse).on_retire(|id| BALANCES.remove(&id));
/// static BALANCES: DurableMap<u64, u64> = DurableMap::at("balances");
///
/// #[vat::exo]
/// impl Purse {
///     pub fn deposit(&self, amount: u64) -> u64 {
///         let balance = BALANCES.get(&self.0).unwrap_or(0) + amount;
///         BALANCES.insert(&self.0, balance);
///         balance
///     }
/// }
///
/// struct Bank;
/// #[vat::exo]
/// impl Bank {
///     pub fn make_purse(&self) -> Rc<Purse> {
///         PURSES.make()
///     }
/// }
///
/// #[vat::root]
/// fn build() -> Bank {
///     PURSES.register();
///     Bank
/// }
/// # main();
/// # let mut world = vat::test::World::start(build);
/// # world.send("makePurse", ());
/// # world.upgrade(build);
/// # let deposit = world.send_to(vat::vref::own_durable(1, 1), "deposit", (5,));
/// # assert_eq!(world.outcome(deposit), Some(Ok(5u64.into())));
/// ```
#[derive(Debug)]
pub struct DurableKind<T> {
    id: u32,
    revive: fn(u64) -> T,
    retire: fn(u64),
}

/// A kind, whatever its objects are.
pub(crate) trait Kind: Sync {
    fn id(&self) -> u32;
    fn revive(&self, instance: u64) -> Rc<dyn Exo>;
    fn retire(&self, instance: u64);
}

impl<T: Exo> Kind for DurableKind<T> {
    fn id(&self) -> u32 {
        self.id
    }

    fn revive(&self, instance: u64) -> Rc<dyn Exo> {
        Rc::new((self.revive)(instance))
    }

    fn retire(&self, instance: u64) {
        (self.retire)(instance);
    }
}

impl<T: Exo> DurableKind<T> {
    /// Makes the kind of that number, which must be the same in every incarnation, and below 2^19. `revive` makes the object in memory
    /// from the number of an instance.
    pub const fn new(id: u32, revive: fn(u64) -> T) -> Self {
        DurableKind { id, revive, retire: |_| {} }
    }

    /// Sets what happens when nobody knows an instance any more; usually its state is removed.
    #[must_use]
    pub const fn on_retire(self, retire: fn(u64)) -> Self {
        DurableKind { retire, ..self }
    }

    /// Makes the kind known in the vat. The function under `#[vat::root]` must do it in every incarnation.
    pub fn register(&'static self) {
        vat().kinds.borrow_mut().push(self);
    }

    /// Makes a new object of the kind.
    pub fn make(&self) -> Rc<T> {
        let key = self.counter();
        let last = sys::vatstore_get(key.as_bytes()).and_then(|text| parse_u64(&text)).unwrap_or(0);
        let mut text = String::new();
        push_u64(&mut text, last + 1);
        sys::vatstore_set(key.as_bytes(), text.as_bytes());
        let object = Rc::new((self.revive)(last + 1));
        let vref = vref::own_durable(self.id, last + 1);
        let exo: Rc<dyn Exo> = object.clone();
        vat().set_row(crate::delivery::address(&exo), Row::Address(vref));
        vat().set_row(vref, Row::Unsent(Rc::downgrade(&exo)));
        vat().unreachable.borrow_mut().push(vref);
        object
    }

    /// Where the number of the last instance is stored.
    fn counter(&self) -> String {
        let mut key = String::from("vat.kind.");
        push_u64(&mut key, self.id.into());
        key
    }
}

/// Makes the object of a durable reference again, if its kind is known.
pub(crate) fn revive(vref: VRef) -> Option<Rc<dyn Exo>> {
    let (kind, instance) = of(vref)?;
    let exo = kind.revive(instance);
    vat().set_row(crate::delivery::address(&exo), Row::Address(vref));
    vat().set_row(vref, Row::Reachable(exo.clone()));
    Some(exo)
}

/// Retires an object that nobody knows any more.
pub(crate) fn retire(vref: VRef) {
    if let Some((kind, instance)) = of(vref) {
        kind.retire(instance);
    }
}

fn of(vref: VRef) -> Option<(&'static dyn Kind, u64)> {
    let (id, instance) = vref::durable_parts(vref)?;
    let kind = vat().kinds.borrow().iter().copied().find(|kind| kind.id() == id)?;
    Some((kind, instance))
}
