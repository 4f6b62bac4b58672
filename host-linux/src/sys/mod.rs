//! What a port to another operating system replaces, and all of this crate's `unsafe` code.
//!
//! * [`memory`]: anonymous memory for arenas. [`mmap`]: files mapped for reading.
//! * [`cpu`]: how many workers a machine is good for, and how much memory is free. [`cgroup`]: what
//!   control groups leave of either.
//! * [`pool`]: worker threads that run the core's tasks.
//! * [`rates`]: what the machine can do in a second.
//! * [`heap`]: what the allocator keeps. [`priority`]: of threads.
//! * [`process`]: what the system says of this process; [`threads`]: of its threads.
//! * [`entropy`]: random seeds. [`signals`]: requests to stop. [`sockets`]: readiness of sockets.
//! * [`disk`]: room on file systems.
//! * [`parent`], [`descriptors`]: who started the process, and what it has handed over.
#![allow(unsafe_code)]
pub mod cgroup;
pub mod cpu;
pub mod descriptors;
pub mod disk;
pub mod entropy;
pub mod heap;
pub mod memory;
pub mod mmap;
pub mod parent;
pub mod pool;
pub mod priority;
pub mod process;
pub mod rates;
pub mod signals;
pub mod sockets;
pub mod threads;
