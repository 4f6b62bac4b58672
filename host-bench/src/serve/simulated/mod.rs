//! A server beside its simulation: both are asked the same conversations at the same times, and
//! what clients wait for is told of both.
//!
//! The simulation is that of `verbatim-sim --cluster` with one replica and no front but the
//! server's own HTTP; [`talk`](mod@talk) is the real side.
mod talk;

use super::super::report::{Line, Report};
use super::client::Endpoint;
use super::measure::Sample;
use std::path::PathBuf;
use std::time::Duration;
use talk::{Texts, talk};
use verbatim_tests::cluster::histogram::Histogram;
use verbatim_tests::cluster::policy::Policy;
use verbatim_tests::cluster::run::run;
use verbatim_tests::cluster::script::script;
use verbatim_tests::cluster::settings::{FrontSettings, LoadSettings, MILLISECOND, SECOND, Settings};
use verbatim_tests::cluster::times::Times;

/// CPU time of the server for a request and for an event of a stream, which `verbatim-bench http`
/// measures: what stands in the simulation's place of a front.
const REQUEST_NS: u64 = 40_000;
const EVENT_NS: u64 = 10_000;
/// The server's --max-queue, if nobody says otherwise.
const QUEUE_MAX: usize = 64;
/// Conversations at most; each has a thread that sleeps.
const CONVERSATIONS_MAX: u32 = 1000;

/// A server beside its simulation.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SimulatedArgs {
    /// Where the server listens, such as http://127.0.0.1:8080. Start it anew for each comparison,
    /// with --speculate off: its cache is empty in the simulation, which drafts nothing.
    url: String,
    /// What `verbatim-bench model --json` printed of the server's model, in its formats and with
    /// its threads.
    #[arg(long, value_name = "FILE")]
    times: PathBuf,
    /// Conversations to have, of four turns in the mean.
    #[arg(long, default_value_t = 30)]
    conversations: u32,
    /// Requests that come in a second, in the mean.
    #[arg(long, default_value_t = 0.3)]
    rate: f64,
    /// Milliseconds from an answer to the next question, in the mean.
    #[arg(long, default_value_t = 15_000)]
    think_ms: u64,
    /// Seed of the conversations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sequences that run at once, the server's --max-seqs.
    #[arg(long, default_value_t = 8)]
    max_seqs: usize,
    /// Rows of a step at most, the server's --max-rows.
    #[arg(long, default_value_t = 512)]
    max_rows: u32,
    /// Milliseconds of a step with a prompt in it, the server's --step-ms.
    #[arg(long, default_value_t = 200)]
    step_ms: u64,
    /// Tokens that its cache holds, the server's --kv-tokens.
    #[arg(long, default_value_t = 16_384)]
    kv_tokens: u32,
    /// Seconds without a byte after which a request has failed.
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
}

/// What the clients of one side waited for, in requests behind the first fifth, and in all.
#[derive(Clone, Debug)]
struct Figures {
    first: Histogram,
    gap: Histogram,
    whole: Histogram,
    /// The share of prompts that was found in the cache, 0 to 1.
    hit_share: f64,
    /// From the first request to the last answer.
    seconds: f64,
    /// Steps of the engine, and the seconds that they took in all; `None` where a server does not
    /// tell.
    steps: Option<(f64, f64)>,
}

/// The figures of both sides of one load.
#[derive(Clone, Debug)]
struct Compared {
    server: Figures,
    simulated: Figures,
}

