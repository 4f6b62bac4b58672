//! Guesses from the request's own text: what followed the last time these words stood here (Saxena,
//! "Prompt Lookup Decoding", 2023).

/// A match longer than this is as good as any.
const MATCH_MAX: usize = 32;

/// Guesses what follows `tokens[..count]` and writes it after them; returns how many, at most
/// `most`. The end of the text is looked for in the text itself, where it must match over `least`
/// tokens or more: the longest match counts, and of these the latest.
pub(super) fn propose(tokens: &mut [u32], count: usize, most: usize, least: usize) -> usize {
    let most = most.min(tokens.len() - count);
    let least = least.max(1);
    if count < 2 || most == 0 {
        return 0;
    }
    let text = &tokens[..count];
    let last = text[count - 1];
    // Length of the best match, and where what follows it begins.
    let mut best = (least - 1, 0);
    for end in (1..count).rev() {
        if text[end - 1] != last {
            continue;
        }
        let longest = MATCH_MAX.min(end);
        let same = (1..longest).take_while(|back| text[end - 1 - back] == text[count - 1 - back]).count() + 1;
        if same > best.0 {
            best = (same, end);
            if same == MATCH_MAX {
                break;
            }
        }
    }
    if best.1 == 0 {
        return 0;
    }
    // Where a guess reaches the end of the text it goes on with the guesses: a cycle is guessed as
    // one.
    for i in 0..most {
        tokens[count + i] = tokens[best.1 + i];
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn guess(text: &[u32], most: usize, least: usize) -> Vec<u32> {
        let mut tokens = text.to_vec();
        tokens.resize(text.len() + 8, 999);
        let count = propose(&mut tokens, text.len(), most, least);
        assert!(tokens[text.len() + count..].iter().all(|id| *id == 999));
        tokens[text.len()..text.len() + count].to_vec()
    }

    #[test]
    fn the_longest_and_then_the_latest_match_is_continued() {
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3], 2, 2), [4, 9]);
        // `2 3` stands at two places; `1 2 3` at the first only.
        assert_eq!(guess(&[1, 2, 3, 4, 2, 3, 5, 1, 2, 3], 2, 2), [4, 2]);
        assert_eq!(guess(&[8, 3, 4, 7, 3, 5, 3], 1, 1), [5]);
        // A cycle goes on beyond what is there.
        assert_eq!(guess(&[5, 6, 5, 6], 5, 2), [5, 6, 5, 6, 5]);
        assert_eq!(guess(&[7, 7], 3, 1), [7, 7, 7]);
    }

    #[test]
    fn nothing_is_guessed_where_nothing_matches_or_nothing_fits() {
        assert!(guess(&[1, 2, 3, 4], 4, 1).is_empty());
        assert!(guess(&[2, 3, 9, 2, 3], 4, 3).is_empty());
        assert!(
            guess(&[1], 4, 1).is_empty() && guess(&[], 4, 1).is_empty() && guess(&[1, 1], 0, 1).is_empty()
        );
        assert_eq!(propose(&mut [4, 4, 0], 2, 5, 1), 1);
        assert_eq!(propose(&mut [4, 4], 2, 5, 1), 0);
    }
}
