//! A vault of boxes that survive an upgrade of the vat, with what is in them.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::DurableKind;
use vat::prelude::*;

static BOXES: DurableKind<StrongBox> = DurableKind::new(1, |id| StrongBox { id }).on_retire(|id| CONTENTS.remove(&id));
static CONTENTS: DurableMap<u64, i64> = DurableMap::at("contents");

struct Vault;

struct StrongBox {
    id: u64,
}

/// Keeps boxes that survive an upgrade.
#[vat::exo]
impl Vault {
    /// Makes an empty box.
    pub fn make_box(&self) -> Rc<StrongBox> {
        BOXES.make()
    }

    /// How many boxes have something in them.
    pub fn filled(&self) -> u32 {
        u32::try_from(CONTENTS.iter().count()).unwrap_or(u32::MAX)
    }
}

/// A box for one number.
#[vat::exo]
impl StrongBox {
    /// Puts a number in, in place of what was there.
    pub fn put(&self, number: i64) {
        CONTENTS.insert(&self.id, number);
    }

    /// The number in it, if there is one.
    pub fn get(&self) -> Option<i64> {
        CONTENTS.get(&self.id)
    }
}

#[vat::root]
fn build() -> Vault {
    BOXES.register();
    Vault
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;
    use vat::vref::own_durable;

    #[test]
    fn a_box_and_its_contents_survive_an_upgrade() {
        let mut world = World::start(build);
        world.send("makeBox", ());
        world.send_to(own_durable(1, 1), "put", (7,));
        world.upgrade(build);
        let got = world.send_to(own_durable(1, 1), "get", ());
        assert_eq!(world.outcome(got), Some(Ok(7i64.into())));
        let made = world.send("makeBox", ());
        assert!(world.syscalls().iter().any(|call| call.ends_with("o+d1/2")));
        assert!(world.outcome(made).is_some());
    }

    #[test]
    fn a_box_that_nobody_knows_takes_its_contents_along() {
        let mut world = World::start(build);
        world.send("makeBox", ());
        world.send_to(own_durable(1, 1), "put", (7,));
        world.upgrade(build);
        world.drop_exports(&[own_durable(1, 1)]);
        world.syscalls();
        world.bring_out_your_dead();
        assert_eq!(world.syscalls(), ["retire_exports o+d1/1"]);
        let filled = world.send("filled", ());
        assert_eq!(world.outcome(filled), Some(Ok(0.into())));
    }
}
