//! Which rows the next step of a replica has.
//!
//! It follows the engine (`core/src/engine/schedule.rs`): a row for each decoding sequence, then
//! prompts in order of arrival, then waiting sequences while there are slots, rows and blocks for
//! all their tokens; a step with a prompt in it has as few rows as keep it within `step_ns`, or
//! within half as long again as a step without one (`runtime/pacing/step_budget.rs`). A sequence
//! that finds no block for its next row takes those of the one that came last. Left out: drafting,
//! priorities, and waiting for a prefix that another sequence computes right now.
use super::engine::Replica;
use super::sequence::{BLOCK, Place, Sequence};
use super::settings::EngineSettings;
use verbatim_core::engine::PREFILL_ROWS_MIN;

impl Replica {
    /// Plans the next step. Returns the nanoseconds that it takes; `None` if there is nothing to
    /// compute.
    pub(super) fn plan(&mut self, sequences: &mut [Sequence], settings: &EngineSettings) -> Option<u64> {
        let preempted = self.preemptions;
        let (mut rows, decode_positions) = self.plan_decodes(sequences);
        // Who gave way is not let in again by the same plan.
        let may_admit = self.preemptions == preempted;
        let mut left = settings.rows_max.saturating_sub(rows);
        let rows_min = (self.running.len() + PREFILL_ROWS_MIN) as u32;
        let decode_rows = u64::from(rows);
        let mut prefill_positions = 0;
        // Prompts: those that run, then those that wait and find a place.
        let mut at = 0;
        while left > 0 {
            let id = match self.running.get(at).copied() {
                Some(id) => id,
                None if may_admit && self.admit(sequences, settings) => self.running[at],
                None => break,
            };
            at += 1;
            let sequence = &sequences[id as usize];
            if sequence.planned > 0 {
                continue;
            }
            let wanted = (sequence.known() - sequence.computed).min(left);
            let from = u64::from(sequence.computed);
            let decode_ns =
                if decode_rows > 0 { settings.times.step_ns(decode_rows, decode_positions, 0) } else { 0 };
            let step_ns = settings.step_ns.max(decode_ns * 3 / 2);
            let within = |count: u32| {
                let (count, rows) = (u64::from(count), u64::from(rows));
                let attended = prefill_positions + from * count + count * count / 2;
                settings.times.step_ns(rows + count, decode_positions, attended) <= step_ns
            };
            let count = most(wanted, within).max(rows_min.saturating_sub(rows).min(wanted));
            if count == 0 || !self.hold(id, count, sequences) {
                break;
            }
            sequences[id as usize].planned = count;
            (rows, left) = (rows + count, left - count);
            prefill_positions += from * u64::from(count) + u64::from(count) * u64::from(count) / 2;
        }
        if rows == 0 {
            return None;
        }
        Some(settings.times.step_ns(u64::from(rows), decode_positions, prefill_positions))
    }

    /// A row for each sequence that decodes. Returns the rows and the positions that they attend
    /// to.
    fn plan_decodes(&mut self, sequences: &mut [Sequence]) -> (u32, u64) {
        let (mut rows, mut positions, mut at) = (0, 0, 0);
        while let Some(id) = self.running.get(at).copied() {
            at += 1;
            sequences[id as usize].planned = 0;
            let sequence = &sequences[id as usize];
            if sequence.known() - sequence.computed != 1 {
                continue;
            }
            let attended = u64::from(sequence.known());
            // The last one gives way; that may be this one.
            while !self.hold(id, 1, sequences) {
                let last = *self.running.last().expect("this one runs");
                self.preempt(last, sequences);
                if last == id {
                    break;
                }
            }
            if sequences[id as usize].place == Place::Running {
                sequences[id as usize].planned = 1;
                rows += 1;
                positions += attended;
            }
        }
        (rows, positions)
    }

