//! The escapes of a coded panel: exponents that its table does not have, one byte each.

/// Where the next escape lies. Past the last one there are zeros.
#[derive(Clone, Copy, Debug)]
pub struct Escapes {
    next: *const u8,
    end: *const u8,
}

impl Escapes {
    /// The escapes from `next` up to `end`.
    ///
    /// # Safety
    /// The bytes between the two are valid for reading as long as the value is used.
    #[inline(always)]
    pub unsafe fn new(next: *const u8, end: *const u8) -> Self {
        Self { next, end }
    }

    /// The next escape; 0 when there is none, which only a damaged panel asks for.
    fn take(&mut self) -> u8 {
        if self.next >= self.end {
            return 0;
        }
        // SAFETY: before the end; `new` vouches for the bytes.
        unsafe {
            let escape = self.next.read();
            self.next = self.next.add(1);
            escape
        }
    }

    /// Replaces what was looked up for code 15: the upper bytes of bf16 (sign and 7 bits of the exponent) and the lower ones
    /// (its last bit and the mantissa). Rare, so that it may go through memory.
    #[cold]
    #[inline(never)]
    pub(super) fn patch(&mut self, mut which: u64, upper: &mut [u8; 64], lower: &mut [u8; 64]) {
        while which != 0 {
            let i = which.trailing_zeros() as usize;
            which &= which - 1;
            let exponent = self.take();
            upper[i] = upper[i] & 0x80 | exponent >> 1;
            lower[i] = lower[i] & 0x7f | exponent << 7;
        }
    }
}
