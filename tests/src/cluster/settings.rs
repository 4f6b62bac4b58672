//! What a simulation is about: the cluster, its load, its faults and what is done about them.
use super::policy::Policy;
use super::times::Times;

/// A second in the simulator's unit.
pub const SECOND: u64 = 1_000_000_000;
/// A millisecond in the simulator's unit.
pub const MILLISECOND: u64 = 1_000_000;
/// Replicas of one simulation, at most.
pub const REPLICAS_MAX: usize = 1000;
/// Requests of one simulation, at most: each takes some hundred bytes.
pub const REQUESTS_MAX: usize = 4_000_000;

/// One simulation. All times are nanoseconds of virtual time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of every draw.
    pub seed: u64,
    /// How many replicas there are, 1 to [`REPLICAS_MAX`].
    pub replicas: usize,
    /// What one replica can hold and do.
    pub engine: EngineSettings,
    /// What stands before the replicas.
    pub front: FrontSettings,
    /// Who gets a request.
    pub policy: Policy,
    /// What clients ask, and when.
    pub load: LoadSettings,
    /// What goes wrong with replicas.
    pub faults: FaultSettings,
    /// A bug in the simulated cluster, for tests of the checks.
    pub wrong: Option<Wrong>,
}

/// One replica: a server with the flags of `verbatim serve`.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// How long a step takes.
    pub times: Times,
    /// Sequences that run at once.
    pub seqs_max: usize,
    /// Sequences that wait, at most; one more is refused.
    pub queue_max: usize,
    /// Rows of a step, at most.
    pub rows_max: u32,
    /// What a step with a prompt in it should take at most.
    pub step_ns: u64,
    /// KV blocks of 16 positions.
    pub blocks: u32,
    /// Positions of a sequence, at most.
    pub context: u32,
    /// The time between two events of a stream, which then carry several tokens; 0 is an event a
    /// token.
    pub interval_ns: u64,
}

/// The processes that clients speak to, each with a core and a link of its own.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// How many there are.
    pub count: usize,
    /// CPU time of one for a request.
    pub request_ns: u64,
    /// CPU time of one for an event of a stream.
    pub event_ns: u64,
    /// Bytes of a request on the link, without its text.
    pub request_bytes: u64,
    /// Bytes of an event on the link, without its text: in and out together, each a chunk of JSON
    /// of 250 bytes with the heads of TCP and IP, and its acknowledgement.
    pub event_bytes: u64,
    /// Bytes of a token's text, ids and the like in a request or an event.
    pub token_bytes: u64,
    /// What the link carries, in bits a second.
    pub link_bits: u64,
    /// The way from a front to a replica, or back.
    pub hop_ns: u64,
    /// How often replicas tell every front how many streams they have; 0 is always. Between two
    /// reports a front knows only its own streams.
    pub report_ns: u64,
    /// Streams by which a replica may exceed the least loaded one before affinity gives way.
    pub slack: u32,
    /// A stream without an event for so long is asked for from another replica too; 0 is never.
    pub hedge_ns: u64,
    /// How long a stream may be without its first event, if streams are hedged at all.
    pub hedge_first_ns: u64,
    /// Of a hundred open streams, how many may be hedged at once.
    pub hedge_percent: usize,
    /// How long a front looks for a replica that takes a request before it gives up.
    pub patience_ns: u64,
}

/// The way in which conversations come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Independently of each other.
    Poisson,
    /// So, too, but a quarter of the time at five times the rate of the rest, in bursts of 30 s.
    Bursty,
}

/// The load: conversations of some turns, each a request that begins with all that was said.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Requests in all; those before [`first_that_counts`](Self::first_that_counts) warm the
    /// caches.
    pub requests: usize,
    /// Conversations, at most; 0 is no bound. With one, `requests` may be no more than these
    /// send ([`script`](super::script::script) tells).
    pub conversations: u32,
    /// The mean time between two requests, in the whole cluster.
    pub between_ns: u64,
    /// Independently, or in bursts.
    pub arrivals: Arrivals,
    /// System prompts, of which a conversation has one, some far more popular than others.
    pub systems: usize,
    /// Tokens of a system prompt.
    pub system_tokens: u32,
    /// Mean turns of a conversation.
    pub turns: u32,
    /// The mean time from an answer to the next question.
    pub think_ns: u64,
    /// Quantiles of a question's tokens, from the least to the most.
    pub question: Vec<u32>,
    /// Quantiles of an answer's tokens; exponential with the mean of a single one.
    pub answer: Vec<u32>,
}

