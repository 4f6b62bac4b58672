//! Whose turn it is to have a batch run. Each owner has one batch at a time, and where more owners
//! have batches than may run at once, they take turns.
use super::object::BatchObject;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Owners whose last turn is known, at most.
const PAST_MAX: usize = 4096;

/// Who has sent a batch; nobody where no key was demanded.
pub(super) type Owner = Option<String>;

/// How turns are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnRules {
    /// Batches that run at once, each of another owner.
    pub abreast: usize,
    /// How long a batch goes on while others wait.
    pub time: Duration,
    /// How long a batch rests that waited for leave while others waited for a turn. A key's limits
    /// lose nothing by it: they hold a minute's worth.
    pub rest: Duration,
}

impl Default for TurnRules {
    fn default() -> Self {
        Self { abreast: 8, time: Duration::from_secs(60), rest: Duration::from_secs(10) }
    }
}

/// Who has a turn, and who has had one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    running: BTreeSet<Owner>,
    past: BTreeMap<Owner, Past>,
    count: u64,
}

/// The last turn of an owner.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Turns are numbered as they end.
    number: u64,
    rests_until: Instant,
}

impl Turns {
    /// The batch that runs next: the oldest one of the owner whose last turn is longest ago. One
    /// that is to be cancelled does not rest.
    pub(super) fn next<'b>(
        &self,
        batches: impl Iterator<Item = &'b BatchObject>,
        now: Instant,
    ) -> Option<&'b BatchObject> {
        let mut oldest: BTreeMap<&Owner, &BatchObject> = BTreeMap::new();
        for batch in batches.filter(|batch| !batch.status.is_final()) {
            let first = oldest.entry(&batch.owner).or_insert(batch);
            if batch.number < first.number {
                *first = batch;
            }
        }
        let past = |batch: &BatchObject| self.past.get(&batch.owner);
        let may_run = |batch: &&BatchObject| {
            let has_rested = past(batch).is_none_or(|past| past.rests_until <= now);
            !self.running.contains(&batch.owner) && (has_rested || batch.status.is_cancelling())
        };
        let order = |batch: &&BatchObject| (past(batch).map_or(0, |past| past.number), batch.number);
        oldest.into_values().filter(may_run).min_by_key(order)
    }

    /// Whether no owner more may have a turn.
    pub(super) fn are_taken(&self, abreast: usize) -> bool {
        self.running.len() >= abreast.max(1)
    }

    /// Gives an owner a turn.
    pub(super) fn begin(&mut self, owner: &Owner) {
        self.running.insert(owner.clone());
    }

    /// Takes the turn of an owner, who rests for some time.
    pub(super) fn end(&mut self, owner: &Owner, rests_until: Instant) {
        self.running.remove(owner);
        self.count += 1;
        self.past.insert(owner.clone(), Past { number: self.count, rests_until });
        let oldest = self.past.iter().min_by_key(|(_, past)| past.number);
        if self.past.len() > PAST_MAX
            && let Some(oldest) = oldest.map(|(owner, _)| owner.clone())
        {
            self.past.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::{BatchTimes, Counts, Status};
    use super::*;

    fn batch(number: u64, owner: &str, status: Status) -> BatchObject {
        BatchObject {
            id: format!("batch_{number}"),
            endpoint: String::new(),
            input_file_id: String::new(),
            completion_window: String::new(),
            status,
            output_file_id: None,
            error_file_id: None,
            created_at: 0,
            times: BatchTimes::default(),
            counts: Counts::default(),
            metadata: None,
            errors: Vec::new(),
            owner: Some(owner.to_owned()),
            fingerprint: None,
            number,
        }
    }

    #[test]
    fn owners_take_turns() {
        let mut all: Vec<_> = [(1, "a"), (2, "a"), (3, "b"), (4, "c")]
            .map(|(number, owner)| batch(number, owner, Status::Validating))
            .into();
        let (mut turns, now) = (Turns::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        let next = |turns: &Turns, all: &[BatchObject], at| turns.next(all.iter(), at).map(|b| b.number);
        let [a, b, c] = ["a", "b", "c"].map(|owner| Some(owner.to_owned()));
        let mut given = Vec::new();
        while let Some(number) = next(&turns, &all, now) {
            given.push(number);
            turns.begin(&all[number as usize - 1].owner);
        }
        assert_eq!(given, [1, 3, 4], "one of each");
        assert!(turns.are_taken(3) && !turns.are_taken(4));
        // The first to end rests; the next is the one whose last turn is longest ago.
        turns.end(&a, later);
        assert_eq!((next(&turns, &all, now), next(&turns, &all, later)), (None, Some(1)));
        turns.end(&c, now);
        turns.end(&b, now);
        assert_eq!((next(&turns, &all, now), next(&turns, &all, later)), (Some(4), Some(1)));
        all[0].status = Status::Cancelling;
        assert_eq!(next(&turns, &all, now), Some(1), "what is cancelled does not rest");
        all[0].status = Status::Failed;
        assert_eq!(next(&turns, &all, later), Some(2));
        turns.end(&c, now);
        assert_eq!(next(&turns, &all, now), Some(3), "c has had another one");
        for number in 0..PAST_MAX {
            turns.end(&Some(format!("d{number}")), now);
        }
        assert_eq!(turns.past.len(), PAST_MAX);
    }
}
