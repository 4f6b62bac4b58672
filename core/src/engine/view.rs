//! What an engine shows of its sequences and blocks to whoever watches it between two steps.
//! Nothing here changes it, and nothing allocates.
use super::Engine;
use super::request::RequestId;
use crate::cache::BlockId;

/// A sequence as it stands between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceView {
    /// The request that it belongs to.
    pub request: RequestId,
    /// Its number among the choices of that request.
    pub choice: u32,
    /// Whether it holds blocks and takes part in steps; otherwise it waits.
    pub is_running: bool,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens of its prompt and output so far.
    pub tokens: usize,
    /// Tokens of its prompt and output at which it ends.
    pub tokens_max: usize,
    /// Tokens, from the first on, whose keys and values are in its blocks.
    pub computed: usize,
    /// Draft tokens that it has and that are not verified yet.
    pub drafts: usize,
    /// Blocks that it holds, those that others hold too among them.
    pub blocks: usize,
}

impl Engine<'_> {
    /// All sequences: those that run, then those that wait, each in the order in which they go.
    pub fn sequences(&self) -> impl Iterator<Item = SequenceView> {
        let running = self.state.running.as_slice().iter().map(|slot| (*slot, true));
        let waiting = self.state.waiting.as_slice().iter().map(|slot| (*slot, false));
        running.chain(waiting).map(|(slot, is_running)| {
            let sequence = &self.state.sequences[slot as usize];
            SequenceView {
                request: RequestId(sequence.request),
                choice: sequence.choice,
                is_running,
                prompt_tokens: sequence.prompt_len as usize,
                tokens: sequence.token_count as usize,
                tokens_max: sequence.end_len as usize,
                computed: sequence.computed as usize,
                drafts: sequence.draft_count as usize,
                blocks: sequence.block_count as usize,
            }
        })
    }

    /// Writes what each KV block is used for, in order of their numbers, as far as `uses` reaches:
    /// 0 is an empty block, 1 a cached one that nobody holds, and any other number is one more than
    /// the sequences that hold it, 255 at most. Returns how many were written.
    pub fn block_uses(&self, uses: &mut [u8]) -> usize {
        let blocks = &self.state.blocks;
        let count = blocks.count().min(uses.len());
        for (block, of) in uses[..count].iter_mut().enumerate() {
            let block = block as BlockId;
            let holders = blocks.references(block);
            *of = match holders {
                0 => u8::from(blocks.ids(block).is_some()),
                _ => u8::try_from(holders.saturating_add(1)).unwrap_or(u8::MAX),
            };
        }
        count
    }
}
