//! What a server remembers of tokens and answers: rows beside the state, all of them in memory too.
//!
//! ```text
//!   a call ──▶ answer (its promise; the hash of its token) ──settled, read──▶ a token for each reference that it names
//!              open: somebody may ask for it                                   held: each is dropped by itself
//!              └── neither open nor held ──▶ forgotten, with its promise in the kernel
//! ```
//!
//! Invariants: a token is in the book (as its hash) before anybody is told it; what a token names is alive for as long as the answer
//! is kept that named it.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        blame::HostFault,
        id::{KRef, PromiseId},
    },
    serve::token::{CapToken, TokenHash},
    store::{BesideRow, codec::decode, encode},
};

/// The first byte of a row's key: which kind of row it is.
const ANSWER: u8 = b'a';
const TOKEN: u8 = b't';
const EXPORTS: u8 = b'e';

/// Answers that are looked at for their age at one time, the oldest first.
const LOOKED_AT: usize = 1_024;

/// An answer that somebody may ask for, or that keeps alive what tokens name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptAnswer {
    /// The hash of the token by which it is asked for.
    pub(super) id: TokenHash,
    /// The hash of the request, if it had a key.
    pub(super) request: Option<[u8; 32]>,
    /// The time of its call, in seconds.
    pub(super) since: u64,
    /// Whether it can be asked for.
    pub(super) open: bool,
    /// Whether its client dropped it.
    pub(super) dropped: bool,
    /// The number of tokens that name what it keeps.
    pub(super) held: u64,
}

/// What a token names: an object or a promise, kept alive by an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct NamedThing {
    kref: KRef,
    by: PromiseId,
    dropped: bool,
}

/// The meaning of a token, as a server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The token of a call's answer.
    Answer(PromiseId),
    /// The token of an object or a promise, and the answer that keeps it.
    Named(KRef, PromiseId),
    /// A token of something that was dropped.
    Dropped,
}

/// All that a server remembers, and the rows that are still to be written.
#[derive(Debug, Default)]
pub(super) struct Book {
    answers: BTreeMap<PromiseId, KeptAnswer>,
    ids: BTreeMap<TokenHash, PromiseId>,
    tokens: BTreeMap<TokenHash, NamedThing>,
    /// The tokens that each answer keeps, dropped ones too.
    kept_by: BTreeSet<(PromiseId, TokenHash)>,
    exports: BTreeMap<String, u64>,
    changes: Vec<BesideRow>,
}

