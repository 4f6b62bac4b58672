//! The matrix product `out[R, N] = act[R, K] · weight[N, K]ᵀ`, over packed weights.
//!
//! * [`panel`]: the packed layout, and its types.
//! * [`coded`]: bf16 weights in 12 bits, without loss.
//! * [`int4`]: what 4-bit weights are, and how they are unpacked.
//! * [`pack`]: from rows of a checkpoint to panels.
//! * [`micro`]: the micro-kernel: a few rows times a few vectors of columns, held in registers.
//! * `weight`: what each format does within it.
//! * [`cut`]: which panels and rows each task has.
//! * `blocks`: in which order a task goes through them.
//! * [`product`]: one task: a range of panels for some rows, with its epilogue.
//! * [`reference`]: the same sums, one element at a time.
//!
//! **Order of accumulation**, the same for every R, N, K, tile, task and instruction set: an output
//! element starts at +0 and adds its K terms in ascending order, in one accumulator.
//!
//! * f32: `acc = fma(a[k], w[k], acc)` for `k = 0, 1, …`
//! * bf16: `acc = fma(a[k], w[k], fma(a[k+1], w[k+1], acc))` for `k = 0, 2, …`, an odd K padded
//!   with a zero.
//!
//! * int8 and int4: whole numbers, whose sums are exact in any order, then two products of scales.
//!
//! Latency is hidden by independent rows and columns, never by splitting K.
mod blocks;
pub mod coded;
pub mod cut;
pub mod int4;
pub mod micro;
pub mod pack;
pub mod panel;
pub mod product;
pub mod reference;
mod weight;

pub use panel::{Linear, Panels};
pub use product::{Activations, Epilogue};

#[cfg(test)]
pub(crate) mod tests;
