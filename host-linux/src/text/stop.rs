//! Stop strings: text is held back while it may be the beginning of one.

/// Finds the first stop string in text that comes in pieces.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    include: bool,
    held: String,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// For these strings; empty ones are ignored. With `include`, the stop string is part of the
    /// output.
    pub fn new(stops: &[String], include: bool) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, include, held: String::new(), stopped: None }
    }

    /// Which stop string ended the text.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.map(|i| self.stops[i].as_str())
    }

    /// Takes a piece; returns what may be given out. Nothing comes after a stop string.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        // The first to be complete wins; of those that end together, the longest, which begins
        // first.
        let ends =
            |(i, stop): (usize, &String)| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at, i));
        if let Some((end, at, i)) = self.stops.iter().enumerate().filter_map(ends).min() {
            self.stopped = Some(i);
            let keep = if self.include { end } else { at };
            let mut text = std::mem::take(&mut self.held);
            text.truncate(keep);
            return text;
        }
        let hold = self.stops.iter().map(|stop| longest_beginning(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, when no more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that is a proper beginning of `stop`.
fn longest_beginning(text: &str, stop: &str) -> usize {
    let max = text.len().min(stop.len() - 1);
    (1..=max).rev().find(|len| text.as_bytes().ends_with(&stop.as_bytes()[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text up to the stop string that is complete first.
    fn whole(text: &str, stops: &[String], include: bool) -> String {
        let found =
            stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at))).min();
        found.map_or(text.to_owned(), |(end, at)| text[..if include { end } else { at }].to_owned())
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            text in "[ab é😀]{0,30}", stops in prop::collection::vec("[ab é😀]{1,4}", 0..4),
            cuts in prop::collection::vec(1_usize..5, 1..10), include: bool,
        ) {
            let mut matcher = StopMatcher::new(&stops, include);
            let chars: Vec<char> = text.chars().collect();
            let (mut out, mut at, mut cut) = (String::new(), 0, 0);
            while at < chars.len() {
                let end = chars.len().min(at + cuts[cut % cuts.len()]);
                cut += 1;
                out.push_str(&matcher.push(&chars[at..end].iter().collect::<String>()));
                prop_assert!(whole(&text, &stops, include).starts_with(&out), "nothing is given out too early");
                at = end;
            }
            let stopped = matcher.stopped().is_some();
            out.push_str(&matcher.finish());
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop.as_str())));
            prop_assert_eq!(out, whole(&text, &stops, include));
        }
    }

    #[test]
    fn multibyte_text_is_never_cut_inside_a_character() {
        let mut matcher = StopMatcher::new(&["日本".to_owned()], false);
        // 旦 shares its first byte with 日: held back bytes would split it.
        assert_eq!(matcher.push("旦"), "旦");
        assert_eq!(matcher.push("日"), "");
        assert_eq!(matcher.push("曜"), "日曜");
        assert_eq!(matcher.push("日本語"), "");
        assert_eq!(matcher.stopped(), Some("日本"));
        assert_eq!((matcher.push("x"), matcher.finish()), (String::new(), String::new()));
    }
}
