//! Whoever floods a server delays another by a block at the most: counted in blocks and deliveries, so that no clock has a say.

use std::{cell::Cell, net::IpAddr, path::Path, sync::Arc, sync::atomic::Ordering};

use serde_json::json;
use tokio::sync::oneshot;

use super::{Desk, Stop};
use crate::{
    host::{
        controller::{BlockEnd, BlockPolicy, Host, HostOptions},
        options::Audit,
        scenario::Scenario,
    },
    model::id::VatId,
    serve::{
        ask::{Address, Call, DeskRequest},
        bounds::Bounds,
        inbox::{Client, Inbox, InboxBounds},
        metrics::Metrics,
        token::CapToken,
    },
};

/// Blocks for which the flood is on before the bystander speaks.
const BEFORE: u64 = 10;
/// The share of a client, and what it may have waiting.
const SHARE: usize = 16;
const QUEUE: usize = 160;

fn put(inbox: &Inbox, client: Client, vat: &str) -> bool {
    let (reply, _) = oneshot::channel();
    let (to, method, args) = (Address::Name(vat.to_owned()), "makePurse".to_owned(), vec![json!(1)]);
    let id = CapToken::random().expect("a token");
    let call = Call { client, to, method, args, id, request: None, waits: false, reply };
    inbox.put(client, DeskRequest::Call(Box::new(call))).is_ok()
}

/// What a bystander waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waited {
    blocks: u64,
    deliveries: u64,
}

/// Runs a served bank that a client floods with as many calls as it can to one vat, and another asks another vat for one thing. Returns
/// how much of the host's work the latter waits for.
fn wait_of_a_bystander(is_flooded: bool, share: usize, policy: BlockPolicy) -> Waited {
    let bank = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/bank");
    let mut host = Host::open(HostOptions { audit: Audit::Never, ..HostOptions::default() }).expect("a host");
    host.install(&Scenario::read(&bank).expect("a scenario")).expect("installed");
    while !host.run_block(&policy, &mut |_| true).expect("a block").quiescent {}
    let number = |host: &Host, name: &str| {
        let block = host.block().expect("a state");
        let found = block.tables().vats.iter().find(|(_, row)| row.name == name).map(|(vat, _)| *vat);
        found.expect("it is in the scenario")
    };
    let (north, south) = (number(&host, "north"), number(&host, "south"));
    let delivered = move |host: &Host, vat: VatId| {
        host.block().expect("a state").tables().tallies.get(&vat).expect("it is there").deliveries
    };
    let total = |host: &Host| host.block().expect("a state").tables().globals().deliveries;

    let inbox = Inbox::new(InboxBounds { all: 4 * QUEUE, client: QUEUE, share });
    let [flooder, bystander] = [1, 2].map(|last| Client::at(IpAddr::from([127, 0, 0, last]), "market"));
    let flood = || while is_flooded && put(&inbox, flooder, "north") {};
    let (blocks, spoke, waited) = (Cell::new(0), Cell::new(None), Cell::new(None));
    let stop = Stop::default();
    let stopped = stop.clone();
    let at_rest = delivered(&host, south);
    let mut tell = |host: &mut Host, _: &BlockEnd| {
        blocks.set(blocks.get() + 1);
        flood();
        match spoke.get() {
            None if blocks.get() == BEFORE => {
                assert!(put(&inbox, bystander, "south"), "there is room for who asks for one thing");
                spoke.set(Some((blocks.get(), total(host))));
            }
            Some((block, deliveries)) if delivered(host, south) > at_rest => {
                let now = (blocks.get(), total(host));
                waited.set(Some(Waited { blocks: now.0 - block, deliveries: now.1 - deliveries }));
                stopped.store(1, Ordering::Relaxed);
            }
            Some(_) => assert!(blocks.get() < BEFORE + 200, "the bystander is never served"),
            // Somebody else asks for one thing at a time.
            None => drop(put(&inbox, Client { way: 7, ..bystander }, "north")),
        }
    };
    let mut desk =
        Desk::new(&mut host, policy, Bounds::default(), Arc::new(Metrics::default()), stop, &mut tell).expect("a desk");
    let exports = [("north", north), ("south", south)].map(|(name, vat)| (name.to_owned(), vat.0));
    desk.set_exports(exports.into()).expect("open");
    flood();
    assert!(put(&inbox, Client { way: 7, ..bystander }, "north"));
    desk.run(&inbox).expect("it ends by its stop");
    waited.get().expect("the bystander was served")
}

#[test]
fn a_bystander_waits_for_two_blocks_at_most_whatever_another_asks() {
    let alone = wait_of_a_bystander(false, SHARE, BlockPolicy::default());
    assert_eq!(alone, Waited { blocks: 1, deliveries: 1 });
    let flooded = wait_of_a_bystander(true, SHARE, BlockPolicy::default());
    assert!(flooded.blocks <= 2 * alone.blocks, "{flooded:?}");
    // Those of the flood that came in with it.
    assert!(flooded.deliveries <= 2 * SHARE as u64 + 2, "{flooded:?}");
}

#[test]
fn what_does_not_fit_into_a_block_counts_for_the_share_of_the_next() {
    // A block has fewer cranks than a share has calls: what is left of them waits in the kernel.
    let policy = BlockPolicy { cranks: 6, ..BlockPolicy::default() };
    let flooded = wait_of_a_bystander(true, SHARE, policy);
    assert!(flooded.blocks <= SHARE as u64 / 6 + 2, "{flooded:?}");
    assert!(flooded.deliveries <= 2 * SHARE as u64, "{flooded:?}");
}

#[test]
fn without_shares_a_bystander_would_wait_for_all_of_the_flood() {
    let policy = BlockPolicy { cranks: 6, ..BlockPolicy::default() };
    let flooded = wait_of_a_bystander(true, QUEUE, policy);
    assert!(flooded.blocks > 10, "the tests above measure what shares are for: {flooded:?}");
}
