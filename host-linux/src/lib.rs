//! The Linux host of `verbatim-core`: a library, and the binary `verbatim`.
//!
//! * [`memory`]: anonymous memory for arenas. [`mmap`]: mapped files. [`cpu`]: how many workers.
//!   [`sys`]: the futex pool.
//! * [`runtime`]: a model with its engine running. [`serve`]: the HTTP server. [`cli`]: the command
//!   line.
//! * [`text`]: between strings and ids.
//! * [`load`]: from a checkpoint or an image file to a packed model.
pub mod cli;
pub mod cpu;
pub mod load;
pub mod memory;
pub mod mmap;
pub mod runtime;
pub mod serve;
pub mod sys;
pub mod text;

pub use sys::pool;