impl Book {
    /// Reads the book from its rows.
    pub(super) fn read(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Book, HostFault> {
        let mut book = Book::default();
        let wrong = |why: String| HostFault::damage("read what a server keeps beside the state", why);
        for (key, value) in rows {
            let Some((kind, rest)) = key.split_first() else { continue };
            let unknown = |_| wrong(format!("a row of kind {kind} has a key of {} bytes", rest.len()));
            let decoded = |err: HostFault| wrong(format!("a row of kind {kind}: {err}"));
            match *kind {
                ANSWER => {
                    let promise = PromiseId(u64::from_be_bytes(rest.try_into().map_err(unknown)?));
                    let answer: KeptAnswer = decode(&value).map_err(decoded)?;
                    book.ids.insert(answer.id, promise);
                    book.answers.insert(promise, answer);
                }
                TOKEN => {
                    let hash: TokenHash = rest.try_into().map_err(unknown)?;
                    let named: NamedThing = decode(&value).map_err(decoded)?;
                    book.kept_by.insert((named.by, hash));
                    book.tokens.insert(hash, named);
                }
                EXPORTS => book.exports = decode(&value).map_err(decoded)?,
                // Of a later version, or of another server.
                _ => (),
            }
        }
        Ok(book)
    }

    /// Takes the rows that are to be written.
    pub(super) fn take_changes(&mut self) -> Vec<BesideRow> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the vats that are open by name.
    pub(super) fn exports(&self) -> &BTreeMap<String, u64> {
        &self.exports
    }

    /// Opens these vats by name, and no others.
    pub(super) fn set_exports(&mut self, exports: BTreeMap<String, u64>) {
        if self.exports != exports {
            self.exports = exports;
            self.changes.push((vec![EXPORTS], encoded(&self.exports)));
        }
    }

    /// Returns the number of answers that are kept.
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Returns the number of answers whose calls had a key.
    pub(super) fn keyed(&self) -> usize {
        self.answers.values().filter(|it| it.request.is_some()).count()
    }

    /// Returns the number of tokens for references.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Returns what a token is; `None` if it is nothing.
    pub(super) fn find(&self, token: CapToken) -> Option<Known> {
        let hash = token.hash();
        if let Some(promise) = self.ids.get(&hash) {
            let is_dropped = self.answers.get(promise).is_none_or(|it| it.dropped);
            return Some(if is_dropped { Known::Dropped } else { Known::Answer(*promise) });
        }
        let named = self.tokens.get(&hash)?;
        Some(if named.dropped { Known::Dropped } else { Known::Named(named.kref, named.by) })
    }

    /// Returns the answer of a call with this token, also if it was dropped.
    pub(super) fn answer_of(&self, token: CapToken) -> Option<(PromiseId, &KeptAnswer)> {
        let promise = *self.ids.get(&token.hash())?;
        Some((promise, self.answers.get(&promise)?))
    }

    /// Notes a call, whose answer will be this promise's.
    pub(super) fn begin(&mut self, promise: PromiseId, id: CapToken, request: Option<[u8; 32]>, since: u64) {
        let answer = KeptAnswer { id: id.hash(), request, since, open: true, dropped: false, held: 0 };
        self.ids.insert(answer.id, promise);
        self.answers.insert(promise, answer);
        self.write_answer(promise);
    }

    /// Makes tokens for what an answer, or the settlement of a promise that it keeps, names. Whoever asks again finds the same ones.
    pub(super) fn name(&mut self, of: CapToken, by: PromiseId, slots: &[KRef]) -> Vec<CapToken> {
        let mut tokens = Vec::new();
        let mut fresh = 0;
        for (at, kref) in slots.iter().enumerate() {
            let token = of.of_slot(at);
            tokens.push(token);
            let hash = token.hash();
            if let Entry::Vacant(vacant) = self.tokens.entry(hash) {
                vacant.insert(NamedThing { kref: *kref, by, dropped: false });
                self.kept_by.insert((by, hash));
                self.write_token(hash);
                fresh += 1;
            }
        }
        if fresh > 0 {
            if let Some(answer) = self.answers.get_mut(&by) {
                answer.held += fresh;
            }
            self.write_answer(by);
        }
        tokens
    }

    /// Drops what a token names. Returns the answer that is to be forgotten with it, if nothing else needs that.
    pub(super) fn drop_token(&mut self, token: CapToken) -> Option<PromiseId> {
        let hash = token.hash();
        if let Some(promise) = self.ids.get(&hash).copied() {
            if let Some(answer) = self.answers.get_mut(&promise) {
                answer.dropped = true;
            }
            // With a key it is remembered that there was a call, so that the key does not act again.
            let answer = self.answers.get(&promise)?;
            let (has_key, is_held) = (answer.request.is_some(), answer.held > 0);
            self.write_answer(promise);
            return if has_key { (!is_held).then_some(promise) } else { self.close(promise) };
        }
        let named = self.tokens.get_mut(&hash).filter(|it| !it.dropped)?;
        named.dropped = true;
        let by = named.by;
        self.write_token(hash);
        if let Some(answer) = self.answers.get_mut(&by) {
            answer.held = answer.held.saturating_sub(1);
        }
        self.write_answer(by);
        self.forget_unneeded(by)
    }

    /// Notes that an answer cannot be asked for any more. Returns it if it is to be forgotten.
    pub(super) fn close(&mut self, promise: PromiseId) -> Option<PromiseId> {
        self.answers.get_mut(&promise)?.open = false;
        self.write_answer(promise);
        self.forget_unneeded(promise)
    }

    /// Forgets an answer that the state no longer has, and the tokens of what it named.
    pub(super) fn expire(&mut self, promise: PromiseId) {
        if let Some(answer) = self.answers.get_mut(&promise) {
            (answer.open, answer.held) = (false, 0);
            self.forget_unneeded(promise);
        }
    }

    /// Iterates over the answers that nobody dropped.
    pub(super) fn undropped(&self) -> impl Iterator<Item = PromiseId> {
        self.answers.iter().filter(|(_, it)| !it.dropped).map(|(promise, _)| *promise)
    }

    /// Returns answers that can be asked for since before this time, up to so many.
    pub(super) fn older_than(&self, time: u64, count: usize) -> Vec<PromiseId> {
        let first = self.answers.iter().take(LOOKED_AT).take_while(|(_, it)| it.since < time);
        first.filter(|(_, it)| it.open).map(|(promise, _)| *promise).take(count).collect()
    }

    /// Forgets an answer that nobody can ask for, and by which no token is held; also what is remembered of its dropped tokens.
    fn forget_unneeded(&mut self, promise: PromiseId) -> Option<PromiseId> {
        let answer = self.answers.get(&promise).filter(|it| !it.open && it.held == 0)?;
        let id = answer.id;
        self.answers.remove(&promise);
        self.ids.remove(&id);
        self.changes.push((answer_key(promise), None));
        let gone: Vec<_> = self.kept_by.range((promise, [0; 32])..=(promise, [255; 32])).copied().collect();
        for it in gone {
            let hash = it.1;
            self.kept_by.remove(&it);
            self.tokens.remove(&hash);
            self.changes.push((token_key(&hash), None));
        }
        Some(promise)
    }

    fn write_answer(&mut self, promise: PromiseId) {
        let value = self.answers.get(&promise).and_then(encoded);
        self.changes.push((answer_key(promise), value));
    }

    fn write_token(&mut self, hash: TokenHash) {
        let value = self.tokens.get(&hash).and_then(encoded);
        self.changes.push((token_key(&hash), value));
    }
}

fn encoded<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).ok().map(|()| bytes)
}

fn answer_key(promise: PromiseId) -> Vec<u8> {
    [&[ANSWER][..], &promise.0.to_be_bytes()].concat()
}

fn token_key(hash: &TokenHash) -> Vec<u8> {
    [&[TOKEN][..], hash].concat()
}
