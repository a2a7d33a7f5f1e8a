//! Sends a message for somebody, and tells in words what came of it.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::prelude::*;

struct Witness;

/// Asks on behalf of others.
#[vat::exo]
impl Witness {
    /// Sends `method` with the rest of the arguments; answers `fulfilled`, or `rejected: ` and why.
    pub async fn ask(&self, target: Remote, method: String, args: Option<Vec<Value>>) -> String {
        match target.send(&method, args.unwrap_or_default()).await {
            Ok(_) => "fulfilled".into(),
            Err(error) => ["rejected: ", error.message()].concat(),
        }
    }
}

#[vat::root]
fn build() -> Witness {
    Witness
}

#[cfg(test)]
mod tests {
    use super::*;
    use vat::test::World;

    #[test]
    fn a_rejection_is_told() {
        let mut world = World::start(build);
        let target = world.import();
        let told = world.send("ask", (target, "loop"));
        let asked = world.sent().remove(0);
        assert_eq!(asked.body, r#"#["loop",[]]"#);
        world.reject(asked.result, "vat terminated");
        assert_eq!(world.outcome(told), Some(Ok("rejected: vat terminated".into())));
    }
}
