//! Ids of calls. They come back in later prompts, so the same call of the same request has the same
//! id wherever and however often it is generated: a hash of all that decides an output, and of
//! nothing else.
use crate::runtime::OwnedRequest;
use blake3::Hasher;
use verbatim_core::sampling::SamplingParams;

/// Hexadecimal digits in an id.
const DIGITS: usize = 24;

/// The ids of calls in the answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIds([u8; 32]);

impl CallIds {
    /// The ids for a request to the model with this fingerprint, whose output ends before any of
    /// the strings in `stop`. An output that is resumed has those of the whole.
    pub fn new(fingerprint: &str, request: &OwnedRequest, stop: &[String]) -> Self {
        // Every field is named, so that a new one does not compile before it is known what it does.
        let OwnedRequest {
            prompt,
            generated: _,
            first_choice: _,
            choices: _,
            params,
            logit_bias,
            stop_ids,
            max_tokens,
            min_tokens,
            priority: _,
            cache_salt: _,
            constraint,
            restriction,
            prompt_output: _,
            skips_special,
            kept_special,
            includes_stop: _,
            pooled: _,
        } = request;
        let mut bytes = Bytes(Hasher::new());
        bytes.list(fingerprint.as_bytes());
        bytes.ids(prompt);
        bytes.params(params);
        bytes.number(logit_bias.len());
        for (token, amount) in logit_bias {
            bytes.word(*token);
            bytes.word(amount.to_bits());
        }
        bytes.ids(stop_ids);
        bytes.number(stop.len());
        stop.iter().for_each(|stop| bytes.list(stop.as_bytes()));
        // They decide which text such a string is looked for in.
        bytes.number(usize::from(*skips_special));
        bytes.ids(kept_special);
        bytes.number(*max_tokens);
        bytes.number(*min_tokens);
        bytes.list(constraint.as_ref().map_or(&[][..], |constraint| constraint.source_hash()));
        bytes.number(usize::from(restriction.is_some()));
        if let Some(restriction) = restriction {
            bytes.number(usize::from(restriction.allowed().is_some()));
            bytes.ids(restriction.allowed().unwrap_or_default());
            bytes.number(restriction.words().len());
            restriction.words().iter().for_each(|word| bytes.ids(word));
        }
        Self(bytes.0.finalize().into())
    }

    /// The id of a call, by its place among those of a choice, which has this number.
    pub fn id(&self, choice: u32, call: usize) -> String {
        let mut bytes = Bytes(Hasher::new());
        bytes.list(&self.0);
        bytes.word(choice);
        bytes.number(call);
        format!("call_{}", &bytes.0.finalize().to_hex()[..DIGITS])
    }
}

/// What is hashed: numbers in little-endian order, lists behind their lengths.
struct Bytes(Hasher);

impl Bytes {
    fn word(&mut self, word: u32) {
        self.0.update(&word.to_le_bytes());
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }

    fn list(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn ids(&mut self, ids: &[u32]) {
        self.number(ids.len());
        ids.iter().for_each(|id| self.word(*id));
    }

    fn params(&mut self, params: &SamplingParams) {
        // Alternatives that are listed change no token.
        let SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            seed,
            top_logprobs: _,
        } = *params;
        let floats = [temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty];
        floats.into_iter().for_each(|x| self.word(x.to_bits()));
        self.word(top_k);
        self.0.update(&seed.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Restriction;
    use std::sync::Arc;

    type Edit = fn(&mut OwnedRequest);

    fn base() -> OwnedRequest {
        OwnedRequest::new(vec![1, 2], SamplingParams { seed: 3, ..SamplingParams::GREEDY }, 9)
    }

    fn id(request: &OwnedRequest) -> String {
        CallIds::new("vb-0", request, &[]).id(0, 0)
    }

    fn edited(edit: Edit) -> String {
        let mut request = base();
        edit(&mut request);
        id(&request)
    }

    #[test]
    fn what_decides_an_output_changes_the_ids() {
        fn restrict(request: &mut OwnedRequest, allowed: Option<Vec<u32>>, words: Vec<Vec<u32>>) {
            request.restriction = Restriction::new(allowed, words).map(Arc::new);
        }
        let edits: [Edit; 22] = [
            |_| {},
            |r| r.prompt = [1, 2, 3].into(),
            |r| r.prompt = [2, 1].into(),
            |r| r.params.temperature = 0.5,
            |r| r.params.top_k = 1,
            |r| r.params.top_p = 0.5,
            |r| r.params.min_p = 0.5,
            |r| r.params.repetition_penalty = 1.5,
            |r| r.params.presence_penalty = 1.5,
            |r| r.params.frequency_penalty = 1.5,
            |r| r.params.seed = 4,
            |r| r.logit_bias = vec![(5, 1.0)],
            |r| r.logit_bias = vec![(5, 2.0)],
            |r| r.stop_ids = vec![5],
            |r| r.max_tokens = 8,
            |r| r.min_tokens = 1,
            |r| r.skips_special = false,
            |r| r.kept_special = [5].into(),
            |r| restrict(r, Some(vec![5]), vec![]),
            |r| restrict(r, Some(vec![]), vec![]),
            |r| restrict(r, None, vec![vec![5, 6]]),
            |r| restrict(r, None, vec![vec![5], vec![6]]),
        ];
        let mut ids: Vec<String> = edits.into_iter().map(edited).collect();
        ids.push(CallIds::new("vb-1", &base(), &[]).id(0, 0));
        ids.push(CallIds::new("vb-0", &base(), &["a".to_owned()]).id(0, 0));
        ids.push(CallIds::new("vb-0", &base(), &[String::new(), "a".to_owned()]).id(0, 0));
        let of_base = CallIds::new("vb-0", &base(), &[]);
        ids.extend([of_base.id(1, 0), of_base.id(0, 1)]);
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "{at}: {ids:?}");
            assert!(id.len() == 5 + DIGITS && id.starts_with("call_"), "{id}");
        }
    }

    #[test]
    fn nothing_else_changes_them() {
        let edits: [Edit; 7] = [
            |r| r.params.top_logprobs = 7,
            |r| r.generated = vec![5],
            |r| r.first_choice = 1,
            |r| r.choices = 4,
            |r| r.priority = 3,
            |r| r.cache_salt = 3,
            |r| r.includes_stop = true,
        ];
        for (at, edit) in edits.into_iter().enumerate() {
            assert_eq!(edited(edit), id(&base()), "{at}");
        }
    }

    /// Written out, so that no change of the code moves the ids of later prompts unseen.
    #[test]
    fn ids_stay_from_one_release_to_the_next() {
        assert_eq!(id(&base()), "call_5b773db7e93a99124d5079d4");
    }

    #[cfg(feature = "structured-output")]
    #[test]
    fn another_schema_gives_other_ids() {
        use crate::grammar::{Compiler, GrammarSource};
        use crate::serve::api::played::model;
        let compiler = Compiler::new(Arc::clone(&model().tokenizer));
        let of = |source: &GrammarSource| {
            let constraint = Some(compiler.compile(source).expect("it compiles"));
            id(&OwnedRequest { constraint, ..base() })
        };
        let choice = |text: &str| GrammarSource::Choice(vec![text.to_owned()]);
        let ids =
            [id(&base()), of(&choice("a")), of(&choice("b")), of(&GrammarSource::Regex("a".to_owned()))];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[..at].contains(id), "{at}: {ids:?}");
        }
        assert_eq!(of(&choice("a")), ids[1], "found or compiled again");
    }
}
