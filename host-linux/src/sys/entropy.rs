//! Seeds and ids from the system's entropy.

/// A seed for a caller who gave none. It is below 2^53, so that every reader of JSON keeps it.
pub fn draw_seed() -> Result<u64, String> {
    let mut bytes = [0_u8; 8];
    // SAFETY: getrandom writes at most `bytes.len()` bytes to `bytes`, which is writable.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        Ok(u64::from_le_bytes(bytes) >> 11)
    } else {
        Err("the system gave no entropy for a seed".to_owned())
    }
}

/// Sixteen hex digits that name a request or a folder; zeros where the system has no entropy.
pub fn draw_id() -> String {
    draw_seed().map_or_else(|_| "0".repeat(16), |seed| format!("{seed:016x}"))
}
