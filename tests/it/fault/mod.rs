//! Fault injection: the grammar, what each fault does, and each class of outcome.

mod grammar;
