//! Stop strings: text is held back while it may be the beginning of one.
//!
//! Each string is matched as Knuth, Morris and Pratt do it: for the text so far, the matcher knows
//! how much of its end is a beginning of the string. A byte of text costs a constant number of
//! steps for each string, whatever the strings are, and the longest such beginning is just what is
//! held back. The strings and their tables are made once ([`StopStrings`]) and shared by all
//! choices of a request; a choice keeps a few numbers and the text that it holds back.
use std::sync::Arc;

/// Stop strings, compiled for matching.
#[derive(Clone, Debug, Default)]
pub struct StopStrings(Vec<StopString>);

#[derive(Clone, Debug)]
struct StopString {
    text: String,
    /// For each length of a beginning, less 1: bytes of its longest end, other than all of it, that
    /// is a beginning of the string too.
    borders: Vec<u32>,
}

impl StopStrings {
    /// Compiles these strings; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Self(stops.map(|stop| StopString::new(stop)).collect())
    }
}

impl StopString {
    fn new(text: &str) -> Self {
        let mut stop = Self { text: text.to_owned(), borders: Vec::with_capacity(text.len()) };
        for byte in text.bytes() {
            let border = match stop.borders.last() {
                None => 0, // the first byte alone has no other end
                Some(&before) => stop.advance(before, byte),
            };
            stop.borders.push(border);
        }
        stop
    }

    /// Bytes of the string that the text ends with, one byte after it ended with `matched` of them.
    /// The string is not complete yet.
    fn advance(&self, mut matched: u32, byte: u8) -> u32 {
        loop {
            if self.text.as_bytes()[matched as usize] == byte {
                return matched + 1;
            }
            if matched == 0 {
                return 0;
            }
            matched = self.borders[matched as usize - 1];
        }
    }
}

