//! stub
/// See module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Units.
    pub total: u64,
}
