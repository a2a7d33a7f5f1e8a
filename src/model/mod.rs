//! The words of the kernel: identifiers, values, bodies, limits, errors by blame, versions.
//!
//! Nothing here has state, and only `files` touches the outside. Every other room is written in these types.

pub mod blame;
pub mod body;
pub mod engine_version;
pub mod files;
pub mod harmless;
pub mod id;
pub mod item;
pub mod kernel_version;
pub mod limits;
pub mod price;
pub mod smallcaps;
pub mod value;
