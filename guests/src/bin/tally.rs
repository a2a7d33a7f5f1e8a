//! A replicated counter with a mistake: it counts in every replica, waits for none, and assumes that each message arrived.
//!
//! The campaign `vats/tally/lost-messages.toml` finds that after one lost message the replicas differ for ever.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

struct Tally;

/// Counts in replicas, without waiting for them.
#[vat::exo]
impl Tally {
    /// Counts so many times, and answers with what each replica has in the end.
    pub async fn count(&self, replicas: Vec<Remote>, times: u32) -> Result<Vec<i64>, Error> {
        for _ in 0..times {
            replicas.iter().for_each(|it| it.send_only("increment", (1,)));
        }
        let mut totals = Vec::new();
        for it in &replicas {
            totals.push(it.send("total", ()).to().await?);
        }
        Ok(totals)
    }
}

#[vat::root]
fn build() -> Tally {
    Tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn every_replica_is_told_and_nobody_is_asked() {
        let mut world = World::start(build);
        let (one, other) = (world.import(), world.import());
        world.send("count", (vec![one, other], 3));
        assert_eq!(world.sent().len(), 7);
    }
}