/// Faults; a time of 0 is never.
#[derive(Clone, Debug)]
pub struct FaultSettings {
    /// Mean time between two kills of one replica.
    pub kill_every_ns: u64,
    /// Until a killed replica serves again, its cache empty.
    pub restart_ns: u64,
    /// Until a front knows that a replica is dead.
    pub detect_ns: u64,
    /// Mean time between two stops of one replica, which is not dead then but does nothing.
    pub stop_every_ns: u64,
    /// Mean length of a stop.
    pub stop_for_ns: u64,
    /// A replica that is stopped for so long is killed and started again.
    pub health_ns: u64,
    /// Mean time between two slow phases of one replica.
    pub slow_every_ns: u64,
    /// Mean length of a slow phase.
    pub slow_for_ns: u64,
    /// How many times longer a step takes then.
    pub slow_factor: u64,
    /// When a rolling upgrade to another fingerprint begins.
    pub upgrade_at_ns: u64,
    /// Replicas that are upgraded at a time.
    pub upgrade_wave: usize,
    /// How long a replica may finish its streams before it is upgraded.
    pub drain_ns: u64,
}

/// A bug of the simulated cluster that the checks must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A takeover goes on one token too far.
    TakeoverSkips,
    /// A takeover asks any replica, whatever its fingerprint.
    TakeoverSplices,
    /// The blocks of a cancelled sequence are lost.
    CancelLeaks,
    /// A stream whose replica died is forgotten.
    DeathForgotten,
    /// The loser of a hedge is not told to stop, and both ends count.
    EndsTwice,
}

impl Settings {
    /// A cluster of this many replicas without faults: TinyLlama's shape in int8, two cores each,
    /// a front for every two.
    pub fn new(replicas: usize, policy: Policy) -> Self {
        Self {
            seed: 1,
            replicas,
            engine: EngineSettings::two_cores(),
            front: FrontSettings::on_ray(replicas.div_ceil(2)),
            policy,
            load: LoadSettings::chat(replicas),
            faults: FaultSettings::none(),
            wrong: None,
        }
    }

    /// Says what is out of range, by name.
    pub fn check(&self) -> Result<(), String> {
        let (hour, year) = (3600 * SECOND, 365 * 24 * 3600 * SECOND);
        let (front, faults) = (&self.front, &self.faults);
        let bounds = [
            ("nanoseconds of a front's work for a request", front.request_ns, 0, hour),
            ("nanoseconds of a front's work for an event", front.event_ns, 0, hour),
            ("nanoseconds between reports", front.report_ns, 0, hour),
            ("nanoseconds until a hedge", front.hedge_ns.max(front.hedge_first_ns), 0, 4 * hour),
            ("slack", u64::from(front.slack), 0, 1 << 20),
            ("nanoseconds between events", self.engine.interval_ns, 0, hour),
            ("nanoseconds between kills", faults.kill_every_ns, 0, year),
            ("nanoseconds between stops", faults.stop_every_ns, 0, year),
            ("nanoseconds between slow phases", faults.slow_every_ns, 0, year),
            ("nanoseconds until an upgrade", faults.upgrade_at_ns, 0, year),
            ("replicas", self.replicas as u64, 1, REPLICAS_MAX as u64),
            ("fronts", self.front.count as u64, 1, 10_000),
            ("requests", self.load.requests as u64, 1, REQUESTS_MAX as u64),
            ("nanoseconds between requests", self.load.between_ns, 1000, 3600 * SECOND),
            ("system prompts", self.load.systems as u64, 1, 1 << 20),
            ("turns", u64::from(self.load.turns), 1, 1000),
            ("sequences", self.engine.seqs_max as u64, 1, 4096),
            ("rows of a step", u64::from(self.engine.rows_max), self.engine.seqs_max as u64, 65_536),
            ("positions", u64::from(self.engine.context), 256, 1 << 20),
            ("KV blocks", u64::from(self.engine.blocks), u64::from(self.engine.context / 16 + 2), 1 << 26),
            (
                "tokens of a system prompt",
                u64::from(self.load.system_tokens),
                0,
                u64::from(self.engine.context / 2),
            ),
            ("bits a second", self.front.link_bits, 1_000_000, 1 << 42),
            ("replicas upgraded at a time", self.faults.upgrade_wave as u64, 1, REPLICAS_MAX as u64),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("{name}: {value}, expected {least} to {most}"));
            }
        }
        let quantiles = [("question", &self.load.question), ("answer", &self.load.answer)];
        for (name, quantiles) in quantiles {
            let is_rising = quantiles.is_sorted() && quantiles.first().is_some_and(|least| *least > 0);
            if !is_rising || quantiles.last().is_some_and(|most| *most > self.engine.context / 2) {
                return Err(format!(
                    "quantiles of the {name}: {quantiles:?}, expected to rise from 1 to half a context"
                ));
            }
        }
        Ok(())
    }
}

