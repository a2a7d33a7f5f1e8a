use std::time::Duration;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use vathost::{Host, host::staged::BlockResult, serve::Metrics};

/// The numbers of a node: those of a server, those of a validator, and the engine's own.
#[derive(Debug)]
pub struct NodeMetrics {
    /// The numbers that `vathost serve` has, too.
    host: Metrics,
    registry: Registry,
    waiting: Gauge,
    peers: Gauge,
    submissions: Counter,
    objections: Counter,
    halted: Gauge,
}

impl Default for NodeMetrics {
    fn default() -> NodeMetrics {
        let mut registry = Registry::with_prefix("vathost_node");
        let (waiting, peers, halted) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (submissions, objections) = (Counter::default(), Counter::default());
        registry.register("waiting", "Submissions that wait for a block", waiting.clone());
        registry.register("peers", "Validators that are connected", peers.clone());
        registry.register("submissions", "Submissions that this node took in", submissions.clone());
        registry.register("objections", "Proposals that this node did not vote for", objections.clone());
        registry.register("halted", "The exit code of the halt, 0 if the node runs", halted.clone());
        NodeMetrics { host: Metrics::default(), registry, waiting, peers, submissions, objections, halted }
    }
}

impl NodeMetrics {
    /// Counts a block that was committed after this time.
    pub fn block(&self, took: Duration, result: &BlockResult) {
        self.host.block(took, result.fuel);
    }

    /// Counts a submission that was taken in.
    pub(super) fn submitted(&self) {
        self.submissions.inc();
    }

    /// Counts a proposal that this node did not vote for.
    pub fn objected(&self) {
        self.objections.inc();
    }

    /// Notes that the node has halted.
    pub fn halted(&self, exit_code: u8) {
        self.halted.set(exit_code.into());
    }

    /// Takes over what has to be counted.
    pub(super) fn count(&self, host: &Host, waiting: usize) {
        self.host.count(host, [0; 3]);
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Notes how many validators are connected.
    pub(super) fn connected(&self, peers: usize) {
        self.peers.set(i64::try_from(peers).unwrap_or(i64::MAX));
    }

    /// Returns all numbers in Prometheus' text.
    pub(super) fn text(&self) -> String {
        let mut text = self.host.text();
        let mut ours = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut ours, &self.registry);
        let mut engines = String::new();
        arc_malachitebft_app_channel::app::metrics::export(&mut engines);
        for more in [ours, engines] {
            // One text has one end.
            text = text.trim_end().trim_end_matches("# EOF").to_owned() + &more;
        }
        text
    }
}
