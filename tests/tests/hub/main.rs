//! Downloads from a hub on loopback, by the library.
//!
//! [`parts`]: how files come. [`refusals`]: what is refused. [`reached`]: the token and proxies.
//! [`cache`]: where files lie, with others who want them.
mod cache;
mod parts;
mod reached;
mod refusals;

use std::path::{Path, PathBuf};
use std::time::Duration;
use verbatim::hub::error::HubError;
use verbatim::hub::settings::Transfer;
use verbatim::hub::{Hub, HubSettings, PullPlan, Unwatched, Watch};
use verbatim::load::RepositoryName;
use verbatim::load::resolve::CacheLocations;
use verbatim_tests::fixture::Files;
use verbatim_tests::hub::{FakeHub, Repository, Seen, Side};
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

/// Bytes of files that the store has sent.
fn sent_by_store(seen: &[Seen]) -> u64 {
    of_store(seen).iter().map(|seen| seen.sent).sum()
}
