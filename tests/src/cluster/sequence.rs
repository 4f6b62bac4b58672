//! One attempt to answer a request: what a replica computes for it, and what it holds there.
use super::blocks::Chain;

/// Positions of a KV block.
pub(super) const BLOCK: u32 = 16;

/// Where a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its way to the replica.
    Sent,
    /// In the replica's queue.
    Waiting,
    /// It has a slot and blocks.
    Running,
    /// It has nothing any more.
    Ended,
}

/// Why a stream was sent to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing was told yet.
    First,
    /// The replica that answered is gone.
    Takeover,
    /// The replica that answers is too slow.
    Hedge,
}

/// One attempt to answer a request, on one replica.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// The request, by number.
    pub(super) request: u32,
    /// The replica that was asked, and its life in which it was.
    pub(super) replica: u32,
    pub(super) epoch: u32,
    /// What the replica computes with.
    pub(super) fingerprint: u32,
    pub(super) why: Why,
    pub(super) place: Place,
    /// The system prompt and its blocks, and the conversation.
    pub(super) system: u32,
    pub(super) system_blocks: u32,
    pub(super) conversation: u32,
    /// Tokens of the prompt, and of the whole answer.
    pub(super) prompt: u32,
    pub(super) answer: u32,
    /// Tokens of the answer that were known when it was sent here.
    pub(super) from: u32,
    /// Tokens of the answer that are known now: those, and what was drawn here.
    pub(super) made: u32,
    /// Of these, those that were sent, and when the last was.
    pub(super) sent: u32,
    pub(super) sent_ns: u64,
    /// Rows whose keys and values are there.
    pub(super) computed: u32,
    /// Rows that the step under way computes for it.
    pub(super) planned: u32,
    /// Blocks of its own and of chains.
    pub(super) own: u32,
    pub(super) shared: u32,
    /// Rows that were found in the cache when it began to run first.
    pub(super) hit: Option<u32>,
    /// Rows that were computed for it here, and those computed again after a preemption.
    pub(super) rows: u64,
    pub(super) rows_again: u64,
    /// Whether nobody wants it any more; it goes before the next step.
    pub(super) is_cancelled: bool,
}

impl Sequence {
    /// A sequence that is about to be sent to a replica.
    pub(super) fn new(request: u32, (replica, epoch, fingerprint): (u32, u32, u32), why: Why) -> Self {
        Self {
            request,
            replica,
            epoch,
            fingerprint,
            why,
            place: Place::Sent,
            system: 0,
            system_blocks: 0,
            conversation: 0,
            prompt: 0,
            answer: 0,
            from: 0,
            made: 0,
            sent: 0,
            sent_ns: 0,
            computed: 0,
            planned: 0,
            own: 0,
            shared: 0,
            hit: None,
            rows: 0,
            rows_again: 0,
            is_cancelled: false,
        }
    }

    /// Tokens that are known: the prompt, and what was told or drawn.
    pub(super) fn known(&self) -> u32 {
        self.prompt + self.made
    }

    /// The chains that its blocks come from and go to.
    pub(super) fn chains(&self) -> [Chain; 2] {
        [Chain::Conversation(self.conversation), Chain::System(self.system)]
    }
}
