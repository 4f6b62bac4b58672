//! The simulator of clusters: it agrees with formulas where there are some, its checks find bugs
//! that are planted, and the policies differ as they should.
use clap::Parser;
use verbatim_tests::cluster::arguments::ClusterArguments;
use verbatim_tests::cluster::outcome::Outcome;
use verbatim_tests::cluster::policy::Policy;
use verbatim_tests::cluster::report::{Run, json, sum, table};
use verbatim_tests::cluster::run::run;
use verbatim_tests::cluster::search::greatest;
use verbatim_tests::cluster::settings::{Arrivals, MILLISECOND, SECOND, Settings, Wrong};
use verbatim_tests::cluster::times::Times;

/// A cluster of ten replicas with two requests in five seconds for each.
fn ten(policy: Policy) -> Settings {
    let mut settings = Settings::new(10, policy);
    settings.load.requests = 1500;
    settings
}

fn of(settings: &Settings) -> Outcome {
    let outcome = run(settings).unwrap_or_else(|failure| panic!("{}: {failure}", settings.policy.name()));
    assert_eq!(outcome.issued, settings.load.requests as u64);
    assert_eq!(outcome.issued, outcome.finished + outcome.failed());
    outcome
}

/// A single replica as a queue of the textbook: each of `servers` slots serves one request after
/// another, for an exponential time with a mean of 100 steps of a millisecond, whatever the others
/// do. Returns the mean time in the system in units of a mean service.
fn queue(servers: usize, load_percent: u64) -> f64 {
    let mut settings = Settings::new(1, Policy::Random);
    let (engine, front, load) = (&mut settings.engine, &mut settings.front, &mut settings.load);
    engine.times = Times::constant(MILLISECOND);
    (engine.seqs_max, engine.queue_max) = (servers, 100_000);
    (engine.context, engine.blocks) = (8192, 100_000);
    (front.request_ns, front.event_ns, front.hop_ns) = (0, 0, 0);
    front.link_bits = 1 << 40;
    (load.requests, load.turns, load.system_tokens) = (60_000, 1, 0);
    (load.question, load.answer) = (vec![4, 4], vec![100]);
    load.between_ns = 100 * MILLISECOND * 100 / load_percent / servers as u64;
    of(&settings).whole.mean_us() as f64 / 100_000.0
}

#[test]
fn a_replica_is_the_queue_that_formulas_describe() {
    // One server at half load: 1 / (1 − 0.5). At seven tenths: 1 / 0.3.
    for (load, expected) in [(50, 2.0), (70, 1.0 / 0.3)] {
        let found = queue(1, load);
        assert!((found / expected - 1.0).abs() < 0.06, "{load}%: {found:.3}, expected {expected:.3}");
    }
    // Four servers at eight tenths. Erlang's C: P(wait) = 0.5964, wait = P / (4 · 0.2).
    let (found, expected) = (queue(4, 80), 1.0 + 0.5964 / 0.8);
    assert!((found / expected - 1.0).abs() < 0.06, "{found:.3}, expected {expected:.3}");
}

#[test]
fn a_seed_decides_everything() {
    let mut settings = ten(Policy::TwoChoices);
    settings.load.arrivals = Arrivals::Bursty;
    settings.faults.kill_every_ns = 200 * SECOND;
    settings.front.hedge_ns = SECOND;
    let text = |settings: &Settings| {
        let run = Run { settings: settings.clone(), outcome: of(settings) };
        format!("{}\n{}\n{}", json(&run), table(std::slice::from_ref(&run)), sum(&run, 1_000_000))
    };
    let first = text(&settings);
    assert_eq!(first, text(&settings));
    assert!(first.contains("1000000 users"));
    settings.seed = 2;
    assert_ne!(of(&settings).hash, of(&Settings { seed: 3, ..settings.clone() }).hash);
}

#[test]
fn affinity_finds_prefixes_and_answers_sooner() {
    let [random, least, prefix, conversation] =
        [Policy::Random, Policy::LeastLoaded, Policy::Prefix, Policy::Conversation]
            .map(|policy| of(&ten(policy)));
    for other in [&random, &least] {
        assert!(conversation.hit_share() > 1.6 * other.hit_share());
        assert!(prefix.hit_share() > 1.4 * other.hit_share());
        assert!(conversation.first.per_mille_us(950) * 3 < other.first.per_mille_us(950) * 2);
    }
    // With one replica there is nothing to choose, and no policy finds more.
    let single = of(&Settings::new(1, Policy::Conversation));
    assert_eq!(single.hash, of(&Settings::new(1, Policy::Random)).hash);
    let holds = greatest(&ten(Policy::Conversation), 5 * SECOND).expect("some rate holds");
    let random = greatest(&ten(Policy::Random), 5 * SECOND).expect("some rate holds");
    assert!(holds.outcome.first.per_mille_us(950) <= 5_000_000);
    assert!(holds.settings.load.between_ns * 2 < random.settings.load.between_ns, "twice the rate at least");
}

