//! A file mapped for reading, all but its beginning.
//!
//! The pages of the mapping are the page cache's own: nothing is read until it is touched, and
//! processes that map the same file share them. Such a page changes when somebody writes the file,
//! and is gone (`SIGBUS`) when somebody cuts it. The beginning, which is what decides how the rest
//! is read, is therefore a copy in memory of our own.
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// A file mapped for reading; unmapped when dropped.
#[derive(Debug)]
pub struct MappedFile {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its mapping as a boxed slice owns its memory.
unsafe impl Send for MappedFile {}
// SAFETY: as above; there are only shared references, which read.
unsafe impl Sync for MappedFile {}

fn page_bytes() -> io::Result<usize> {
    // SAFETY: a question without arguments in memory.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).map_err(|_| io::Error::last_os_error())
}

impl MappedFile {
    /// Maps a file that is to be served, as [`MappedFile::new`] does.
    ///
    /// The module doc of [`image_file`](crate::load::image_file) says what whoever serves such a
    /// file owes, and what becomes of the process otherwise; it is the duty that `new` names.
    pub(crate) fn served(file: &File, len: usize, head: usize) -> io::Result<MappedFile> {
        // SAFETY: the operator keeps the file as it is, as documented. Its bytes are read as
        // numbers, of which any are valid, at places that the head says, and the head is a copy.
        unsafe { Self::new(file, len, head) }
    }

    /// Maps the first `len` bytes of a file, of which it copies the first `head`, up to a whole
    /// page. Both are at least 1.
    ///
    /// # Safety
    /// While what [`MappedFile::as_slice`] gives is in use, nobody writes to the file's bytes
    /// `head..len`, and nobody makes it shorter.
    ///
    /// # Panics
    /// If `head` is 0 or beyond `len`.
    pub unsafe fn new(file: &File, len: usize, head: usize) -> io::Result<MappedFile> {
        assert!(0 < head && head <= len);
        // SAFETY: a fresh mapping, at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // From here on it is unmapped whatever happens.
        let mut mapped = MappedFile { start, len };
        mapped.own(file, head.next_multiple_of(page_bytes()?))?;
        Ok(mapped)
    }

    /// Replaces the first pages by anonymous ones with what the file has there.
    fn own(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        // SAFETY: whole pages at the start of our own mapping (of which the last may reach past
        // `len`), which nothing borrows yet: `self` is unique.
        let owned = unsafe {
            libc::mmap(
                self.start.as_ptr().cast(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if owned == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: pages just made: zeros, ours alone, writable; the borrow is unique as `self` is.
        let out = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), bytes.min(self.len)) };
        file.read_exact_at(out, 0)
    }

    /// The mapped bytes of the file, its beginning as it was when it was mapped.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are mapped as long as `self` lives; those of our own are
        // only written before `new` returns, and for the others its caller vouches.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole, which nothing borrows any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_tests::temporary::TemporaryDirectory;

    #[test]
    fn the_head_is_a_copy_and_the_rest_is_the_file() {
        let directory = TemporaryDirectory::new("mmap");
        let path = directory.path().join("file");
        let page = page_bytes().unwrap();
        for (len, head) in
            [(1, 1), (page, page), (page + 1, 1), (5 * page + 7, page + 1), (3 * page, 3 * page)]
        {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            // SAFETY: the file is this test's, which reads of the mapping only what it does not
            // write below.
            let (one, two) = unsafe {
                (MappedFile::new(&file, len, head).unwrap(), MappedFile::new(&file, len, head).unwrap())
            };
            assert!(one.as_slice() == bytes && two.as_slice() == bytes);
            assert_eq!(one.as_slice().as_ptr() as usize % page, 0);
            // The pages that have the head stay as they were, whatever becomes of the file.
            let own = head.next_multiple_of(page).min(len);
            std::fs::write(&path, vec![0; len]).unwrap();
            // SAFETY: within the mapping; a page of our own, which nobody writes.
            let kept = unsafe { std::slice::from_raw_parts(one.start.as_ptr(), own) };
            assert!(kept == &bytes[..own]);
        }
    }

    #[test]
    fn a_file_that_ends_within_the_head_is_an_error() {
        let directory = TemporaryDirectory::new("mmap-short");
        let path = directory.path().join("file");
        std::fs::write(&path, [1; 100]).unwrap();
        let file = File::open(&path).unwrap();
        // SAFETY: nobody changes the file.
        let error = unsafe { MappedFile::new(&file, 200, 150) }.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        // SAFETY: as above.
        assert!(unsafe { MappedFile::new(&File::open("/proc/self/status").unwrap(), 10, 1) }.is_err());
    }
}