    /// Lets the first waiting sequence run if it finds a slot and blocks.
    fn admit(&mut self, sequences: &mut [Sequence], settings: &EngineSettings) -> bool {
        let Some(id) = self.waiting.first().copied() else { return false };
        if self.running.len() >= settings.seqs_max {
            return false;
        }
        let sequence = &mut sequences[id as usize];
        let [conversation, system] = sequence.chains();
        let mut shared = self.blocks.held(system).min(sequence.system_blocks);
        if shared == sequence.system_blocks {
            shared += self.blocks.held(conversation);
        }
        // The last known row is computed always: its logits are asked for.
        shared = shared.min((sequence.known() - 1) / BLOCK);
        self.blocks.pin(system);
        self.blocks.pin(conversation);
        let needed = sequence.known().div_ceil(BLOCK) - shared;
        if !self.blocks.take(needed) {
            self.blocks.unpin(conversation);
            self.blocks.unpin(system);
            return false;
        }
        (sequence.own, sequence.shared) = (needed, shared);
        sequence.computed = shared * BLOCK;
        sequence.planned = 0;
        sequence.hit.get_or_insert(shared * BLOCK);
        sequence.place = Place::Running;
        self.waiting.remove(0);
        self.running.push(id);
        true
    }

    /// Makes sure that a running sequence has blocks for `rows` rows more.
    fn hold(&mut self, id: u32, rows: u32, sequences: &mut [Sequence]) -> bool {
        let sequence = &mut sequences[id as usize];
        let needed = (sequence.computed + rows).div_ceil(BLOCK);
        let missing = needed.saturating_sub(sequence.own + sequence.shared);
        if missing > 0 && !self.blocks.take(missing) {
            return false;
        }
        sequence.own += missing;
        true
    }

    /// Takes a running sequence's place; it waits again, before all that wait.
    fn preempt(&mut self, id: u32, sequences: &mut [Sequence]) {
        self.release(id, sequences, false);
        let sequence = &mut sequences[id as usize];
        sequence.rows_again += u64::from(sequence.computed);
        sequence.computed = 0;
        sequence.place = Place::Waiting;
        self.running.retain(|running| *running != id);
        self.waiting.insert(0, id);
        self.preemptions += 1;
    }
}

