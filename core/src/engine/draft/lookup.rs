//! Draft tokens from the request's own tokens: those that followed an earlier occurrence of its
//! latest tokens (Saxena, "Prompt Lookup Decoding", 2023).

/// The largest length of a match: longer ones are not preferred.
const MATCH_MAX: usize = 32;

/// Writes the draft tokens that follow `tokens[..count]` after it; returns how many these are, up
/// to `max`. The end of those tokens is looked for among them, where it must match over
/// `match_min` tokens or more: the longest match counts, and of equally long ones the latest.
pub(super) fn propose(tokens: &mut [u32], count: usize, max: usize, match_min: usize) -> usize {
    let max = max.min(tokens.len() - count);
    let match_min = match_min.max(1);
    if count < 2 || max == 0 {
        return 0;
    }
    let known = &tokens[..count];
    let last = known[count - 1];
    // The length of the best match, and the index at which what follows it begins.
    let mut best = (match_min - 1, 0);
    for end in (1..count).rev() {
        if known[end - 1] != last {
            continue;
        }
        let longest = MATCH_MAX.min(end);
        let is_same = |back: &usize| known[end - 1 - back] == known[count - 1 - back];
        let same = (1..longest).take_while(is_same).count() + 1;
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
    // Where this reaches the end of the known tokens it goes on with the draft tokens: a cycle is
    // drafted as one.
    for i in 0..max {
        tokens[count + i] = tokens[best.1 + i];
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn drafts(known: &[u32], max: usize, match_min: usize) -> Vec<u32> {
        let mut tokens = known.to_vec();
        tokens.resize(known.len() + 8, 999);
        let count = propose(&mut tokens, known.len(), max, match_min);
        assert!(tokens[known.len() + count..].iter().all(|id| *id == 999));
        tokens[known.len()..known.len() + count].to_vec()
    }

    #[test]
    fn the_longest_and_then_the_latest_match_is_continued() {
        assert_eq!(drafts(&[1, 2, 3, 4, 9, 2, 3], 2, 2), [4, 9]);
        // `2 3` stands at two places; `1 2 3` at the first only.
        assert_eq!(drafts(&[1, 2, 3, 4, 2, 3, 5, 1, 2, 3], 2, 2), [4, 2]);
        assert_eq!(drafts(&[8, 3, 4, 7, 3, 5, 3], 1, 1), [5]);
        // A cycle goes on beyond what is there.
        assert_eq!(drafts(&[5, 6, 5, 6], 5, 2), [5, 6, 5, 6, 5]);
        assert_eq!(drafts(&[7, 7], 3, 1), [7, 7, 7]);
    }

    #[test]
    fn nothing_is_drafted_where_nothing_matches_or_nothing_fits() {
        assert!(drafts(&[1, 2, 3, 4], 4, 1).is_empty());
        assert!(drafts(&[2, 3, 9, 2, 3], 4, 3).is_empty());
        assert!(drafts(&[1], 4, 1).is_empty());
        assert!(drafts(&[], 4, 1).is_empty());
        assert!(drafts(&[1, 1], 0, 1).is_empty());
        assert_eq!(propose(&mut [4, 4, 0], 2, 5, 1), 1);
        assert_eq!(propose(&mut [4, 4], 2, 5, 1), 0);
    }
}
