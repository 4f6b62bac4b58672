//! The matrix product `out[R, N] = act[R, K] · weight[N, K]ᵀ`, over packed weights.
//!
//! Lowest first; each file imports only from those above it:
//!
//! * [`panel`]: 32 columns stored together: constants, the layout of plain formats.
//! * [`activations`]: the rows that are multiplied.
//! * [`prefetch`]: fetching memory while a tile computes.
//! * [`micro`]: the micro-kernel: a few rows times a few vectors of columns, held in registers.
//! * [`dequantized`]: columns unpacked or widened once for several tiles of rows.
//! * [`source`]: rows of a weight before they are packed.
//! * [`formats`]: one file for each weight format, and what all of them have.
//! * [`pack`]: from rows to a panel.
//! * [`linear`]: a packed weight, its shape and bias, and its reference.
//! * [`epilogue`]: what is done with the sums.
//! * `blocks`: in which order a task goes through rows and panels.
//! * [`product`]: one task: a range of panels for some rows, with its epilogue.
//! * [`cut`]: which panels and rows each task has.
//!
//! **Order of accumulation**, the same for every R, N, K, tile, task and instruction set: an output
//! element starts at +0 and adds its K terms in ascending order, in one accumulator.
//!
//! * f32: `acc = fma(a[k], w[k], acc)` for `k = 0, 1, …`
//! * bf16: `acc = fma(a[k], w[k], fma(a[k+1], w[k+1], acc))` for `k = 0, 2, …`, an odd K padded
//!   with a zero.
//! * int8 and int4: whole numbers, whose sums are exact in any order, then two products of scales.
//!
//! Latency is hidden by independent rows and columns, never by splitting K.
pub mod activations;
mod blocks;
pub mod cut;
pub mod dequantized;
pub mod epilogue;
pub mod formats;
pub mod linear;
pub mod micro;
pub mod pack;
pub mod panel;
pub mod prefetch;
pub mod product;
pub mod source;

pub use activations::Activations;
pub use epilogue::Epilogue;
pub use formats::{inputs_max, panel_len};
pub use linear::{Linear, Panels};
pub use product::multiply;

#[cfg(test)]
pub(crate) mod tests;
