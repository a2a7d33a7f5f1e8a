//! Tools that look at states and recordings of a host, and change neither.
//!
//! [`recording`] reads slogs; `view` shows tables; [`verify`] audits a whole state; [`archive`] writes and reads exports;
//! [`difference`] compares two states; [`rerun`] replays transcripts; [`plan`] tries directives on a copy of a state;
//! [`conformance`] runs SwingSet's vectors.

pub mod archive;
pub mod conformance;
pub mod difference;
pub mod plan;
pub mod recording;
pub mod rerun;
pub mod verify;
pub(crate) mod view;
