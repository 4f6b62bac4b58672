//! Streams that are cut: what was told of each choice before, the body that asks another server for
//! the rest, and whether the rest is what would have come.
use crate::choices::{joined, of_whole, with};
use crate::process::Running;
use serde_json::{Value, json};

/// Where a choice is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Behind so many tokens.
    Behind(usize),
    /// Nowhere: its end was told.
    Ended,
}

impl Cut {
    /// The cuts that are tried of a choice of so many tokens: nowhere, before all, behind the
    /// first, in the middle, before the last and behind it.
    fn tried(tokens: usize) -> [Self; 6] {
        let behind = |at: usize| Self::Behind(at.min(tokens));
        let (middle, before_last) = (tokens / 2, tokens.saturating_sub(1));
        [Self::Ended, behind(0), behind(1), behind(middle), behind(before_last), behind(tokens)]
    }
}

/// A stream that was not cut.
#[derive(Debug)]
pub struct Stream {
    /// For each choice what events say of it, but for its role.
    choices: Vec<Vec<Value>>,
    /// What the last event tells of tokens, if it does.
    usage: Value,
    fingerprint: Value,
}

fn ids_of(choice: &Value) -> impl Iterator<Item = &Value> {
    choice["token_ids"].as_array().into_iter().flatten()
}

/// Usage without what depends on the server's cache.
fn without_cache(mut usage: Value) -> Value {
    if let Some(usage) = usage.as_object_mut() {
        usage.remove("prompt_tokens_details");
    }
    usage
}

impl Stream {
    /// The events of an answer of so many choices.
    ///
    /// # Panics
    /// If they are none, or if one that ends a choice is missing.
    pub fn new(events: &[Value], count: usize) -> Self {
        let stream = Self::rest(events, count);
        let has_ended = |of: &Vec<Value>| of.last().is_some_and(|last| !last["finish_reason"].is_null());
        assert!(stream.choices.iter().all(has_ended), "{events:?}");
        stream
    }

    /// The events of an answer that may tell of some of its choices alone.
    fn rest(events: &[Value], count: usize) -> Self {
        let mut choices = vec![Vec::new(); count];
        for choice in events.iter().filter_map(|event| event["choices"].get(0)) {
            let index = choice["index"].as_u64().unwrap_or_else(|| panic!("no index: {choice}"));
            if choice["delta"]["role"].is_null() {
                choices[index as usize].push(choice.clone());
            }
        }
        let last = events.last().expect("events");
        assert!(last["error"].is_null(), "{last}");
        let usage = without_cache(last["usage"].clone());
        Self { choices, usage, fingerprint: last["system_fingerprint"].clone() }
    }

    /// Tokens of a choice.
    pub fn tokens(&self, choice: usize) -> usize {
        self.choices[choice].iter().flat_map(ids_of).count()
    }

    /// What was told of a choice behind so many tokens; each event tells one at most.
    fn behind(&self, choice: usize, cut: Cut) -> &[Value] {
        let (events, mut left) = (&self.choices[choice], 0);
        match cut {
            Cut::Ended => left = events.len(),
            Cut::Behind(tokens) => {
                let mut told = 0;
                while told < tokens {
                    told += ids_of(&events[left]).count();
                    left += 1;
                }
            }
        }
        &events[left..]
    }

    /// The ids of each prompt, in order, where all were told; choices of one prompt follow each
    /// other.
    fn prompts(&self, prompts: usize) -> Option<Value> {
        let each = self.choices.len() / prompts;
        let of = |prompt: usize| {
            self.choices[prompt * each].iter().find_map(|event| event.get("prompt_token_ids")).cloned()
        };
        let all = (0..prompts).map(of).collect::<Option<Vec<Value>>>()?;
        Some(if prompts == 1 { all[0].clone() } else { json!(all) })
    }

    /// `resume` behind these cuts, one for each choice. With `prompts` it gives the ids of so many
    /// prompts.
    pub fn resume(&self, cuts: &[Cut], prompts: Option<usize>) -> Value {
        let list = |(choice, cut): (usize, &Cut)| match cut {
            Cut::Ended => Value::Null,
            Cut::Behind(tokens) => {
                self.choices[choice].iter().flat_map(ids_of).take(*tokens).cloned().collect()
            }
        };
        let lists: Vec<Value> = cuts.iter().enumerate().map(list).collect();
        let mut resume = json!({"token_ids": lists, "fingerprint": self.fingerprint});
        if let Some(ids) = prompts.and_then(|prompts| self.prompts(prompts)) {
            resume["prompt_token_ids"] = ids;
        }
        resume
    }

