//! Downloads from a hub on loopback, by the library: parts, connections that break, servers that
//! say other things than they do, the token, and what is left behind.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use verbatim::hub::error::HubError;
use verbatim::hub::settings::Transfer;
use verbatim::hub::token::Token;
use verbatim::hub::{Hub, HubSettings, PullPlan, Unwatched, Watch};
use verbatim::load::RepositoryName;
use verbatim::load::resolve::CacheLocations;
use verbatim_tests::fixture::Files;
use verbatim_tests::hub::proxy::FakeProxy;
use verbatim_tests::hub::repository::COMMIT;
use verbatim_tests::hub::server::TOKEN;
use verbatim_tests::hub::{Access, Does, FakeHub, Repository, Seen, Side};
use verbatim_tests::temporary::TemporaryDirectory;

/// Bytes of a part in these tests.
const PART: u64 = 16 << 10;

/// The tiny model of the fixture as a repository, with what is not needed beside it.
fn tiny() -> Repository {
    let mut files = Files::tiny();
    files.0.insert("pytorch_model.bin".to_owned(), vec![7; 5000]);
    files.0.insert("modeling.py".to_owned(), b"import os".to_vec());
    files.0.insert("README.md".to_owned(), b"---\nlicense: mit\n---\n".to_vec());
    Repository::new("org/tiny", files.0.iter().map(|(name, content)| (name.as_str(), content.clone())))
}

/// The hub, its cache, and settings for impatient tests.
struct Bench {
    hub: FakeHub,
    cache: TemporaryDirectory,
}

impl Bench {
    fn new(repositories: Vec<Repository>) -> Self {
        Self { hub: FakeHub::start(repositories), cache: TemporaryDirectory::new("hub") }
    }

    fn settings(&self) -> HubSettings {
        let of = |name: &str| (name == "HF_ENDPOINT").then(|| self.hub.endpoint.clone().into());
        let caches =
            CacheLocations { hub_cache: Some(self.cache.path().to_owned()), ..CacheLocations::default() };
        let settings = HubSettings::from_variables(of, &caches).expect("settings");
        let transfer = Transfer {
            part_bytes: PART,
            first_pause: Duration::from_millis(1),
            silence_max: Duration::from_secs(60),
            ..Transfer::default()
        };
        HubSettings { transfer, ..settings }
    }

    fn pull_as(&self, settings: HubSettings, name: &str, watch: &dyn Watch) -> Result<PathBuf, HubError> {
        let hub = Hub::new(settings)?;
        let name = RepositoryName::parse(name).expect("a name");
        PullPlan::new(&hub, &name, false, watch)?.fetch(&hub, watch)
    }

    fn pull(&self, name: &str) -> Result<PathBuf, HubError> {
        self.pull_as(self.settings(), name, &Unwatched)
    }

    /// The message of a pull that fails.
    fn error(&self, name: &str) -> String {
        self.pull(name).expect_err("it fails").to_string()
    }

    /// The names of blobs, complete or not.
    fn blobs(&self) -> Vec<String> {
        let folder = self.cache.path().join("models--org--tiny/blobs");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Compares a folder's files with those of the repository that were wanted.
fn assert_holds(folder: &Path, repository: &Repository) {
    let mut count = 0;
    for (name, file) in &repository.files {
        let path = folder.join(name);
        if path.exists() {
            count += 1;
            assert!(std::fs::read(&path).expect("readable") == file.content, "{name}");
            assert!(std::fs::symlink_metadata(&path).expect("there").is_symlink(), "{name}");
        }
    }
    assert!(count >= 5, "{count} files");
}

/// The weights of a repository: their length, and the name of their content.
fn weights(repository: &Repository) -> (u64, String) {
    let file = &repository.files["model.safetensors"];
    (file.content.len() as u64, file.digits())
}

fn of_store(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| seen.side == Side::Store).collect()
}

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
    assert_eq!(store.iter().map(|seen| seen.sent).sum::<u64>(), bytes);
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
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let mut repository = tiny();
    repository.access = Access::Private;
    let bench = Bench::new(vec![repository]);
    let token = Token::parse(TOKEN, "HF_TOKEN").unwrap();
    bench.pull_as(HubSettings { token, ..bench.settings() }, "org/tiny", &Unwatched).unwrap();
    let seen = bench.hub.take_seen();
    assert!(seen.iter().any(|seen| seen.side == Side::Store));
    for seen in seen {
        let expected = (seen.side == Side::Hub).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(seen.authorization, expected, "{}", seen.path);
    }
}

