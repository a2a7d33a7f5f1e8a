//! A counter that dies on demand, after it has counted: what becomes of the count is up to who created it.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;
use vat::{sys, vref};

/// Survives an upgrade.
static TOTAL: Durable<u32> = Durable::at("total");
static ROWS: DurableMap<u64, u32> = DurableMap::at("rows");

struct Mortal {
    /// Since the vat started.
    count: Cell<u32>,
    /// Does not die.
    tame: bool,
}

/// Counts, and dies on demand.
#[vat::exo]
impl Mortal {
    /// Adds one to both counts, and answers with the one in memory.
    pub fn increment(&self) -> u32 {
        TOTAL.set(self.total() + 1);
        self.count.update(|count| count + 1);
        self.count.get()
    }

    /// The count in the vatstore.
    pub fn total(&self) -> u32 {
        TOTAL.get().unwrap_or(0)
    }

    /// Stores this many rows.
    pub fn fill(&self, rows: u32) {
        (0..rows).for_each(|row| ROWS.insert(&u64::from(row), row));
    }

    /// Panics.
    pub fn trap(&self) -> u32 {
        let count = self.increment();
        assert!(self.tame, "as requested");
        count
    }

    /// Drops what it never had.
    pub fn lie(&self) -> u32 {
        let count = self.increment();
        if !self.tame {
            sys::drop_imports(&[vref::import(9_999)]);
        }
        count
    }

    /// Ends the vat, and keeps or undoes this delivery.
    pub fn exit(&self, failure: bool) {
        self.increment();
        if failure {
            vat::exit_with_failure("as requested");
        } else {
            vat::exit("as requested");
        }
    }

    /// An object that does not survive an upgrade.
    pub fn child(&self) -> Rc<Child> {
        Rc::new(Child)
    }

    /// Never answers.
    pub async fn hang(&self) -> Result<Value, Error> {
        let (promise, resolver) = Promise::pair();
        let answer = promise.await;
        drop(resolver);
        answer
    }
}

struct Child;

/// An object of the vat that does not survive its upgrade.
#[vat::exo]
impl Child {
    /// Answers, to show that it is there.
    pub fn hello(&self) -> bool {
        true
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Mortal, Error> {
    if let Some(why) = parameters.get::<Option<String>>("stillborn")? {
        return Err(why.into());
    }
    Ok(Mortal { count: Cell::new(0), tame: parameters.get::<Option<bool>>("tame")?.unwrap_or(false) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn a_tame_one_only_counts() {
        let mut world = World::start(|| Mortal { count: Cell::new(0), tame: true });
        world.send("trap", ());
        let answer = world.send("lie", ());
        assert_eq!(world.outcome(answer), Some(Ok(2.into())));
    }
}