impl EngineSettings {
    /// The defaults of `verbatim serve` for TinyLlama's shape on two cores.
    pub fn two_cores() -> Self {
        Self {
            times: Times::measured(super::times::TINYLLAMA).expect("a test reads it"),
            seqs_max: 8,
            queue_max: 64,
            rows_max: 512,
            step_ns: 200 * MILLISECOND,
            blocks: 1024,
            context: 2048,
            interval_ns: 0,
        }
    }
}

impl FrontSettings {
    /// What `bindings/ray` takes behind Ray's HAProxy: 4.5 ms of a core for a request and 0.6 ms
    /// for an event (`bindings/ray/tests/measure.py overhead cpu`).
    pub fn on_ray(count: usize) -> Self {
        Self {
            count,
            request_ns: 4_500_000,
            event_ns: 600_000,
            request_bytes: 1200,
            event_bytes: 780,
            token_bytes: 8,
            link_bits: 1_000_000_000,
            hop_ns: 200_000,
            report_ns: SECOND,
            slack: 4,
            hedge_ns: 0,
            hedge_first_ns: 4 * SECOND,
            hedge_percent: 5,
            patience_ns: 30 * SECOND,
        }
    }
}

impl LoadSettings {
    /// The number of the first request that counts in figures: the first fifth is left out.
    pub fn first_that_counts(&self) -> usize {
        self.requests / 5
    }

    /// Chat for a cluster of this size: two requests in five seconds for each replica.
    pub fn chat(replicas: usize) -> Self {
        Self {
            requests: 200 * replicas,
            conversations: 0,
            between_ns: 5 * SECOND / 2 / replicas.max(1) as u64,
            arrivals: Arrivals::Poisson,
            systems: 64,
            system_tokens: 512,
            turns: 4,
            think_ns: 15 * SECOND,
            question: vec![4, 8, 12, 18, 26, 40, 60, 100, 180, 300, 500],
            answer: vec![4, 16, 32, 60, 90, 120, 160, 210, 280, 350, 500],
        }
    }
}

impl FaultSettings {
    /// No faults; what each would be if its time were set.
    pub fn none() -> Self {
        Self {
            kill_every_ns: 0,
            restart_ns: 20 * SECOND,
            detect_ns: 50 * MILLISECOND,
            stop_every_ns: 0,
            stop_for_ns: 5 * SECOND,
            health_ns: 14 * SECOND,
            slow_every_ns: 0,
            slow_for_ns: 30 * SECOND,
            slow_factor: 4,
            upgrade_at_ns: 0,
            upgrade_wave: 1,
            drain_ns: 10 * SECOND,
        }
    }
}
