//! The bootstrap vat of `vats/pingpong`: sends to `pong` and waits for the answer, as often as its parameters say.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::prelude::*;

struct Ping {
    rounds: u32,
}

/// Plays with `pong`.
#[vat::exo]
impl Ping {
    /// Plays as many rounds as the parameters say.
    pub async fn bootstrap(&self, powers: Bootstrap) -> Result<u32, Error> {
        let pong = powers.vat("pong")?;
        self.play(pong, self.rounds).await
    }

    /// Plays some rounds, and answers with their number as `pong` has counted them.
    pub async fn play(&self, pong: Remote, rounds: u32) -> Result<u32, Error> {
        let mut round = 0;
        for _ in 0..rounds {
            round = pong.send("hit", (round,)).to().await?;
        }
        Ok(round)
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Ping, Error> {
    let rounds: Option<u32> = parameters.get("rounds")?;
    Ok(Ping { rounds: rounds.unwrap_or(10) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn every_round_waits_for_the_one_before() {
        let mut world = World::start(|| Ping { rounds: 0 });
        let pong = world.import();
        let game = world.send("play", (pong, 3));
        for round in 1..=3 {
            assert_eq!(world.outcome(game), None);
            let [hit] = &world.sent()[..] else { panic!("one message a round") };
            world.fulfill(hit.result, round);
        }
        assert_eq!(world.outcome(game), Some(Ok(3.into())));
    }
}
