//! Homes: the folder of a validator.
