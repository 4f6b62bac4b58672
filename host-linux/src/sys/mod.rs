//! What a port to another operating system replaces, and all of this crate's `unsafe` code.
//!
//! * [`memory`]: anonymous memory for arenas. [`mmap`]: files mapped for reading.
//! * [`cpu`]: how many workers a machine is good for, and how much memory is free.
//! * [`pool`]: worker threads that run the core's tasks.
//! * [`entropy`]: random seeds. [`signals`]: requests to stop. [`sockets`]: readiness of sockets.
#![allow(unsafe_code)]
pub mod cpu;
pub mod entropy;
pub mod memory;
pub mod mmap;
pub mod pool;
pub mod signals;
pub mod sockets;
