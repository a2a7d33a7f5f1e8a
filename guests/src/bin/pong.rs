//! Answers a number with the next one. The smallest vat there is.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

struct Pong;

/// Answers a number with the next one.
#[vat::exo]
impl Pong {
    /// The number of the next round.
    pub fn hit(&self, round: u32) -> u32 {
        round + 1
    }
}

#[vat::root]
fn build() -> Pong {
    Pong
}
