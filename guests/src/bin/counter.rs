//! A counter: what it holds in memory is lost in an upgrade, what it stores is not.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

/// Survives an upgrade.
static TOTAL: Durable<i64> = Durable::at("total");

struct Counter {
    /// Since the vat started.
    count: Cell<i64>,
}

/// Counts, in memory and in the vatstore.
#[vat::exo]
impl Counter {
    /// Adds to both counts, and answers with the one in memory.
    pub fn increment(&self, by: i64) -> i64 {
        TOTAL.set(self.total() + by);
        self.count.update(|count| count + by);
        self.count.get()
    }

    /// The count in memory: since the vat started, or was upgraded.
    pub fn count(&self) -> i64 {
        self.count.get()
    }

    /// The count in the vatstore: since the vat was created.
    pub fn total(&self) -> i64 {
        TOTAL.get().unwrap_or(0)
    }

    /// Adds what another counter holds, when that one has said so.
    pub async fn add_from(&self, other: Remote) -> Result<i64, Error> {
        let count: i64 = other.send("count", ()).to().await?;
        Ok(self.increment(count))
    }
}

#[vat::root]
fn build() -> Counter {
    Counter { count: Cell::new(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn an_upgrade_keeps_the_total_and_loses_the_count() {
        let mut world = World::start(build);
        world.send("increment", (5,));
        world.upgrade(build);
        let (count, total) = (world.send("increment", (2,)), world.send("total", ()));
        assert_eq!(world.outcome(count), Some(Ok(2i64.into())));
        assert_eq!(world.outcome(total), Some(Ok(7i64.into())));
    }

    #[test]
    fn a_word_cannot_be_added() {
        let mut world = World::start(build);
        let answer = world.send("increment", ("five",));
        let refusal = "increment: argument 1: expected an integer, found a string";
        assert_eq!(world.outcome(answer), Some(Err(refusal.into())));
    }

    #[test]
    fn counters_of_other_vats_are_asked() {
        let mut world = World::start(build);
        let other = world.import();
        let answer = world.send("addFrom", (other,));
        let question = world.sent().remove(0);
        world.fulfill(question.result, 40);
        assert_eq!(world.outcome(answer), Some(Ok(40i64.into())));
    }
}