#[test]
fn bursts_make_clients_wait() {
    let mut settings = ten(Policy::Conversation);
    settings.load.requests = 6000;
    let calm = of(&settings);
    settings.load.arrivals = Arrivals::Bursty;
    let bursty = of(&settings);
    assert!(bursty.first.mean_us() > calm.first.mean_us() * 11 / 10);
}

#[test]
fn a_replica_that_dies_loses_nothing() {
    for policy in Policy::ALL {
        let mut settings = ten(policy);
        settings.load.between_ns *= 2;
        settings.faults.kill_every_ns = 100 * SECOND;
        let outcome = of(&settings);
        assert!(outcome.kills > 20 && outcome.takeovers > 20, "{} {}", outcome.kills, outcome.takeovers);
        assert!(outcome.struck.count() > 10 && outcome.takeover_rows > 0);
        assert_eq!(outcome.failed(), 0, "{}", policy.name());
    }
}

#[test]
fn a_hedge_is_quicker_than_a_replica_that_stands_still() {
    let mut settings = ten(Policy::Conversation);
    settings.load.between_ns *= 3;
    settings.faults.stop_every_ns = 60 * SECOND;
    settings.faults.stop_for_ns = 10 * SECOND;
    let alone = of(&settings);
    assert_eq!((alone.hedges, alone.hedge_rows, alone.failed()), (0, 0, 0));
    settings.front.hedge_ns = SECOND;
    settings.front.hedge_percent = 50;
    let hedged = of(&settings);
    assert!(hedged.hedges > 20 && hedged.hedge_rows > 0 && hedged.failed() == 0);
    assert!(hedged.gap.per_mille_us(1000) < alone.gap.per_mille_us(1000));
    assert!(hedged.gap.count_above(5_000_000) * 2 < alone.gap.count_above(5_000_000));
}

#[test]
fn an_upgrade_splices_no_stream_and_cuts_none_that_may_end() {
    let mut settings = ten(Policy::Conversation);
    settings.load.between_ns *= 2;
    (settings.faults.upgrade_at_ns, settings.faults.upgrade_wave) = (60 * SECOND, 2);
    settings.faults.drain_ns = 120 * SECOND;
    let patient = of(&settings);
    assert_eq!((patient.upgrades, patient.takeovers, patient.failed()), (10, 0, 0));
    // Without time to end, streams go on at others of the old fingerprint while there are some.
    settings.faults.drain_ns = 1;
    settings.front.patience_ns = SECOND;
    let hasty = of(&settings);
    assert!(hasty.takeovers > 0 && hasty.upgrades == 10 && hasty.refused == 0);
    // Only what the last two replicas ran has nowhere to go.
    assert!(hasty.stranded <= 16, "{}", hasty.stranded);
}

#[test]
fn a_front_carries_so_many_events_and_no_more() {
    // Ten replicas with 0.4 requests a second, 160 tokens each: 2.9 ms for each token, as a slow
    // front takes, are too much for one core.
    let mut settings = ten(Policy::Conversation);
    (settings.front.request_ns, settings.front.event_ns) = (15 * MILLISECOND, 2_900_000);
    let enough = of(&settings);
    settings.front.count = 1;
    let crowded = of(&settings);
    assert!(crowded.front_max_per_mille > 950 && enough.front_max_per_mille < 500);
    assert!(crowded.gap.per_mille_us(990) > enough.gap.per_mille_us(990));
    assert!(crowded.whole.per_mille_us(500) > 2 * enough.whole.per_mille_us(500));
    // Events of several tokens relieve it.
    settings.engine.interval_ns = 200 * MILLISECOND;
    let merged = of(&settings);
    assert!(merged.events * 2 < crowded.events && merged.front_max_per_mille < 700);
    // A link of a megabit is narrower than the core.
    settings.front.link_bits = 1_000_000;
    (settings.front.request_ns, settings.front.event_ns) = (0, 0);
    assert!(of(&settings).link_max_per_mille > 500);
}

