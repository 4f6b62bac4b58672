//! Reads a GGUF header from its beginning on, never past the file's end or the bound of a header.
use crate::load::error::LoadError;
use crate::load::folder::SourceFile;

/// Bytes of a header, at most: its metadata and the list of its tensors. The largest vocabularies
/// take 30 MB.
pub(super) const HEADER_BYTES_MAX: u64 = 256 << 20;

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// A place in a header.
pub(super) struct Cursor<'f> {
    file: &'f SourceFile,
    /// Bytes of the file, or of the largest header, whichever is less.
    end: u64,
    /// Bytes from the file's start to the next one that is read.
    at: u64,
    window: Vec<u8>,
    window_start: u64,
    /// What is being read, for errors: a key, or a part of the header.
    pub(super) field: String,
}

impl<'f> Cursor<'f> {
    /// The beginning of a file.
    pub(super) fn new(file: &'f SourceFile) -> Self {
        let end = file.len.min(HEADER_BYTES_MAX);
        Self { file, end, at: 0, window: Vec::new(), window_start: 0, field: String::new() }
    }

    /// Bytes from the file's start to the next one.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Bytes that are left of the file, or of the largest header.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// An error about what is being read.
    pub(super) fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> LoadError {
        LoadError::field(&self.file.path, &self.field, found, expected)
    }

    /// Checks that `bytes` more are there, before memory is taken for them.
    pub(super) fn expect(&self, bytes: u64) -> Result<(), LoadError> {
        if bytes <= self.left() {
            return Ok(());
        }
        let found = format!("{} more bytes", self.left());
        if self.end == HEADER_BYTES_MAX {
            return Err(self.error(found, format!("{bytes} in a header of at most {HEADER_BYTES_MAX}")));
        }
        Err(self.error(found, format!("{bytes} before the file's end")))
    }

    /// Fills `out` with the next bytes.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<(), LoadError> {
        self.expect(out.len() as u64)?;
        let window_end = self.window_start + self.window.len() as u64;
        if self.at + out.len() as u64 > window_end {
            if out.len() >= WINDOW_BYTES {
                self.file.read(self.at, out)?;
                self.at += out.len() as u64;
                return Ok(());
            }
            let len = self.left().min(WINDOW_BYTES as u64) as usize;
            self.window.resize(len, 0);
            // Should the read fail, nothing is taken from what the window holds now.
            self.window_start = self.at;
            self.file.read(self.at, &mut self.window).inspect_err(|_| self.window.clear())?;
        }
        let start = (self.at - self.window_start) as usize;
        out.copy_from_slice(&self.window[start..][..out.len()]);
        self.at += out.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LoadError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next four bytes as they stand in the file.
    pub(super) fn magic(&mut self) -> Result<[u8; 4], LoadError> {
        self.array()
    }

    /// The next integer of 32 bits.
    pub(super) fn word(&mut self) -> Result<u32, LoadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next integer of 64 bits.
    pub(super) fn long(&mut self) -> Result<u64, LoadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The next `len` bytes, in memory of their own.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, LoadError> {
        self.expect(len)?;
        let mut bytes = vec![0; len as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next string, at most `bytes_max` bytes of it, read into `buffer`.
    pub(super) fn text<'b>(&mut self, bytes_max: u64, buffer: &'b mut Vec<u8>) -> Result<&'b str, LoadError> {
        let len = self.long()?;
        if len > bytes_max {
            return Err(self.error(format!("a string of {len} bytes"), format!("at most {bytes_max}")));
        }
        self.expect(len)?;
        buffer.resize(len as usize, 0);
        self.fill(buffer)?;
        std::str::from_utf8(buffer).map_err(|error| {
            let found = format!("a string that is no UTF-8 from its byte {} on", error.valid_up_to());
            self.error(found, "UTF-8")
        })
    }
}
