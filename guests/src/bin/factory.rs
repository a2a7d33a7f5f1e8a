//! Makes widgets, and knows how many are still alive: a widget lives while anybody outside can reach it.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

#[derive(Default)]
struct Factory {
    alive: Rc<Cell<u32>>,
}

struct Widget {
    alive: Rc<Cell<u32>>,
}

/// Makes widgets, and counts those that are alive.
#[vat::exo]
impl Factory {
    /// Makes a widget.
    pub fn make(&self) -> Rc<Widget> {
        self.alive.update(|alive| alive + 1);
        Rc::new(Widget { alive: self.alive.clone() })
    }

    /// How many widgets somebody can reach.
    pub fn alive(&self) -> u32 {
        self.alive.get()
    }
}

/// Lives while anybody can reach it.
#[vat::exo]
impl Widget {
    /// Answers, to show that it is there.
    pub fn ping(&self) -> bool {
        true
    }
}

impl Drop for Widget {
    fn drop(&mut self) {
        self.alive.update(|alive| alive - 1);
    }
}

#[vat::root]
fn build() -> Factory {
    Factory::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;
    use vat::vref::own_object;

    #[test]
    fn a_widget_lives_while_it_can_be_reached() {
        let mut world = World::start(build);
        world.send("make", ());
        world.send("make", ());
        world.drop_exports(&[own_object(1)]);
        let alive = world.send("alive", ());
        assert_eq!(world.outcome(alive), Some(Ok(1.into())));
    }
}
