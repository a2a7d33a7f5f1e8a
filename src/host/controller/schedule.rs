//! Directives from a program: [`Host::order`] takes a line of a directive file.
//!
//! Such a directive obeys the same rules as one in a file, and the kernel asks for it at the same point. It lives in memory: a program that
//! continues with the state later must give it again, as a file is read again.

use crate::{
    directive::{Class, Contradiction, Directive, DirectiveSet, Missed, Refused},
    host::controller::Host,
    state::block::classes,
};

/// The reason why directives were refused. Those in force have not changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The line does not follow the grammar of directive files.
    #[error(transparent)]
    Grammar(#[from] Refused),
    /// The text holds no directive, or more than one.
    #[error("an order is one line of a directive file, such as `crank-7: skip`")]
    NotOne,
    /// The directive is in force already, or contradicts another.
    #[error(transparent)]
    Contradiction(#[from] Box<Contradiction>),
    /// The place of a directive has passed.
    #[error(transparent)]
    Missed(#[from] Missed),
    /// The host has halted.
    #[error("the host has halted: open the state anew")]
    Halted,
}

/// # Orders at an exact place
///
/// ```
/// use vathost::{BlockPolicy, Host, Scenario};
///
/// # fn main() -> anyhow::Result<()> {
/// let scenario = Scenario::read(concat!(env!("CARGO_MANIFEST_DIR"), "/vats/globals").as_ref())?;
/// let mut controller = Host::open(Default::default())?;
/// controller.install(&scenario)?;
/// controller.order("v1/delivery-1: skip")?;
/// controller.order("crank-1000000: halt")?;
/// // The same rules as in a file: a delivery is either skipped or kept for later.
/// assert!(controller.order("v1/delivery-1: pause").is_err());
/// while !controller.run_block(&BlockPolicy::default(), &mut |_| true)?.quiescent {}
/// let report = controller.report()?;
/// assert!(report.directives.iter().any(|it| it.line == "v1/delivery-1: skip" && it.status == "applied"));
/// # Ok(())
/// # }
/// ```
impl Host {
    /// Orders one directive, as a line of a directive file says it: `crank-7: skip v2 expect f1091baa`. Returns the directive.
    /// A bundle to upgrade to must be in the state when its crank comes: see [`Host::put_bundle`].
    ///
    /// # Errors
    ///
    /// The line is no directive, contradicts one that is in force, or its place has passed: [`Refusal`].
    pub fn order(&mut self, line: &str) -> Result<Directive, Refusal> {
        let block = self.block.as_mut().ok_or(Refusal::Halted)?;
        let mut alone = DirectiveSet::default();
        alone.read("order", line.as_bytes())?;
        let mut lines = alone.iter().cloned();
        let (Some(directive), None) = (lines.next(), lines.next()) else { return Err(Refusal::NotOne) };
        // A file may hold lines of the past; an order given now is about the future.
        if classes(block, &alone).iter().any(|(_, class)| *class == Class::Missed) {
            return Err(Missed(vec![directive]).into());
        }
        let mut set = block.directives().clone();
        set.insert(directive.clone())?;
        block.set_directives(set);
        self.stand();
        Ok(directive)
    }
}
