//! Keeps every object that it is given, for ever.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

#[derive(Default)]
struct Leaker {
    held: RefCell<Vec<Remote>>,
}

/// Keeps what it is given.
#[vat::exo]
impl Leaker {
    /// Keeps the object, and answers with how many it has.
    pub fn take(&self, object: Remote) -> u32 {
        self.held.borrow_mut().push(object);
        u32::try_from(self.held.borrow().len()).unwrap_or(u32::MAX)
    }
}

#[vat::root]
fn build() -> Leaker {
    Leaker::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn the_dead_are_none() {
        let mut world = World::start(build);
        let object = world.import();
        world.send("take", (object,));
        world.syscalls();
        world.bring_out_your_dead();
        assert_eq!(world.syscalls(), <[String; 0]>::default());
    }
}
