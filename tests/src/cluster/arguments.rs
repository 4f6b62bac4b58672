//! The flags of `verbatim-sim --cluster`, and what it does with them.
use super::plot;
use super::policy::Policy;
use super::report::{Run, json, rates, sum, table};
use super::run::{Failure, run};
use super::search::{greatest, holds};
use super::settings::{Arrivals, FaultSettings, MILLISECOND, SECOND, Settings};
use super::times::Times;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The flags that describe a cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "A cluster in simulation")]
pub struct ClusterArguments {
    /// Simulates clusters of these numbers of replicas in place of the engine, such as
    /// 10,100,1000.
    #[arg(long, value_name = "REPLICAS", value_delimiter = ',')]
    cluster: Vec<usize>,
    /// Who gets a request: random, round-robin, two-choices, least-loaded, prefix or conversation
    /// [default: each in turn].
    #[arg(long, requires = "cluster", value_delimiter = ',', value_parser = policy)]
    policy: Vec<Policy>,
    /// Requests of each replica; the first fifth warms the caches.
    #[arg(long, requires = "cluster", default_value_t = 200)]
    requests: usize,
    /// Requests a second of each replica.
    #[arg(long, requires = "cluster", default_value_t = 0.3)]
    rate: f64,
    /// Finds the greatest rate in place of --rate at which one in twenty requests at most waits
    /// longer for its first token.
    #[arg(long, requires = "cluster", value_name = "MILLISECONDS")]
    first_within: Option<u64>,
    /// Conversations come in bursts.
    #[arg(long, requires = "cluster")]
    bursty: bool,
    /// What `verbatim-bench model --json` printed of a model [default: TinyLlama's shape, int8].
    #[arg(long, requires = "cluster", value_name = "FILE")]
    times: Option<PathBuf>,
    /// Sequences that a replica runs at once.
    #[arg(long, requires = "cluster", default_value_t = 8)]
    seqs: usize,
    /// Tokens that a replica's KV cache holds.
    #[arg(long, requires = "cluster", default_value_t = 16_384)]
    kv_tokens: u32,
    /// Fronts [default: one for every two replicas].
    #[arg(long, requires = "cluster")]
    fronts: Option<usize>,
    /// CPU microseconds of a front for a request and for an event of a stream.
    #[arg(long, requires = "cluster", value_delimiter = ',', num_args = 1, default_values_t = [4500, 600])]
    front_us: Vec<u64>,
    /// What the link of a front carries, in megabits a second.
    #[arg(long, requires = "cluster", default_value_t = 1000)]
    link_mbit: u64,
    /// How often fronts learn how loaded the replicas are, in milliseconds; 0 is always.
    #[arg(long, requires = "cluster", default_value_t = 1000)]
    report_ms: u64,
    /// Streams by which a replica may exceed the least loaded one before affinity gives way.
    #[arg(long, requires = "cluster", default_value_t = 4)]
    slack: u32,
    /// Milliseconds between two events of a stream, at least.
    #[arg(long, requires = "cluster", default_value_t = 0)]
    interval_ms: u64,
    /// A stream that is silent for so many milliseconds is asked for elsewhere too (four times as
    /// many before the first token); 0 is never.
    #[arg(long, requires = "cluster", default_value_t = 0)]
    hedge_ms: u64,
    /// Every replica is killed, stops for a while (5 s in the mean) and is slow for a while (a
    /// fourth as fast for 30 s) once in so many seconds each, in the mean.
    #[arg(long, requires = "cluster", value_name = "SECONDS")]
    faults: Option<u64>,
    /// Replicas are upgraded to another fingerprint from this second on, a tenth at a time.
    #[arg(long, requires = "cluster", value_name = "SECONDS")]
    upgrade_at: Option<u64>,
    /// Says what so many users need.
    #[arg(long, requires = "cluster")]
    users: Option<u64>,
    /// Writes a picture of the times to the first token, as SVG.
    #[arg(long, requires = "cluster", value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Prints a JSON object a line.
    #[arg(long, requires = "cluster")]
    json: bool,
}

fn policy(name: &str) -> Result<Policy, String> {
    let names: Vec<_> = Policy::ALL.iter().map(|policy| policy.name()).collect();
    Policy::from_name(name).ok_or_else(|| format!("policies are {}", names.join(", ")))
}

impl ClusterArguments {
    /// Whether a cluster is asked for.
    pub fn is_asked(&self) -> bool {
        !self.cluster.is_empty()
    }

