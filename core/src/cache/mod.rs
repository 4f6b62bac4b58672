//! Pages of keys and values.
//!
//! A **block** names 16 positions of one sequence in *all* layers; [`planes`] says where its keys
//! and values lie, [`blocks`] who has it, [`prefix_index`] which text it holds once it is full, and
//! a sequence's block table is the list of its blocks in order of position. The placement of blocks
//! is invisible to every result.
pub mod blocks;
pub mod planes;
pub mod prefix_index;

pub use blocks::{BlockId, Blocks};
pub use planes::{KvCache, KvLayout};
pub use prefix_index::PrefixIndex;

/// Positions of a block: the lanes of a vector, so that one instruction scores a whole block.
pub const BLOCK: usize = 16;

const _: () = assert!(BLOCK == crate::isa::LANES);
