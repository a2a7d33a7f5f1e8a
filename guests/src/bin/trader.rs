//! A trader of `vats/escrow`: gives something to get something else, and writes down what it got.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

static GOT: Durable<String> = Durable::at("got");

struct Trader;

/// Trades by way of an escrow.
#[vat::exo]
impl Trader {
    /// Offers what it gives for what it wants, and answers with what it got.
    pub async fn trade(&self, escrow: Remote, name: String, gives: String, wants: String) -> Result<String, Error> {
        let got: String = escrow.send("offer", (&*name, &*gives, &*wants)).to().await?;
        GOT.set(got.clone());
        Ok(got)
    }
}

#[vat::root]
fn build() -> Trader {
    Trader
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn what_it_gets_is_written_down() {
        let mut world = World::start(build);
        let escrow = world.import();
        let trade = world.send("trade", (escrow, "alice", "gold", "silver"));
        let offer = world.sent().remove(0);
        assert_eq!((world.outcome(trade), GOT.get()), (None, None));
        world.fulfill(offer.result, "silver");
        assert_eq!((world.outcome(trade), GOT.get().as_deref()), (Some(Ok("silver".into())), Some("silver")));
    }
}
