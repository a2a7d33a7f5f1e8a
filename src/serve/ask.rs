//! What the threads that speak HTTP ask of the kernel's thread, and what they are told.

use serde_json::Value;
use tokio::sync::oneshot;

use crate::serve::{desk::Desk, inbox::Client, problem::Problem, token::CapToken};

/// The place to send a message to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A vat that is open by this name.
    Name(String),
    /// Whatever the token names.
    CapToken(CapToken),
}

impl Address {
    /// Reads the last part of a URL. What has not the form of a token is a name.
    pub(super) fn parse(text: &str) -> Address {
        CapToken::parse(text).map_or_else(|| Address::Name(text.to_owned()), Address::CapToken)
    }
}

/// The way to whoever asked. It is gone where nobody waits any more.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Problem>>;

/// A message to send.
#[derive(Debug)]
pub(super) struct Call {
    /// The client that sends it: what is not delivered yet counts for its share.
    pub(super) client: Client,
    pub(super) to: Address,
    pub(super) method: String,
    pub(super) args: Vec<Value>,
    /// The token of its answer.
    pub(super) id: CapToken,
    /// The hash of the request, if it has a key.
    pub(super) request: Option<[u8; 32]>,
    /// Whether the answer is waited for.
    pub(super) waits: bool,
    pub(super) reply: Reply<KnownAnswer>,
}

/// An answer, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum KnownAnswer {
    /// The vat answered: with a value, or the reason of a rejection.
    Settled { is_rejected: bool, value: Value },
    /// There is no answer yet.
    Pending,
}

/// Something to do on the kernel's thread.
pub(super) type Errand = Box<dyn FnOnce(&mut Desk<'_>) + Send>;

/// A request to the kernel's thread.
pub(super) enum DeskRequest {
    Call(Box<Call>),
    /// The answer of this token; `waits` until there is one.
    Look {
        id: CapToken,
        waits: bool,
        reply: Reply<KnownAnswer>,
    },
    /// Drops what the token names.
    Drop {
        token: CapToken,
        reply: Reply<()>,
    },
    Errand(Errand),
    /// Has the thread look whether it is to stop.
    Wake,
}
