//! A clock that rings: it wakes every so many seconds of block time, so many times, and says so on the console.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::{Bootstrap, console::Console, prelude::*, timer::Timer};

struct Clock {
    every: u64,
    rings: Cell<u32>,
    devices: Cell<Option<(Timer, Console)>>,
    hand: RefCell<Option<Rc<Hand>>>,
}

/// What the timer wakes.
struct Hand(Rc<Clock>);

/// Woken by the timer.
#[vat::exo]
impl Hand {
    /// Rings, and sets the timer again.
    pub fn wake(&self, time: u64) -> Result<(), Error> {
        let Some((timer, console)) = self.0.devices.get() else { return Ok(()) };
        self.0.rings.set(self.0.rings.get() - 1);
        console.log(format!("{time}: {} more", self.0.rings.get()))?;
        self.0.wind(timer)
    }
}

impl Clock {
    fn wind(&self, timer: Timer) -> Result<(), Error> {
        match &*self.hand.borrow() {
            Some(hand) if self.rings.get() > 0 => timer.set_wakeup(timer.now()? + self.every, hand),
            _ => Ok(()),
        }
    }
}

struct Root(Rc<Clock>);

/// Rings at times that its parameters say.
#[vat::exo]
impl Root {
    /// Sets the timer for the first time.
    pub fn bootstrap(&self, given: Bootstrap) -> Result<u64, Error> {
        let timer: Timer = given.device("timer")?;
        self.0.devices.set(Some((timer, given.device("console")?)));
        *self.0.hand.borrow_mut() = Some(Rc::new(Hand(self.0.clone())));
        self.0.wind(timer)?;
        timer.now()
    }

    /// Rings no more.
    pub fn stop(&self) -> Result<u32, Error> {
        if let (Some((timer, console)), Some(hand)) = (self.0.devices.get(), &*self.0.hand.borrow()) {
            console.warn("stopped")?;
            timer.remove_wakeup(hand)?;
        }
        Ok(self.0.rings.get())
    }
}

#[vat::root]
fn build(parameters: Value) -> Result<Root, Error> {
    let clock = Clock {
        every: parameters.get("every")?,
        rings: Cell::new(parameters.get("rings")?),
        devices: Cell::new(None),
        hand: RefCell::new(None),
    };
    Ok(Root(Rc::new(clock)))
}
