//! The host as an ABCI application: a real process, asked by the client of `tendermint-abci` as CometBFT asks it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tendermint_abci::{Client, ClientBuilder};
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::abci::{
        Request, RequestCheckTx, RequestFinalizeBlock, RequestInfo, RequestInitChain, RequestPrepareProposal,
        RequestProcessProposal, RequestQuery, Response, ResponseFinalizeBlock, request, response,
        response_process_proposal::ProposalStatus,
    },
};
use vathost::Scenario;
use vathost_node::{
    genesis::{Genesis, Submitters, Validator},
    home::{Home, Settings, Timing},
    keys::Digest,
    node,
    submit::Submission,
};

/// The first second of the chain.
const TIME: i64 = 1_800_000_000;

/// A home for CometBFT, in which a bug is planted that the method `boom` wakes.
struct Place {
    dir: TempDir,
    genesis: Genesis,
}

/// A process that runs it. It is killed when it is dropped.
struct Running {
    child: Child,
    address: String,
    client: Client,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let settings = Settings {
            name: "north".to_owned(),
            listen: "/ip4/127.0.0.1/tcp/0".to_owned(),
            peers: vec![],
            http: "127.0.0.1:0".to_owned(),
            timing: Timing::default(),
            bundles: vec![],
            plants: vec!["object.counts@method-boom".to_owned()],
        };
        home.make(&settings).unwrap();
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vats/bank");
        let state_hash = node::install(Some(&home), &Scenario::read(&scenario).unwrap(), true).unwrap();
        let key = home.validator_key().unwrap().public();
        let genesis = Genesis {
            chain: "bank-1".to_owned(),
            validators: vec![Validator { name: "north".to_owned(), key, power: 1 }],
            submitters: Submitters::Everybody,
            exports: BTreeMap::from(["market", "north"].map(|it| (it.to_owned(), it.to_owned()))),
            open_references: false,
            scenario: String::new(),
            state_hash: state_hash.parse().unwrap(),
            cranks_per_block: 50,
            fuel_per_block: None,
        };
        home.put_genesis(&genesis).unwrap();
        Place { dir, genesis }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vathost-node"));
        command.arg(verb).arg("--home").arg(self.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Running {
        let mut child = self.command("abci").args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("ABCI at ").map(str::to_owned) else {
            panic!("{line}{}", read(child.stderr.as_mut().unwrap()))
        };
        let client = ClientBuilder::default().connect(&*address).unwrap();
        Running { child, address, client }
    }

    fn transaction(&self, nonce: u64, method: &str) -> Vec<u8> {
        let input = json!({ "kind": "send", "to": "north", "method": method, "args": [nonce] });
        borsh::to_vec(&self.submission(nonce, &input)).unwrap()
    }

    fn submission(&self, nonce: u64, input: &Value) -> Submission {
        Submission::new(&self.genesis.id(), input.to_string().into_bytes(), nonce, 500, None)
    }

    fn id(&self, transaction: &[u8]) -> String {
        borsh::from_slice::<Submission>(transaction).unwrap().id(&self.genesis.id()).to_string()
    }

    fn directives(&self) -> PathBuf {
        Home::at(self.dir.path()).directives_file()
    }
}

fn read(from: &mut impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

fn txs(transactions: &[Vec<u8>]) -> Vec<bytes::Bytes> {
    transactions.iter().map(|it| it.clone().into()).collect()
}

fn time(height: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: TIME + 5 * height, nanos: 0 })
}

