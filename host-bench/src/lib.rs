//! What measurements share with the tests: reference roundings of other engines.
pub mod q4_0;
