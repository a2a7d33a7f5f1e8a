use vathost::{
    BlockPolicy,
    host::staged::{BlockHeader, BlockInput, BlockResult, ReplicaInfo, StageError, StagedHost},
};

/// The replica that executes decided blocks: a [`StagedHost`], or a stand-in in a simulation.
pub trait Application {
    /// Returns the position of the replica: its last committed block.
    fn info(&self) -> Result<ReplicaInfo, StageError>;

    /// Executes and commits a block, or answers from the record of the one that is saved.
    fn execute(
        &mut self,
        header: &BlockHeader,
        inputs: Vec<BlockInput>,
        policy: &BlockPolicy,
    ) -> Result<BlockResult, StageError>;

    /// Returns the result of a committed block, if it is kept.
    fn result_of(&self, height: u64) -> Result<Option<BlockResult>, StageError>;

    /// Takes the last committed block back, durably.
    fn undo_last(&mut self) -> Result<ReplicaInfo, StageError>;

    /// Returns the directives in force, in canonical form.
    fn directives(&self) -> Vec<String>;

    /// Returns whether a block of this time would have something to run, without any submission.
    fn has_work(&self, time: u64) -> bool;
}

impl Application for StagedHost {
    fn info(&self) -> Result<ReplicaInfo, StageError> {
        StagedHost::info(self)
    }

    fn execute(
        &mut self,
        header: &BlockHeader,
        inputs: Vec<BlockInput>,
        policy: &BlockPolicy,
    ) -> Result<BlockResult, StageError> {
        self.decide(header, inputs, policy)
    }

    fn result_of(&self, height: u64) -> Result<Option<BlockResult>, StageError> {
        StagedHost::result_of(self, height)
    }

    fn undo_last(&mut self) -> Result<ReplicaInfo, StageError> {
        StagedHost::undo_last(self)
    }

    fn directives(&self) -> Vec<String> {
        self.host().standing().directives.clone()
    }

    fn has_work(&self, time: u64) -> bool {
        // A host that has halted has nothing to run.
        let host = self.host();
        let is_woken = || host.next_wakeup().is_ok_and(|it| it.is_some_and(|it| it <= time));
        host.has_work().unwrap_or(false) || is_woken()
    }
}
