//! Locks between processes that write to the cache: the same files and the same kind of lock
//! (`flock`) as Hugging Face's own library, so that it and this program wait for each other. One of
//! each repository is this program's own: whoever fetches files shares it until the last of them
//! has its name, and whoever deletes any has it alone.
use super::error::HubError;
use std::fs::{File, OpenOptions, TryLockError, create_dir_all};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How often the folder of a lock may go between its making and that of the file in it.
const OPENED_MAX: usize = 100;

/// A lock that is held until this is dropped, or the process ends however it does.
#[derive(Debug)]
pub(super) struct Lock {
    // Closing it gives the lock up.
    _file: File,
}

impl Lock {
    /// Takes the lock of a file, which is created; `is_waiting` is called before this waits for
    /// another process.
    pub(super) fn take(path: &Path, is_waiting: impl Fn()) -> Result<Self, HubError> {
        let error = |error| HubError::io(path, "lock", error);
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    is_waiting();
                    file.lock().map_err(error)?;
                }
                Err(TryLockError::Error(found)) => return Err(error(found)),
            }
            if is_still_at(&file, path) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// Takes the lock of a file together with others who share it; this waits for whoever has it
    /// alone. `None` where nothing can be written, so that there is nothing to keep together.
    pub(super) fn share(path: &Path) -> Result<Option<Self>, HubError> {
        loop {
            let file = match open(path) {
                Err(HubError::Io { error, .. }) if is_unwritable(error.kind()) => return Ok(None),
                opened => opened?,
            };
            file.lock_shared().map_err(|error| HubError::io(path, "lock", error))?;
            if is_still_at(&file, path) {
                return Ok(Some(Self { _file: file }));
            }
        }
    }

    /// Takes the lock of a file if nobody holds it.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, HubError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(is_still_at(&file, path).then_some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(HubError::io(path, "lock", error)),
        }
    }
}

/// Opens the file of a lock, which is created with its folder. Whoever removes a repository may
/// take the folder away in between, also between its making and the look whether it is there.
fn open(path: &Path) -> Result<File, HubError> {
    let mut tries = 0;
    // Over NFS a lock that is shared wants a file that can be read.
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut may_pass = |kind: ErrorKind| {
        tries += 1;
        tries < OPENED_MAX && matches!(kind, ErrorKind::NotFound | ErrorKind::AlreadyExists)
    };
    loop {
        let folder = path.parent().unwrap_or(path);
        match create_dir_all(folder) {
            Err(error) if may_pass(error.kind()) => continue,
            made => made.map_err(|error| HubError::io(folder, "create", error))?,
        }
        match options.open(path) {
            Err(error) if may_pass(error.kind()) => {}
            opened => return opened.map_err(|error| HubError::io(path, "open", error)),
        }
    }
}

/// Whether an error tells that no file can be made here: not by this user, or not now.
fn is_unwritable(kind: ErrorKind) -> bool {
    use ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded)
}

/// Whether a locked file is still the one at its path: whoever held it before may have deleted it,
/// and then the lock keeps nobody out.
fn is_still_at(file: &File, path: &Path) -> bool {
    let id = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(held), Ok(there)) => id(&held) == id(&there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn a_lock_is_held_by_one_at_a_time() {
        let directory = TemporaryDirectory::new("lock");
        let path = directory.path().join("a/b.lock");
        let held = Lock::take(&path, || panic!("nobody has it")).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        let held = Lock::try_take(&path).unwrap().expect("it is free");
        // Whoever deletes the file of a lock makes room for another.
        std::fs::remove_file(&path).unwrap();
        assert!(Lock::try_take(&path).unwrap().is_some());
        drop(held);
    }

    #[test]
    fn a_lock_is_shared_or_held_alone() {
        let directory = TemporaryDirectory::new("lock-shared");
        let path = directory.path().join("a/b.lock");
        let first = Lock::share(&path).unwrap().expect("it can be written");
        let second = Lock::share(&path).unwrap().expect("it is shared");
        drop(first);
        assert!(Lock::try_take(&path).unwrap().is_none(), "one shares it still");
        drop(second);
        let alone = Lock::try_take(&path).unwrap().expect("it is free");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| Lock::share(&path));
            // Whoever had it alone has deleted it, so that whoever waited makes another.
            std::fs::remove_file(&path).unwrap();
            drop(alone);
            assert!(waits.join().unwrap().unwrap().is_some());
        });
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_goes_meanwhile_is_made_again() {
        const REMOVALS: usize = OPENED_MAX / 4;
        let directory = TemporaryDirectory::new("lock-folder");
        let folder = directory.path().join("a");
        let path = folder.join("b.lock");
        let together = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200 {
                    together.wait();
                    (0..REMOVALS).for_each(|_| drop(std::fs::remove_dir(&folder)));
                    together.wait();
                }
            });
            let taken: Vec<_> = (0..200)
                .map(|_| {
                    create_dir_all(&folder).unwrap();
                    together.wait();
                    let taken = Lock::try_take(&path).map(|lock| lock.is_some());
                    let _ = std::fs::remove_file(&path);
                    together.wait();
                    taken
                })
                .collect();
            assert!(taken.into_iter().all(|taken| taken.unwrap()), "it is taken each time");
        });
    }
}
