//! How long threads of this process have run, and how long they have waited for a processor while
//! they could have: the scheduler counts both in nanoseconds.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a listing of the threads is used. Threads of the server come and go; those that are
/// asked for hardly do.
const LISTED_FOR: Duration = Duration::from_secs(10);

/// What a thread has had of the processors since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Its name, of which the system keeps 15 bytes.
    pub name: String,
    /// How long it ran.
    pub ran: Duration,
    /// How long it was ready and waited for a processor.
    pub delayed: Duration,
}

/// Threads of this process whose names fit.
#[derive(Debug)]
pub struct Threads {
    root: PathBuf,
    is_wanted: fn(&str) -> bool,
    /// Their folders and names, and when they were listed.
    listed: Vec<(PathBuf, String)>,
    at: Option<Instant>,
}

impl Threads {
    /// The threads whose names `is_wanted` takes.
    pub fn new(is_wanted: fn(&str) -> bool) -> Self {
        Self::below(Path::new("/proc/self/task"), is_wanted)
    }

    fn below(root: &Path, is_wanted: fn(&str) -> bool) -> Self {
        Self { root: root.to_owned(), is_wanted, listed: Vec::new(), at: None }
    }

    /// Their times now, in order of their names; none where the system does not tell.
    pub fn read(&mut self) -> Vec<ThreadTimes> {
        if self.at.is_none_or(|at| at.elapsed() >= LISTED_FOR) {
            self.list();
        }
        let times: Vec<_> = self.listed.iter().filter_map(|(path, name)| times(path, name)).collect();
        if times.len() < self.listed.len() {
            // One of them has gone, and another may have come in its place.
            self.at = None;
        }
        times
    }

    fn list(&mut self) {
        self.listed.clear();
        self.at = Some(Instant::now());
        let Ok(folders) = std::fs::read_dir(&self.root) else { return };
        for path in folders.flatten().map(|entry| entry.path()) {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if (self.is_wanted)(name.trim()) {
                self.listed.push((path, name.trim().to_owned()));
            }
        }
        let number = |name: &str| name.rsplit_once('-').and_then(|(_, end)| end.parse::<u32>().ok());
        self.listed.sort_by(|(_, a), (_, b)| (number(a), a).cmp(&(number(b), b)));
    }
}

/// Time on a processor, and time of waiting for one; both in ns.
fn times(folder: &Path, name: &str) -> Option<ThreadTimes> {
    let text = std::fs::read_to_string(folder.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok().map(Duration::from_nanos));
    Some(ThreadTimes { name: name.to_owned(), ran: numbers.next()??, delayed: numbers.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_found_by_their_names() {
        let folder = std::env::temp_dir().join(format!("verbatim-threads-{}", std::process::id()));
        let add = |number: &str, name: &str, stat: &str| {
            let thread = folder.join(number);
            std::fs::create_dir_all(&thread).expect("a folder");
            std::fs::write(thread.join("comm"), name).expect("a file");
            std::fs::write(thread.join("schedstat"), stat).expect("a file");
        };
        add("1", "main\n", "1 2 3\n");
        add("2", "own-10\n", "500 20 3\n");
        add("3", "own-9\n", "700 30 3\n");
        add("4", "own-x\n", "what is this\n");
        let mut threads = Threads::below(&folder, |name| name.starts_with("own-"));
        let ns = Duration::from_nanos;
        let of = |name: &str, ran, delayed| ThreadTimes {
            name: name.to_owned(),
            ran: ns(ran),
            delayed: ns(delayed),
        };
        assert_eq!(threads.read(), [of("own-9", 700, 30), of("own-10", 500, 20)]);
        add("3", "own-9\n", "900 30 3\n");
        assert_eq!(threads.read()[0].ran, ns(900));
        std::fs::remove_dir_all(&folder).expect("it is there");
        assert_eq!(threads.read(), []);
    }
}