/// The greatest count up to `max` that is still within, `within` being true up to some count.
fn most(max: u32, within: impl Fn(u32) -> bool) -> u32 {
    if within(max) {
        return max;
    }
    let (mut low, mut high) = (0, max);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if within(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::super::engine::Health;
    use super::super::sequence::Why;
    use super::super::times::Times;
    use super::*;

    fn settings() -> EngineSettings {
        EngineSettings { times: Times::constant(1000), step_ns: 2000, ..EngineSettings::two_cores() }
    }

    fn sequence(conversation: u32, prompt: u32, answer: u32) -> Sequence {
        Sequence { conversation, system_blocks: 2, prompt, answer, ..Sequence::new(0, (0, 0, 0), Why::First) }
    }

    /// Runs steps until all answers are whole; returns the number of steps.
    fn run(replica: &mut Replica, sequences: &mut [Sequence], settings: &EngineSettings) -> usize {
        let (mut steps, mut drew) = (0, Vec::new());
        while replica.plan(sequences, settings).is_some() {
            replica.finish(sequences, &mut drew);
            for id in &drew {
                if sequences[*id as usize].made == sequences[*id as usize].answer {
                    replica.end(*id, sequences, false);
                }
            }
            let (own, all) = replica.blocks.in_use();
            assert!(own <= all && all <= settings.blocks);
            steps += 1;
        }
        steps
    }

    #[test]
    fn a_sequence_takes_a_step_a_token_and_leaves_its_blocks_as_a_prefix() {
        let settings = settings();
        let mut replica = Replica::new(100);
        let mut sequences = vec![sequence(7, 100, 10), sequence(7, 150, 3), sequence(8, 100, 3)];
        assert!(replica.arrive(0, &mut sequences, &settings));
        assert_eq!(run(&mut replica, &mut sequences, &settings), 10);
        // 109 rows were computed: 6 full blocks, 2 of them of the system prompt.
        assert_eq!(replica.blocks.in_use(), (0, 6));
        assert_eq!((sequences[0].hit, sequences[0].rows), (Some(0), 109));
        assert!(replica.arrive(1, &mut sequences, &settings) && replica.arrive(2, &mut sequences, &settings));
        assert_eq!(run(&mut replica, &mut sequences, &settings), 3);
        assert_eq!((sequences[1].hit, sequences[2].hit), (Some(96), Some(32)));
    }

    #[test]
    fn slots_and_the_queue_are_bounded_and_order_is_kept() {
        let settings = EngineSettings { seqs_max: 2, queue_max: 3, ..settings() };
        let mut replica = Replica::new(100);
        let mut sequences: Vec<Sequence> = (0..5).map(|i| sequence(i, 40, 4)).collect();
        let taken: Vec<bool> = (0..5).map(|id| replica.arrive(id, &mut sequences, &settings)).collect();
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(replica.plan(&mut sequences, &settings).is_some());
        assert_eq!((replica.running.clone(), replica.waiting.clone()), (vec![0, 1], vec![2]));
        replica.finish(&mut sequences, &mut Vec::new());
        assert_eq!(run(&mut replica, &mut sequences, &settings), 3 + 4);
    }

    #[test]
    fn without_blocks_the_last_gives_way_and_loses_nothing() {
        let settings = EngineSettings { blocks: 9, ..settings() };
        let mut replica = Replica::new(9);
        let mut sequences = vec![sequence(0, 60, 30), sequence(1, 60, 30)];
        sequences[1].system = 1;
        assert!(replica.arrive(0, &mut sequences, &settings) && replica.arrive(1, &mut sequences, &settings));
        run(&mut replica, &mut sequences, &settings);
        assert!(replica.preemptions > 0 && sequences[1].rows_again > 0);
        assert_eq!((sequences[0].made, sequences[1].made), (30, 30));
    }

    #[test]
    fn a_long_prompt_is_cut_so_that_a_step_is_short() {
        let mut settings = EngineSettings::two_cores();
        settings.step_ns = 300_000_000;
        let mut replica = Replica::new(1000);
        let mut sequences = vec![sequence(0, 1000, 2)];
        assert!(replica.arrive(0, &mut sequences, &settings));
        let step = replica.plan(&mut sequences, &settings).expect("there is work");
        assert!(step <= 300_000_000 && step > 250_000_000, "{step}");
        assert!(sequences[0].planned < 300);
    }

    #[test]
    fn where_decoding_takes_long_a_step_with_a_prompt_takes_half_as_long_again() {
        let mut settings = EngineSettings::two_cores();
        let mut replica = Replica::new(1000);
        let mut sequences = vec![sequence(0, 50, 500), sequence(1, 1000, 2)];
        assert!(replica.arrive(0, &mut sequences, &settings));
        assert!(replica.plan(&mut sequences, &settings).is_some());
        replica.finish(&mut sequences, &mut Vec::new());
        let alone = replica.plan(&mut sequences, &settings).expect("it decodes");
        replica.finish(&mut sequences, &mut Vec::new());
        // A step should take a thousandth of what one without a prompt takes.
        settings.step_ns = alone / 1000;
        assert!(replica.arrive(1, &mut sequences, &settings));
        let both = replica.plan(&mut sequences, &settings).expect("there is work");
        assert!((alone * 14 / 10..=alone * 15 / 10 + 1_000_000).contains(&both), "{alone} {both}");
        // However slow the machine, the prompt has some rows.
        settings.times = Times::constant(1000);
        settings.step_ns = 1;
        replica.finish(&mut sequences, &mut Vec::new());
        sequences[0].is_cancelled = true;
        replica.purge(&mut sequences, false);
        assert!(replica.plan(&mut sequences, &settings).is_some());
        assert_eq!(sequences[1].planned, 1 + PREFILL_ROWS_MIN as u32);
    }

    #[test]
    fn a_cancelled_sequence_goes_and_a_dead_replica_has_nothing() {
        let settings = settings();
        let mut replica = Replica::new(100);
        let mut sequences = vec![sequence(0, 100, 10), sequence(1, 100, 10)];
        assert!(replica.arrive(0, &mut sequences, &settings) && replica.arrive(1, &mut sequences, &settings));
        assert!(replica.plan(&mut sequences, &settings).is_some());
        replica.finish(&mut sequences, &mut Vec::new());
        sequences[0].is_cancelled = true;
        replica.purge(&mut sequences, false);
        assert_eq!((replica.running.clone(), sequences[0].place), (vec![1], Place::Ended));
        assert_eq!(replica.die(&mut sequences), [1]);
        assert_eq!((replica.blocks.in_use(), replica.health, replica.epoch), ((0, 0), Health::Down, 1));
    }
}