#[test]
fn full_queues_refuse_and_nothing_exceeds_what_there_is() {
    let mut settings = ten(Policy::LeastLoaded);
    settings.load.between_ns /= 20;
    settings.engine.blocks = 200;
    settings.engine.queue_max = 8;
    settings.front.patience_ns = 5 * SECOND;
    let outcome = of(&settings);
    assert!(outcome.refused > 100 && outcome.refusals > outcome.refused && outcome.preemptions > 0);
}

#[test]
fn planted_bugs_are_found() {
    let found = |wrong: Wrong, expected: &str| {
        let mut settings = ten(Policy::TwoChoices);
        settings.faults.kill_every_ns = 100 * SECOND;
        settings.faults.stop_every_ns = 100 * SECOND;
        settings.front.hedge_ns = SECOND;
        settings.front.hedge_percent = 50;
        settings.faults.upgrade_at_ns = 60 * SECOND;
        of(&settings);
        settings.wrong = Some(wrong);
        let failure = run(&settings).expect_err("the bug is found");
        assert!(failure.to_string().contains(expected), "{wrong:?}: {failure}");
    };
    found(Wrong::TakeoverSkips, "was next");
    found(Wrong::TakeoverSplices, "goes on where 0 began");
    found(Wrong::CancelLeaks, "blocks belong to nobody");
    found(Wrong::DeathForgotten, "are forgotten");
    found(Wrong::EndsTwice, "ends twice");
}

/// The flags of `verbatim-sim` that describe a cluster.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    cluster: ClusterArguments,
}

fn told(flags: &str) -> Result<String, String> {
    let words = ["verbatim-sim"].into_iter().chain(flags.split_whitespace());
    let flags = Flags::try_parse_from(words).map_err(|error| error.to_string())?;
    assert!(flags.cluster.is_asked());
    flags.cluster.simulate(1, 2)
}

#[test]
fn flags_make_tables_objects_and_pictures() {
    let plot = std::env::temp_dir().join(format!("verbatim-sim-{}.svg", std::process::id()));
    let flags = format!("--cluster 2,3 --requests 50 --policy random,conversation --plot {}", plot.display());
    let table = told(&flags).expect("the flags are right");
    assert_eq!(table.lines().count(), 2 + 4);
    assert!(table.contains("| 3 | conversation |") && !table.contains("takeovers"), "{table}");
    let picture = std::fs::read_to_string(&plot).expect("it was written");
    std::fs::remove_file(&plot).expect("it was there");
    assert_eq!((picture.matches("<polyline").count(), picture.contains("NaN")), (4, false));
    let faulty = "--cluster 4 --requests 100 --policy prefix --faults 100 --hedge-ms 500 --upgrade-at 60 --bursty --json";
    let object: serde_json::Value =
        serde_json::from_str(&told(faulty).expect("they are right")).expect("an object");
    assert!(object["faults"]["kills"].as_u64() > Some(0) && object["hedges"].as_u64() > Some(0), "{object}");
    assert_eq!(object["requests"], 400);
    let found =
        told("--cluster 2 --requests 60 --policy random --first-within 8000 --users 1000").expect("a rate");
    assert!(found.contains("requests/s a replica |") && found.contains("1000 users"), "{found}");
    assert!(
        told("--cluster 2 --requests 60 --policy random --first-within 9")
            .expect("none")
            .contains("under 0.02")
    );
    for (flags, why) in [
        ("--cluster 2 --policy best", "policies are random"),
        ("--cluster 0", "replicas: 0"),
        ("--cluster 2 --rate 0", "--rate 0"),
        ("--cluster 2 --front-us 5", "--front-us"),
        ("--cluster 2 --kv-tokens 100", "KV blocks: 6"),
        ("--cluster 2 --hedge-ms 18446744073709551615", "until a hedge"),
        ("--cluster 2 --times /nowhere", "--times /nowhere"),
        ("--cluster 2 --requests 9999999", "requests: 19999998"),
    ] {
        assert!(told(flags).expect_err("they are wrong").contains(why), "{flags}");
    }
}

#[test]
fn what_cannot_be_simulated_is_said() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = ten(Policy::Random);
        change(&mut settings);
        run(&settings).expect_err("out of range").what
    };
    assert_eq!(refused(&|settings| settings.replicas = 1001), "replicas: 1001, expected 1 to 1000");
    assert!(refused(&|settings| settings.load.requests = 0).starts_with("requests: 0"));
    assert!(refused(&|settings| settings.engine.blocks = 10).starts_with("KV blocks: 10"));
    assert!(refused(&|settings| settings.load.answer = vec![5, 1]).starts_with("quantiles of the answer"));
}
