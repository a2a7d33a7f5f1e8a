//! The application of a simulated node: a stand-in that keeps the rules of a staged host and runs nothing, or a host with the real kernel.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use vathost::{
    BlockPolicy,
    host::staged::{BlockHeader, BlockInput, BlockResult, Receipt, ReplicaInfo, StageError, StagedHost},
    kernel::{Halt, Position},
    model::{
        blame::{HostFault, KernelPanic},
        id::CrankNum,
    },
};

use super::disk::Fate;
use crate::{driver::Application, keys::Digest};

/// The method of the message that breaks the kernels, until a directive goes past it.
pub(super) const BOOM: &str = "boom";

/// The state of a stand-in, which its process only borrows.
#[derive(Debug, Clone)]
pub(super) struct StubState {
    info: ReplicaInfo,
    results: BTreeMap<u64, BlockResult>,
    before: Option<Box<StubState>>,
}

impl StubState {
    pub(super) fn new(state_hash: Digest) -> StubState {
        let info = ReplicaInfo {
            height: 0,
            time: 0,
            state_hash: state_hash.to_string(),
            kernel_version: 3,
            directives_fired_digest: String::new(),
        };
        StubState { info, results: BTreeMap::new(), before: None }
    }
}

/// The application of one life of a node.
#[derive(Debug)]
pub(super) enum Replica {
    Stub { state: Rc<RefCell<StubState>>, lines: Vec<String>, fate: Fate },
    Kernel { host: Box<StagedHost>, fate: Fate },
}

impl Application for Replica {
    fn info(&self) -> Result<ReplicaInfo, StageError> {
        match self {
            Replica::Stub { state, .. } => Ok(state.borrow().info.clone()),
            Replica::Kernel { host, .. } => Application::info(&**host),
        }
    }

    fn execute(
        &mut self,
        header: &BlockHeader,
        inputs: Vec<BlockInput>,
        policy: &BlockPolicy,
    ) -> Result<BlockResult, StageError> {
        let (Replica::Stub { fate, .. } | Replica::Kernel { fate, .. }) = self;
        let fate = fate.clone();
        fate.point("before a block is executed");
        let result = match self {
            Replica::Stub { state, lines, .. } => execute(&mut state.borrow_mut(), header, &inputs, lines),
            Replica::Kernel { host, .. } => Application::execute(&mut **host, header, inputs, policy),
        };
        fate.point("after a block is committed");
        result
    }

    fn result_of(&self, height: u64) -> Result<Option<BlockResult>, StageError> {
        match self {
            Replica::Stub { state, .. } => Ok(state.borrow().results.get(&height).cloned()),
            Replica::Kernel { host, .. } => Application::result_of(&**host, height),
        }
    }

    fn undo_last(&mut self) -> Result<ReplicaInfo, StageError> {
        match self {
            Replica::Stub { state, .. } => {
                let before = state.borrow_mut().before.take();
                let before = before
                    .ok_or_else(|| HostFault::new("undo the last block", "one block can be undone, and it was"))?;
                *state.borrow_mut() = *before;
                self.info()
            }
            Replica::Kernel { host, .. } => Application::undo_last(&mut **host),
        }
    }

    fn directives(&self) -> Vec<String> {
        match self {
            Replica::Stub { lines, .. } => lines.clone(),
            Replica::Kernel { host, .. } => Application::directives(&**host),
        }
    }

    fn has_work(&self, time: u64) -> bool {
        match self {
            Replica::Stub { .. } => true,
            Replica::Kernel { host, .. } => Application::has_work(&**host, time),
        }
    }
}

/// Executes a block as [`StagedHost::decide`] does, in one step that is all or nothing.
fn execute(
    state: &mut StubState,
    header: &BlockHeader,
    inputs: &[BlockInput],
    lines: &[String],
) -> Result<BlockResult, StageError> {
    let saved = state.info.height;
    if header.height == saved {
        let record = state.results.get(&saved).filter(|it| it.header == *header).cloned();
        return record.ok_or(StageError::Height { asked: header.height, saved });
    }
    if header.height != saved + 1 {
        return Err(StageError::Height { asked: header.height, saved });
    }
    if header.prev_state_hash != state.info.state_hash {
        let (theirs, ours) = (header.prev_state_hash.clone(), state.info.state_hash.clone());
        return Err(StageError::HashMismatch { height: header.height, theirs, ours });
    }
    let breaks = |it: &BlockInput| matches!(it, BlockInput::Send { method, .. } if method == BOOM);
    let mut fired = Vec::new();
    if inputs.iter().any(breaks) {
        let crank = CrankNum(10 * header.height);
        let Some(ours) = lines.iter().find(|it| it.starts_with(&format!("{crank}: "))) else {
            let fault = KernelPanic::new("object.counts", format_args!("planted in block {}", header.height)).into();
            let position = Position { crank: Some(crank), ..Position::default() };
            return Err(StageError::Halt(Box::new(Halt { fault, position, taken: None })));
        };
        fired.push(format!("{crank}: {ours}"));
    }
    let bytes = serde_json::to_vec(&(header, inputs, &fired)).unwrap();
    let result = BlockResult {
        header: header.clone(),
        state_hash: Digest::of("vathost-node simulated state", &bytes).to_string(),
        cranks: inputs.len() as u64,
        fuel: 0,
        quiescent: true,
        receipts: inputs.iter().map(|_| Receipt { result: None, refused: None }).collect(),
        settled: Vec::new(),
        fired,
    };
    let before = StubState { before: None, ..state.clone() };
    state.info.height = header.height;
    state.info.time = header.time;
    state.info.state_hash = result.state_hash.clone();
    state.results.insert(header.height, result.clone());
    state.before = Some(Box::new(before));
    Ok(result)
}