impl SimulatedArgs {
    /// The simulation of a server with so many positions of context.
    fn settings(&self, context: u32) -> Result<Settings, String> {
        if !(0.001..=1000.0).contains(&self.rate) {
            return Err(format!("--rate {}: expected 0.001 to 1000", self.rate));
        }
        if !(1..=CONVERSATIONS_MAX).contains(&self.conversations) {
            return Err(format!("--conversations {}: expected 1 to {CONVERSATIONS_MAX}", self.conversations));
        }
        let wrong = |error: String| format!("--times {}: {error}", self.times.display());
        let text = std::fs::read_to_string(&self.times).map_err(|error| wrong(error.to_string()))?;
        let mut settings = Settings { seed: self.seed, ..Settings::new(1, Policy::Random) };
        let (engine, load) = (&mut settings.engine, &mut settings.load);
        engine.times = Times::measured(&text).map_err(wrong)?;
        (engine.seqs_max, engine.queue_max) = (self.max_seqs, QUEUE_MAX);
        (engine.rows_max, engine.step_ns) = (self.max_rows, self.step_ms.saturating_mul(MILLISECOND));
        (engine.blocks, engine.context) = (self.kv_tokens / 16, context);
        load.conversations = self.conversations;
        load.between_ns = (SECOND as f64 / self.rate) as u64;
        load.think_ns = self.think_ms.saturating_mul(MILLISECOND);
        settings.front = FrontSettings {
            request_ns: REQUEST_NS,
            event_ns: EVENT_NS,
            link_bits: 1 << 42,
            hop_ns: 0,
            report_ns: 0,
            ..FrontSettings::on_ray(1)
        };
        Ok(settings)
    }

    /// Asks the server, and simulates the same.
    fn compare(&self) -> Result<Compared, String> {
        let endpoint = Endpoint::new(&self.url, None, false, Duration::from_secs(self.timeout_s.max(1)))?;
        let listed = endpoint.first_listed()?;
        let number = |place: &str| listed.pointer(place).and_then(serde_json::Value::as_u64);
        let (Some(model), Some(context), Some(vocabulary)) =
            (listed["id"].as_str(), number("/max_model_len"), number("/meta/n_vocab"))
        else {
            return Err(format!("{}: /v1/models has no `max_model_len` and `meta.n_vocab`", self.url));
        };
        let mut settings = self.settings(u32::try_from(context).unwrap_or(u32::MAX))?;
        let script = script(&settings.load, settings.seed, settings.engine.context);
        settings.load.requests = script.iter().map(|one| one.turns.len()).sum();
        // Before the server is asked, which takes minutes: the flags may be wrong.
        let outcome = run(&settings).map_err(|failure| format!("the simulation: {failure}"))?;
        let texts = Texts {
            seed: self.seed,
            system_tokens: settings.load.system_tokens,
            vocabulary: u32::try_from(vocabulary).unwrap_or(u32::MAX),
        };
        let before = steps(&endpoint);
        let samples = talk(&endpoint, model, &script, texts)?;
        let simulated = Figures {
            hit_share: outcome.hit_share(),
            seconds: outcome.elapsed_ns as f64 / 1e9,
            steps: Some((outcome.steps as f64, outcome.steps_ns as f64 / 1e9)),
            first: outcome.first,
            gap: outcome.gap,
            whole: outcome.whole,
        };
        let mut server = figures(&samples, &settings.load)?;
        let since = |((count, took), (from, before)): ((f64, f64), (f64, f64))| (count - from, took - before);
        server.steps = steps(&endpoint).zip(before).map(since);
        Ok(Compared { server, simulated })
    }
}

/// Steps of a server of ours so far, and the seconds that they took.
fn steps(endpoint: &Endpoint) -> Option<(f64, f64)> {
    Some((endpoint.metric("verbatim:steps_total")?, endpoint.metric("verbatim:step_seconds_sum")?))
}

/// The figures of a server's answers, but for its steps. An error if a request failed: its
/// conversation had no further turns then, and the rest was another load.
fn figures(samples: &[Sample], load: &LoadSettings) -> Result<Figures, String> {
    let mut faults = samples.iter().filter_map(|sample| sample.fault.as_ref());
    if let Some(fault) = faults.next() {
        return Err(format!("{} of {} requests failed: {fault:?}", 1 + faults.count(), load.requests));
    }
    let [mut first, mut gap, mut whole] = [(); 3].map(|()| Histogram::default());
    let ns = |ms: f64| (ms * 1e6) as u64;
    let (mut prompts, mut cached) = (0, 0);
    for sample in samples.iter().filter(|sample| sample.number >= load.first_that_counts()) {
        sample.first_ms.iter().for_each(|ms| first.note_ns(ns(*ms)));
        sample.gaps_ms.iter().for_each(|ms| gap.note_ns(ns(*ms)));
        whole.note_ns(ns((sample.end_s - sample.due_s) * 1e3));
        prompts += sample.streamed.usage.map_or(0, |(prompt, _)| prompt);
        cached += sample.streamed.cached.unwrap_or(0);
    }
    let seconds = samples.iter().map(|sample| sample.end_s).fold(0.0, f64::max);
    Ok(Figures { first, gap, whole, hit_share: cached as f64 / prompts.max(1) as f64, seconds, steps: None })
}

