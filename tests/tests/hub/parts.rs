//! Files that come in parts, over connections that break, from servers that say other things than
//! they do.
use super::{Bench, PART, assert_holds, of_store, sent_by_store, tiny, weights};
use std::collections::BTreeSet;
use std::time::Duration;
use verbatim::hub::{Hub, PullPlan, Unwatched};
use verbatim::load::RepositoryName;
use verbatim_tests::hub::repository::COMMIT;
use verbatim_tests::hub::{Does, FakeHub, Side};

#[test]
fn a_model_comes_in_parts_and_only_once() {
    let repository = tiny();
    let (bytes, _) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    let folder = bench.pull("org/tiny").unwrap();
    assert!(folder.ends_with(format!("models--org--tiny/snapshots/{COMMIT}")));
    assert_holds(&folder, &repository);
    let names: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.contains("pytorch_model.bin") && !names.contains("modeling.py"), "{names:?}");
    assert_eq!(
        std::fs::read_to_string(bench.cache.path().join("models--org--tiny/refs/main")).unwrap(),
        COMMIT
    );
    let seen = bench.hub.take_seen();
    let store = of_store(&seen);
    assert_eq!(store.len() as u64, bytes.div_ceil(PART), "each part is asked for once");
    assert_eq!(sent_by_store(&seen), bytes);
    assert!(bytes > 3 * PART, "there is something to share");

    // Again: only the list, and the configuration that the plan reads.
    let again = bench.pull("org/tiny").unwrap();
    assert_eq!(again, folder);
    let seen = bench.hub.take_seen();
    assert!(of_store(&seen).is_empty() && seen.len() == 2, "{seen:?}");
    // A branch with a slash in its name, of the same commit.
    let mut repository = repository;
    repository.branches.push("refs/pr/1".to_owned());
    let other = Bench { hub: FakeHub::start(vec![repository]), cache: bench.cache };
    assert_eq!(other.pull("org/tiny@refs/pr/1").unwrap(), folder);
    assert!(of_store(&other.hub.take_seen()).is_empty());
    assert!(other.cache.path().join("models--org--tiny/refs/refs/pr/1").is_file());
}

#[test]
fn connections_that_break_go_on_where_they_were() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    bench.hub.rule(Side::Store, &digits, 2, Does::CutAfter(5000));
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(503, ""));
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(429, "Retry-After: 0\r\n"));
    let now = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(503, now));
    bench.hub.rule(Side::Hub, "/api/", 1, Does::Status(429, "RateLimit: \"api\";r=0;t=0\r\n"));
    bench.hub.rule(Side::Hub, "tokenizer.json", 1, Does::CutAfter(100));
    let mut settings = bench.settings();
    // All five faults may meet the same part, where the other connections begin late.
    settings.transfer.tries = 6;
    let folder = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap();
    assert_holds(&folder, &repository);
    let sent = sent_by_store(&bench.hub.take_seen());
    assert_eq!(sent, bytes, "nothing comes twice");
}

#[test]
fn an_address_that_has_expired_is_asked_for_again() {
    let repository = tiny();
    let (_, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    // One connection, so that it is certain which request is the second.
    let mut settings = bench.settings();
    settings.transfer.connections = 1;
    bench.hub.rule(Side::Store, &digits, 1, Does::CutAfter(1000));
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(403, ""));
    let folder = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap();
    assert_holds(&folder, &repository);
    let asked = bench.hub.take_seen();
    let of_hub =
        asked.iter().filter(|seen| seen.side == Side::Hub && seen.path.ends_with("model.safetensors"));
    assert_eq!(of_hub.count(), 2, "the hub leads there once more");
}

#[test]
fn a_part_that_fails_for_good_ends_those_that_wait() {
    const HELD: u64 = 100;
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    let mut settings = bench.settings();
    settings.transfer.connections = 2;
    // One that is waited for is waited for until this test is ended from outside.
    settings.transfer.silence_max = Duration::from_secs(1 << 20);
    let hub = Hub::new(settings).unwrap();
    let name = RepositoryName::parse("org/tiny").unwrap();
    let plan = PullPlan::new(&hub, &name, false, &Unwatched).unwrap();
    // Whichever comes first hears no more than this, and the other one that it may not have it.
    bench.hub.rule(Side::Store, &digits, 1, Does::HoldAfter(HELD));
    bench.hub.rule(Side::Store, &digits, 100, Does::Status(403, ""));
    let error = plan.fetch(&hub, &Unwatched).unwrap_err().to_string();
    assert!(error.ends_with(": answers with status 403"), "{error}");
    // The same hub is asked over other connections from now on, for what is missing still.
    bench.hub.forget_rules();
    bench.hub.take_seen();
    assert_holds(&plan.fetch(&hub, &Unwatched).unwrap(), &repository);
    let sent = sent_by_store(&bench.hub.take_seen());
    assert!((bytes - HELD..=bytes).contains(&sent), "{sent} of {bytes}: what was held may have come");
}

