//! Looks at every object that it is given, and lets it go.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

#[derive(Default)]
struct Collector {
    seen: Cell<u32>,
}

/// Looks at objects, and keeps none.
#[vat::exo]
impl Collector {
    /// Drops the object, and answers with how many it has seen.
    pub fn take(&self, object: Remote) -> u32 {
        drop(object);
        self.seen.update(|seen| seen + 1);
        self.seen.get()
    }
}

#[vat::root]
fn build() -> Collector {
    Collector::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn the_dead_are_brought_out_once() {
        let mut world = World::start(build);
        let (one, two) = (world.import(), world.import());
        for object in [one, two, one] {
            world.send("take", (object,));
        }
        world.syscalls();
        world.bring_out_your_dead();
        world.bring_out_your_dead();
        let dead = ["drop_imports o-50 o-51", "retire_imports o-50 o-51"];
        assert_eq!(world.syscalls(), dead);
    }
}
