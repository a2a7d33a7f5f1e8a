//! The command line of `vathost-node`.
