//! What is asked of the kernel's thread, taken in: calls become inputs, what cannot be done is refused at once.

use serde_json::{Value, json};

use crate::{
    host::controller::To,
    model::{
        id::{KRef, PromiseId, VatId},
        smallcaps,
        value::CapData,
    },
    serve::{
        ask::{Address, Call, DeskRequest, KnownAnswer, Reply},
        book::Known,
        desk::{Desk, TOO_MANY_WAIT, Waiter, clock},
        problem::Problem,
        token::CapToken,
        value,
    },
};

impl Desk<'_> {
    pub(super) fn take(&mut self, ask: DeskRequest) {
        match ask {
            DeskRequest::Call(call) => self.call(*call),
            DeskRequest::Look { id, waits, reply } => self.look_at(id, waits, reply),
            DeskRequest::Drop { token, reply } => self.drop_token(token, reply),
            DeskRequest::Errand(errand) => errand(self),
            DeskRequest::Wake => (),
        }
    }

    /// Answers once all that was taken in so far is durable.
    pub(in crate::serve) fn when_durable<T: Send + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.pending.push(Box::new(|durable| drop(reply.send(durable.map(|()| answer).map_err(Problem::clone)))));
    }

    fn call(&mut self, call: Call) {
        if let Some((promise, answer)) = self.book.answer_of(call.id) {
            let refusal = match answer {
                it if it.request != call.request => Some(Problem::new("other-request", OTHER_REQUEST)),
                it if it.dropped => Some(Problem::new("dropped", "the answer of the call with this key was dropped")),
                _ => None,
            };
            match refusal {
                Some(why) => drop(call.reply.send(Err(why))),
                None => self.look_again(promise, call),
            }
            return;
        }
        match self.send(&call) {
            Err(why) => drop(call.reply.send(Err(why))),
            Ok(promise) => {
                self.fresh_from.get_or_insert(promise);
                self.undelivered.push_back(call.client);
                self.book.begin(promise, call.id, call.request, clock());
                if call.waits {
                    let is_last = call.request.is_none();
                    let waiter = Waiter { id: call.id, by: promise, is_last, reply: call.reply };
                    self.waiting.entry(promise).or_default().push(waiter);
                    self.waiters += 1;
                } else {
                    self.when_durable(call.reply, KnownAnswer::Pending);
                }
            }
        }
    }

    /// A call whose key was used already, for the same request.
    fn look_again(&mut self, promise: PromiseId, call: Call) {
        let waiter = Waiter { id: call.id, by: promise, is_last: false, reply: call.reply };
        // Until the block is committed that takes it in, nothing is known of it.
        let is_new = self.fresh_from.is_some_and(|first| first <= promise);
        if is_new && call.waits && self.waiters < self.bounds.calls {
            self.waiting.entry(promise).or_default().push(waiter);
            self.waiters += 1;
        } else if is_new && !call.waits {
            self.when_durable(waiter.reply, KnownAnswer::Pending);
        } else {
            // A halt is met again by the next block, and reported there.
            let _ = self.look(promise, waiter, call.waits);
        }
    }

    fn send(&mut self, call: &Call) -> Result<PromiseId, Problem> {
        if call.waits && self.waiters >= self.bounds.calls {
            return Err(Problem::busy(TOO_MANY_WAIT));
        }
        if self.book.answers() >= self.bounds.answers {
            return Err(Problem::busy(format!(
                "{} answers are kept: drop some, or wait for them to be old",
                self.book.answers()
            )));
        }
        let methargs = self.methargs(&call.method, &call.args)?;
        let to = match &call.to {
            Address::Name(name) => To::Vat(self.exported(name)?),
            Address::CapToken(token) => To::Held(self.named(*token)?),
        };
        let sent = self.host.send_data(to, &call.method, methargs);
        sent.map(|it| it.promise()).map_err(|fault| Problem::new("refused", fault.why.clone()))
    }

    fn methargs(&self, method: &str, args: &[Value]) -> Result<CapData<KRef>, Problem> {
        let mut slots: Vec<KRef> = Vec::new();
        let mut refused = None;
        let mut refer = |url: &str| {
            let kref = self.refer(url).map_err(|problem| {
                let detail = problem.detail.clone();
                refused = Some(problem);
                detail
            })?;
            let at = slots.iter().position(|it| *it == kref).unwrap_or_else(|| {
                slots.push(kref);
                slots.len() - 1
            });
            Ok((at, kref.promise().is_some()))
        };
        let values: Result<Vec<Value>, String> = args.iter().map(|it| value::to_smallcaps(it, &mut refer)).collect();
        let values =
            values.map_err(|why| refused.unwrap_or_else(|| Problem::new("malformed", format!("args: {why}"))))?;
        let body = format!("#{}", json!([smallcaps::text(method), values]));
        Ok(CapData { body: body.as_str().into(), slots })
    }

    /// Finds what a URL in an argument names: its last part is a token or an open name, whatever stands before.
    fn refer(&self, url: &str) -> Result<KRef, Problem> {
        let last = ["/cap/", "/promise/"].iter().find_map(|way| url.rsplit_once(way)).map(|(_, last)| last);
        let Some(last) = last else {
            let why = format!("`{url}` is no capability of this host: it looks like /cap/TOKEN or /promise/TOKEN");
            return Err(Problem::new("malformed", why));
        };
        match Address::parse(last) {
            Address::CapToken(token) => self.named(token),
            Address::Name(name) => {
                let vat = self.exported(&name)?;
                self.host
                    .root_of(vat)
                    .ok_or_else(|| Problem::new("ended", format!("nobody holds the root of `{name}`")))
            }
        }
    }

    fn exported(&self, name: &str) -> Result<VatId, Problem> {
        match self.book.exports().get(name) {
            Some(vat) if self.host.is_alive(VatId(*vat)) => Ok(VatId(*vat)),
            Some(vat) => Err(Problem::new("ended", format!("{} (`{name}`) is terminated", VatId(*vat)))),
            None => Err(Problem::new("no-capability", NO_CAPABILITY)),
        }
    }

    fn named(&self, token: CapToken) -> Result<KRef, Problem> {
        match self.book.find(token) {
            Some(Known::Answer(promise)) => Ok(promise.into()),
            Some(Known::Named(kref, _)) => Ok(kref),
            Some(Known::Dropped) => Err(Problem::new("dropped", "this capability was dropped")),
            None => Err(Problem::new("no-capability", NO_CAPABILITY)),
        }
    }

    fn look_at(&mut self, id: CapToken, waits: bool, reply: Reply<KnownAnswer>) {
        let found = match self.book.find(id) {
            Some(Known::Answer(promise)) => Ok((promise, promise)),
            Some(Known::Named(KRef::Promise(promise), by)) => Ok((promise, by)),
            Some(Known::Named(..)) => {
                Err(Problem::new("no-capability", "this is no promise: send to it, with POST /cap/TOKEN"))
            }
            Some(Known::Dropped) => Err(Problem::new("dropped", "this promise was dropped")),
            None => Err(Problem::new("no-capability", NO_CAPABILITY)),
        };
        match found {
            Err(why) => drop(reply.send(Err(why))),
            Ok((promise, by)) => {
                let waiter = Waiter { id, by, is_last: false, reply };
                // A halt is met again by the next block, and reported there.
                let _ = self.look(promise, waiter, waits);
            }
        }
    }

    fn drop_token(&mut self, token: CapToken, reply: Reply<()>) {
        match self.book.find(token) {
            None => drop(reply.send(Err(Problem::new("no-capability", NO_CAPABILITY)))),
            Some(Known::Dropped) => drop(reply.send(Err(Problem::new("dropped", "this was dropped already")))),
            Some(Known::Answer(_) | Known::Named(..)) => {
                if let Some(promise) = self.book.drop_token(token) {
                    self.host.forget_result(promise);
                }
                let rows = self.book.take_changes();
                self.host.keep_with_inputs(rows);
                self.when_durable(reply, ());
            }
        }
    }
}

const OTHER_REQUEST: &str = "this Idempotency-Key was used for another request to the same place: use a new key";
const NO_CAPABILITY: &str = "nothing is open by this name, and this is no token that is known here";
