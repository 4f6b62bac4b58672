//! Rows, of which steps are made, and where their sequences' keys and values lie.
use crate::cache::BlockId;

/// What a row yields besides its keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RowOutput {
    /// Nothing: the head does not run for it.
    None = 0,
    /// Logits over the vocabulary.
    Logits,
    /// The log-probability of the token that follows it in the prompt.
    NextLogprob,
    /// The hidden state after the last norm.
    Hidden,
}

/// One token of one sequence at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// The token id.
    pub token: u32,
    /// Its position, from 0.
    pub position: u32,
    /// The sequence: an index into the block tables.
    pub sequence: u32,
    /// What it yields.
    pub output: RowOutput,
}

crate::memory::plain_enum!(RowOutput::None);
crate::memory::plain!(Row { token, position, sequence, output });

/// The block tables of all sequences: `[sequences, stride]`.
#[derive(Clone, Copy, Debug)]
pub struct BlockTables<'a> {
    /// Block ids in order of position.
    pub ids: &'a [BlockId],
    /// Entries of a sequence.
    pub stride: usize,
}

impl<'a> BlockTables<'a> {
    /// The table of a sequence.
    #[inline(always)]
    pub fn of(&self, sequence: u32) -> &'a [BlockId] {
        &self.ids[sequence as usize * self.stride..][..self.stride]
    }
}
