//! Fault injection: the grammar, what each fault does, and each class of outcome.

mod classes;
mod command;
mod grammar;
pub(crate) mod lab;
mod properties;
mod store;
