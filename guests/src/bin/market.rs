//! The bootstrap vat of `vats/bank`: it opens purses at three banks, pays from one to another, and tells what came of it.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::prelude::*;

#[derive(Default)]
struct Market {
    day: RefCell<Option<Promise>>,
}

/// A purse, and the bank that keeps it.
struct Account {
    bank: Remote,
    purse: Remote,
}

/// Trades between banks.
#[vat::exo]
impl Market {
    /// Trades for a day.
    pub fn bootstrap(&self, powers: Bootstrap) -> Promise {
        let day = Promise::spawn(trade(powers));
        self.day.replace(Some(day.clone()));
        day
    }

    /// How the day went, once it is over.
    pub fn report(&self) -> Result<Promise, Error> {
        self.day.borrow().clone().ok_or(Error::new("the market has not opened"))
    }

    /// Pays 1 to and fro between new purses at two banks, that many times each way; answers with what is in the first.
    pub async fn keep_paying(&self, one: Remote, other: Remote, times: u64) -> Result<Value, Error> {
        let (one, other) = (Account::open(one).await?, Account::open(other).await?);
        for _ in 0..times {
            one.pay(&other, 1).await?;
            other.pay(&one, 1).await?;
        }
        one.purse.send("balance", ()).await
    }
}

async fn trade(powers: Bootstrap) -> Result<Value, Error> {
    let north = Account::open(powers.vat("north")?).await?;
    let south = Account::open(powers.vat("south")?).await?;
    let west = Account::open(powers.vat("west")?).await?;

    let paid = north.pay(&south, 30).await;
    let too_much = north.pay(&south, 1000).await;
    south.purse.send("close", ()).await?;
    let closed = north.pay(&south, 20).await;
    west.bank.send("closeDown", ()).await?;
    let bankrupt = north.pay(&west, 20).await;

    Ok(Value::record([
        ("paid", told(paid)),
        ("tooMuch", told(too_much)),
        ("closed", told(closed)),
        ("bankrupt", told(bankrupt)),
        ("north", north.purse.send("balance", ()).await?),
        ("south", south.purse.send("balance", ()).await?),
    ]))
}

impl Account {
    /// A new purse with 100 in it.
    async fn open(bank: Remote) -> Result<Account, Error> {
        let purse = bank.send("makePurse", (100,)).to().await?;
        Ok(Account { bank, purse })
    }

    /// What is left after the payment.
    async fn pay(&self, to: &Account, amount: u64) -> Result<Value, Error> {
        self.bank.send("pay", (self.purse.clone(), to.purse.clone(), amount)).await
    }
}

/// The answer, or why there is none.
fn told(outcome: Result<Value, Error>) -> Value {
    outcome.unwrap_or_else(|refusal| refusal.message().into())
}

#[vat::root]
fn build() -> Market {
    Market::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn nothing_is_reported_before_the_market_opens() {
        let mut world = World::start(build);
        let report = world.send("report", ());
        assert_eq!(world.outcome(report), Some(Err("the market has not opened".into())));
    }
}
