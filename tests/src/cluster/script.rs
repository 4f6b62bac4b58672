//! A load written down before it is sent: every conversation with its times and lengths, so that a
//! real server can be asked the same as a simulated one.
use super::load::Source;
use super::settings::LoadSettings;

/// One conversation from its beginning to its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// When it begins, in nanoseconds from the start of the load.
    pub at_ns: u64,
    /// Its system prompt, by number, below [`LoadSettings::systems`].
    pub system: u32,
    /// Its questions in order, one at least.
    pub turns: Vec<ScriptedTurn>,
}

/// One question and the answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedTurn {
    /// Nanoseconds from the end of the answer before it, or from the conversation's beginning,
    /// which is 0 for the first.
    pub think_ns: u64,
    /// Tokens of the question: its prompt is all that was said before, and these.
    pub question: u32,
    /// Tokens of the answer.
    pub answer: u32,
}

/// The conversations that [`run`](super::run::run) simulates with this load and seed, for a model
/// with a context of so many positions; as many as [`LoadSettings::conversations`] says, so none
/// for a load without that bound.
pub fn script(load: &LoadSettings, seed: u64, context: u32) -> Vec<Scripted> {
    let mut source = Source::new(load, seed, context);
    let mut at_ns = 0;
    let mut all = Vec::new();
    for _ in 0..load.conversations {
        let mut conversation = source.conversation();
        let (mut turns, mut think_ns, mut said) = (Vec::new(), 0, conversation.said);
        while let Some(turn) = source.turn(&mut conversation) {
            turns.push(ScriptedTurn { think_ns, question: turn.prompt - said, answer: turn.answer });
            said = turn.prompt + turn.answer;
            let Some(next_ns) = source.asks_again_ns(&mut conversation) else { break };
            think_ns = next_ns;
        }
        if !turns.is_empty() {
            all.push(Scripted { at_ns, system: conversation.system, turns });
        }
        at_ns = source.next_at_ns(at_ns);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::policy::Policy;
    use super::super::run::run;
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn a_script_is_what_a_simulation_asks() {
        let mut settings = Settings::new(1, Policy::Random);
        settings.load.conversations = 40;
        let script = script(&settings.load, settings.seed, settings.engine.context);
        let turns = || script.iter().flat_map(|one| &one.turns);
        assert_eq!(script.len(), 40);
        assert!(turns().count() > 100 && script.is_sorted_by_key(|one| one.at_ns));
        settings.load.requests = turns().count();
        let outcome = run(&settings).expect("it ends well");
        // No other conversation comes, and each is told whole.
        assert_eq!(outcome.finished, turns().count() as u64);
        assert_eq!(outcome.events, turns().map(|turn| u64::from(turn.answer)).sum::<u64>());
    }
}
