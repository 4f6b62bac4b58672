//! The state of a simulated cluster, and the queue of what will happen.
use super::dice::{Dice, Purpose};
use super::engine::Replica;
use super::front::Front;
use super::load::{Conversation, Source};
use super::outcome::Outcome;
use super::policy::{Router, Seen};
use super::sequence::Sequence;
use super::settings::Settings;
use super::stream::Stream;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What can happen. Numbers are places in the lists of [`World`]; an epoch is the life of a replica
/// that an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A new conversation begins.
    Begin,
    /// A client asks its next question.
    Ask {
        conversation: u32,
    },
    /// A front looks for a replica for a request.
    Send {
        request: u32,
    },
    /// An attempt reaches its replica.
    Arrive {
        sequence: u32,
    },
    /// A front learns that a replica did not take an attempt.
    Refused {
        sequence: u32,
    },
    /// A front learns that the replica of an attempt is dead.
    Broken {
        sequence: u32,
    },
    /// A front looks whether a stream should be hedged.
    Watch {
        request: u32,
    },
    /// A step of a replica ends.
    Step {
        replica: u32,
        epoch: u32,
    },
    /// All replicas that can tell their loads.
    Report,
    /// A replica is killed, stops for a while, or becomes slow for a while.
    Kill {
        replica: u32,
    },
    Stop {
        replica: u32,
    },
    Slow {
        replica: u32,
    },
    /// A replica that was stopped is looked at.
    Health {
        replica: u32,
        epoch: u32,
    },
    /// All fronts know that a replica is dead.
    Gone {
        replica: u32,
        epoch: u32,
    },
    /// A replica serves again.
    Start {
        replica: u32,
        epoch: u32,
    },
    /// The next replica is upgraded.
    Upgrade,
    /// A replica's time to finish its streams is over.
    Drained {
        replica: u32,
        epoch: u32,
    },
}

/// The cluster, its clients, and what has come of them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) now_ns: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    pub(super) source: Source,
    pub(super) conversations: Vec<Conversation>,
    pub(super) streams: Vec<Stream>,
    pub(super) sequences: Vec<Sequence>,
    pub(super) fronts: Vec<Front>,
    pub(super) router: Router,
    /// What fronts know of each replica.
    pub(super) seen: Vec<Seen>,
    /// Attempts that are open at each replica.
    pub(super) loads: Vec<i32>,
    pub(super) replicas: Vec<Replica>,
    /// For each replica, the draws of its kills, stops and slow phases.
    pub(super) faults: Vec<[Dice; 3]>,
    /// The next replica that is upgraded, and those that are right now.
    pub(super) next_upgrade: u32,
    pub(super) is_upgrading: Vec<bool>,
    /// Requests that are not over, and of these those that are hedged.
    pub(super) open: usize,
    pub(super) hedged: usize,
    /// When the last request was sent, and when a request that counts was first.
    pub(super) last_ask_ns: u64,
    pub(super) counts_from_ns: u64,
    /// When a token was told, or an attempt sent, for the last time.
    pub(super) progress_ns: u64,
    pub(super) outcome: Outcome,
}

impl World {
    /// A cluster before its first event.
    pub(super) fn new(settings: &Settings) -> Self {
        let (replicas, fronts, seed) = (settings.replicas, settings.front.count, settings.seed);
        let router = Router::new(
            settings.policy,
            settings.front.slack as i32,
            (fronts, replicas),
            settings.front.report_ns == 0,
            Dice::new(seed, Purpose::Route, 0),
        );
        let faults = |replica: usize| {
            [Purpose::Kill, Purpose::Stop, Purpose::Slow].map(|what| Dice::new(seed, what, replica as u64))
        };
        Self {
            now_ns: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            source: Source::new(&settings.load, seed, settings.engine.context),
            conversations: Vec::new(),
            streams: Vec::new(),
            sequences: Vec::new(),
            fronts: vec![Front::default(); fronts],
            router,
            seen: vec![Seen { is_up: true, is_suspect: false, fingerprint: 0 }; replicas],
            loads: vec![0; replicas],
            replicas: (0..replicas).map(|_| Replica::new(settings.engine.blocks)).collect(),
            faults: (0..replicas).map(faults).collect(),
            next_upgrade: 0,
            is_upgrading: vec![false; replicas],
            open: 0,
            hedged: 0,
            last_ask_ns: 0,
            counts_from_ns: 0,
            progress_ns: 0,
            outcome: Outcome::default(),
            settings: settings.clone(),
        }
    }

    /// Lets something happen at a time that is not past.
    pub(super) fn schedule(&mut self, at_ns: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((at_ns.max(self.now_ns), self.scheduled, event)));
    }

    /// Takes the next event, in order of time and then of scheduling, and goes to its time.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Reverse((at_ns, number, event)) = self.queue.pop()?;
        self.now_ns = at_ns;
        self.outcome.hash = crate::sim::rng::fold(crate::sim::rng::fold(self.outcome.hash, at_ns), number);
        Some(event)
    }

    /// The number of the first request that counts in figures.
    pub(super) fn first_that_counts(&self) -> u32 {
        self.settings.load.first_that_counts() as u32
    }
}
