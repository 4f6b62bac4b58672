//! The heart of Verbatim: a Llama-family serving engine over memory that the caller provides.
//!
//! `no_std`, no allocator, no I/O, no clock, no entropy, no threads: all of it is handed in. A host
//! sizes an [`memory::Arena`], parses a [`model::PackedModel`], and then calls [`engine::Engine`]
//! in a loop; `ARCHITECTURE.md` draws the way of a token through it.
//!
//! The modules, lowest first; each imports only from those above it in this list:
//!
//! * [`memory`]: regions carved from `&mut [u8]`, with guards in debug builds.
//! * [`dtype`]: bf16 and the formats that weights and KV are stored in.
//! * [`tensor`]: borrowed row-major views, and the one type that lets tasks share an output.
//! * [`isa`]: which vector instructions this CPU has, and sixteen virtual lanes over each of them.
//! * [`pool`]: the trait through which a host lends its threads; [`pool::Serial`] needs none.
//! * [`cache`]: blocks of KV, block tables and their planes.
//! * [`kernels`]: matmul, attention, norms, RoPE, softmax, SiLU; a scalar reference beside each.
//! * [`model`]: configuration, the image, the forward pass, and the seam behind which it runs.
//! * [`sampling`]: from one row of logits to a token, as a pure function.
//! * [`engine`]: requests in, rows planned, steps executed, events out.
//! * [`selftest`]: all of it on tiny models, against a stored hash.
#![no_std]
#![warn(missing_docs)]
#![deny(unsafe_code)] // each module that needs it says so at its head

#[cfg(test)]
extern crate std;

pub mod cache;
pub mod dtype;
pub mod engine;
pub mod isa;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod pool;
pub mod sampling;
pub mod selftest;
pub mod tensor;

/// The version of the numerics: rotation, tile, split, lanes, polynomials, flush and accumulation
/// order.
///
/// It is part of the fingerprint. Any change that can move one output bit increments it, and the
/// hash that `verbatim selftest` compares with changes in the same commit.
pub const NUMERICS_VERSION: u32 = 2;
