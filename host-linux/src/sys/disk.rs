//! How much room a file system has left.
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that this user may still write to the file system that holds `path`, or, where there is
/// nothing at `path`, the nearest folder above it that is there.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    // A relative path ends at the folder that the process is in.
    let above = path.ancestors().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
    let found = above.into_iter().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let found = CString::new(found.as_os_str().as_bytes())?;
    // SAFETY: zeroes are a valid value of this structure of numbers.
    let mut told: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and the system writes one structure to `told`.
    if unsafe { libc::statvfs(found.as_ptr(), &raw mut told) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The types of both differ between systems.
    #[allow(clippy::unnecessary_cast)]
    let (blocks, block_bytes) = (told.f_bavail as u64, told.f_frsize as u64);
    Ok(blocks.saturating_mul(block_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_lies_on_the_file_system_above_it() {
        let temporary = std::env::temp_dir();
        assert!(free_bytes(&temporary).unwrap() > 0);
        assert!(free_bytes(&temporary.join("no/such/folder")).unwrap() > 0);
        assert!(free_bytes(Path::new("no/such/folder")).unwrap() > 0);
        // A file system without blocks has no room.
        assert_eq!(free_bytes(Path::new("/proc/self/no")).unwrap(), 0);
    }
}
