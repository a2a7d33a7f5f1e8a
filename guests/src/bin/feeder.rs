//! The bootstrap vat of `vats/gc`: gives a widget to everybody, round after round, and keeps none.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::prelude::*;

struct Feeder {
    rounds: u32,
}

/// Feeds widgets to other vats.
#[vat::exo]
impl Feeder {
    /// Answers with how many widgets are alive in the end.
    pub async fn bootstrap(&self, powers: Bootstrap) -> Result<u32, Error> {
        let factory = powers.vat("factory")?;
        for _ in 0..self.rounds {
            for eater in ["leaker", "collector"] {
                let widget: Remote = factory.send("make", ()).to().await?;
                powers.vat(eater)?.send("take", (widget,)).await?;
            }
        }
        factory.send("alive", ()).to().await
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Feeder, Error> {
    Ok(Feeder { rounds: parameters.get("rounds")? })
}
