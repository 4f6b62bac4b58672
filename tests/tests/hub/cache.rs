//! The cache that several processes want at once.
use super::{Bench, assert_holds, sent_by_store, tiny, weights};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use verbatim::hub::error::HubError;
use verbatim::hub::{Hub, HubSettings, PullPlan, RemovalPlan, Unwatched, Watch};
use verbatim::load::RepositoryName;
use verbatim_tests::hub::{Does, FakeHub, Side};

#[test]
fn nothing_begins_without_room_or_leave() {
    let bench = Bench::new(vec![tiny()]);
    let settings = HubSettings { free_bytes: |_| Ok(1000), ..bench.settings() };
    let error = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err().to_string();
    let cache = bench.cache.path().display();
    assert!(error.starts_with(&format!("{cache}: ")) && error.contains("and 1.00 kB are free"), "{error}");
    assert!(bench.blobs().is_empty());
    bench.hub.take_seen();
    let settings = HubSettings { offline: Some("HF_HUB_OFFLINE".to_owned()), ..bench.settings() };
    let error = bench.pull_as(settings, "org/tiny", &Unwatched).unwrap_err().to_string();
    assert_eq!(error, "HF_HUB_OFFLINE keeps this program from asking the hub");
    assert!(bench.hub.take_seen().is_empty());
    // A hub that is not there is told by its address.
    let endpoint = "http://127.0.0.1:1".to_owned();
    let error =
        bench.pull_as(HubSettings { endpoint, ..bench.settings() }, "org/tiny", &Unwatched).unwrap_err();
    assert!(error.to_string().starts_with("http://127.0.0.1:1: "), "{error}");
}

/// Notes that it was locked out, and lets the hub go on then.
struct LetsGoOn<'h>(&'h FakeHub, Mutex<Vec<String>>);

impl Watch for LetsGoOn<'_> {
    fn is_locked_out(&self, file: &str) {
        self.1.lock().unwrap().push(file.to_owned());
        self.0.go_on();
    }
}

#[test]
fn two_pulls_at_once_fetch_each_byte_once() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    bench.hub.rule(Side::Store, &digits, 1, Does::HoldAfter(100));
    let watch = LetsGoOn(&bench.hub, Mutex::default());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| bench.pull("org/tiny"));
        bench.hub.wait_for_held(1);
        let second = bench.pull_as(bench.settings(), "org/tiny", &watch);
        assert_eq!(first.join().unwrap().unwrap(), second.unwrap());
    });
    assert_eq!(*watch.1.lock().unwrap(), ["model.safetensors"], "the second waits for the first");
    assert_eq!(sent_by_store(&bench.hub.take_seen()), bytes);
}

/// Tries to remove the repository when it is locked out, and gives up the lock after that.
struct Removes<'b> {
    bench: &'b Bench,
    lock: Mutex<Option<File>>,
    told: Mutex<Vec<String>>,
}

impl Watch for Removes<'_> {
    fn is_locked_out(&self, _: &str) {
        drop(self.lock.lock().unwrap().take());
        let name = RepositoryName::parse("org/tiny").unwrap();
        let removed = RemovalPlan::new(self.bench.cache.path(), &name).and_then(|plan| plan.remove());
        self.told.lock().unwrap().push(removed.unwrap_err().to_string());
    }
}

#[test]
fn nothing_is_removed_between_one_file_and_the_next() {
    let repository = tiny();
    let (_, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    // Somebody has the lock of the last file: then all others are there, and this one is not begun.
    let locks = bench.cache.path().join(".locks/models--org--tiny");
    std::fs::create_dir_all(&locks).unwrap();
    let lock = File::create(locks.join(format!("{digits}.lock"))).unwrap();
    lock.lock().unwrap();
    let watch = Removes { bench: &bench, lock: Mutex::new(Some(lock)), told: Mutex::default() };
    let folder = bench.pull_as(bench.settings(), "org/tiny", &watch).unwrap();
    assert_holds(&folder, &repository);
    let told = "another process fetches or removes org/tiny: try again once it has ended";
    assert_eq!(*watch.told.lock().unwrap(), [told]);
    let name = RepositoryName::parse("org/tiny").unwrap();
    RemovalPlan::new(bench.cache.path(), &name).unwrap().remove().unwrap();
    assert!(!bench.cache.path().join("models--org--tiny").exists() && !locks.exists());
}

#[test]
fn what_was_removed_since_it_was_planned_is_fetched() {
    let repository = tiny();
    let bench = Bench::new(vec![repository.clone()]);
    bench.pull("org/tiny").unwrap();
    let hub = Hub::new(bench.settings()).unwrap();
    let name = RepositoryName::parse("org/tiny").unwrap();
    let plan = PullPlan::new(&hub, &name, false, &Unwatched).unwrap();
    assert_eq!(plan.missing_bytes, 0);
    RemovalPlan::new(bench.cache.path(), &name).unwrap().remove().unwrap();
    assert_holds(&plan.fetch(&hub, &Unwatched).unwrap(), &repository);
}

#[test]
fn pulls_and_removals_at_once_leave_a_whole_model_or_none() {
    const TIMES: usize = 10;
    let repository = tiny();
    let bench = Bench::new(vec![repository.clone()]);
    let name = RepositoryName::parse("org/tiny").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let removes = || {
            while !is_over.load(Ordering::SeqCst) {
                match RemovalPlan::new(bench.cache.path(), &name).and_then(|plan| plan.remove()) {
                    Ok(_) | Err(HubError::NotCached { .. } | HubError::InUse { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let remover = scope.spawn(removes);
        let pulled: Result<Vec<PathBuf>, HubError> = (0..TIMES).map(|_| bench.pull("org/tiny")).collect();
        is_over.store(true, Ordering::SeqCst);
        remover.join().unwrap();
        pulled.unwrap();
    });
    let folder = bench.pull("org/tiny").unwrap();
    assert_holds(&folder, &repository);
}
