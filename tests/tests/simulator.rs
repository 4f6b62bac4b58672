//! A fixed set of seeds of the simulator. `verbatim-sim` goes on from there; its `--help` says how.
use verbatim_tests::sim::options::Setup;
use verbatim_tests::sim::report::{Summary, story};
use verbatim_tests::sim::run::run;
use verbatim_tests::sim::shrink::shrink;

const STEPS: u64 = 300;

/// The hash of every event and every planned row of the seeds below. It depends on nothing but the
/// source: not on the instruction set, not on threads. Whatever moves it has changed which rows a
/// step has or what they yield, and says so in its commit.
const EVENT_HASH: u64 = 0x5aca_f44a_e1c9_e9a9;

/// Runs seeds; a failure is shrunk and told.
fn seeds(range: std::ops::Range<u64>) -> Summary {
    let mut summary = Summary::default();
    for seed in range {
        let setup = Setup::new(seed, STEPS);
        match run(&setup) {
            Ok(outcome) => summary.add(&outcome),
            Err(failure) => panic!("{}", story(&setup, &shrink(&setup, &failure), None)),
        }
    }
    summary
}

#[test]
fn no_schedule_changes_a_bit_and_every_kind_of_event_is_reached() {
    // Two threads, as on the machine that this is made for.
    let halves = std::thread::scope(|scope| {
        let handles = [1..33, 33..65].map(|range| scope.spawn(|| seeds(range)));
        handles.map(|handle| handle.join())
    });
    let mut summary = Summary::default();
    for half in halves {
        match half {
            Ok(half) => summary.merge(&half),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    let mut text = String::new();
    summary.print(&mut text, None).expect("a string takes it");
    println!("{text}");
    assert_eq!(summary.shortcomings(), Vec::<String>::new(), "{text}");
    assert_eq!(
        summary.total.log_hash, EVENT_HASH,
        "the hash of all events is {:#018x}, expected {EVENT_HASH:#018x}",
        summary.total.log_hash
    );
}

#[test]
fn a_seed_makes_the_same_events_whenever_it_runs() {
    for seed in [2, 5, 9, 14] {
        let setup = Setup::new(seed, 150);
        let hashes = [(); 2].map(|()| run(&setup).expect("a run that does not fail").log_hash);
        assert_eq!(hashes[0], hashes[1], "seed {seed}");
    }
}
