//! Who has which block.

/// Names a block: 16 positions in all layers.
pub type BlockId = u32;

/// The free blocks.
#[derive(Debug)]
pub struct Blocks;
