//! A state just before a delivery to a guest, and what comes of it with and without a debugger.

use std::net::{SocketAddr, TcpListener};

use vathost::{
    debug::gdb,
    kernel,
    model::{id::VatId, value::CapData},
    slog::Slog,
    state::{block::Block, table::Options},
    vat::Warehouse,
};
use wasmparser::{Parser, Payload};

pub(crate) const GUEST: VatId = VatId(1);

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) fuel: u64,
    pub(crate) hash: String,
    pub(crate) ended: Option<String>,
    /// The vatstore, in words.
    pub(crate) stored: String,
}

/// A started vat, and a message that waits for it.
pub(crate) fn stand(wasm: &[u8]) -> Block {
    let mut block = Block::memory(Slog::default()).unwrap();
    let bundle = block.put_bundle(wasm);
    let options = Options { reap_interval: None, reap_gc_krefs: None, ..Options::default() };
    (block, _) = kernel::outside(block, |crank| {
        let guest = crank.create_vat("guest", bundle, options, CapData::plain("#{}"))?;
        let guest = crank.root(guest)?;
        crank.pin(guest)?;
        crank.send_from_outside(guest.into(), CapData::plain("#[\"increment\",[40]]"), Some(("guest", "increment")))
    })
    .unwrap();
    kernel::crank(block, &mut Warehouse::new(None).unwrap()).unwrap().0
}

fn outcome(block: &Block, ran: Option<kernel::Ran>) -> Outcome {
    let ran = ran.unwrap();
    let stored: Vec<_> = block.tables().vatstore.iter().map(|((_, key), value)| (key.clone(), value.clone())).collect();
    Outcome {
        fuel: ran.fuel,
        hash: block.state_hash().expect("hashes").to_string(),
        ended: ran.ended.and_then(|it| it.fault).map(|it| it.to_string()),
        stored: format!("{stored:?}"),
    }
}

pub(crate) fn undebugged(wasm: &[u8]) -> Outcome {
    let (block, ran) = kernel::crank(stand(wasm), &mut Warehouse::new(None).unwrap()).unwrap();
    outcome(&block, ran)
}

/// Runs the delivery with a client, which must end.
pub(crate) fn debugged(wasm: &[u8], client: impl FnOnce(SocketAddr)) -> Outcome {
    let block = stand(wasm);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let mut workers = Warehouse::for_debugger(None).unwrap();
            let (block, ran) = gdb::serve(block, GUEST, &mut workers, listener).unwrap();
            outcome(&block, ran)
        });
        client(address);
        server.join().unwrap()
    })
}

/// The offsets of the instructions of a function that the module defines.
pub(crate) fn instructions(wasm: &[u8], function: usize) -> Vec<u64> {
    let bodies = Parser::new(0).parse_all(wasm).filter_map(|it| match it.unwrap() {
        Payload::CodeSectionEntry(body) => Some(body),
        _ => None,
    });
    let body = bodies.into_iter().nth(function).unwrap();
    body.get_operators_reader().unwrap().into_iter_with_offsets().map(|it| it.unwrap().1 as u64).collect()
}
