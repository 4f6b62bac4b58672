//! The rows of a step, and the block tables that say where the keys and values of their sequences
//! lie.
use crate::cache::BlockId;

/// What a row yields besides its keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RowOutput {
    /// Nothing: the output head does not run for it.
    None = 0,
    /// Logits over the vocabulary.
    Logits,
    /// The log-probability of the token that follows it in the prompt.
    NextLogprob,
    /// The hidden state after the last norm.
    Hidden,
}

/// What a head is to compute of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadWants {
    /// Logits over the vocabulary: the output head. Without them only the last norm is computed.
    pub logits: bool,
    /// Hidden states after the last norm.
    pub hidden: bool,
}

impl HeadWants {
    /// What every row needs that a token is drawn from.
    pub const LOGITS: Self = Self { logits: true, hidden: false };
    /// All that there is.
    pub const BOTH: Self = Self { logits: true, hidden: true };
}

/// One token of one sequence at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// The id of the token, below the vocabulary's size.
    pub token: u32,
    /// The position in its sequence, from 0.
    pub position: u32,
    /// The sequence: an index into the block tables.
    pub sequence: u32,
    /// The output that is computed from it besides keys and values.
    pub output: RowOutput,
}

crate::memory::plain_enum!(RowOutput::None);
crate::memory::plain!(Row { token, position, sequence, output });

/// The rows of a step, with the KV blocks of their sequences.
///
/// Rows of a sequence stand together, in ascending positions, and the tables have a block for each
/// position up to theirs.
#[derive(Clone, Copy, Debug)]
pub struct StepRows<'a> {
    /// The rows of all sequences.
    pub rows: &'a [Row],
    /// The block tables of all sequences, by the index that rows name.
    pub tables: BlockTables<'a>,
    /// Blocks that were handed out since the last step, which are zeroed first.
    pub fresh: &'a [BlockId],
}

/// The block tables of all sequences: `[sequences, stride]`.
#[derive(Clone, Copy, Debug)]
pub struct BlockTables<'a> {
    /// Block ids in order of position.
    pub ids: &'a [BlockId],
    /// Entries that the table of one sequence has.
    pub stride: usize,
}

impl<'a> BlockTables<'a> {
    /// The block ids of one sequence, `stride` of them.
    #[inline(always)]
    pub fn of(&self, sequence: u32) -> &'a [BlockId] {
        &self.ids[sequence as usize * self.stride..][..self.stride]
    }
}
