//! Memory that weights and engines lie in: anonymous ([`AlignedMemory`]: zeroed, 2 MiB-aligned,
//! huge pages advised), or that or a mapped file ([`WeightMemory`]).
use super::mmap::MappedFile;
use std::io;
use std::ptr::NonNull;

const HUGE_PAGE: usize = 2 << 20;

/// A run of zeroed bytes that starts at a multiple of 2 MiB.
#[derive(Debug)]
pub struct AlignedMemory {
    mapping: NonNull<u8>,
    mapping_len: usize,
    start: usize,
    len: usize,
}

// SAFETY: it owns its mapping as a boxed slice owns its memory.
unsafe impl Send for AlignedMemory {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for AlignedMemory {}

impl AlignedMemory {
    /// Maps `len` bytes; they take physical memory when they are first written.
    pub fn new(len: usize) -> io::Result<AlignedMemory> {
        Self::with_pages(len, true)
    }

    /// Maps `len` bytes for which huge pages are advised or forbidden.
    pub fn with_pages(len: usize, huge: bool) -> io::Result<AlignedMemory> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let mapping_len = len.max(1).checked_add(HUGE_PAGE).ok_or_else(too_large)?;
        // SAFETY: a fresh anonymous mapping, at an address of the kernel's choice.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).ok_or_else(too_large)?;
        let start = mapping.as_ptr().align_offset(HUGE_PAGE);
        let memory = AlignedMemory { mapping, mapping_len, start, len };
        let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
        // SAFETY: advice about our own mapping; failure changes nothing.
        unsafe { libc::madvise(memory.mapping.as_ptr().cast(), mapping_len, advice) };
        Ok(memory)
    }

    /// All bytes, to read.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start + len` bytes lie within the mapping, initialised (zeros at first), and
        // only `&mut self` writes them.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().add(self.start), self.len) }
    }

    /// All bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_ptr().add(self.start), self.len) }
    }
}

impl Drop for AlignedMemory {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole, which nothing borrows any more.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_len) };
    }
}

/// The memory that an image lies in.
#[derive(Debug)]
pub enum WeightMemory {
    /// Anonymous memory of this process alone.
    Own(AlignedMemory),
    /// A file's pages, shared with every process that maps the file.
    Mapped(MappedFile),
}

impl WeightMemory {
    /// All bytes of the image.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(memory) => memory.as_slice(),
            Self::Mapped(file) => file.as_slice(),
        }
    }
}
