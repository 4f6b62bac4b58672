//! Files of the system below a folder that stands for `/`, read within bounds.
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file that are read, at most. The files of a machine with thousands of CPUs are
/// larger, and what is looked for stands in the beginning.
const BYTES_MAX: u64 = 1 << 20;
/// Entries of a folder that are read, at most.
const ENTRIES_MAX: usize = 4096;

/// The folder that stands for `/`.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// A folder with `proc` and `sys` as Linux has them.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The path of something below it; `name` does not begin with a slash.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder that stands for the root.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The text of a file without white space at its ends; bytes that are no text become marks.
    /// `None` if there is no such file, or something else in its place.
    pub fn text(&self, name: &str) -> Option<String> {
        let path = self.path(name);
        // A pipe in place of a file would be waited for.
        if !std::fs::metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number that a file holds.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The value of a line `KEY: VALUE` of a file, as of `/proc/meminfo`.
    pub fn field(&self, name: &str, key: &str) -> Option<String> {
        let text = self.text(name)?;
        text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        })
    }

    /// The value of such a line in kB, as bytes.
    pub fn kilobytes(&self, name: &str, key: &str) -> Option<u64> {
        let value = self.field(name, key)?;
        value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The names of the folders `PREFIX` and a number, such as `cpu0`, in order of their numbers.
    pub fn numbered(&self, folder: &str, prefix: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let names =
            entries.flatten().take(ENTRIES_MAX).filter_map(|entry| entry.file_name().into_string().ok());
        let number = |name: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let mut found: Vec<_> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name).collect()
    }
}

/// How many numbers a list such as `0-3,8,10-11` has; `None` if it is none.
pub fn list_len(list: &str) -> Option<u64> {
    let of_part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        Some(u64::from(last.checked_sub(first)?) + 1)
    };
    list.split(',').map(of_part).try_fold(0_u64, |sum, part| sum.checked_add(part?))
}
