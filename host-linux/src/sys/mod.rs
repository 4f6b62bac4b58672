//! What a port to another operating system replaces; the only rooms of this crate with `unsafe`.
//!
//! * [`pool`]: worker threads that run the core's tasks.
pub mod pool;
