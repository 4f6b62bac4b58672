//! What a machine offers a server, and what stands in its way: what is well, what might be better,
//! what is wrong, and how it is mended.
//!
//! Everything is read from files below a root, which is `/` but for tests: a machine that nobody
//! has at hand is a folder of files. What the files say is another program's word: whatever cannot
//! be read is left out, and what is quoted is quoted shortly.
//!
//! * [`root`]: files of the system, read within bounds.
//! * [`cpu`]: cores, clock, nodes of memory. [`memory`]: what is free, pages, swap.
//! * [`neighbours`]: who else takes time. [`limits`]: what the process may have. [`disk`]: where
//!   models lie.
pub mod cpu;
pub mod disk;
pub mod limits;
pub mod memory;
pub mod neighbours;
pub mod root;

use root::Root;
use std::time::Duration;

/// Bytes of memory or disk in words.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Well,
    /// It works, and might be faster or safer.
    Doubtful,
    /// A server will fail, or give wrong answers.
    Wrong,
}

impl Level {
    /// Its name in words and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Doubtful => "doubtful",
            Self::Wrong => "wrong",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How it stands with it.
    pub level: Level,
    /// What was found, and what that costs, in one line.
    pub found: String,
    /// What to do about it, in one line; `None` where all is well.
    pub mend: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn well(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, level: Level::Well, found: found.into(), mend: None }
    }

    /// Something that might be better.
    pub fn doubtful(subject: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { subject, level: Level::Doubtful, found: found.into(), mend: Some(mend.into()) }
    }

    /// Something with which a server will not do.
    pub fn wrong(subject: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { subject, level: Level::Wrong, found: found.into(), mend: Some(mend.into()) }
    }
}

/// Looks at all that files tell, for `pause` long where time has to pass between two looks.
pub fn examine(root: &Root, pause: Duration) -> Vec<Finding> {
    let mut all = Vec::new();
    all.extend(cpu::cores(root));
    all.extend(cpu::clock(root));
    all.extend(cpu::nodes(root));
    all.extend(memory::free(root));
    all.extend(memory::swap(root));
    all.extend(memory::huge_pages(root));
    all.extend(memory::overcommit(root));
    all.extend(limits::quota(root));
    all.extend(limits::descriptors(root));
    all.extend(limits::threads(root));
    all.extend(limits::address_space(root));
    all.extend(neighbours::load(root));
    all.extend(neighbours::stolen(root, pause));
    all
}

#[cfg(test)]
mod tests;