/// Asks a server and simulates it, and prints both.
pub(crate) fn report(args: &SimulatedArgs, json: bool) -> Result<(), String> {
    let report = Report::of_server("simulated", json);
    let Compared { server, simulated } = args.compare()?;
    let beside = |case: String, simulated: f64, server: f64, unit: &'static str| {
        report.line(&Line::new(case, simulated, unit).peer("the server's", server));
    };
    report.line(&Line::new("requests that count", simulated.first.count() as f64, ""));
    for (what, simulated, server) in [
        ("first token", &simulated.first, &server.first),
        ("gap", &simulated.gap, &server.gap),
        ("whole answer", &simulated.whole, &server.whole),
    ] {
        for (name, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990)] {
            let ms = |times: &Histogram| times.per_mille_us(per_mille) as f64 / 1e3;
            beside(format!("{what}, {name}"), ms(simulated), ms(server), "ms");
        }
        let ms = |times: &Histogram| times.mean_us() as f64 / 1e3;
        beside(format!("{what}, mean"), ms(simulated), ms(server), "ms");
    }
    beside("found in the cache".to_owned(), 100.0 * simulated.hit_share, 100.0 * server.hit_share, "%");
    beside("time in all".to_owned(), simulated.seconds, server.seconds, "s");
    if let Some(((ours, ours_s), (steps, steps_s))) = simulated.steps.zip(server.steps) {
        beside("steps".to_owned(), ours, steps, "");
        beside("a step, mean".to_owned(), 1e3 * ours_s / ours.max(1.0), 1e3 * steps_s / steps.max(1.0), "ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Ill, fake};
    use super::*;

    fn args(url: &str) -> SimulatedArgs {
        SimulatedArgs {
            url: url.to_owned(),
            times: concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/cluster/tinyllama-int8.jsonl").into(),
            conversations: 6,
            rate: 1000.0,
            think_ms: 1,
            seed: 3,
            max_seqs: 8,
            max_rows: 512,
            step_ms: 200,
            kv_tokens: 16_384,
            timeout_s: 60,
        }
    }

    #[test]
    fn both_sides_are_asked_the_same() {
        let server = fake(Ill::Nothing);
        let Compared { server, simulated } = args(&server.url).compare().unwrap();
        let counts = |figures: &Figures| [figures.first.count(), figures.whole.count()];
        assert_eq!(counts(&server), counts(&simulated));
        assert!(server.first.count() > 6 && server.gap.count() > 100 && server.seconds > 0.0);
        // The server that answers says of each prompt that 16 tokens were cached.
        assert!(server.hit_share > 0.0 && server.hit_share < 0.1, "{}", server.hit_share);
        assert!(simulated.hit_share > 0.3);
        // It tells how many steps it made, but not what they took.
        assert!(server.steps.is_none() && simulated.steps.is_some_and(|(count, seconds)| count > seconds));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |args: &SimulatedArgs| args.compare().unwrap_err();
        let cuts = fake(Ill::Cuts);
        assert!(error(&args(&cuts.url)).contains("requests failed: Cut"));
        let healthy = fake(Ill::Nothing);
        let right = args(&healthy.url);
        assert!(error(&SimulatedArgs { rate: 0.0, ..right.clone() }).contains("--rate 0"));
        assert!(error(&SimulatedArgs { conversations: 0, ..right.clone() }).contains("--conversations 0"));
        assert!(error(&SimulatedArgs { times: "/nowhere".into(), ..right.clone() }).contains("/nowhere"));
        assert!(error(&SimulatedArgs { kv_tokens: 64, ..right }).contains("KV blocks: 4"));
    }
}
