//! A clerk at the mailbox: books each amount that comes in, answers with the balance, and acknowledges.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::{Bootstrap, mailbox::Mailbox, prelude::*};

struct Clerk {
    mailbox: Cell<Option<Mailbox>>,
    balance: Cell<i64>,
}

/// Receives what comes in by the mailbox.
#[vat::exo]
impl Clerk {
    /// Books the amount of a message, and answers by the mailbox with the balance.
    pub fn deliver_inbound(&self, number: u64, message: Value) -> Result<(), Error> {
        let Some(mailbox) = self.mailbox.get() else { return Ok(()) };
        let answer = match message.get::<i64>("amount") {
            Ok(amount) => {
                self.balance.update(|balance| balance + amount);
                Value::record([("balance", self.balance.get().into())])
            }
            Err(why) => Value::record([("refused", why.message().to_owned().into())]),
        };
        mailbox.send(answer)?;
        mailbox.ack_inbound(number)
    }
}

struct Root(Rc<Clerk>);

/// Keeps the balance of all that came in.
#[vat::exo]
impl Root {
    /// Listens at the mailbox from now on.
    pub fn bootstrap(&self, given: Bootstrap) -> Result<(), Error> {
        let mailbox: Mailbox = given.device("mailbox")?;
        self.0.mailbox.set(Some(mailbox));
        mailbox.register_inbound_handler(&self.0)
    }

    /// The sum of what was booked.
    pub fn balance(&self) -> i64 {
        self.0.balance.get()
    }
}

#[vat::root]
fn build() -> Root {
    Root(Rc::new(Clerk { mailbox: Cell::new(None), balance: Cell::new(0) }))
}
