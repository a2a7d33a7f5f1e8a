//! The judge of a run: no two nodes commit different blocks, or come to different hashes, for one height.

use std::collections::BTreeMap;

use super::machine::Machine;
use crate::{keys::Digest, store::Store};

/// The blocks that the nodes committed, and what they came to.
pub(super) struct Judge {
    liar: Option<usize>,
    /// The block of each height.
    blocks: BTreeMap<u64, Digest>,
    /// The state hash behind a block, by the directives that were obeyed in it.
    hashes: BTreeMap<(u64, Vec<String>), Digest>,
    /// The height up to which each node was looked at.
    seen: Vec<u64>,
    /// The submissions of the blocks, each with its height.
    submissions: BTreeMap<Digest, u64>,
}

impl Judge {
    pub(super) fn new(nodes: usize, liar: Option<usize>) -> Judge {
        let (blocks, hashes) = (BTreeMap::new(), BTreeMap::new());
        Judge { liar, blocks, hashes, seen: vec![0; nodes], submissions: BTreeMap::new() }
    }

    /// Returns the height of the last block that a node committed.
    pub(super) fn height(&self) -> u64 {
        self.blocks.keys().next_back().copied().unwrap_or(0)
    }

    /// Returns whether a directive was obeyed.
    pub(super) fn has_fired(&self) -> bool {
        self.hashes.keys().any(|(_, fired)| !fired.is_empty())
    }

    /// A node took its last block back.
    pub(super) fn undone(&mut self, node: usize) {
        self.seen[node] = self.seen[node].saturating_sub(1);
    }

    /// Looks at what a node committed since the last time.
    pub(super) fn look(&mut self, node: usize, machine: &Machine) -> Result<(), String> {
        let Some(life) = machine.life.as_ref().filter(|_| self.liar != Some(node)) else { return Ok(()) };
        if let Some(why) = &life.broken {
            return Err(format!("node {node}: {why}"));
        }
        let driver = &life.driver;
        for height in self.seen[node] + 1..=driver.standing().height {
            let decided =
                driver.store().decided(height).unwrap().ok_or(format!("node {node} has no block {height}"))?;
            let result =
                driver.store().executed(height).unwrap().ok_or(format!("node {node} has no result {height}"))?;
            decided
                .certificate
                .verify(&machine.genesis)
                .map_err(|why| format!("block {height} of node {node}: {why}"))?;
            let id = decided.block.id();
            let known = *self.blocks.entry(height).or_insert(id);
            if known != id || decided.certificate.block != id {
                return Err(format!("block {height} is {id} at node {node}, and {known} at another one"));
            }
            let hash: Digest = result.state_hash.parse().unwrap();
            let known = *self.hashes.entry((height, result.fired.clone())).or_insert(hash);
            if known != hash {
                return Err(format!("node {node} comes to {hash} behind block {height}, and another one to {known}"));
            }
            for it in decided.block.submissions.iter().map(|it| it.id(&machine.body.chain)) {
                let first = *self.submissions.entry(it).or_insert(height);
                if first != height {
                    return Err(format!("submission {it} is in block {first} and in block {height}"));
                }
            }
        }
        self.seen[node] = driver.standing().height;
        Ok(())
    }

    /// At the end all that go on came to the same, and followed it: each block holds the outcome of the one before.
    pub(super) fn at_the_end(&self, machines: &[Machine]) -> Result<(), String> {
        for (node, machine) in machines.iter().enumerate().filter(|(node, _)| self.liar != Some(*node)) {
            let Some(life) = &machine.life else { continue };
            let store = life.driver.store();
            for height in 1..life.driver.standing().height {
                let next =
                    store.decided(height + 1).unwrap().ok_or(format!("node {node} has no block {}", height + 1))?;
                let result = store.executed(height).unwrap().ok_or(format!("node {node} has no result {height}"))?;
                let theirs = next.block.parent.state_hash.to_string();
                if theirs != result.state_hash {
                    let ours = result.state_hash;
                    return Err(format!(
                        "node {node} came to {ours} behind block {height}, and the others to {theirs}"
                    ));
                }
            }
        }
        Ok(())
    }
}
