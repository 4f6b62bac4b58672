//! Events that come now and then: what comes of a choice in between is gathered, and told at once.
//!
//! Each program between the server and its client works for each event, however little it tells. A
//! client that does not show every token as it comes asks for fewer events (`interval_ms`). The
//! first thing of each choice is told when it comes, and nothing is held longer than the interval.
use super::writer::append;
use crate::runtime::Delta;
use crate::text::parts::Part;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Tokens of a choice that are held, at most: they are told then whatever the time, so that what is
/// held stays small beside an answer.
const HELD_MAX: usize = 256;
/// How long to wait where nothing is held.
const NEVER: Duration = Duration::from_secs(3600);

/// What came of a choice since it was told of last.
#[derive(Debug, Default)]
pub struct Held {
    /// Its parts; those of one kind that follow each other are one.
    pub parts: Vec<Part>,
    /// What brought them, in order.
    pub deltas: Vec<Delta>,
}

/// A choice of which events are sent.
#[derive(Debug, Default)]
struct Choice {
    has_begun: bool,
    held: Held,
}

/// What is held of the choices of an answer.
#[derive(Debug)]
pub struct Gathered {
    interval: Duration,
    choices: Vec<Choice>,
    /// Choices of which something is held, in the order in which it came.
    waiting: VecDeque<usize>,
    /// The choice that is to be told of at once.
    urgent: Option<usize>,
    /// How many of those that wait are being told of now.
    leaving: usize,
    /// When those that waited were told of last; before that, when the answer began.
    told: Instant,
}

impl Gathered {
    /// Nothing, of so many choices of an answer that begins now. No more than one event of each is
    /// sent within an interval, but for its first and its last.
    pub fn new(interval: Duration, choices: usize, now: Instant) -> Self {
        Self {
            interval,
            choices: (0..choices).map(|_| Choice::default()).collect(),
            waiting: VecDeque::new(),
            urgent: None,
            leaving: 0,
            told: now,
        }
    }

    /// Takes what came of a choice before its end, for [`take`](Self::take) alone.
    pub fn add_last(&mut self, at: usize, delta: Delta, parts: Vec<Part>) {
        let held = &mut self.choices[at].held;
        held.deltas.push(delta);
        parts.into_iter().for_each(|part| append(&mut held.parts, part));
    }

    /// Takes what came of a choice. Whoever calls this tells next what is [`due`](Self::due).
    pub fn add(&mut self, at: usize, delta: Delta, parts: Vec<Part>) {
        if self.choices[at].held.deltas.is_empty() {
            self.waiting.push_back(at);
        }
        self.add_last(at, delta, parts);
        let Choice { has_begun, held } = &mut self.choices[at];
        let is_first = !std::mem::replace(has_begun, true);
        if is_first || self.interval.is_zero() || held.deltas.len() >= HELD_MAX {
            self.urgent = Some(at);
        }
    }

    /// The next choice that is to be told of now, and what; none once that was all.
    pub fn due(&mut self, now: Instant) -> Option<(usize, Held)> {
        if let Some(at) = self.urgent.take() {
            return Some((at, self.take(at)));
        }
        if self.leaving == 0 && self.due_at().is_some_and(|at| at <= now) {
            (self.leaving, self.told) = (self.waiting.len(), now);
        }
        self.leaving = self.leaving.checked_sub(1)?;
        self.any()
    }

    /// A choice of which something is held, and what; none if nothing is.
    pub fn any(&mut self) -> Option<(usize, Held)> {
        let at = self.waiting.pop_front()?;
        Some((at, std::mem::take(&mut self.choices[at].held)))
    }

    /// What is held of a choice, which is nothing where all was told.
    pub fn take(&mut self, at: usize) -> Held {
        let held = std::mem::take(&mut self.choices[at].held);
        if !held.deltas.is_empty() {
            self.waiting.retain(|other| *other != at);
        }
        held
    }

    /// The time that is left until something is due.
    pub fn rest(&self, now: Instant) -> Duration {
        self.due_at().map_or(NEVER, |at| at.saturating_duration_since(now))
    }

    /// When something is due, if anything is held.
    fn due_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.told + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> (Delta, Vec<Part>) {
        (Delta { text: text.to_owned(), token: None, top: Vec::new() }, vec![Part::Text(text.to_owned())])
    }

    /// The choices that are told of now, and their texts.
    fn told(gathered: &mut Gathered, now: Instant) -> Vec<(usize, String)> {
        let mut told = Vec::new();
        while let Some((at, held)) = gathered.due(now) {
            assert!(held.parts.len() <= 1 && !held.deltas.is_empty(), "{held:?}");
            told.push((at, super::super::writer::text_of(&held.parts)));
        }
        told
    }

    fn add(gathered: &mut Gathered, at: usize, word: &str) {
        let (delta, parts) = text(word);
        gathered.add(at, delta, parts);
    }

    #[test]
    fn without_an_interval_everything_is_told_as_it_comes() {
        let now = Instant::now();
        let mut gathered = Gathered::new(Duration::ZERO, 2, now);
        for (at, word) in [(0, "a"), (0, "b"), (1, "c")] {
            add(&mut gathered, at, word);
            assert_eq!(told(&mut gathered, now), [(at, word.to_owned())]);
        }
        assert_eq!(gathered.rest(now), NEVER);
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_when_the_interval_is_over() {
        let (start, interval) = (Instant::now(), Duration::from_millis(50));
        let mut gathered = Gathered::new(interval, 3, start);
        add(&mut gathered, 1, "a");
        assert_eq!(told(&mut gathered, start), [(1, "a".to_owned())]);
        for (at, word) in [(1, "b"), (0, "c"), (1, "d"), (0, "e")] {
            add(&mut gathered, at, word);
            let first = if word == "c" { vec![(0, "c".to_owned())] } else { Vec::new() };
            assert_eq!(told(&mut gathered, start), first);
        }
        assert_eq!(gathered.rest(start), interval);
        let due = start + interval;
        assert_eq!(told(&mut gathered, due), [(1, "bd".to_owned()), (0, "e".to_owned())]);
        assert_eq!(gathered.rest(due), NEVER);
        // After a pause longer than the interval nothing is held.
        add(&mut gathered, 0, "f");
        assert_eq!(told(&mut gathered, due + 2 * interval), [(0, "f".to_owned())]);
    }

    #[test]
    fn what_is_held_at_the_end_of_a_choice_is_taken_once() {
        let now = Instant::now();
        let mut gathered = Gathered::new(Duration::from_secs(10), 2, now);
        for (at, word) in [(0, "a"), (1, "b"), (0, "c"), (1, "d")] {
            add(&mut gathered, at, word);
            while gathered.due(now).is_some() {}
        }
        assert_eq!(gathered.take(0).deltas.len(), 1);
        assert!(gathered.take(0).deltas.is_empty());
        assert_eq!(gathered.any().map(|(at, held)| (at, held.parts)), Some((1, text("d").1)));
        assert!(gathered.any().is_none() && gathered.due(now + Duration::from_secs(11)).is_none());
        let (delta, parts) = text("e");
        gathered.add_last(1, delta, parts);
        assert!(gathered.any().is_none() && gathered.take(1).parts == text("e").1);
    }

    #[test]
    fn no_more_is_held_than_a_bound() {
        let now = Instant::now();
        let mut gathered = Gathered::new(Duration::from_secs(10), 1, now);
        let mut events = 0;
        for _ in 0..=2 * HELD_MAX {
            add(&mut gathered, 0, "a");
            events += told(&mut gathered, now).len();
        }
        assert_eq!(events, 3);
    }
}
