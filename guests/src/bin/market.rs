//! The bootstrap vat of `vats/bank`: it opens purses at three banks, and pays from one to another.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::Bootstrap;
use vat::prelude::*;

#[derive(Default)]
struct Market {
    stalls: RefCell<Vec<Stall>>,
}

/// A purse, and the bank that keeps it.
#[derive(Clone)]
struct Stall {
    name: String,
    bank: Remote,
    purse: Remote,
}

#[vat::exo]
impl Market {
    /// Opens a purse with 100 at every bank.
    pub async fn bootstrap(&self, powers: Bootstrap) -> Result<(), Error> {
        for name in ["north", "south", "west"] {
            let bank = powers.vat(name)?;
            let purse = bank.send("makePurse", (100,)).to().await?;
            self.stalls.borrow_mut().push(Stall { name: name.into(), bank, purse });
        }
        Ok(())
    }

    /// Pays, and answers with what is left in the purse that paid.
    pub async fn transfer(&self, from: String, to: String, amount: u64) -> Result<u64, Error> {
        let (from, to) = (self.stall(&from)?, self.stall(&to)?);
        from.bank.send("pay", (from.purse, to.purse, amount)).to().await
    }

    pub async fn balance(&self, name: String) -> Result<u64, Error> {
        self.stall(&name)?.purse.send("balance", ()).to().await
    }

    /// From now on the purse takes no money.
    pub fn close(&self, name: String) -> Result<Promise, Error> {
        Ok(self.stall(&name)?.purse.send("close", ()))
    }
}

impl Market {
    fn stall(&self, name: &str) -> Result<Stall, Error> {
        let stalls = self.stalls.borrow();
        let stall = stalls.iter().find(|stall| stall.name == name).cloned();
        stall.ok_or(Error::new("there is no bank of that name"))
    }
}

#[vat::root]
fn build() -> Market {
    Market::default()
}