    /// Has a server go on behind these cuts, by events and whole, and compares each choice with
    /// what the stream told behind them.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check(&self, at: &Running, (path, body): (&str, &Value), cuts: &[Cut], prompts: Option<usize>) {
        let resume = self.resume(cuts, prompts);
        let mut asked = with(body, &json!({"resume": resume}));
        if asked["resume"].get("prompt_token_ids").is_some() {
            asked
                .as_object_mut()
                .expect("an object")
                .retain(|name, _| name != "prompt" && name != "messages");
        }
        let events = at.stream(path, &with(&asked, &json!({"stream": true})));
        let rest = Self::rest(&events, self.choices.len());
        for (choice, cut) in cuts.iter().enumerate() {
            assert_eq!(rest.choices[choice], self.behind(choice, *cut), "choice {choice}, {cuts:?}: {asked}");
        }
        assert_eq!(counted(&rest.usage, cuts), self.usage_of(cuts), "{cuts:?}: {asked}");
        let roles = events.iter().filter(|event| !event["choices"][0]["delta"]["role"].is_null());
        assert_eq!(roles.count(), 0, "a role is told once");
        assert_eq!(events[0]["verbatim"]["seed"], body["seed"], "the first event tells the seed");
        asked.as_object_mut().expect("an object").retain(|name, _| !name.starts_with("stream"));
        let (status, whole) = at.post(path, &asked);
        assert_eq!(status, 200, "{asked}: {whole}");
        let told: Vec<_> =
            whole["choices"].as_array().expect("choices").iter().zip(of_whole(&whole)).collect();
        assert_eq!(told.len(), cuts.iter().filter(|cut| **cut != Cut::Ended).count());
        for (choice, mut told) in told {
            let index = choice["index"].as_u64().expect("an index") as usize;
            let event = |choice: &Value| json!({"choices": [with(choice, &json!({"index": 0}))]});
            let events: Vec<Value> = self.behind(index, cuts[index]).iter().map(event).collect();
            let mut expected = joined(&events, 1).remove(0);
            [&mut told, &mut expected].into_iter().for_each(forget_begun);
            assert_eq!(told, expected, "choice {index} whole, {cuts:?}: {asked}");
        }
        if !self.usage.is_null() {
            assert_eq!(counted(&without_cache(whole["usage"].clone()), cuts), self.usage_of(cuts));
        }
    }

    /// Has a server go on behind cuts of every kind, at each choice elsewhere.
    ///
    /// # Panics
    /// If anything differs.
    pub fn check_everywhere(&self, at: &Running, asked: (&str, &Value), prompts: usize) {
        for round in 0..6 {
            let cut = |choice: usize| Cut::tried(self.tokens(choice))[(round + 2 * choice) % 6];
            let cuts: Vec<Cut> = (0..self.choices.len()).map(cut).collect();
            if cuts.iter().any(|cut| *cut != Cut::Ended) {
                self.check(at, asked, &cuts, (round % 2 == 0).then_some(prompts));
            }
        }
    }

    /// The usage of an answer behind these cuts: tokens of choices that had ended do not count.
    fn usage_of(&self, cuts: &[Cut]) -> Value {
        let mut usage = counted(&self.usage, cuts);
        for (choice, _) in cuts.iter().enumerate().filter(|(_, cut)| **cut == Cut::Ended) {
            for name in ["completion_tokens", "total_tokens"] {
                if let Some(tokens) = usage[name].as_u64() {
                    usage[name] = json!(tokens - self.tokens(choice) as u64);
                }
            }
        }
        usage
    }
}

/// Usage without what is not known of choices that had ended: how many tokens were reasoning.
fn counted(usage: &Value, cuts: &[Cut]) -> Value {
    let mut usage = usage.clone();
    if let Some(usage) = usage.as_object_mut().filter(|_| cuts.contains(&Cut::Ended)) {
        usage.remove("completion_tokens_details");
    }
    usage
}

/// Makes calls comparable that had begun before the cut: events tell no more than their arguments,
/// whole answers their ids, too.
fn forget_begun(choice: &mut Value) {
    let calls = choice["calls"].as_array_mut().expect("calls");
    calls.retain(|call| !call.is_null());
    for call in calls {
        if call["function"]["name"].as_str().unwrap_or_default().is_empty() {
            *call = call["function"]["arguments"].clone();
        }
    }
}
