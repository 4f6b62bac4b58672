//! The kernels: what a layer computes, on one worker, over rows it is given.
//!
//! Each file opens with its formula, shapes and order of accumulation, is written once over
//! [`Simd`](crate::isa::Simd), and has a plain scalar reference beside it which it equals bit for
//! bit. Kernels know nothing of tasks, requests or the engine; `model::ops` cuts them into tasks.
pub mod attention;
pub mod cache_write;
pub mod log;
pub mod math;
pub mod matmul;
pub mod quantize;
pub mod rmsnorm;
pub mod rope;
pub mod rotation;
pub mod softmax;
