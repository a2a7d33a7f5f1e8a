//! A vat that takes all it can get. Each method is an attack that the host must survive.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use core::hint::black_box;
use vat::prelude::*;

struct Hog;

/// Takes all it can get.
#[vat::exo]
impl Hog {
    /// Runs for ever.
    pub fn r#loop(&self) {
        loop {
            black_box(());
        }
    }

    /// Takes memory, a block of 64 KiB at a time, until it is refused; writes to every page of it; answers with the number of blocks.
    pub fn memory(&self) -> u32 {
        const BLOCK: usize = 64 * 1024;
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut block = Vec::new();
            if blocks.try_reserve(1).is_err() || block.try_reserve_exact(BLOCK).is_err() {
                break;
            }
            blocks.push(block);
        }
        for block in &mut blocks {
            block.resize(BLOCK, 0xff);
        }
        let count = black_box(&blocks).len();
        // The answer takes memory too.
        drop(blocks);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Calls itself for ever.
    pub fn recurse(&self) -> u64 {
        descend(1)
    }

    /// Writes to the vatstore for ever.
    pub fn flood(&self) {
        loop {
            vat::sys::vatstore_set(b"flood", &[0xff; 64]);
        }
    }

    /// Sends messages for ever.
    pub fn spam(&self, victim: Remote) {
        loop {
            victim.send_only("increment", (1,));
        }
    }

    /// Fills the host's log for ever.
    pub fn babble(&self) {
        loop {
            vat::log("and another thing");
        }
    }

    /// Panics.
    pub fn panic(&self) {
        panic!("as requested");
    }
}

#[allow(unconditional_recursion, reason = "the point of it")]
fn descend(depth: u64) -> u64 {
    black_box(descend(black_box(depth + 1))) + depth
}

#[vat::root]
fn build() -> Hog {
    Hog
}
