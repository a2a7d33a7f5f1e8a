//! An escrow: keeps goods for their owners, and exchanges two of them when both owners want it. Both change hands in one delivery, so
//! that no death of anybody leaves one side with both.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;
use vat::{Promise, Resolver};

/// Who owns what.
static OWNER: DurableMap<str, String> = DurableMap::at("owner");

#[derive(Default)]
struct Escrow {
    waiting: RefCell<Option<Offer>>,
}

struct Offer {
    owner: String,
    gives: String,
    wants: String,
    answer: Resolver,
}

/// Exchanges goods of two owners, both or neither.
#[vat::exo]
impl Escrow {
    /// Puts goods in, to be exchanged. Answers with what the owner has then, once somebody offers that for it.
    pub fn offer(&self, owner: String, gives: String, wants: String) -> Promise {
        OWNER.insert(&gives, owner.clone());
        let (promise, answer) = Promise::pair();
        let mine = Offer { owner, gives, wants, answer };
        match self.waiting.take() {
            Some(other) if other.gives == mine.wants && other.wants == mine.gives => exchange(other, mine),
            Some(other) => {
                other.answer.reject("another offer came between");
                self.waiting.replace(Some(mine));
            }
            None => drop(self.waiting.replace(Some(mine))),
        }
        promise
    }
}

fn exchange(one: Offer, other: Offer) {
    OWNER.insert(&one.gives, other.owner);
    OWNER.insert(&other.gives, one.owner);
    one.answer.resolve(&*one.wants);
    other.answer.resolve(&*other.wants);
}

#[vat::root]
fn build() -> Escrow {
    Escrow::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn both_are_paid_at_once_or_nobody_is() {
        let mut world = World::start(build);
        let alice = world.send("offer", ("alice", "gold", "silver"));
        assert_eq!((world.outcome(alice), OWNER.get("gold").as_deref()), (None, Some("alice")));
        let bob = world.send("offer", ("bob", "silver", "gold"));
        assert_eq!((world.outcome(alice), world.outcome(bob)), (Some(Ok("silver".into())), Some(Ok("gold".into()))));
        assert_eq!((OWNER.get("gold").as_deref(), OWNER.get("silver").as_deref()), (Some("bob"), Some("alice")));
    }
}
