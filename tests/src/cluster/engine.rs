//! One replica: its queue, its slots and its cache, and what becomes of sequences in them.
use super::blocks::Blocks;
use super::sequence::{BLOCK, Place, Sequence};
use super::settings::EngineSettings;

/// Whether a replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It takes every stream.
    Up,
    /// It finishes its streams and takes no more.
    Draining,
    /// It is dead or starting.
    Down,
}

/// One replica, alive or dead; nothing it had outlives its death.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) health: Health,
    /// How often it was started; what belongs to an earlier life counts no more.
    pub(super) epoch: u32,
    pub(super) fingerprint: u32,
    /// The fingerprint that its next start has.
    pub(super) next_fingerprint: u32,
    /// Sequences in order of arrival.
    pub(super) waiting: Vec<u32>,
    pub(super) running: Vec<u32>,
    pub(super) blocks: Blocks,
    /// Whether a step is under way.
    pub(super) is_busy: bool,
    /// Until when it does nothing, and until when it is slow.
    pub(super) stopped_until_ns: u64,
    pub(super) slow_until_ns: u64,
    /// The sum over running sequences of their time in steps, and preemptions so far.
    pub(super) slots_ns: u64,
    pub(super) preemptions: u64,
    /// Steps so far, and what they took.
    pub(super) steps: u64,
    pub(super) steps_ns: u64,
}

impl Replica {
    /// A replica that serves, with an empty cache.
    pub(super) fn new(blocks: u32) -> Self {
        Self {
            health: Health::Up,
            epoch: 0,
            fingerprint: 0,
            next_fingerprint: 0,
            waiting: Vec::new(),
            running: Vec::new(),
            blocks: Blocks::new(blocks),
            is_busy: false,
            stopped_until_ns: 0,
            slow_until_ns: 0,
            slots_ns: 0,
            preemptions: 0,
            steps: 0,
            steps_ns: 0,
        }
    }

    /// Forgets everything, as a process that dies does. Returns the sequences that it had.
    pub(super) fn die(&mut self, sequences: &mut [Sequence]) -> Vec<u32> {
        let mut had = std::mem::take(&mut self.running);
        had.append(&mut self.waiting);
        for id in &had {
            sequences[*id as usize].place = Place::Ended;
        }
        self.blocks = Blocks::new(self.blocks.capacity());
        self.health = Health::Down;
        self.epoch += 1;
        self.is_busy = false;
        (self.stopped_until_ns, self.slow_until_ns) = (0, 0);
        had
    }

    /// Takes a sequence into the queue; `false` if that is full.
    pub(super) fn arrive(&mut self, id: u32, sequences: &mut [Sequence], settings: &EngineSettings) -> bool {
        let is_full = self.waiting.len() >= settings.queue_max;
        if is_full {
            return false;
        }
        sequences[id as usize].place = Place::Waiting;
        self.waiting.push(id);
        true
    }

    /// Ends the step under way: returns the sequences that drew a token.
    pub(super) fn finish(&mut self, sequences: &mut [Sequence], drew: &mut Vec<u32>) {
        drew.clear();
        for id in &self.running {
            let sequence = &mut sequences[*id as usize];
            if sequence.planned == 0 {
                continue;
            }
            sequence.rows += u64::from(sequence.planned);
            sequence.computed += sequence.planned;
            if sequence.computed == sequence.known() {
                sequence.made += 1;
                drew.push(*id);
                if sequence.planned > 1 {
                    publish(&mut self.blocks, sequence, true);
                }
            }
            sequence.planned = 0;
        }
    }

    /// Ends a sequence that waits or runs: its full blocks stay as a prefix. `leaks` plants a bug.
    pub(super) fn end(&mut self, id: u32, sequences: &mut [Sequence], leaks: bool) {
        match sequences[id as usize].place {
            Place::Running => {
                self.release(id, sequences, leaks);
                self.running.retain(|running| *running != id);
            }
            Place::Waiting => self.waiting.retain(|waiting| *waiting != id),
            Place::Sent | Place::Ended => {}
        }
        sequences[id as usize].place = Place::Ended;
    }

    /// Publishes and gives back what a running sequence holds.
    pub(super) fn release(&mut self, id: u32, sequences: &mut [Sequence], leaks: bool) {
        let sequence = &mut sequences[id as usize];
        publish(&mut self.blocks, sequence, true);
        publish(&mut self.blocks, sequence, false);
        if !leaks {
            self.blocks.give(sequence.own);
        }
        let [conversation, system] = sequence.chains();
        self.blocks.unpin(conversation);
        self.blocks.unpin(system);
        (sequence.own, sequence.shared, sequence.planned) = (0, 0, 0);
    }

    /// Takes cancelled sequences away, before a step is planned.
    pub(super) fn purge(&mut self, sequences: &mut [Sequence], leaks: bool) {
        let all = self.running.iter().chain(&self.waiting);
        let gone: Vec<u32> = all.copied().filter(|id| sequences[*id as usize].is_cancelled).collect();
        for id in gone {
            self.end(id, sequences, leaks);
        }
    }
}

/// Lets a chain have the full blocks that were computed: those of the system prompt, or those
/// behind it.
fn publish(blocks: &mut Blocks, sequence: &mut Sequence, of_system: bool) {
    let full = sequence.computed / BLOCK;
    let [conversation, system] = sequence.chains();
    let moved = if of_system {
        blocks.publish(system, full.min(sequence.system_blocks))
    } else {
        blocks.publish(conversation, full.saturating_sub(sequence.system_blocks))
    };
    sequence.own -= moved;
    sequence.shared += moved;
}