fn block(height: i64, transactions: &[Vec<u8>]) -> RequestFinalizeBlock {
    RequestFinalizeBlock { txs: txs(transactions), height, time: time(height), ..RequestFinalizeBlock::default() }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// The height and the application hash of the last committed block.
    fn info(&mut self) -> (i64, Vec<u8>) {
        let info = self.client.info(RequestInfo::default()).unwrap();
        (info.last_block_height, info.last_block_app_hash.to_vec())
    }

    fn begin_chain(&mut self) -> Vec<u8> {
        let request =
            RequestInitChain { chain_id: "bank-1".to_owned(), initial_height: 1, ..RequestInitChain::default() };
        self.client.init_chain(request).unwrap().app_hash.to_vec()
    }

    fn finalize(&mut self, height: i64, transactions: &[Vec<u8>]) -> ResponseFinalizeBlock {
        self.client.finalize_block(block(height, transactions)).unwrap()
    }

    fn commit(&mut self) {
        assert_eq!(self.client.commit().unwrap().retain_height, 0);
    }

    /// Decides a block: its application hash, and the code of each transaction.
    fn decide(&mut self, height: i64, transactions: &[Vec<u8>]) -> (Vec<u8>, Vec<u32>) {
        let finalized = self.finalize(height, transactions);
        self.commit();
        (finalized.app_hash.to_vec(), finalized.tx_results.iter().map(|it| it.code).collect())
    }

    fn check(&mut self, transaction: &[u8]) -> (u32, String) {
        let request = RequestCheckTx { tx: transaction.to_vec().into(), r#type: 0 };
        let checked = self.client.check_tx(request).unwrap();
        (checked.code, checked.log)
    }

    fn query(&mut self, path: &str, data: &str) -> Result<Value, String> {
        let request = RequestQuery { path: path.to_owned(), data: data.to_owned().into(), ..RequestQuery::default() };
        let found = self.client.query(request).unwrap();
        if found.code == 0 { Ok(serde_json::from_slice(&found.value).unwrap()) } else { Err(found.log) }
    }

    /// Asks what the crate's client cannot: over a connection of its own, as CometBFT has several.
    fn ask(&self, value: request::Value) -> response::Value {
        let mut stream = TcpStream::connect(&*self.address).unwrap();
        stream.write_all(&Request { value: Some(value) }.encode_length_delimited_to_vec()).unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut more = [0; 4096];
            let count = stream.read(&mut more).unwrap();
            assert!(count > 0, "no answer");
            bytes.extend_from_slice(&more[..count]);
            if let Ok(response) = Response::decode_length_delimited(&*bytes) {
                return response.value.unwrap();
            }
        }
    }

    fn prepare(&self, height: i64, transactions: &[Vec<u8>], max_tx_bytes: i64) -> Vec<Vec<u8>> {
        let request = RequestPrepareProposal {
            max_tx_bytes,
            txs: txs(transactions),
            height,
            time: time(height),
            ..RequestPrepareProposal::default()
        };
        match self.ask(request::Value::PrepareProposal(request)) {
            response::Value::PrepareProposal(it) => it.txs.iter().map(|it| it.to_vec()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn accepts(&self, height: i64, transactions: &[Vec<u8>]) -> bool {
        let request = RequestProcessProposal {
            txs: txs(transactions),
            height,
            time: time(height),
            ..RequestProcessProposal::default()
        };
        match self.ask(request::Value::ProcessProposal(request)) {
            response::Value::ProcessProposal(it) => it.status == ProposalStatus::Accept as i32,
            other => panic!("{other:?}"),
        }
    }

    /// The process ends by itself: its exit code, and what it told.
    fn ended(mut self) -> (Option<i32>, String) {
        let told = read(self.child.stderr.as_mut().unwrap());
        (self.child.wait().unwrap().code(), told)
    }
}

#[test]
fn a_block_is_staged_by_finalize_and_durable_by_commit_and_its_hash_is_the_state_hash() {
    let place = Place::new();
    let mut node = place.start();
    let genesis = place.genesis.state_hash.0.to_vec();
    assert_eq!(node.info(), (0, genesis.clone()));
    assert_eq!(node.begin_chain(), genesis);
    let (good, other) = (place.transaction(1, "makePurse"), place.transaction(2, "makePurse"));
    assert_eq!(node.check(&good), (0, String::new()));
    assert_eq!(node.check(b"junk").0, 1);
    let closed =
        borsh::to_vec(&place.submission(3, &json!({ "kind": "send", "to": "west", "method": "m", "args": [] })))
            .unwrap();
    assert_eq!(node.check(&closed).1, "no vat is open by the name `west`: open are market, north");

    let offered = [good.clone(), b"junk".to_vec(), good.clone(), closed, other.clone()];
    assert_eq!(node.prepare(1, &offered, 1 << 20), [good.clone(), other.clone()]);
    assert_eq!(node.prepare(1, &offered, good.len() as i64 + 10), *std::slice::from_ref(&good));
    assert!(node.accepts(1, &[good.clone(), other.clone()]));
    assert!(!node.accepts(1, &offered) && !node.accepts(2, std::slice::from_ref(&good)));

    let first = node.finalize(1, &[good.clone(), other.clone()]);
    assert_eq!(node.info(), (0, genesis), "nothing is committed yet");
    assert_eq!(node.finalize(1, &[good.clone(), other.clone()]), first, "asked again, it is not executed again");
    node.commit();
    assert_eq!(node.info(), (1, first.app_hash.to_vec()));
    assert!(first.tx_results[0].data.starts_with(b"kp"), "{first:?}");
    let settled = |it: &ResponseFinalizeBlock| it.events.iter().filter(|it| it.r#type == "settled").count();
    let mut count = settled(&first);
    for height in 2..6 {
        let finalized = node.finalize(height, &[]);
        node.commit();
        count += settled(&finalized);
    }
    assert!(count > 1, "the answers are events of the blocks in which they are settled");
    let answer = node.query("/result", &place.id(&good)).unwrap();
    assert_eq!(
        (&answer["height"], &answer["position"], &answer["status"]),
        (&json!(1), &json!(0), &json!("fulfilled"))
    );
    assert_eq!(node.query("/status", "").unwrap()["height"], 5);
    assert!(node.query("/nothing", "").unwrap_err().contains("/status and /result are"));
    assert!(node.query("/result", &Digest::NONE.to_string()).unwrap_err().starts_with("no block holds"));
}

#[test]
fn two_replicas_come_to_the_same_and_what_a_block_cannot_hold_is_refused_in_it_on_both() {
    let (place, twin) = (Place::new(), Place::new());
    // The same chain: the genesis of the first.
    std::fs::remove_file(Home::at(twin.dir.path()).genesis_file()).unwrap();
    Home::at(twin.dir.path()).put_genesis(&place.genesis).unwrap();
    let (mut a, mut b) = (place.start(), twin.start());
    let good = place.transaction(1, "makePurse");
    let blocks =
        [vec![good.clone(), b"junk".to_vec(), good.clone()], vec![good, place.transaction(2, "report")], vec![]];
    let codes = [vec![0, 1, 1], vec![1, 0], vec![]];
    for (height, (transactions, codes)) in (1..).zip(blocks.iter().zip(codes)) {
        let decided = a.decide(height, transactions);
        assert_eq!(decided, b.decide(height, transactions));
        assert_eq!(decided.1, codes);
    }
}

#[test]
fn a_process_that_is_killed_at_any_step_is_told_the_block_again_and_comes_to_the_same() {
    let place = Place::new();
    let mut node = place.start();
    let one = [place.transaction(1, "makePurse")];
    let (first, _) = node.decide(1, &one);
    let two = [place.transaction(2, "makePurse")];
    let staged = node.finalize(2, &two).app_hash.to_vec();
    drop(node);
    // Between FinalizeBlock and Commit: CometBFT has the block, and the application is one behind.
    let mut node = place.start();
    assert_eq!(node.info(), (1, first));
    assert_eq!(node.decide(2, &two), (staged.clone(), vec![0]));
    drop(node);
    // After the Commit, of which CometBFT did not hear: the block is answered from its record.
    let mut node = place.start();
    assert_eq!(node.info(), (2, staged.clone()));
    let again = node.finalize(2, &two);
    assert_eq!((again.app_hash.to_vec(), again.tx_results[0].code), (staged.clone(), 0));
    assert_eq!(node.info(), (2, staged));
    assert_eq!(node.query("/result", &place.id(&two[0])).unwrap()["height"], 2);
    assert!(node.check(&two[0]).1.starts_with("it was submitted already"), "duplicates are known after a restart");
    assert!(!node.accepts(3, &two));
    assert_eq!(node.decide(3, &two).1, [1], "in a block it is refused, and runs nothing");
}

#[test]
fn any_other_block_is_a_permanent_failure() {
    let place = Place::new();
    let mut node = place.start();
    node.decide(1, &[]);
    node.decide(2, &[]);
    drop(node);
    for (height, said) in [(1, "block 1 is decided, and block 2 is the last here"), (4, "block 4 is decided")] {
        let mut node = place.start();
        assert!(node.client.finalize_block(block(height, &[])).is_err(), "it is not answered");
        let (code, told) = node.ended();
        assert_eq!(code, Some(74), "{told}");
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_kernel_panic_ends_the_process_with_nothing_committed_and_a_line_goes_past_it_and_can_be_undone() {
    let place = Place::new();
    let mut node = place.start();
    let (first, _) = node.decide(1, &[place.transaction(1, "makePurse")]);
    let bomb = [place.transaction(2, "boom"), place.transaction(3, "makePurse")];
    let line = {
        assert!(
            node.client.finalize_block(block(2, &bomb)).is_err(),
            "the connection is closed, and nothing is answered"
        );
        let (code, told) = node.ended();
        assert_eq!(code, Some(70), "{told}");
        told.lines()
            .map(str::trim)
            .find(|it| it.starts_with("crank-") && it.contains(": skip"))
            .unwrap_or_else(|| panic!("{told}"))
            .to_owned()
    };
    // CometBFT tells it again, and it panics again.
    let mut node = place.start();
    assert_eq!(node.info(), (1, first.clone()), "nothing of the block was committed");
    assert!(node.client.finalize_block(block(2, &bomb)).is_err());
    assert_eq!(node.ended().0, Some(70));

    std::fs::write(place.directives(), format!("{line}\n")).unwrap();
    let mut node = place.start();
    let past = node.finalize(2, &bomb);
    node.commit();
    let fired: Vec<_> =
        past.events.iter().filter(|it| it.r#type == "directive").map(|it| &it.attributes[0].value).collect();
    assert_eq!(fired.len(), 1, "{fired:?}");
    assert!(fired[0].ends_with(&line), "{fired:?}");
    drop(node);

    // The other operators chose another line: the block is taken back, and run again in their way.
    let undone = place.command("undo").output().unwrap();
    assert!(undone.status.success(), "{undone:?}");
    let again = place.command("undo").output().unwrap();
    assert!(!again.status.success(), "one block can be taken back");
    let (crank, _) = line.split_once(": ").unwrap();
    std::fs::write(place.directives(), format!("{crank}: pause\n")).unwrap();
    let mut node = place.start();
    assert_eq!(node.info(), (1, first));
    let other = node.finalize(2, &bomb);
    node.commit();
    assert_ne!(other.app_hash, past.app_hash);
    assert_eq!(node.info(), (2, other.app_hash.to_vec()));
}

#[test]
fn a_chain_of_another_name_or_another_beginning_is_refused() {
    let place = Place::new();
    let mut node = place.start();
    let request = RequestInitChain { chain_id: "other".to_owned(), ..RequestInitChain::default() };
    assert!(node.client.init_chain(request).is_err());
    let (code, told) = node.ended();
    assert_eq!(code, Some(74));
    assert!(told.contains("CometBFT's genesis names the chain `other`, and genesis.json `bank-1`"), "{told}");
    let mut node = place.start();
    let request = RequestInitChain { chain_id: "bank-1".to_owned(), initial_height: 7, ..RequestInitChain::default() };
    assert!(node.client.init_chain(request).is_err());
    assert!(node.ended().1.contains("the chain begins with block 7, and block 0 is the last one of the state"));
}
