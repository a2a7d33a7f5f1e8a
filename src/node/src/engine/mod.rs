//! Malachite: its events to the driver, and the driver's answers back. The engine runs on tokio's threads; the kernel has its own.
//!
//! Invariants: each event is answered after the driver has persisted what the answer depends on; a height is never restarted by the
//! engine's `Restart`, which would forget what was signed: a node that cannot go on halts, and its process ends.

mod codec;
pub(crate) mod context;
mod events;
mod signing;

use std::{sync::Arc, time::Duration};

use arc_malachitebft_app_channel as channel;
use arc_malachitebft_codec::Codec;
use arc_malachitebft_config as config;
use arc_malachitebft_core_types::LinearTimeouts;
use arc_malachitebft_engine::host::HeightParams;
use arc_malachitebft_network::NetworkIdentity;
use arc_malachitebft_signing::Signer;
use channel::{ConsensusContext, EngineBuilder, EngineHandle, NetworkContext, RequestContext, SyncContext, WalContext};
use codec::Borsh;
use context::{ChainContext, Members};
pub use events::{EngineLoop, Gossip};
use signing::{ChainSigner, ChainVerifier};
use vathost::model::blame::HostFault;

use crate::{
    genesis::Genesis,
    home::{Home, Settings, Timing},
    keys::SecretKey,
};

/// The most bytes of a message between validators: a block, with its certificate and what is around it.
const MESSAGE_BYTES_MAX: u64 = 4 << 20;

/// The most connections from one address: validators of a test network share one.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 200;

/// The blocks that a node asks for at once when it catches up.
const CATCH_UP_BLOCKS: usize = 50;

/// The settings in the engine's form.
#[derive(Debug, Clone)]
struct EngineConfig {
    name: String,
    consensus: config::ConsensusConfig,
    sync: config::ValueSyncConfig,
}

impl channel::app::config::NodeConfig for EngineConfig {
    fn moniker(&self) -> &str {
        &self.name
    }

    fn consensus(&self) -> &config::ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut config::ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &config::ValueSyncConfig {
        &self.sync
    }

    fn value_sync_mut(&mut self) -> &mut config::ValueSyncConfig {
        &mut self.sync
    }
}

/// The engine of a node, which has begun and waits for answers.
pub struct Engine {
    channels: channel::Channels<ChainContext>,
    handle: EngineHandle,
    params: Params,
}

impl Engine {
    /// Returns the way to ask the engine about its connections.
    pub fn network_requests(&self) -> tokio::sync::mpsc::Sender<channel::NetworkRequest> {
        self.channels.net_requests.clone()
    }
}

/// What each height begins with.
#[derive(Debug, Clone)]
struct Params {
    members: Members,
    timeouts: LinearTimeouts,
}

impl Params {
    fn of_height(&self) -> HeightParams<ChainContext> {
        HeightParams::new(self.members.clone(), self.timeouts, None)
    }
}

/// Begins the engine of this home.
pub async fn begin(home: &Home, settings: &Settings, genesis: &Arc<Genesis>) -> Result<Engine, HostFault> {
    let key = home.validator_key()?;
    let chain = genesis.id();
    let signer = ChainSigner { chain, key: key.clone() };
    let identity = identity(settings, &key, &home.network_key()?, &signer).await?;
    let config = engine_config(settings, genesis)?;
    let built = EngineBuilder::new(ChainContext, config)
        .with_default_wal(WalContext::new(home.engine_log(), Borsh))
        .with_default_network(NetworkContext::new(identity, Borsh))
        .with_default_consensus(ConsensusContext::new_validator(
            key.address(),
            Box::new(ChainVerifier(chain)),
            Box::new(signer),
        ))
        .with_default_sync(SyncContext::new(Borsh))
        .with_default_request(RequestContext::new(100))
        .build()
        .await;
    let (channels, handle) =
        built.map_err(|err| HostFault::new("begin the consensus engine", format_args!("{err:#}")))?;
    Ok(Engine {
        channels,
        handle,
        params: Params { members: Members::of(genesis), timeouts: timeouts(&settings.timing) },
    })
}

fn timeouts(timing: &Timing) -> LinearTimeouts {
    let millis = Duration::from_millis;
    LinearTimeouts {
        propose: millis(timing.propose_ms),
        prevote: millis(timing.vote_ms),
        precommit: millis(timing.vote_ms),
        ..LinearTimeouts::default()
    }
}

/// Returns the key pair of a node's connections.
fn key_pair(key: &SecretKey) -> Result<libp2p_identity::Keypair, HostFault> {
    libp2p_identity::Keypair::ed25519_from_bytes(key.to_bytes()).map_err(|err| HostFault::new("read network.key", err))
}

/// Returns the id by which the others know the connections of a node.
pub fn peer_id(network: &SecretKey) -> Result<String, HostFault> {
    Ok(key_pair(network)?.public().to_peer_id().to_string())
}

async fn identity(
    settings: &Settings,
    key: &SecretKey,
    network: &SecretKey,
    signer: &ChainSigner,
) -> Result<NetworkIdentity, HostFault> {
    let pair = key_pair(network)?;
    let peer = pair.public().to_peer_id().to_bytes();
    let proof = signer.sign_validator_proof(key.public().0.to_vec(), peer).await;
    let proof = proof.map_err(|err| HostFault::new("sign who this node is", err))?;
    let proof = Borsh.encode(&proof).map_err(|err| HostFault::new("write who this node is", err))?;
    Ok(NetworkIdentity::new_validator(settings.name.clone(), pair, key.address().to_string(), proof))
}

fn engine_config(settings: &Settings, genesis: &Genesis) -> Result<EngineConfig, HostFault> {
    let address = |text: &String| {
        let why = |err| HostFault::new(format_args!("read the address `{text}` in node.toml"), err);
        text.parse().map_err(why)
    };
    let mut consensus = config::ConsensusConfig::default();
    let p2p = &mut consensus.p2p;
    p2p.listen_addr = address(&settings.listen)?;
    p2p.persistent_peers = settings.peers.iter().map(address).collect::<Result<_, _>>()?;
    p2p.persistent_peers_only = true;
    p2p.protocol = config::PubSubProtocol::Broadcast;
    p2p.pubsub_max_size = bytes_of(MESSAGE_BYTES_MAX);
    p2p.discovery.max_connections_per_ip = CONNECTIONS_PER_ADDRESS_MAX;
    // Nodes of different chains do not even speak with each other.
    let chain = format!("{:.16}", genesis.id());
    p2p.protocol_names = config::ProtocolNames {
        consensus: format!("/vathost/{chain}/consensus"),
        discovery_kad: format!("/vathost/{chain}/kad"),
        discovery_regres: format!("/vathost/{chain}/peers"),
        sync: format!("/vathost/{chain}/sync"),
        validator_proof: format!("/vathost/{chain}/validator"),
    };
    let sync = config::ValueSyncConfig {
        status_update_interval: Duration::from_millis(settings.timing.status_ms),
        batch_size: CATCH_UP_BLOCKS,
        ..config::ValueSyncConfig::default()
    };
    Ok(EngineConfig { name: settings.name.clone(), consensus, sync })
}

fn bytes_of(bytes: u64) -> bytesize::ByteSize {
    bytesize::ByteSize::b(bytes)
}
