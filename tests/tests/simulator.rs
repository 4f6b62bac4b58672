//! A fixed set of seeds of the simulator. `verbatim-sim` goes on from there; its `--help` says how.
use verbatim_tests::draws::Draws;
use verbatim_tests::sim::options::{Over, Setup};
use verbatim_tests::sim::report::{Summary, story};
use verbatim_tests::sim::run::run;
use verbatim_tests::sim::shrink::shrink;

const STEPS: u64 = 300;

/// The hash of every event and every planned row of the seeds below. It depends on nothing but the
/// source: not on the instruction set, not on threads. Whatever moves it has changed which rows a
/// step has or what they yield, and says so in its commit.
const EVENT_HASH: u64 = 0x62a1_64f3_c545_89d8;

/// Runs seeds; a failure is shrunk and told.
fn seeds(range: std::ops::Range<u64>, over: Over) -> Summary {
    let mut summary = Summary::default();
    for seed in range {
        let setup = Setup { over, ..Setup::new(seed, STEPS) };
        match run(&setup) {
            Ok(outcome) => summary.add(&outcome),
            Err(failure) => panic!("{}", story(&setup, &shrink(&setup, &failure), None)),
        }
    }
    summary
}

/// Runs all of them. Two threads, as on the machine that this is made for.
fn all_seeds(over: Over) -> Summary {
    let halves = std::thread::scope(|scope| {
        let handles = [1..33, 33..65].map(|range| scope.spawn(|| seeds(range, over)));
        handles.map(|handle| handle.join())
    });
    let mut summary = Summary::default();
    for half in halves {
        match half {
            Ok(half) => summary.merge(&half),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    summary
}

#[test]
fn no_schedule_changes_a_bit_and_every_kind_of_event_is_reached() {
    let summary = all_seeds(Over::Cpu);
    let mut text = String::new();
    summary.print(&mut text, None).expect("a string takes it");
    println!("{text}");
    assert_eq!(summary.shortcomings(), Vec::<String>::new(), "{text}");
    assert_hash(&summary);
}

fn assert_hash(summary: &Summary) {
    assert_eq!(
        summary.total.log_hash, EVENT_HASH,
        "the hash of all events is {:#018x}, expected {EVENT_HASH:#018x}",
        summary.total.log_hash
    );
}

/// On a heap and a thread of its own, as late as dependencies allow, in another order: the same
/// answers, and the same events.
#[test]
fn a_runner_that_shares_nothing_with_the_engine_makes_the_same_events() {
    assert_hash(&all_seeds(Over::Late { lost_at: None }));
}

/// Lost at a command that is drawn: every choice that runs ends, the engine goes on with another
/// runner, and who was cut short is resumed elsewhere to the same bits.
#[test]
fn a_lost_device_ends_those_that_run_and_they_are_resumed_to_the_same_bits() {
    let mut draws = Draws::new(27);
    let mut lost = 0;
    for seed in 65..97 {
        let lost_at = Some(draws.below(600) as u64);
        let setup = Setup { over: Over::Late { lost_at }, ..Setup::new(seed, 120) };
        match run(&setup) {
            Ok(outcome) => lost += outcome.lost,
            Err(failure) => panic!("{}", story(&setup, &shrink(&setup, &failure), None)),
        }
    }
    assert!(lost > 64, "only {lost} choices were cut short");
}

#[test]
fn a_seed_makes_the_same_events_whenever_it_runs() {
    for seed in [2, 5, 9, 14] {
        let setup = Setup::new(seed, 150);
        let hashes = [(); 2].map(|()| run(&setup).expect("a run that does not fail").log_hash);
        assert_eq!(hashes[0], hashes[1], "seed {seed}");
    }
}
