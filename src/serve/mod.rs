//! A host that is spoken to from outside: what its clients say, and what they are told.

pub mod captp;
