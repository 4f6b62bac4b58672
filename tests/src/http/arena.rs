//! A server with good clients and the probe of its health, which faces one attack after another.
use super::attacks::target::{Attack, Scale, Target};
use super::crowd::Tally;
use super::good::{GoodClients, Probe, Seen, percentile};
use super::watched::{Holdings, Watched};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a good client may take to get one more answer after an attack.
const RECOVERY: Duration = Duration::from_secs(60);

/// What an attack did to the server and its good clients.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the attack.
    pub attack: &'static str,
    /// Whether the server's process has ended.
    pub has_died: bool,
    /// What the attackers were answered.
    pub tally: Tally,
    /// What was wrong with these answers.
    pub complaint: Option<String>,
    /// What good clients saw, until one of them had an answer that ended after the attack.
    pub seen: Seen,
    /// The 99th percentile of gaps between tokens without an attack, in milliseconds.
    pub idle_gap_ms: f64,
    /// The longest time that /health took, in milliseconds.
    pub health_ms: f64,
    /// Answers of /health that were not 200, or did not come.
    pub health_failures: Vec<String>,
    /// Bytes of resident memory right after the attack.
    pub resident_bytes: usize,
    /// How long the attack took.
    pub seconds: f64,
}

impl Outcome {
    /// The 99th percentile of gaps between tokens during the attack, in milliseconds.
    pub fn gap_ms(&self) -> f64 {
        percentile(&self.seen.gaps_ms, 0.99)
    }

    /// What is wrong whatever the machine: a death, a token lost, other bits, no answer from
    /// /health, or attackers who got what they should not.
    pub fn faults(&self) -> Vec<String> {
        let Seen { lost_tokens, wrong, whole, ref why, .. } = self.seen;
        let mut faults = Vec::new();
        let mut fault = |is_one: bool, what: String| {
            if is_one {
                faults.push(format!("{}: {what}", self.attack));
            }
        };
        let why = why.as_deref().unwrap_or_default();
        fault(self.has_died, "the server died".to_owned());
        fault(lost_tokens > 0, format!("good streams lost {lost_tokens} tokens: {why}"));
        fault(wrong > 0, format!("{wrong} good answers have other bits: {why}"));
        fault(whole == 0, format!("no good answer came whole: {why}"));
        let failures = &self.health_failures;
        fault(
            !failures.is_empty(),
            format!("/health failed {} times: {:?}", failures.len(), failures.first()),
        );
        if let Some(complaint) = &self.complaint {
            fault(true, format!("{complaint} ({})", self.tally));
        }
        faults
    }
}

/// A server under attack.
#[derive(Debug)]
pub struct Arena {
    address: SocketAddr,
    process: Watched,
    good: GoodClients,
    probe: Probe,
    scale: Scale,
    /// What the server held when good clients had just begun.
    pub at_start: Holdings,
}

impl Arena {
    /// Lets good clients begin at a server, which must be this one's process.
    ///
    /// # Errors
    /// If good clients are not served although nobody attacks.
    pub fn open(address: SocketAddr, process: Watched, scale: Scale) -> Result<Self, String> {
        let good = GoodClients::start(address, 3)?;
        let probe = Probe::start(address);
        let mut seen = Seen::default();
        for _ in 0..3 {
            good.wait_for_one(&mut seen, RECOVERY);
        }
        let at_start = process.holdings().ok_or("the server ended before any attack")?;
        Ok(Self { address, process, good, probe, scale, at_start })
    }

    /// Waits, and returns the 99th percentile of good clients' gaps in milliseconds.
    pub fn idle_gap_ms(&self, duration: Duration) -> f64 {
        self.good.take();
        std::thread::sleep(duration);
        percentile(&self.good.take().gaps_ms, 0.99)
    }

    /// Attacks once. The gap without an attack was measured by [`Self::idle_gap_ms`].
    pub fn face(&self, attack: &Attack, idle_gap_ms: f64) -> Outcome {
        self.good.take();
        self.probe.take();
        let start = Instant::now();
        let result = (attack.run)(&Target { address: self.address, scale: self.scale });
        let seconds = start.elapsed().as_secs_f64();
        let mut seen = self.good.take();
        let resident_bytes = self.process.resident_bytes().unwrap_or(0);
        if self.process.is_alive() {
            self.good.wait_for_one(&mut seen, RECOVERY);
        }
        let probed = self.probe.take();
        let (tally, complaint) = match result {
            Ok(tally) => (tally, None),
            Err((tally, complaint)) => (tally, Some(complaint)),
        };
        Outcome {
            attack: attack.name,
            has_died: !self.process.is_alive(),
            tally,
            complaint,
            seen,
            idle_gap_ms,
            health_ms: probed.worst_ms,
            health_failures: probed.failures,
            resident_bytes,
            seconds,
        }
    }

    /// Ends the good clients, and waits until the server holds no more than at the start: no
    /// descriptor and no thread (of those that served its clients), and at most `memory` times its
    /// memory. Returns what it holds in the end.
    ///
    /// # Errors
    /// If it holds more after `patience`, or has ended.
    pub fn close(self, memory: f64, patience: Duration) -> Result<Holdings, String> {
        let Self { process, good, probe, at_start, .. } = self;
        drop((good, probe));
        let most = (at_start.resident_bytes as f64 * memory) as usize;
        let is_back = |held: &Holdings| {
            held.descriptor_count <= at_start.descriptor_count
                && held.thread_count <= at_start.thread_count
                && held.resident_bytes <= most
        };
        let held = process.wait_until(patience, is_back).ok_or("the server ended")?;
        if is_back(&held) { Ok(held) } else { Err(format!("it holds {held}; at the start {at_start}")) }
    }
}