#[test]
fn connections_that_break_go_on_where_they_were() {
    let repository = tiny();
    let (bytes, digits) = weights(&repository);
    let bench = Bench::new(vec![repository.clone()]);
    bench.hub.rule(Side::Store, &digits, 2, Does::CutAfter(5000));
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(503, ""));
    bench.hub.rule(Side::Store, &digits, 1, Does::Status(429, "Retry-After: 0\r\n"));
    bench.hub.rule(Side::Hub, "/api/", 1, Does::Status(429, "RateLimit: \"api\";r=0;t=0\r\n"));
    bench.hub.rule(Side::Hub, "tokenizer.json", 1, Does::CutAfter(100));
    let folder = bench.pull("org/tiny").unwrap();
    assert_holds(&folder, &repository);
    let seen = bench.hub.take_seen();
    let sent: u64 = of_store(&seen).iter().map(|seen| seen.sent).sum();
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
    let sent: u64 = of_store(&bench.hub.take_seen()).iter().map(|seen| seen.sent).sum();
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

#[test]
fn what_the_hub_refuses_is_told_with_what_to_do() {
    let of = |id: &str, access| Repository { id: id.to_owned(), access, ..tiny() };
    let bench = Bench::new(vec![
        of("org/open", Access::Open),
        of("org/private", Access::Private),
        of("org/gated", Access::Gated),
    ]);
    let host = bench.hub.endpoint.clone();
    let with = |token: &str, name: &str| {
        let token = Token::parse(token, "HF_TOKEN").unwrap();
        let pulled = bench.pull_as(HubSettings { token, ..bench.settings() }, name, &Unwatched);
        pulled.map_err(|error| error.to_string())
    };
    let unknown = |name: &str| {
        format!(
            "{host} has no model {name}, or it is private: check the name, or set HF_TOKEN to a token from \
             {host}/settings/tokens"
        )
    };
    assert_eq!(bench.error("org/none"), unknown("org/none"));
    assert_eq!(bench.error("org/private"), unknown("org/private"));
    let terms = format!("org/gated is gated: accept its terms at {host}/org/gated");
    let then = format!("{terms}, then set HF_TOKEN to a token from {host}/settings/tokens");
    assert_eq!(bench.error("org/gated"), then);
    assert_eq!(bench.error("org/open@v9"), "org/open has no branch, tag or commit v9");
    let wrong = with("hf_wrong", "org/open").unwrap_err();
    assert_eq!(
        wrong,
        format!("{host} does not accept the token of HF_TOKEN: {host}/settings/tokens has another")
    );
    let none = with(TOKEN, "org/none").unwrap_err();
    assert!(none.ends_with("or it is private and the token may not read it"), "{none}");
    assert!(with(TOKEN, "org/private").is_ok() && with(TOKEN, "org/gated").is_ok());
    // The terms of this one were not accepted by whoever has the token.
    bench.hub.rule(Side::Hub, "/api/", 1, Does::Status(403, "X-Error-Code: GatedRepo\r\n"));
    assert_eq!(with(TOKEN, "org/gated").unwrap_err(), format!("{terms} as the user whose token this is"));

    bench.hub.take_seen();
    bench.hub.rule(Side::Hub, "/api/", 100, Does::Status(429, "Retry-After: 4000\r\n"));
    let error = bench.error("org/open");
    assert_eq!(error, format!("{host} answers with status 429 and asks to wait 4000 s"));
    assert_eq!(bench.hub.take_seen().len(), 1, "nobody waits an hour");
}

