//! The bootstrap vat of `vats/gc`: gives a widget to everybody, round after round, and keeps none.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::prelude::*;

struct Feeder {
    rounds: u32,
}

#[vat::exo]
impl Feeder {
    pub async fn bootstrap(&self, powers: Bootstrap) -> Result<(), Error> {
        let factory = powers.vat("factory")?;
        for _ in 0..self.rounds {
            for eater in ["leaker", "collector"] {
                let widget: Remote = factory.send("make", ()).to().await?;
                powers.vat(eater)?.send("take", (widget,)).await?;
            }
        }
        Ok(())
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Feeder, Error> {
    Ok(Feeder { rounds: parameters.get("rounds")? })
}
