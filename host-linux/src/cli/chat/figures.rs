//! Figures of answers, in words.
use super::partner::{End, Figures, Told};
use crate::text::figures::tokens_behind;
use std::time::Duration;

/// Figures of all answers of a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// The last answer, if there was one.
    pub(super) last: Option<Told>,
    answers: usize,
    prompt_tokens: usize,
    cached_tokens: usize,
    tokens: usize,
    time: Duration,
}

impl Totals {
    /// Counts an answer among all of them.
    pub(super) fn add(&mut self, figures: &Figures) {
        self.answers += 1;
        self.prompt_tokens += figures.prompt_tokens.unwrap_or(0);
        self.cached_tokens += figures.cached_tokens.unwrap_or(0);
        self.tokens += figures.tokens.unwrap_or(0);
        self.time += figures.whole;
    }

    /// The last answer, and all of them.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(last) = &self.last else { return vec!["(nothing was answered yet)".to_owned()] };
        let mut lines = described(last);
        if self.answers > 1 {
            lines.push(format!(
                "{} answers: {} prompt tokens, {} of them cached; {} tokens in {:.1} s",
                self.answers,
                self.prompt_tokens,
                self.cached_tokens,
                self.tokens,
                self.time.as_secs_f64(),
            ));
        }
        lines
    }
}

/// An answer's figures, a line each.
pub(super) fn described(told: &Told) -> Vec<String> {
    let figures = &told.figures;
    let mut line = String::new();
    if let Some(tokens) = figures.prompt_tokens {
        let cached = figures.cached_tokens.filter(|cached| *cached > 0);
        let cached = cached.map(|cached| format!(" ({cached} cached)")).unwrap_or_default();
        line += &format!("{tokens} prompt tokens{cached}, ");
    }
    line += &format!("first text after {:.1} ms; ", figures.first.as_secs_f64() * 1e3);
    match figures.tokens {
        Some(tokens) => line += &tokens_behind(tokens, figures.whole.saturating_sub(figures.first)),
        None => line += &format!("ended after {:.1} ms", figures.whole.as_secs_f64() * 1e3),
    }
    if told.end == End::Length {
        line += "; cut at its greatest length";
    }
    if let Some(seed) = told.seed {
        line += &format!("; seed {seed}");
    }
    std::iter::once(line).chain(figures.notes.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_is_known() {
        let ms = Duration::from_millis;
        let figures = Figures {
            prompt_tokens: Some(12),
            cached_tokens: Some(8),
            tokens: Some(11),
            first: ms(30),
            whole: ms(130),
            notes: vec!["lookup: 3 of 4 draft tokens accepted".to_owned()],
        };
        let told = Told { end: End::Length, seed: Some(-7), figures: figures.clone() };
        assert_eq!(
            described(&told),
            [
                "12 prompt tokens (8 cached), first text after 30.0 ms; 11 tokens, 10.00 ms/token, 100.0 tokens/s; \
                 cut at its greatest length; seed -7",
                "lookup: 3 of 4 draft tokens accepted",
            ]
        );
        let untold = Figures { first: ms(30), whole: ms(130), ..Figures::default() };
        let untold = Told { end: End::Whole, seed: None, figures: untold };
        assert_eq!(described(&untold), ["first text after 30.0 ms; ended after 130.0 ms"]);
        let mut totals = Totals::default();
        assert_eq!(totals.lines(), ["(nothing was answered yet)"]);
        totals.add(&figures);
        totals.add(&figures);
        totals.last = Some(told);
        assert_eq!(totals.lines()[2], "2 answers: 24 prompt tokens, 16 of them cached; 22 tokens in 0.3 s");
    }
}