/// Finds the first stop string in text that comes in pieces.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Arc<StopStrings>,
    include: bool,
    /// For each string, how many of its bytes the text ends with.
    matched: Vec<u32>,
    /// Text that was given out, up to `start`, and text that is held back.
    held: String,
    start: usize,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// For these strings. With `include`, the stop string is part of the output.
    pub fn new(stops: Arc<StopStrings>, include: bool) -> Self {
        let matched = vec![0; stops.0.len()];
        Self { stops, include, matched, held: String::new(), start: 0, stopped: None }
    }

    /// Which stop string ended the text.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|i| self.stops.0[i].text.as_str())
    }

    /// Takes a piece; returns what may be given out. Nothing comes after a stop string.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (i, byte) in piece.bytes().enumerate() {
            if let Some(stop) = self.advance(byte) {
                self.stopped = Some(stop);
                let end = before + i + 1;
                let keep = if self.include { end } else { end - self.stops.0[stop].text.len() };
                return self.give_out(keep, true);
            }
        }
        let hold = self.matched.iter().max().copied().unwrap_or(0);
        self.give_out(self.held.len() - hold as usize, false)
    }

    /// Takes a byte; returns the string that it completes. The first to be complete wins; of those
    /// that end together, the longest, which begins first.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        let mut complete: Option<usize> = None;
        let stops = &self.stops.0;
        for (i, (stop, matched)) in stops.iter().zip(&mut self.matched).enumerate() {
            *matched = stop.advance(*matched, byte);
            let is_longest = complete.is_none_or(|other| stops[other].text.len() < stop.text.len());
            if *matched as usize == stop.text.len() && is_longest {
                complete = Some(i);
            }
        }
        complete
    }

    /// Returns the text up to `end`, and keeps what comes after it unless that is dropped.
    fn give_out(&mut self, end: usize, drop_rest: bool) -> String {
        let text = self.held[self.start..end].to_owned();
        self.start = end;
        if drop_rest || end == self.held.len() {
            self.held.clear();
            self.start = 0;
        } else if self.start > self.held.len() / 2 {
            // Moved at most once for each byte that was given out.
            self.held.drain(..self.start);
            self.start = 0;
        }
        text
    }

    /// What was held back, when no more comes.
    pub fn finish(&mut self) -> String {
        self.give_out(self.held.len(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(stops: &[String], include: bool) -> StopMatcher {
        StopMatcher::new(Arc::new(StopStrings::new(stops)), include)
    }

    /// The text up to the stop string that is complete first.
    fn whole(text: &str, stops: &[String], include: bool) -> String {
        let found =
            stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at))).min();
        found.map_or(text.to_owned(), |(end, at)| text[..if include { end } else { at }].to_owned())
    }

    /// What a matcher is by definition: it searches all that is held back again for each piece.
    #[derive(Default)]
    struct Plain {
        held: String,
        stopped: Option<usize>,
    }

    impl Plain {
        fn push(&mut self, piece: &str, stops: &[String], include: bool) -> String {
            if self.stopped.is_some() {
                return String::new();
            }
            self.held.push_str(piece);
            let ends = |(i, stop): (usize, &String)| {
                self.held.find(stop.as_str()).map(|at| (at + stop.len(), at, i))
            };
            if let Some((end, at, i)) = stops.iter().enumerate().filter_map(ends).min() {
                self.stopped = Some(i);
                let mut text = std::mem::take(&mut self.held);
                text.truncate(if include { end } else { at });
                return text;
            }
            let beginning = |stop: &String| {
                let max = self.held.len().min(stop.len() - 1);
                let is_end = |len: &usize| self.held.as_bytes().ends_with(&stop.as_bytes()[..*len]);
                (1..=max).rev().find(is_end).unwrap_or(0)
            };
            let hold = stops.iter().map(beginning).max().unwrap_or(0);
            let rest = self.held.split_off(self.held.len() - hold);
            std::mem::replace(&mut self.held, rest)
        }
    }

    /// `text` in pieces whose lengths in characters are those of `cuts`, again and again.
    fn pieces(text: &str, cuts: &[usize]) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            if at == chars.len() {
                break;
            }
            let end = chars.len().min(at + cut);
            pieces.push(chars[at..end].iter().collect());
            at = end;
        }
        pieces
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            text in "[ab é😀]{0,30}", stops in prop::collection::vec("[ab é😀]{1,4}", 0..4),
            cuts in prop::collection::vec(1_usize..5, 1..10), include: bool,
        ) {
            let mut matcher = matcher(&stops, include);
            let mut out = String::new();
            for piece in pieces(&text, &cuts) {
                out.push_str(&matcher.push(&piece));
                prop_assert!(whole(&text, &stops, include).starts_with(&out), "nothing is given out too early");
            }
            let stopped = matcher.stopped().is_some();
            out.push_str(&matcher.finish());
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop.as_str())));
            prop_assert_eq!(out, whole(&text, &stops, include));
        }

        #[test]
        fn each_piece_gives_what_the_definition_gives(
            text in "(ab|aab|a|é|\u{65e5}|b){0,40}", stops in prop::collection::vec("[ab]{1,12}|[aé\u{65e5}]{1,5}", 0..5),
            cuts in prop::collection::vec(1_usize..6, 1..6), include: bool,
        ) {
            let (mut matcher, mut plain) = (matcher(&stops, include), Plain::default());
            for piece in pieces(&text, &cuts) {
                prop_assert_eq!(matcher.push(&piece), plain.push(&piece, &stops, include));
                prop_assert_eq!(matcher.stopped(), plain.stopped.map(|i| stops[i].as_str()));
            }
            prop_assert_eq!(matcher.finish(), plain.held);
        }
    }

    #[test]
    fn multibyte_text_is_never_cut_inside_a_character() {
        let mut matcher = matcher(&["日本".to_owned()], false);
        // 旦 shares its first byte with 日: held back bytes would split it.
        assert_eq!(matcher.push("旦"), "旦");
        assert_eq!(matcher.push("日"), "");
        assert_eq!(matcher.push("曜"), "日曜");
        assert_eq!(matcher.push("日本語"), "");
        assert_eq!(matcher.stopped(), Some("日本"));
        assert_eq!((matcher.push("x"), matcher.finish()), (String::new(), String::new()));
    }

    /// Text that all but completes the longest strings again and again: a search of what is held
    /// back for each piece would take minutes.
    #[test]
    fn no_strings_make_matching_slow() {
        let stops: Vec<String> = (0..16).map(|i| "a".repeat(1000 - i) + "b").collect();
        let mut matcher = matcher(&stops, false);
        let given: usize = (0..200_000).map(|_| matcher.push("a").len()).sum();
        assert_eq!(given, 200_000 - 1000);
        assert!(matcher.held.len() < 3000);
        assert_eq!(matcher.push("b"), "");
        assert_eq!(matcher.stopped(), Some(stops[0].as_str()), "the longest of those that end together");
    }
}
