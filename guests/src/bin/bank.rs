//! A bank: purses with a balance, and payments to purses of any bank. Its books are in the vatstore: no balance is kept elsewhere,
//! so whoever wants to know whether money was made or lost can read them there.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

/// What is in each purse: `balance.1`, …
static BALANCE: DurableMap<str, u64> = DurableMap::at("balance");

/// How many purses were opened.
static PURSES: Durable<u64> = Durable::at("purses");

/// How much money was made here, in purses that were opened.
static MADE: Durable<u64> = Durable::at("made");

/// What was taken out of purses here, and nobody has said that it arrived.
static OPEN: Durable<u64> = Durable::at("open");

struct Bank;

struct Purse {
    name: String,
    closed: Cell<bool>,
}

/// Keeps purses, and pays from one to others.
#[vat::exo]
impl Bank {
    /// Opens a purse with that much in it.
    pub fn make_purse(&self, balance: u64) -> Rc<Purse> {
        let number = read(PURSES.get()) + 1;
        PURSES.set(number);
        let name = number.to_string();
        BALANCE.insert(&name, balance);
        MADE.set(read(MADE.get()) + balance);
        Rc::new(Purse { name, closed: Cell::new(false) })
    }

    /// Pays from a purse of this bank to one of another, and answers with what is left. Where the other side refuses the money,
    /// or is no more, it comes back.
    pub async fn pay(&self, from: Rc<Purse>, to: Remote, amount: u64) -> Result<u64, Error> {
        from.withdraw(amount)?;
        if let Err(refusal) = to.send("deposit", (amount,)).await {
            from.put_back(amount);
            return Err(refusal);
        }
        no_longer_open(amount);
        Ok(from.balance())
    }

    /// The bank goes out of business.
    pub fn close_down(&self) {
        vat::log("the bank closes down");
        vat::exit("out of business");
    }
}

/// An amount of money, at the bank that opened it.
#[vat::exo]
impl Purse {
    /// What is in the purse.
    pub fn balance(&self) -> u64 {
        read(BALANCE.get(&self.name))
    }

    /// Puts money in. A closed purse refuses it.
    pub fn deposit(&self, amount: u64) -> Result<(), Error> {
        if self.closed.get() {
            return Err("the purse is closed".into());
        }
        let sum = self.balance().checked_add(amount).ok_or("the purse is full")?;
        BALANCE.insert(&self.name, sum);
        Ok(())
    }

    /// Takes money out, where there is as much.
    pub fn withdraw(&self, amount: u64) -> Result<(), Error> {
        let rest = self.balance().checked_sub(amount).ok_or("insufficient funds")?;
        BALANCE.insert(&self.name, rest);
        OPEN.set(read(OPEN.get()) + amount);
        Ok(())
    }

    /// No more deposits.
    pub fn close(&self) {
        self.closed.set(true);
    }
}

impl Purse {
    /// What was just taken out fits back in, closed or not.
    fn put_back(&self, amount: u64) {
        BALANCE.insert(&self.name, self.balance() + amount);
        no_longer_open(amount);
    }
}

fn no_longer_open(amount: u64) {
    OPEN.set(read(OPEN.get()).saturating_sub(amount));
}

/// A bank whose books are torn stops, rather than guess.
fn read(entry: Option<u64>) -> u64 {
    entry.expect("the books of the bank")
}

#[vat::root]
fn build() -> Bank {
    // The books of an incarnation before are kept.
    for book in [&PURSES, &MADE, &OPEN] {
        if book.get().is_none() {
            book.set(0);
        }
    }
    Bank
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;
    use vat::vref;

    /// Pays 30 from a purse of 100 and settles the deposit; gives the answer, and the balance then.
    fn pay(settle: fn(&mut World, vref::VRef)) -> (Result<Value, Error>, Value) {
        let mut world = World::start(build);
        let purse = world.send("makePurse", (100,));
        let purse = world.outcome(purse).expect("an answer").expect("a purse");
        let other = world.import();
        let payment = world.send("pay", (purse, other, 30));
        let deposit = world.sent().remove(0);
        assert_eq!((deposit.target, &*deposit.body), (other.0, r##"#["deposit",["+30"]]"##));
        assert_eq!((BALANCE.get("1"), OPEN.get(), MADE.get()), (Some(70), Some(30), Some(100)));
        settle(&mut world, deposit.result);
        assert_eq!((OPEN.get(), MADE.get()), (Some(0), Some(100)));
        let balance = world.send_to(vref::own_object(1), "balance", ());
        let balance = world.outcome(balance).expect("an answer").expect("a balance");
        (world.outcome(payment).expect("an answer"), balance)
    }

    #[test]
    fn a_payment_leaves_the_rest() {
        let (answer, balance) = pay(|world, deposit| world.fulfill(deposit, ()));
        assert_eq!(answer, Ok(70u64.into()));
        assert_eq!(balance, 70u64.into());
    }

    #[test]
    fn a_refused_payment_comes_back() {
        let (answer, balance) = pay(|world, deposit| world.reject(deposit, "closed"));
        assert_eq!(answer, Err("closed".into()));
        assert_eq!(balance, 100u64.into());
    }

    #[test]
    fn nobody_pays_more_than_there_is() {
        let mut world = World::start(build);
        let purse = world.send("makePurse", (100,));
        let purse = world.outcome(purse).expect("an answer").expect("a purse");
        let other = world.import();
        let payment = world.send("pay", (purse, other, 101));
        assert_eq!(world.outcome(payment), Some(Err("insufficient funds".into())));
        assert_eq!(world.sent(), []);
    }
}
