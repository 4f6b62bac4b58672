//! The load: conversations that come, ask, think and ask again with all that was said before.
use super::dice::{Dice, Purpose, zipf_sums};
use super::settings::{Arrivals, LoadSettings, SECOND};

/// A conversation between two of its turns.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    /// Its number, in order of beginning.
    pub(super) number: u32,
    /// Its system prompt, by number.
    pub(super) system: u32,
    /// Tokens that were said so far, system prompt included.
    pub(super) said: u32,
    dice: Dice,
}

/// One turn: the request that a client sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Tokens of the prompt: all that was said, and the question.
    pub(super) prompt: u32,
    /// Tokens of the answer, which the client does not know.
    pub(super) answer: u32,
}

/// What a mean burst lasts; between bursts three times as long passes.
const BURST_NS: u64 = 30 * SECOND;

/// Where conversations come from.
#[derive(Debug)]
pub(super) struct Source {
    settings: LoadSettings,
    seed: u64,
    context: u32,
    sums: Vec<u64>,
    dice: Dice,
    count: u32,
    is_burst: bool,
    changes_at_ns: u64,
}

impl Source {
    /// The source for a seed, for a model with a context of so many positions.
    pub(super) fn new(settings: &LoadSettings, seed: u64, context: u32) -> Self {
        let dice = Dice::new(seed, Purpose::Arrivals, 0);
        let sums = zipf_sums(settings.systems);
        Self {
            settings: settings.clone(),
            seed,
            context,
            sums,
            dice,
            count: 0,
            is_burst: false,
            changes_at_ns: 0,
        }
    }

    /// When the next conversation begins, after `now`.
    pub(super) fn next_at_ns(&mut self, now_ns: u64) -> u64 {
        // A conversation brings `turns` requests, so conversations come so much more seldom.
        let mean = self.settings.between_ns * u64::from(self.settings.turns);
        if self.settings.arrivals == Arrivals::Poisson {
            return now_ns + self.dice.exponential(mean);
        }
        // A quarter of the time 2.5 times the mean rate, else half of it. Both phases and the
        // times within them are exponential, so a phase's end may cut a wait and draw it anew.
        let mut from = now_ns;
        loop {
            let at = from + self.dice.exponential(if self.is_burst { mean * 2 / 5 } else { mean * 2 });
            if at <= self.changes_at_ns {
                return at;
            }
            from = from.max(self.changes_at_ns);
            self.is_burst = !self.is_burst;
            let length = if self.is_burst { BURST_NS } else { 3 * BURST_NS };
            self.changes_at_ns = from + self.dice.exponential(length);
        }
    }

    /// Begins the next conversation, which has its own draws.
    pub(super) fn conversation(&mut self) -> Conversation {
        let number = self.count;
        self.count += 1;
        let mut dice = Dice::new(self.seed, Purpose::Conversation, u64::from(number));
        let system = dice.zipf(&self.sums) as u32;
        Conversation { number, system, said: self.settings.system_tokens, dice }
    }

    /// The next turn of a conversation; `None` where it has become too long for the model.
    pub(super) fn turn(&self, conversation: &mut Conversation) -> Option<Turn> {
        let dice = &mut conversation.dice;
        let question = dice.quantile(&self.settings.question);
        let answer = match self.settings.answer[..] {
            [mean] => dice.exponential(u64::from(mean)).clamp(1, u64::from(self.context / 2)) as u32,
            ref quantiles => dice.quantile(quantiles),
        };
        let prompt = conversation.said + question;
        if prompt + answer > self.context {
            return None;
        }
        conversation.said = prompt + answer;
        Some(Turn { prompt, answer })
    }

    /// After an answer: when the client asks again, or `None` if it has no more to say.
    pub(super) fn asks_again_ns(&self, conversation: &mut Conversation) -> Option<u64> {
        let goes_on = conversation.dice.below(self.settings.turns as usize) > 0;
        goes_on.then(|| conversation.dice.exponential(self.settings.think_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::LoadSettings;
    use super::*;

    fn rate(arrivals: Arrivals) -> (u64, u64) {
        let settings = LoadSettings { arrivals, ..LoadSettings::chat(1) };
        let mut source = Source::new(&settings, 1, 2048);
        let (mut now, mut counts) = (0, vec![0_u64; 4000]);
        while now < 40_000 * SECOND {
            now = source.next_at_ns(now);
            if let Some(count) = counts.get_mut((now / (10 * SECOND)) as usize) {
                *count += 1;
            }
        }
        let sum: u64 = counts.iter().sum();
        let squares: u64 = counts.iter().map(|count| count * count).sum();
        (sum, squares * 1000 / 4000 - sum * sum * 1000 / 4000 / 4000)
    }

    #[test]
    fn bursts_have_the_same_mean_and_more_spread() {
        let ((poisson, calm), (bursty, spread)) = (rate(Arrivals::Poisson), rate(Arrivals::Bursty));
        // A conversation in 10 s.
        assert!((3850..4150).contains(&poisson), "{poisson}");
        assert!((3700..4300).contains(&bursty), "{bursty}");
        // The variance of a Poisson count is its mean, 1.
        assert!((900..1100).contains(&calm) && spread > 1400, "{calm} {spread}");
    }

    #[test]
    fn a_turn_begins_with_what_was_said() {
        let mut source = Source::new(&LoadSettings::chat(1), 3, 2048);
        let mut turns = 0;
        for _ in 0..500 {
            let mut conversation = source.conversation();
            let mut said = 512;
            while let Some(turn) = source.turn(&mut conversation) {
                assert!(turn.prompt > said && turn.answer > 0 && turn.prompt + turn.answer <= 2048);
                said = turn.prompt + turn.answer;
                turns += 1;
                if source.asks_again_ns(&mut conversation).is_none() {
                    break;
                }
            }
        }
        assert!((1500..2000).contains(&turns), "{turns} turns of 500 conversations");
    }
}
