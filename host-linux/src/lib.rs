//! The Linux host of `verbatim-core`: a library, and the binary `verbatim`.
pub mod load;
