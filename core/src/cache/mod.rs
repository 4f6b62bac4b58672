//! The paged cache of keys and values.
//!
//! A **block** names 16 positions of one sequence in *all* layers. [`planes`] says where the keys
//! and values of a block lie; [`pool`] records its holders, from the first time it is taken to the
//! last time it is released. A sequence's block table lists its blocks in order of
//! position. No result depends on which blocks a sequence got.
//!
//! The pool stands on two parts that nobody else sees: `blocks` (reference counts and the free
//! list) and `prefix_index` (which full block holds which tokens).
pub mod planes;
pub mod pool;

mod blocks;
mod prefix_index;

pub use blocks::BlockId;
pub use planes::{KvCache, KvLayout};
pub use pool::BlockPool;
pub use prefix_index::{BlockKey, Found};

/// Positions of a block: the lanes of a vector, so that one instruction scores a whole block.
pub const BLOCK: usize = 16;

const _: () = assert!(BLOCK == crate::isa::LANES);
