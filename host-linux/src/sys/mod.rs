//! The calls to the operating system, and all of this crate's `unsafe` code outside the pool: what
//! a port to another system replaces.
//!
//! * [`memory`]: anonymous memory for arenas. [`mmap`]: files mapped for reading.
//! * [`cpu`]: how many workers a machine is good for, and how much memory is free.
//! * [`entropy`]: random seeds. [`signals`]: requests to stop. [`sockets`]: readiness of sockets.
#![allow(unsafe_code)]
pub mod cpu;
pub mod entropy;
pub mod memory;
pub mod mmap;
pub mod signals;
pub mod sockets;
