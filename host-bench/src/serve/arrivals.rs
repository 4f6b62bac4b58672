//! When requests are sent: by clients one after another, or at times of their own, whether or not
//! earlier ones have ended. Runs the load and returns a sample for each request.
use super::asks::{Ask, draws, unit};
use super::client::{Client, Endpoint};
use super::measure::Sample;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of the stack of a client's thread.
const STACK_BYTES: usize = 512 << 10;

/// When the requests of a load are sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// So many clients, each of which asks again when it has its answer.
    Clients(usize),
    /// At these seconds from the start; so many at most are under way, the others wait.
    Times { at_s: Vec<f64>, in_flight: usize },
}

/// Times of a Poisson process with so many arrivals a second, in the mean.
pub(super) fn poisson(seed: u64, rate: f64, count: usize) -> Vec<f64> {
    let mut draws = draws(seed, 0x74696d65);
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            at -= (1.0 - unit(&mut draws)).ln() / rate;
            at
        })
        .collect()
}

/// One request of a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    /// Which of the distinct requests it is.
    pub(super) number: usize,
    pub(super) ask: &'a Ask,
}

/// Asks once, and measures from `due`.
fn sample(client: &mut Client<'_>, body: &str, number: usize, (start, due): (Instant, Instant)) -> Sample {
    let (streamed, fault) = client.stream(body, None);
    Sample::new(number, streamed, fault, (start, due, Instant::now()))
}

/// Sends all requests as they arrive, and waits for their answers.
pub(super) fn run(endpoint: &Endpoint, model: &str, jobs: &[Job<'_>], arrivals: &Arrivals) -> Vec<Sample> {
    // Bodies are made before the clock starts.
    let bodies: Vec<String> = jobs.iter().map(|job| job.ask.body(model, endpoint.is_chat)).collect();
    let samples = Mutex::new(Vec::with_capacity(jobs.len()));
    let push = |sample| samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    match arrivals {
        Arrivals::Clients(count) => {
            let next = AtomicUsize::new(0);
            let start = Instant::now();
            let client = || {
                let mut client = Client::new(endpoint);
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(i) else { return };
                    push(sample(&mut client, &bodies[i], job.number, (start, Instant::now())));
                }
            };
            in_threads((*count).min(jobs.len()), &client);
        }
        Arrivals::Times { at_s, in_flight } => {
            let queue = Queue::default();
            let start = Instant::now();
            let client = || {
                let mut client = Client::new(endpoint);
                while let Some(i) = queue.pop() {
                    let due = start + Duration::from_secs_f64(at_s[i]);
                    push(sample(&mut client, &bodies[i], jobs[i].number, (start, due)));
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for (i, at) in at_s.iter().enumerate().take(jobs.len()) {
                        let due = start + Duration::from_secs_f64(*at);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        queue.push(i);
                    }
                    queue.close();
                });
                in_threads((*in_flight).min(jobs.len()), &client);
            });
        }
    }
    let mut samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    samples.sort_by(|a, b| a.due_s.total_cmp(&b.due_s));
    samples
}

/// Runs the same on so many threads and waits for all.
fn in_threads(count: usize, run: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            // With fewer threads than asked for, requests wait, and their wait is measured.
            if thread.spawn_scoped(scope, run).is_err() {
                eprintln!("note: the system gives no more threads");
                break;
            }
        }
    });
}

/// Numbers of requests that are due, until it is closed.
#[derive(Debug, Default)]
struct Queue {
    due: Mutex<(VecDeque<usize>, bool)>,
    changed: Condvar,
}

impl Queue {
    fn push(&self, i: usize) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(i);
        self.changed.notify_one();
    }

    fn close(&self) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// The next request that is due; none when there will be no more.
    fn pop(&self) -> Option<usize> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(i) = due.0.pop_front() {
                return Some(i);
            }
            if due.1 {
                return None;
            }
            due = self.changed.wait(due).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_times_are_those_of_their_seed_and_rate() {
        let times = poisson(3, 50.0, 5000);
        assert_eq!(times, poisson(3, 50.0, 5000));
        assert_ne!(times, poisson(4, 50.0, 5000));
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        let rate = 5000.0 / times[4999];
        assert!((47.0..53.0).contains(&rate), "{rate}");
        // Half of the gaps are shorter than ln 2 over the rate.
        let short = times.windows(2).filter(|pair| pair[1] - pair[0] < std::f64::consts::LN_2 / 50.0).count();
        assert!((2400..2600).contains(&short), "{short}");
    }
}
