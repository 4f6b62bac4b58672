//! The letters by which byte-level vocabularies write bytes.

/// The byte that a letter of a byte-level vocabulary stands for (GPT-2's table: printable Latin-1
/// stands for itself, the other bytes, in order, for the letters from U+0100).
pub(super) fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |code: u32| matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(letter);
    if printable(code) {
        return u8::try_from(code).ok();
    }
    let index = code.checked_sub(0x100)?;
    (0..=255_u32)
        .filter(|byte| !printable(*byte))
        .nth(index as usize)
        .and_then(|byte| u8::try_from(byte).ok())
}

/// The letters of all 256 bytes.
pub(super) fn byte_letters() -> impl Iterator<Item = char> {
    (0..0x200).filter_map(char::from_u32).filter(|letter| byte_of_letter(*letter).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_letter() {
        assert_eq!(byte_of_letter('A'), Some(b'A'));
        assert_eq!(byte_of_letter('\u{120}'), Some(b' '));
        assert_eq!(byte_of_letter('\u{10a}'), Some(b'\n'));
        let mut seen: Vec<u8> = byte_letters().filter_map(byte_of_letter).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=255).collect::<Vec<u8>>());
    }
}
