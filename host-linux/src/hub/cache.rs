//! One repository's folder of the cache, laid out as Hugging Face's own libraries have it:
//!
//! ```text
//! models--ORG--NAME/
//!   blobs/HASH                     what files hold, by its hash
//!   refs/main                      the commit of a branch or tag
//!   snapshots/COMMIT/config.json   → ../../blobs/HASH
//! .locks/models--ORG--NAME/HASH.lock    whoever writes a blob
//! .locks/models--ORG--NAME/repository.lock   whoever fetches or removes any; this program's own
//! ```
use super::error::HubError;
use super::verify::ContentHash;
use crate::load::RepositoryName;
use crate::load::repository::is_commit;
use std::fs::{self, create_dir_all};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the name of a file ends that is not complete; Hugging Face's tools clean up what ends so.
/// The first half keeps older ones from going on with a file whose parts come in any order.
pub(super) const INCOMPLETE: &str = ".verbatim.incomplete";

/// The folder of one repository.
#[derive(Clone, Debug)]
pub struct RepositoryCache {
    /// Its path, there or not.
    pub root: PathBuf,
    locks: PathBuf,
}

impl RepositoryCache {
    /// The folder of a repository in a cache.
    pub fn new(cache: &Path, name: &RepositoryName) -> Self {
        Self { root: cache.join(name.folder()), locks: cache.join(".locks").join(name.folder()) }
    }

    /// Where a file lies that holds what has this hash.
    pub fn blob(&self, hash: &ContentHash) -> PathBuf {
        self.root.join("blobs").join(hash.digits())
    }

    /// Whether that file is there as a whole. What lies under a hash was checked when it came.
    pub fn has_blob(&self, hash: &ContentHash, bytes: u64) -> bool {
        fs::metadata(self.blob(hash)).is_ok_and(|found| found.is_file() && found.len() == bytes)
    }

    /// Where that file grows until it is whole.
    pub(super) fn incomplete(&self, hash: &ContentHash) -> PathBuf {
        self.root.join("blobs").join(format!("{}{INCOMPLETE}", hash.digits()))
    }

    /// The lock of whoever writes that file.
    pub(super) fn lock(&self, hash: &ContentHash) -> PathBuf {
        self.locks.join(format!("{}.lock", hash.digits()))
    }

    /// The lock of all who fetch files of the repository, or remove some.
    pub(super) fn repository_lock(&self) -> PathBuf {
        self.locks.join("repository.lock")
    }

    /// The folder of all its locks.
    pub(super) fn locks(&self) -> &Path {
        &self.locks
    }

    /// The folder in which the files of a commit have their names.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Gives what has this hash a name at a commit. A name that is there already and means the same
    /// stays; any other is replaced in one step.
    pub(super) fn link(&self, commit: &str, path: &str, hash: &ContentHash) -> Result<(), HubError> {
        let named = self.snapshot(commit).join(path);
        let above = "../".repeat(2 + path.matches('/').count());
        let target = PathBuf::from(format!("{above}blobs/{}", hash.digits()));
        if fs::read_link(&named).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let folder = named.parent().unwrap_or(&self.root);
        create_dir_all(folder).map_err(|error| HubError::io(folder, "create", error))?;
        let aside = folder.join(format!(".{}", aside(hash.digits())));
        let linked = symlink(&target, &aside).and_then(|()| fs::rename(&aside, &named));
        linked.map_err(|error| without(&aside, HubError::io(&named, "link", error)))
    }

    /// Notes which commit a branch or tag is at, in one step, if that is not what is noted.
    pub(super) fn note_reference(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.root.join("refs").join(revision);
        if is_commit(revision) || fs::read_to_string(&path).is_ok_and(|found| found == commit) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.root);
        create_dir_all(folder).map_err(|error| HubError::io(folder, "create", error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = folder.join(aside(&name));
        let written = fs::write(&aside, commit).and_then(|()| fs::rename(&aside, &path));
        written.map_err(|error| without(&aside, HubError::io(&path, "write", error)))
    }
}

/// An error after which a file that was to get another name is deleted, if it is there.
fn without(aside: &Path, error: HubError) -> HubError {
    let _ = fs::remove_file(aside);
    error
}

/// A name for a file until it is complete, which no other thread or process uses.
fn aside(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}.{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn names_are_links_that_stay_right_when_the_cache_moves() {
        let directory = TemporaryDirectory::new("cache");
        let name = RepositoryName::parse("org/small").unwrap();
        let cache = RepositoryCache::new(directory.path(), &name);
        let hashes = ["a", "b"].map(|digit| ContentHash::parse(&digit.repeat(40)).unwrap());
        fs::create_dir_all(cache.root.join("blobs")).unwrap();
        for (hash, content) in hashes.iter().zip(["one", "two"]) {
            fs::write(cache.blob(hash), content).unwrap();
            assert!(cache.has_blob(hash, 3) && !cache.has_blob(hash, 4));
        }
        let commit = "c".repeat(40);
        cache.link(&commit, "config.json", &hashes[0]).unwrap();
        cache.link(&commit, "1_Pooling/config.json", &hashes[0]).unwrap();
        cache.link(&commit, "config.json", &hashes[1]).unwrap();
        cache.link(&commit, "config.json", &hashes[1]).unwrap();
        let snapshot = cache.snapshot(&commit);
        let target = fs::read_link(snapshot.join("1_Pooling/config.json")).unwrap();
        assert_eq!(target, Path::new(&format!("../../../blobs/{}", "a".repeat(40))));
        assert_eq!(fs::read_to_string(snapshot.join("config.json")).unwrap(), "two");
        let moved = directory.path().join("moved");
        fs::rename(&cache.root, &moved).unwrap();
        let at = moved.join("snapshots").join(&commit).join("1_Pooling/config.json");
        assert_eq!(fs::read_to_string(at).unwrap(), "one");
    }

    #[test]
    fn a_reference_is_a_file_with_the_commit() {
        let directory = TemporaryDirectory::new("refs");
        let cache = RepositoryCache::new(directory.path(), &RepositoryName::parse("org/small").unwrap());
        cache.note_reference("refs/pr/1", "one").unwrap();
        cache.note_reference("refs/pr/1", "two").unwrap();
        cache.note_reference(&"0".repeat(40), "two").unwrap();
        let folder = cache.root.join("refs");
        assert_eq!(fs::read_to_string(folder.join("refs/pr/1")).unwrap(), "two");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "a commit needs no note");
    }
}
