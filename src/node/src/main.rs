//! The `vathost-node` command. See `vathost-node --help`.

fn main() {}
