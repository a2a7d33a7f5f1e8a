//! The surface of a node over HTTP.