#[test]
fn hostile_lists_are_refused() {
    let list = |list: serde_json::Value| {
        let bench = Bench::new(vec![Repository { list: Some(list), ..tiny() }]);
        let error = bench.error("org/tiny");
        assert!(!bench.cache.path().join("models--org--tiny").exists(), "nothing was written");
        error
    };
    let file = |name: &str| serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": name, "size": 1}]});
    for name in ["../../../.bashrc", "/etc/passwd", "a/../../b", "a\\..\\b", "a\u{0}b", ""] {
        assert!(list(file(name)).contains("its path could lead out of the repository"), "{name:?}");
    }
    assert!(list(file(&"../".repeat(90_000))).len() < 400, "a long name is quoted in short");
    let commit = list(serde_json::json!({"sha": "../../x", "siblings": []}));
    assert!(commit.contains("expected 40 hexadecimal digits"), "{commit}");
    assert!(list(serde_json::json!([1])).contains("is no list of files"));
    let hash = serde_json::json!({"rfilename": "a", "size": 1, "blobId": "../x"});
    assert!(list(serde_json::json!({"sha": COMMIT, "siblings": [hash]})).contains("its hash is none"));
    let many: Vec<_> = (0..50_001).map(|i| serde_json::json!({"rfilename": format!("f{i}")})).collect();
    assert!(list(serde_json::json!({"sha": COMMIT, "siblings": many})).contains("expected at most 50000"));
    // A huge file is refused before anything of it is asked for.
    let huge = serde_json::json!({
        "sha": COMMIT, "siblings": [
            {"rfilename": "m.gguf", "size": 1, "lfs": {"sha256": "a".repeat(64), "size": u64::MAX, "pointerSize": 1}},
        ],
    });
    assert!(list(huge).contains("are still to come"));
}

#[test]
fn a_mirror_that_tells_no_hashes_is_asked_for_each_file() {
    let repository = Repository { tells_hashes: false, ..tiny() };
    let bench = Bench::new(vec![repository.clone()]);
    assert_holds(&bench.pull("org/tiny").unwrap(), &repository);
    let seen = bench.hub.take_seen();
    let asked: Vec<_> = seen.iter().filter(|seen| seen.method == "HEAD").collect();
    assert_eq!(asked.len(), 6, "one for each file that is needed");
    assert!(asked.iter().all(|seen| seen.side == Side::Hub));
}

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
    fn begins(&self, _: &str, _: u64, _: usize, _: usize) {}
    fn reaches(&self, _: u64) {}
    fn ends(&self, _: &str) {}
    fn pauses(&self, _: &HubError, _: Duration) {}
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
    let sent: u64 = of_store(&bench.hub.take_seen()).iter().map(|seen| seen.sent).sum();
    assert_eq!(sent, bytes);
}

#[test]
fn a_proxy_stands_between_unless_the_host_is_spared() {
    let repository = tiny();
    let bench = Bench::new(vec![repository.clone()]);
    let proxy = FakeProxy::start();
    let through = |no_proxy: &str| {
        let mut settings = bench.settings();
        settings.proxies.http = Some(proxy.url.clone());
        settings.proxies.no_proxy = no_proxy.to_owned();
        settings
    };
    bench.pull_as(through("127.0.0.1"), "org/tiny", &Unwatched).unwrap();
    assert!(proxy.connected().is_empty());
    std::fs::remove_dir_all(bench.cache.path().join("models--org--tiny")).unwrap();
    let folder = bench.pull_as(through(""), "org/tiny", &Unwatched).unwrap();
    assert_holds(&folder, &repository);
    let hosts: BTreeSet<String> = proxy.connected().into_iter().collect();
    assert_eq!(hosts.len(), 2, "the hub and its store: {hosts:?}");
}
