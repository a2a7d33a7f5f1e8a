use std::fmt;

use vathost::{
    host::staged::StageError,
    kernel::Halt,
    model::blame::{Fault, HostFault},
};

use crate::{block::Parent, keys::Digest};

/// The reason why a node stops: nothing of the block that it is about is committed.
#[derive(Debug)]
pub enum Halted {
    /// The host stopped: a kernel panic, a directive, a fault of this machine.
    Host(Box<Halt>),
    /// More than two thirds of the validators came to another outcome of the block before.
    Divergence(Box<Divergence>),
    /// The validators obeyed directives in this block that this node's file does not have.
    MissingDirectives {
        /// The height of the block.
        height: u64,
        /// The lines that are missing.
        lines: Vec<String>,
    },
    /// This machine failed at something else than the host's state.
    Machine(HostFault),
    /// The engine, or the records, ask for what can never be done.
    Permanent(String),
}

/// The outcome of a block that was decided upon, and the one that this node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The height of the decided block, which says what came of the block before.
    pub height: u64,
    /// The number of validators that signed it.
    pub signers: usize,
    /// The outcome of the block before, as the decided block has it.
    pub theirs: Parent,
    /// The outcome of the block before, as this node has it.
    pub ours: Parent,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { height, signers, theirs, ours } = self;
        let before = height - 1;
        writeln!(
            f,
            "block {height} is decided, and this node cannot follow it: {signers} validators signed it, and they"
        )?;
        writeln!(f, "  came to another outcome of block {before} than this node did")?;
        writeln!(f, "  state hash:  theirs {}, ours {}", theirs.state_hash, ours.state_hash)?;
        writeln!(f, "  directives:  theirs {}, ours {}", obeyed(&theirs.fired), obeyed(&ours.fired))?;
        write!(
            f,
            "  `vathost-node undo --home HOME` takes block {before} back; then put their lines into the file of directives \
             and start again"
        )
    }
}

fn obeyed(fired: &[String]) -> String {
    if fired.is_empty() { "none".to_owned() } else { fired.join(", ") }
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halted::Host(halt) => halt.fmt(f),
            Halted::Divergence(divergence) => divergence.fmt(f),
            Halted::MissingDirectives { height, lines } => {
                writeln!(
                    f,
                    "block {height} was decided, and the validators obeyed directives in it that this node does not have"
                )?;
                writeln!(f, "  (block {}, which is decided too, says so):", height + 1)?;
                for line in lines {
                    writeln!(f, "    {line}")?;
                }
                write!(f, "  ask the other operators; then put them into the file of directives, and start again")
            }
            Halted::Machine(fault) => fault.fmt(f),
            Halted::Permanent(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for Halted {}

impl Halted {
    /// Returns the exit code of the node's process: that of `vathost` for the same kind of halt.
    pub fn exit_code(&self) -> u8 {
        match self {
            Halted::Host(halt) => match &halt.fault {
                Fault::Vat(_) | Fault::Kernel(_) => 70,
                Fault::Host(_) => 74,
                Fault::Anachronism(_) => 75,
                Fault::Halted(_) => 3,
                Fault::Interrupted(_) => 130,
            },
            Halted::Divergence(_) => 75,
            Halted::MissingDirectives { .. } => 2,
            Halted::Machine(_) | Halted::Permanent(_) => 74,
        }
    }

    /// Returns a word for the kind of halt, for logs and for `/status`.
    pub fn kind(&self) -> &'static str {
        match self {
            Halted::Host(halt) => match &halt.fault {
                Fault::Vat(_) | Fault::Kernel(_) => "kernel-panic",
                Fault::Host(_) => "host-fault",
                Fault::Anachronism(_) => "divergence",
                Fault::Halted(_) => "directive",
                Fault::Interrupted(_) => "interrupted",
            },
            Halted::Divergence(_) => "divergence",
            Halted::MissingDirectives { .. } => "missing-directives",
            Halted::Machine(_) => "host-fault",
            Halted::Permanent(_) => "permanent",
        }
    }

    /// Makes the halt of a decided block whose value this node does not have.
    pub(super) fn no_value(height: u64, id: Digest) -> Halted {
        Halted::Permanent(format!(
            "block {height} is decided, and its value {id} is not among those that were persisted"
        ))
    }
}

impl From<HostFault> for Halted {
    fn from(fault: HostFault) -> Halted {
        Halted::Machine(fault)
    }
}

impl From<StageError> for Halted {
    fn from(err: StageError) -> Halted {
        match err {
            StageError::Halt(halt) => Halted::Host(halt),
            other => Halted::Permanent(other.to_string()),
        }
    }
}
