//! What the machine can do at most: bytes read and operations in a second, measured.
//!
//! * [`read`]: bandwidth of memory. [`peaks`]: arithmetic in registers; `tiles`: that of a matrix
//!   unit. [`rounds`]: how both are timed.
pub mod peaks;
pub mod read;
pub mod rounds;
mod tiles;
