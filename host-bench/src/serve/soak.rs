//! A load that lasts: clients that ask, leave in the middle, and fail; every answer must equal the
//! first one to its request, and the server's memory must stay as it is.
use super::asks::{Ask, draws, unit};
use super::client::{Client, Endpoint, Leave, Streamed};
use super::measure::{Repeats, Sample};
use super::options::SoakArgs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use verbatim_tests::draws::Draws;
use verbatim_tests::http::watched::Watched;

/// How often the server's memory is read.
const WATCH: Duration = Duration::from_secs(1);
/// Samples that are kept for quantiles of a load that may have millions.
const SAMPLES: usize = 200_000;

/// What became of a soak.
#[derive(Debug, Default)]
pub(super) struct Soaked {
    /// The first requests that ran to their end.
    pub(super) samples: Vec<Sample>,
    /// Requests that were sent whole, whether or not their clients stayed.
    pub(super) requests: usize,
    /// Clients that left in the middle of a stream.
    pub(super) left: usize,
    /// Turns in which a client failed on purpose.
    pub(super) faults: usize,
    pub(super) repeats: Repeats,
    /// Bytes of the server's memory, second by second.
    pub(super) memory: Vec<f64>,
    /// Whether the server was there to the end, as far as it was watched.
    pub(super) has_died: bool,
}

/// What a client does in one turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Ask(Option<Leave>),
    /// Sends a share of a request, or noise, and is gone.
    Fail {
        share: f64,
        is_noise: bool,
        by_reset: bool,
    },
}

fn turn(draws: &mut Draws, args: &SoakArgs, ask: &Ask) -> Turn {
    if unit(draws) < args.faults {
        // A whole request whose client is gone before the answer is one of these, too.
        let share = (unit(draws) * 1.25).min(1.0);
        return Turn::Fail { share, is_noise: draws.below(8) == 0, by_reset: draws.below(2) == 0 };
    }
    let leave = unit(draws) < args.cancels;
    let by_reset = draws.below(2) == 0;
    let at_event = 1 + draws.below(ask.max_tokens);
    Turn::Ask(leave.then_some(Leave { at_event, by_reset }))
}

fn fail(endpoint: &Endpoint, body: &str, draws: &mut Draws, turn: Turn) {
    let Turn::Fail { share, is_noise, by_reset } = turn else { return };
    let mut bytes = endpoint.stream_request(body);
    bytes.truncate((share * bytes.len() as f64) as usize);
    if is_noise {
        bytes.iter_mut().for_each(|byte| *byte = draws.bits() as u8);
    }
    // A server may have closed a connection that began with noise.
    let _ = endpoint.send_and_leave(&bytes, by_reset);
}

/// Asks for as long as `args` says. `alone` holds the first answer to each of `asks`.
pub(super) fn run(
    endpoint: &Endpoint,
    model: &str,
    (asks, alone): (&[Ask], &[Streamed]),
    args: &SoakArgs,
    (clients, seed): (usize, u64),
) -> Soaked {
    let bodies: Vec<String> = asks.iter().map(|ask| ask.body(model, endpoint.is_chat)).collect();
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(60.0 * args.soak_minutes.unwrap_or(0.0));
    let soaked = Mutex::new(Soaked::default());
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let locked = || soaked.lock().unwrap_or_else(PoisonError::into_inner);
    let client = |number: usize| {
        let mut draws = draws(seed, 0x736f616b + number as u64);
        let mut client = Client::new(endpoint);
        while Instant::now() < end && !locked().has_died {
            let at = next.fetch_add(1, Ordering::Relaxed) % asks.len();
            let turn = turn(&mut draws, args, &asks[at]);
            let Turn::Ask(leave) = turn else {
                fail(endpoint, &bodies[at], &mut draws, turn);
                locked().faults += 1;
                continue;
            };
            let due = Instant::now();
            let (streamed, fault) = client.stream(&bodies[at], leave);
            let ended = Instant::now();
            let has_fault = fault.is_some();
            {
                let mut soaked = locked();
                soaked.requests += 1;
                soaked.left += usize::from(streamed.has_left);
                if !has_fault {
                    soaked.repeats.add(at, &streamed, &alone[at]);
                }
                if soaked.samples.len() < SAMPLES {
                    let kept = Streamed { text: String::new(), ..streamed };
                    soaked.samples.push(Sample::new(at, kept, fault, (start, due, ended)));
                }
            }
            if has_fault {
                // A server that refuses is not asked again at once.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    };
    std::thread::scope(|scope| {
        if let Some(process) = args.pid.map(Watched) {
            let (is_over, soaked) = (&is_over, &soaked);
            scope.spawn(move || watch(process, is_over, soaked));
        }
        let client = &client;
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        for thread in threads {
            let _ = thread.join();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    soaked.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the server's memory until the soak is over.
fn watch(process: Watched, is_over: &AtomicBool, soaked: &Mutex<Soaked>) {
    while !is_over.load(Ordering::Relaxed) {
        let bytes = process.resident_bytes().filter(|_| process.is_alive());
        let mut soaked = soaked.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Some(bytes) => soaked.memory.push(bytes as f64),
            None => {
                soaked.has_died = true;
                return;
            }
        }
        drop(soaked);
        std::thread::sleep(WATCH);
    }
}

/// How far memory has moved: the median of the last fifth over that of the second fifth, less 1.
/// The first fifth is the server's time to reach its size.
pub(super) fn drift(memory: &[f64]) -> f64 {
    let fifth = memory.len() / 5;
    if fifth == 0 {
        return 0.0;
    }
    let median = |part: &[f64]| crate::report::median(part.to_vec());
    median(&memory[memory.len() - fifth..]) / median(&memory[fifth..2 * fifth]) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_seen() {
        let flat: Vec<f64> = (0..100).map(|i| 100.0 + f64::from(i % 3)).collect();
        assert!(drift(&flat).abs() < 0.02);
        let warm: Vec<f64> = (0..100).map(|i| if i < 15 { f64::from(i) } else { 100.0 }).collect();
        assert_eq!(drift(&warm), 0.0);
        let grows: Vec<f64> = (0..100).map(|i| 100.0 + f64::from(i) * 0.1).collect();
        assert!(drift(&grows) > 0.02);
        assert_eq!(drift(&[1.0]), 0.0);
    }

    #[test]
    fn turns_are_those_of_their_seed() {
        let args = SoakArgs { soak_minutes: Some(1.0), cancels: 0.3, faults: 0.2, pid: None };
        let ask = super::super::asks::drawn(&super::super::asks::tests::args(), 1, 0).remove(0);
        let turns = |seed: u64| {
            let mut draws = draws(seed, 1);
            (0..1000).map(|_| turn(&mut draws, &args, &ask)).collect::<Vec<_>>()
        };
        assert_eq!(turns(1), turns(1));
        assert_ne!(turns(1), turns(2));
        let count = |is: fn(&Turn) -> bool| turns(1).iter().filter(|turn| is(turn)).count();
        assert!((150..250).contains(&count(|turn| matches!(turn, Turn::Fail { .. }))));
        assert!((180..300).contains(&count(|turn| matches!(turn, Turn::Ask(Some(_))))));
        let in_answer = |turn: &Turn| match turn {
            Turn::Ask(Some(leave)) => (1..=ask.max_tokens).contains(&leave.at_event),
            _ => true,
        };
        assert!(turns(1).iter().all(in_answer));
    }
}
