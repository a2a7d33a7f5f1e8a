//! The protocol's messages, and the thread that answers them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tendermint_abci::{Application, Server, ServerBuilder};
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::abci::{
        Event, EventAttribute, ExecTxResult, RequestCheckTx, RequestFinalizeBlock, RequestInfo, RequestInitChain,
        RequestPrepareProposal, RequestProcessProposal, RequestQuery, ResponseCheckTx, ResponseCommit,
        ResponseFinalizeBlock, ResponseInfo, ResponseInitChain, ResponsePrepareProposal, ResponseProcessProposal,
        ResponseQuery, response_process_proposal::ProposalStatus,
    },
};
use vathost::{host::staged::BlockResult, model::blame::HostFault};

use super::replica::{AbciReplica, Finalized, TxOutcome};
use crate::{
    driver::Halted,
    keys::Digest,
    report::{NodeEvent, NodeLog},
    store::SqliteStore,
};

/// The version of what transactions and results mean. CometBFT keeps it in each block.
const APP_VERSION: u64 = 1;

/// The questions that wait for the kernel's thread. Each connection of CometBFT has one at a time.
const QUESTIONS_MAX: usize = 64;

/// The stack of the kernel's thread, large enough for guests.
const STACK_BYTES: usize = 64 << 20;

/// The codes of a transaction's result: the meaning of the last one is the kernel's own.
const DONE: u32 = 0;
const REFUSED: u32 = 1;
const REFUSED_BY_KERNEL: u32 = 2;

/// The replica of a real home.
type HomeReplica = AbciReplica<SqliteStore>;

/// The answer to a halt, on the kernel's thread: it tells the operators, and ends the process.
pub type OnHalt = Box<dyn Fn(&HomeReplica, &Halted) -> Infallible + Send>;

type Question = Box<dyn FnOnce(&mut HomeReplica) -> Result<(), Halted> + Send>;

/// The application that CometBFT speaks with. Each connection has a clone.
#[derive(Clone)]
pub struct AbciApp {
    questions: mpsc::SyncSender<Question>,
    log: Arc<dyn NodeLog>,
    /// Microseconds that the kernel took for the block that is staged.
    took: Arc<AtomicU64>,
}

impl AbciApp {
    /// Begins the kernel's thread. `open` opens the replica on it.
    ///
    /// # Errors
    ///
    /// The thread cannot be started, or the replica cannot be opened.
    pub fn begin(
        open: impl FnOnce() -> Result<HomeReplica, Halted> + Send + 'static,
        log: Arc<dyn NodeLog>,
        on_halt: OnHalt,
    ) -> Result<AbciApp, Halted> {
        let (questions, incoming) = mpsc::sync_channel::<Question>(QUESTIONS_MAX);
        let (opened, was_opened) = mpsc::channel();
        let work = move || {
            let mut replica = match open() {
                Ok(replica) => {
                    let _ = opened.send(Ok(()));
                    replica
                }
                Err(halted) => return drop(opened.send(Err(halted))),
            };
            for question in incoming {
                if let Err(halted) = question(&mut replica) {
                    on_halt(&replica, &halted);
                }
            }
        };
        let thread = std::thread::Builder::new().name("kernel".to_owned()).stack_size(STACK_BYTES).spawn(work);
        thread.map_err(|err| HostFault::new("start a thread", err))?;
        let gone = |_| Halted::Permanent("the kernel's thread ended before the state was open".to_owned());
        was_opened.recv().map_err(gone)??;
        Ok(AbciApp { questions, log, took: Arc::default() })
    }

    /// Asks the kernel's thread. After a halt there is no answer, and this thread waits for the end of the process: whatever CometBFT were
    /// told, it would be wrong.
    pub fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut HomeReplica) -> Result<T, Halted> + Send + 'static,
    ) -> T {
        let (reply, answer) = mpsc::channel();
        let question: Question = Box::new(move |replica| {
            // Whoever asked may have gone.
            ask(replica).map(|it| drop(reply.send(it)))
        });
        let asked = self.questions.send(question);
        match asked.ok().and_then(|()| answer.recv().ok()) {
            Some(it) => it,
            None => loop {
                std::thread::park();
            },
        }
    }
}

/// A server that is bound to its address.
pub struct AbciServer {
    server: Server<AbciApp>,
    address: String,
}