#[test]
fn a_server_without_ranges_sends_it_whole() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    bench.hub.rule(Side::Store, &digits, 100, Does::IgnoresRanges);
    let mut settings = bench.settings();
    settings.transfer.connections = 1;
    let folder = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap();
    assert_holds(&folder, &repository);
    let seen = bench.hub.take_seen();
    assert_eq!(of_store(&seen).len(), 2, "one that asks for a part, one for all");
    assert_eq!(of_store(&seen)[1].sent, bytes);

    // Several connections find that out at once; and what breaks begins anew, past what is there.
    let bench = Bench::new(vec![repository.clone()]);
    bench.hub.rule(Side::Store, &digits, 4, Does::IgnoresRanges);
    bench.hub.rule(Side::Store, &digits, 2, Does::CutAfter(20_000));
    assert_holds(&bench.pull("org/tiny").unwrap(), &repository);
}

#[test]
fn what_comes_wrong_is_deleted_and_told() {
    let repository = tiny();
    let (_, digits) = weights(&repository);
    let bench = Bench::new(vec![repository]);
    bench.hub.rule(Side::Store, &digits, 1, Does::Spoils);
    let mut settings = bench.settings();
    settings.transfer.part_bytes = 1 << 30;
    let error = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err().to_string();
    assert!(error.starts_with("model.safetensors: has the hash ") && error.contains(&digits), "{error}");
    assert!(bench.blobs().iter().all(|blob| !blob.contains(&digits)), "{:?}", bench.blobs());
    assert!(!bench.cache.path().join("models--org--tiny/refs").exists(), "it is not there as a model");
    // What is small is checked just as well.
    for name in ["tokenizer.json", "config.json"] {
        let bench = Bench::new(vec![tiny()]);
        bench.hub.rule(Side::Hub, &format!("/{name}"), 1, Does::Spoils);
        assert!(bench.error("org/tiny").starts_with(&format!("{name}: has the hash ")));
        bench.pull("org/tiny").unwrap();
    }
}

#[test]
fn what_an_earlier_download_left_is_used_and_not_trusted() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    let mut settings = bench.settings();
    settings.transfer.connections = 1;
    settings.transfer.tries = 1;
    bench.hub.rule(Side::Store, &digits, 1, Does::CutAfter(9000));
    bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err();
    let left = bench.cache.path().join(format!("models--org--tiny/blobs/{digits}.verbatim.incomplete"));
    assert!(left.is_file());
    bench.hub.take_seen();
    bench.pull("org/tiny").unwrap();
    let sent = sent_by_store(&bench.hub.take_seen());
    assert_eq!(sent, bytes - 9000);

    // The same, but what was left has been damaged: it is found, and all comes again.
    let bench = Bench::new(vec![repository.clone()]);
    let mut settings = bench.settings();
    settings.transfer.connections = 1;
    settings.transfer.tries = 1;
    bench.hub.rule(Side::Store, &digits, 1, Does::CutAfter(9000));
    bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err();
    let left = bench.cache.path().join(format!("models--org--tiny/blobs/{digits}.verbatim.incomplete"));
    let mut content = std::fs::read(&left).unwrap();
    content[100] ^= 1;
    std::fs::write(&left, content).unwrap();
    assert_holds(&bench.pull("org/tiny").unwrap(), &repository);
    assert!(!left.exists());
}

#[test]
fn sizes_and_ranges_that_are_lies_are_told() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository]);
    let whole = || {
        let mut settings = bench.settings();
        settings.transfer.part_bytes = 1 << 30;
        bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err().to_string()
    };
    bench.hub.rule(Side::Store, &digits, 1, Does::Sends(vec![1; 10]));
    let error = whole();
    assert!(error.ends_with(&format!("is 10 bytes long, not the {bytes} that the hub announced")), "{error}");
    bench.hub.rule(Side::Store, &digits, 1, Does::Sends(vec![1; bytes as usize + 1]));
    assert!(whole().contains("bytes long, not the"));
    bench.hub.rule(Side::Store, &digits, 100, Does::LiesOfRange);
    let error = bench.error("org/tiny");
    assert!(error.contains("sends the range bytes ") && error.contains("expected bytes "), "{error}");
    assert!(!error.contains("signature"), "an address is told without its query: {error}");
}
