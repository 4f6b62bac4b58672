//! Random numbers from the operating system.
use std::io;

/// Draws a seed for a caller who gave none. It is below 2^53, so that every JSON reader keeps it.
pub fn draw_seed() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: getrandom writes at most `bytes.len()` bytes to `bytes`.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match got {
        8 => Ok(u64::from_le_bytes(bytes) >> 11),
        0.. => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_fit_a_json_number_and_differ() {
        let seeds: Vec<u64> = (0..8).map(|_| draw_seed().unwrap()).collect();
        assert!(seeds.iter().all(|seed| *seed < 1 << 53));
        assert!(seeds.iter().any(|seed| *seed != seeds[0]), "{seeds:?}");
    }
}