impl AbciServer {
    /// Binds to an address.
    pub fn bind(address: SocketAddr, app: AbciApp) -> Result<AbciServer, HostFault> {
        let bound = ServerBuilder::default().bind(address, app);
        let server = bound.map_err(|err| HostFault::new(format_args!("listen at {address}"), err))?;
        let address = server.local_addr();
        Ok(AbciServer { server, address })
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Answers CometBFT until the listener fails.
    pub fn serve(self) -> HostFault {
        match self.server.listen() {
            Ok(()) => HostFault::new(format_args!("listen at {}", self.address), "the listener has ended"),
            Err(err) => HostFault::new(format_args!("listen at {}", self.address), err),
        }
    }
}

/// Returns the seconds of a time. Those before 1970, and none at all, are 0.
fn seconds(time: Option<&Timestamp>) -> u64 {
    time.map_or(0, |it| u64::try_from(it.seconds).unwrap_or(0))
}

/// Returns a height of the protocol, which has a sign.
fn height_of(height: i64) -> u64 {
    u64::try_from(height).unwrap_or(0)
}

fn height_to(height: u64) -> i64 {
    i64::try_from(height).unwrap_or(i64::MAX)
}

fn bytes_of(transactions: Vec<impl Into<Vec<u8>>>) -> Vec<Vec<u8>> {
    transactions.into_iter().map(Into::into).collect()
}

fn result_of(outcome: TxOutcome) -> ExecTxResult {
    let result = |code, id: Option<Digest>, log: String, promise: Option<String>| ExecTxResult {
        code,
        // With the code, this is what CometBFT's next header vouches for.
        data: promise.unwrap_or_default().into_bytes().into(),
        log,
        info: id.map(|it| it.to_string()).unwrap_or_default(),
        codespace: if code == DONE { String::new() } else { "vathost".to_owned() },
        ..ExecTxResult::default()
    };
    match outcome {
        TxOutcome::Done { id, promise } => result(DONE, Some(id), String::new(), promise),
        TxOutcome::RefusedByKernel { id, why } => result(REFUSED_BY_KERNEL, Some(id), why, None),
        TxOutcome::Refused(why) => result(REFUSED, None, why, None),
    }
}

/// Returns what happened in a block beside its transactions: directives that were obeyed, answers that were settled.
fn events_of(result: &BlockResult) -> Vec<Event> {
    let attribute = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        EventAttribute { key, value, index: true }
    };
    let fired = result
        .fired
        .iter()
        .map(|line| Event { r#type: "directive".to_owned(), attributes: vec![attribute("line", line)] });
    let settled = result.settled.iter().map(|it| Event {
        r#type: "settled".to_owned(),
        attributes: vec![
            attribute("promise", &it.result.to_string()),
            attribute("status", &it.status),
            EventAttribute { index: false, ..attribute("body", &it.body) },
        ],
    });
    fired.chain(settled).collect()
}

impl Application for AbciApp {
    fn info(&self, _: RequestInfo) -> ResponseInfo {
        self.ask(|replica| {
            let standing = replica.standing();
            let hash: Digest = standing.state_hash.parse().map_err(|err| HostFault::new("read the state hash", err))?;
            Ok(ResponseInfo {
                data: "vathost".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                app_version: APP_VERSION,
                last_block_height: height_to(standing.height),
                last_block_app_hash: hash.0.to_vec().into(),
            })
        })
    }

    fn init_chain(&self, request: RequestInitChain) -> ResponseInitChain {
        self.ask(move |replica| {
            let hash = replica.begin_chain(&request.chain_id, height_of(request.initial_height))?;
            // The validators are those of CometBFT's genesis.
            Ok(ResponseInitChain { app_hash: hash.0.to_vec().into(), ..ResponseInitChain::default() })
        })
    }

    fn check_tx(&self, request: RequestCheckTx) -> ResponseCheckTx {
        self.ask(move |replica| {
            Ok(match replica.check(&request.tx) {
                Ok(id) => ResponseCheckTx { info: id.to_string(), ..ResponseCheckTx::default() },
                Err(why) => ResponseCheckTx {
                    code: REFUSED,
                    log: why.to_string(),
                    codespace: "vathost".to_owned(),
                    ..ResponseCheckTx::default()
                },
            })
        })
    }

    fn prepare_proposal(&self, request: RequestPrepareProposal) -> ResponsePrepareProposal {
        let most = usize::try_from(request.max_tx_bytes).unwrap_or(0);
        let chosen = self.ask(move |replica| Ok(replica.prepare(bytes_of(request.txs), most)));
        ResponsePrepareProposal { txs: chosen.into_iter().map(Into::into).collect() }
    }

    fn process_proposal(&self, request: RequestProcessProposal) -> ResponseProcessProposal {
        let (height, time) = (height_of(request.height), seconds(request.time.as_ref()));
        let judged = self.ask(move |replica| Ok(replica.process(height, time, &bytes_of(request.txs))));
        let status = if judged.is_ok() { ProposalStatus::Accept } else { ProposalStatus::Reject };
        ResponseProcessProposal { status: status as i32 }
    }

    fn finalize_block(&self, request: RequestFinalizeBlock) -> ResponseFinalizeBlock {
        let (height, time) = (height_of(request.height), seconds(request.time.as_ref()));
        let took = self.took.clone();
        let Finalized { state_hash, transactions, result } = self.ask(move |replica| {
            #[allow(clippy::disallowed_methods, reason = "it is told to operators, and decides nothing")]
            let begun = Instant::now();
            let finalized = replica.finalize(height, time, bytes_of(request.txs))?;
            took.store(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            Ok(finalized)
        });
        ResponseFinalizeBlock {
            events: events_of(&result),
            tx_results: transactions.into_iter().map(result_of).collect(),
            app_hash: state_hash.0.to_vec().into(),
            ..ResponseFinalizeBlock::default()
        }
    }

    fn commit(&self) -> ResponseCommit {
        let result = Box::new(self.ask(|replica| replica.commit()));
        let took = Duration::from_micros(self.took.load(Ordering::Relaxed));
        self.log.say(&NodeEvent::Block { result, took });
        // CometBFT keeps all blocks: whoever joins later runs them.
        ResponseCommit { retain_height: 0 }
    }

    fn query(&self, request: RequestQuery) -> ResponseQuery {
        self.ask(move |replica| {
            let height = height_to(replica.standing().height);
            let found = match request.path.as_str() {
                "/status" => Ok(json!(replica.standing())),
                "/result" => match String::from_utf8_lossy(&request.data).parse::<Digest>() {
                    Err(err) => Err(err.to_string()),
                    Ok(id) => {
                        let answer = replica.answer(&id)?.map(|it| json!(it));
                        answer.ok_or_else(|| format!("no block holds the submission {id}"))
                    }
                },
                other => Err(format!("there is no path `{other}`: /status and /result are")),
            };
            Ok(match found {
                Ok(value) => ResponseQuery { height, value: value.to_string().into(), ..ResponseQuery::default() },
                Err(log) => {
                    let codespace = "vathost".to_owned();
                    ResponseQuery { code: REFUSED, log, codespace, height, ..ResponseQuery::default() }
                }
            })
        })
    }
}
