//! Orthogonal transforms that spread outliers before numbers are rounded to 8 bits.
//!
//! * [`rows`]: rows of activations and of int8 and int4 weights, a signed Walsh–Hadamard transform.
//! * [`heads`]: queries and keys of an int8 KV cache, one transform for each head.
pub mod heads;
pub mod rows;
