//! Commands that wait until somebody needs them.
//!
//! A command names the blocks that it reads and those that it writes. It depends on every earlier
//! command that is still pending and with which it conflicts: one of the two writes what the other
//! reads or writes. Nothing else orders commands, so two sequences of one step, or two steps of
//! sequences that share nothing, run in any order.
use crate::draws::Draws;

/// A set of numbered things.
#[derive(Clone, Debug, Default)]
pub struct Set(Vec<u64>);

impl Set {
    /// Adds number `i`, whether or not the set has it.
    pub fn insert(&mut self, i: usize) {
        if self.0.len() <= i / 64 {
            self.0.resize(i / 64 + 1, 0);
        }
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }
}

/// What is known of a pending command besides what it does.
#[derive(Debug)]
struct Pending<C> {
    number: u64,
    command: C,
    reads: Set,
    writes: Set,
    /// Numbers of those that must have run before; they may have.
    needs: Vec<u64>,
}

/// Pending commands, in the order in which they were given.
#[derive(Debug)]
pub struct Queue<C> {
    pending: Vec<Pending<C>>,
    next: u64,
    draws: Draws,
}

impl<C> Queue<C> {
    /// An empty queue whose order is drawn from a seed.
    pub fn new(seed: u64) -> Self {
        Self { pending: Vec::new(), next: 0, draws: Draws::new(seed) }
    }

    /// How many commands are pending.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds a command; returns its number.
    pub fn push(&mut self, command: C, reads: Set, writes: Set) -> u64 {
        let conflicts = |earlier: &&Pending<C>| {
            writes.meets(&earlier.writes) || writes.meets(&earlier.reads) || reads.meets(&earlier.writes)
        };
        let needs = self.pending.iter().filter(conflicts).map(|earlier| earlier.number).collect();
        let number = self.next;
        self.next += 1;
        self.pending.push(Pending { number, command, reads, writes, needs });
        number
    }

    /// Where a command stands, if it is pending. Numbers ascend.
    fn find(&self, number: u64) -> Option<usize> {
        self.pending.binary_search_by_key(&number, |pending| pending.number).ok()
    }

    /// Takes one of the commands that must run for those of these numbers to have run: any whose
    /// own dependencies are gone. `None` once they all have.
    pub fn take_for(&mut self, wanted: &[u64]) -> Option<C> {
        let mut needed: Vec<u64> =
            wanted.iter().copied().filter(|number| self.find(*number).is_some()).collect();
        let mut ready = Vec::new();
        let mut at = 0;
        while at < needed.len() {
            let of = self.find(needed[at])?;
            at += 1;
            let mut is_ready = true;
            for number in self.pending[of].needs.iter().filter(|number| self.find(**number).is_some()) {
                is_ready = false;
                if !needed.contains(number) {
                    needed.push(*number);
                }
            }
            if is_ready {
                ready.push(of);
            }
        }
        (!ready.is_empty()).then(|| self.pending.remove(*self.draws.pick(&ready)).command)
    }

    /// Takes any command that may run.
    pub fn take_any(&mut self) -> Option<C> {
        let all: Vec<u64> = self.pending.iter().map(|pending| pending.number).collect();
        self.take_for(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[usize]) -> Set {
        let mut set = Set::default();
        items.iter().for_each(|i| set.insert(*i));
        set
    }

    #[test]
    fn what_is_needed_runs_after_what_it_needs_and_nothing_else_runs() {
        let mut orders = std::collections::BTreeSet::new();
        for seed in 0..32 {
            let mut queue = Queue::new(seed);
            queue.push("writes 70", set(&[]), set(&[70]));
            queue.push("writes 1", set(&[]), set(&[1]));
            queue.push("writes 2", set(&[]), set(&[2]));
            let reader = queue.push("reads both", set(&[1, 2]), set(&[3]));
            queue.push("writes 1 again", set(&[]), set(&[1]));
            let order: Vec<&str> = std::iter::from_fn(|| queue.take_for(&[reader])).collect();
            assert_eq!(order[2..], ["reads both"]);
            orders.insert(order);
            let rest: Vec<&str> = std::iter::from_fn(|| queue.take_any()).collect();
            assert_eq!(rest.len(), 2);
        }
        assert_eq!(orders.len(), 2, "both orders of the writers");
    }
}
