//! One request as its front keeps it: what its client was told, and the checks of that.
//!
//! A token's value here is a hash of the fingerprint, the request and the token's place, as the
//! real engine's is a function of them. A client folds the values in the order in which they come,
//! so a token that is lost, told twice, out of order or of another fingerprint changes the sum.
use super::load::Turn;
use crate::sim::rng::fold;

/// A request from its arrival to its end.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Its number, and its conversation's.
    pub(super) number: u32,
    pub(super) conversation: u32,
    pub(super) system: u32,
    pub(super) turn: Turn,
    /// The front that serves it.
    pub(super) front: u32,
    /// When its client sent it, and when the last event was with the client.
    pub(super) asked_ns: u64,
    pub(super) delivered_ns: u64,
    /// When the front last heard of it, or sent it.
    pub(super) heard_ns: u64,
    /// Since when the front has looked for a replica.
    pub(super) looking_ns: u64,
    /// Tokens that were told.
    pub(super) told: u32,
    values: u64,
    /// Whose tokens they are; `None` before the first.
    pub(super) fingerprint: Option<u32>,
    /// Attempts that are under way.
    pub(super) open: Vec<u32>,
    /// Replicas that are not asked again for now.
    pub(super) asked: Vec<u32>,
    /// Whether a replica died or was hedged since the last event.
    pub(super) was_struck: bool,
    /// Whether a hedge is under way, and whether the clock for one runs.
    pub(super) is_hedged: bool,
    pub(super) is_watched: bool,
    /// Whether it has ended, in whatever way.
    pub(super) is_over: bool,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: all of its tokens were told before.
    Nothing,
    /// So many tokens are new, the first of the answer among them or not.
    New(u32),
}

/// The value of the token at a place of the answer to a request.
fn value(fingerprint: u32, request: u32, place: u32) -> u64 {
    fold(fold(u64::from(fingerprint), u64::from(request)), u64::from(place))
}

impl Stream {
    /// A request that has just come.
    pub(super) fn new(
        number: u32,
        (conversation, system): (u32, u32),
        turn: Turn,
        front: u32,
        now_ns: u64,
    ) -> Self {
        Self {
            number,
            conversation,
            system,
            turn,
            front,
            asked_ns: now_ns,
            delivered_ns: now_ns,
            heard_ns: now_ns,
            looking_ns: now_ns,
            told: 0,
            values: 0,
            fingerprint: None,
            open: Vec::new(),
            asked: Vec::new(),
            was_struck: false,
            is_hedged: false,
            is_watched: false,
            is_over: false,
        }
    }

    /// Takes an event with the tokens from place `from` to `to`, of a replica with this
    /// fingerprint. An error says what is wrong with it.
    pub(super) fn take(&mut self, fingerprint: u32, from: u32, to: u32) -> Result<Told, String> {
        let number = self.number;
        if from > self.told {
            return Err(format!("request {number}: token {from} came, token {} was next", self.told));
        }
        if to > self.turn.answer {
            return Err(format!("request {number}: token {to} came, the answer has {}", self.turn.answer));
        }
        if let Some(own) = self.fingerprint.filter(|own| *own != fingerprint) {
            return Err(format!("request {number}: fingerprint {fingerprint} goes on where {own} began"));
        }
        if to <= self.told {
            return Ok(Told::Nothing);
        }
        let new = to - self.told;
        for place in self.told..to {
            self.values = fold(self.values, value(fingerprint, number, place));
        }
        self.told = to;
        self.fingerprint = Some(fingerprint);
        Ok(Told::New(new))
    }

    /// Ends an answer that is whole. Returns the sum of its values, or what is wrong with it.
    pub(super) fn finish(&mut self) -> Result<u64, String> {
        self.end()?;
        let fingerprint = self.fingerprint.unwrap_or_default();
        let expected =
            (0..self.turn.answer).fold(0, |sum, place| fold(sum, value(fingerprint, self.number, place)));
        if self.told != self.turn.answer || self.values != expected {
            return Err(format!(
                "request {}: its {} tokens are not those that it gets alone",
                self.number, self.told
            ));
        }
        Ok(self.values)
    }

    /// Ends it, whole or not. An error if it had ended.
    pub(super) fn end(&mut self) -> Result<(), String> {
        if self.is_over {
            return Err(format!("request {} ends twice", self.number));
        }
        self.is_over = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(5, (1, 1), Turn { prompt: 10, answer: 4 }, 0, 0)
    }

    #[test]
    fn tokens_come_in_order_once_and_of_one_fingerprint() {
        let mut good = stream();
        assert_eq!(good.take(0, 0, 1), Ok(Told::New(1)));
        assert_eq!(good.take(0, 0, 3), Ok(Told::New(2)));
        assert_eq!(good.take(0, 1, 2), Ok(Told::Nothing));
        assert_eq!(good.take(0, 3, 4), Ok(Told::New(1)));
        assert!(good.clone().finish().is_ok());
        assert!(good.take(0, 4, 5).expect_err("too many").contains("the answer has 4"));

        let mut bad = stream();
        assert_eq!(bad.take(0, 0, 1), Ok(Told::New(1)));
        assert!(bad.take(0, 2, 3).expect_err("a hole").contains("token 1 was next"));
        assert!(bad.take(1, 1, 2).expect_err("spliced").contains("goes on where 0 began"));
        assert!(bad.finish().expect_err("cut short").contains("not those"));
        assert!(bad.end().expect_err("again").contains("twice"));
    }

    #[test]
    fn before_the_first_token_any_fingerprint_may_answer() {
        let mut stream = stream();
        assert_eq!(stream.fingerprint, None);
        assert_eq!(stream.take(1, 0, 4), Ok(Told::New(4)));
        assert!(stream.finish().is_ok());
    }
}
