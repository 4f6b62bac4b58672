//! What the host asks of Linux directly.
//!
//! * [`entropy`]: seeds and ids that nobody can foretell.
pub mod entropy;