    /// Simulates all clusters by all policies, `jobs` at a time, and returns what came of it as
    /// text. An error says what is wrong with the flags, or what happened that may not.
    pub fn simulate(&self, seed: u64, jobs: usize) -> Result<String, String> {
        let policies = if self.policy.is_empty() { Policy::ALL.to_vec() } else { self.policy.clone() };
        let mut all = Vec::new();
        for replicas in &self.cluster {
            for policy in &policies {
                let settings = self.settings(*replicas, *policy, seed)?;
                settings.check()?;
                all.push(settings);
            }
        }
        let runs = self.runs(&all, jobs)?;
        let mut text = String::new();
        if self.json {
            runs.iter().for_each(|run| text.push_str(&format!("{}\n", json(run))));
        } else {
            text.push_str(&table(&runs));
            if let Some(first_ns) = self.first_within_ns() {
                text.push_str(&rates(&runs, &|run| holds(run, first_ns)));
            }
            if let (Some(users), Some(last)) = (self.users, runs.last()) {
                text.push_str(&sum(last, users));
            }
        }
        if let Some(path) = &self.plot {
            std::fs::write(path, plot::svg(&runs)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(text)
    }

    fn first_within_ns(&self) -> Option<u64> {
        self.first_within.map(|ms| ms.saturating_mul(MILLISECOND))
    }

    fn runs(&self, all: &[Settings], jobs: usize) -> Result<Vec<Run>, String> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<Run, Failure>>>> =
            all.iter().map(|_| Mutex::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, all.len()) {
                scope.spawn(|| {
                    while let Some(settings) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = match self.first_within_ns() {
                            Some(first_ns) => greatest(settings, first_ns),
                            None => run(settings).map(|outcome| Run { settings: settings.clone(), outcome }),
                        };
                        let place = all.iter().position(|other| std::ptr::eq(other, settings)).unwrap_or(0);
                        *results[place].lock().expect("nobody panics with the lock") = Some(result);
                    }
                });
            }
        });
        let taken = results.into_iter().zip(all).map(|(result, settings)| {
            let result = result.into_inner().expect("nobody panics with the lock").expect("all were run");
            result.map_err(|failure| {
                format!("{} replicas, {}: {failure}", settings.replicas, settings.policy.name())
            })
        });
        taken.collect()
    }

    fn settings(&self, replicas: usize, policy: Policy, seed: u64) -> Result<Settings, String> {
        let [request_us, event_us] = self.front_us[..] else {
            return Err("--front-us: expected two numbers, such as 4500,600".to_owned());
        };
        if !(0.001..=1000.0).contains(&self.rate) {
            return Err(format!("--rate {}: expected 0.001 to 1000", self.rate));
        }
        let mut settings = Settings { seed, ..Settings::new(replicas.max(1), policy) };
        settings.replicas = replicas;
        let (engine, front, load) = (&mut settings.engine, &mut settings.front, &mut settings.load);
        if let Some(path) = &self.times {
            let name = |error: String| format!("--times {}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| name(error.to_string()))?;
            engine.times = Times::measured(&text).map_err(name)?;
        }
        engine.seqs_max = self.seqs;
        engine.queue_max = self.seqs.saturating_mul(8);
        engine.blocks = self.kv_tokens / 16;
        engine.interval_ns = self.interval_ms.saturating_mul(MILLISECOND);
        front.count = self.fronts.unwrap_or(front.count);
        (front.request_ns, front.event_ns) = (request_us.saturating_mul(1000), event_us.saturating_mul(1000));
        front.link_bits = self.link_mbit.saturating_mul(1_000_000);
        front.report_ns = self.report_ms.saturating_mul(MILLISECOND);
        front.slack = self.slack;
        front.hedge_ns = self.hedge_ms.saturating_mul(MILLISECOND);
        front.hedge_first_ns = front.hedge_ns.saturating_mul(4);
        load.requests = self.requests.saturating_mul(replicas);
        load.between_ns = (SECOND as f64 / self.rate) as u64 / replicas.max(1) as u64;
        load.arrivals = if self.bursty { Arrivals::Bursty } else { Arrivals::Poisson };
        if let Some(seconds) = self.faults {
            let every_ns = seconds.saturating_mul(SECOND);
            let faults = &mut settings.faults;
            (faults.kill_every_ns, faults.stop_every_ns, faults.slow_every_ns) =
                (every_ns, every_ns, every_ns);
        }
        settings.faults = FaultSettings {
            upgrade_at_ns: self.upgrade_at.unwrap_or(0).saturating_mul(SECOND),
            upgrade_wave: replicas.div_ceil(10).max(1),
            ..settings.faults
        };
        Ok(settings)
    }
}
