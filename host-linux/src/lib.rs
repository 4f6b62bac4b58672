//! The Linux host of `verbatim-core`: a library, and the binary `verbatim`.
//!
//! * [`memory`]: anonymous memory for arenas. [`cpu`]: how many workers. [`pool`]: the futex pool.
//! * [`text`]: between strings and ids.
//! * [`load`]: from a checkpoint or an image file to a packed model.
pub mod cpu;
pub mod load;
pub mod memory;
pub mod pool;
pub mod text;
