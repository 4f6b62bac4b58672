//! The requests of a load: drawn from a seed, or read from a trace. The same seed gives the same
//! bytes on every machine.
use super::options::AskArgs;
use serde_json::{Value, json};
use std::path::Path;
use verbatim_tests::draws::{Draws, mix};

/// Words of which prompts are made.
const WORDS: &[&str] = &[
    "the", "river", "found", "a", "small", "house", "beside", "its", "old", "bridge", "and", "nobody",
    "knew", "why", "winter", "came", "early", "that", "year", "when", "seven", "ships", "left", "harbour",
    "with", "salt", "paper", "glass", "for", "cities", "in", "north", "of", "which", "letters", "told",
    "little", "she", "wrote", "down", "every", "name", "price", "hour", "because", "numbers", "stay", "true",
    "after", "people", "go", "home", "to", "sleep", "he", "asked", "how", "far", "light", "travels",
    "before", "morning", "is", "over",
];

/// A prompt, as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// What one request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    pub(super) prompt: Prompt,
    pub(super) max_tokens: usize,
    /// The seed of its draws; `None` is greedy.
    pub(super) seed: Option<u64>,
    pub(super) ignore_eos: bool,
}

impl Ask {
    /// The body of the request for a streamed answer.
    pub(super) fn body(&self, model: &str, is_chat: bool) -> String {
        let mut body = json!({
            "model": model, "max_tokens": self.max_tokens, "stream": true,
            "stream_options": {"include_usage": true}, "ignore_eos": self.ignore_eos,
            "temperature": if self.seed.is_some() { 1.0 } else { 0.0 }, "seed": self.seed.unwrap_or(0),
        });
        match &self.prompt {
            Prompt::Text(text) if is_chat => body["messages"] = json!([{"role": "user", "content": text}]),
            Prompt::Text(text) => body["prompt"] = json!(text),
            Prompt::Ids(ids) => body["prompt"] = json!(ids),
        }
        body.to_string()
    }
}

/// Draws a number of a span whose logarithm is uniform, so that short ones are more frequent.
fn len(draws: &mut Draws, (least, most): (usize, usize)) -> usize {
    let at = unit(draws);
    let len = least as f64 * libm::pow((most + 1) as f64 / least as f64, at);
    (len as usize).clamp(least, most)
}

/// Draws a number from 0 to 1, without 1.
pub(super) fn unit(draws: &mut Draws) -> f64 {
    (draws.bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A stream of draws of its own for each purpose of a seed.
pub(super) fn draws(seed: u64, purpose: u64) -> Draws {
    Draws::new(mix(seed ^ mix(purpose)))
}

/// The distinct requests of a load. Those of different rounds share nothing, so that no cache helps
/// the later one.
pub(super) fn drawn(args: &AskArgs, distinct: usize, round: u64) -> Vec<Ask> {
    let mut draws = draws(args.seed, 0x61736b + round);
    (0..distinct)
        .map(|_| {
            let words = len(&mut draws, args.prompt_len);
            let prompt = match args.ids {
                Some(vocabulary) => {
                    Prompt::Ids((0..words).map(|_| draws.below(vocabulary.max(1) as usize) as u32).collect())
                }
                None => {
                    let words: Vec<&str> = (0..words).map(|_| *draws.pick(WORDS)).collect();
                    Prompt::Text(words.join(" "))
                }
            };
            let max_tokens = len(&mut draws, args.max_tokens);
            let seed = (unit(&mut draws) < args.sampled).then(|| draws.bits() >> 33);
            Ask { prompt, max_tokens, seed, ignore_eos: !args.with_eos }
        })
        .collect()
}

/// The requests of a trace, with their times in seconds from the start, in order of time.
pub(super) fn of_trace(path: &Path, args: &AskArgs) -> Result<Vec<(f64, Ask)>, String> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("--trace {place}: {error}"))?;
    let mut asks = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let ask = of_line(line, args).map_err(|error| format!("--trace {place}, line {}: {error}", i + 1))?;
        asks.push(ask);
    }
    if asks.is_empty() {
        return Err(format!("--trace {place}: found no request"));
    }
    asks.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(asks)
}

fn of_line(line: &str, args: &AskArgs) -> Result<(f64, Ask), String> {
    let object: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let at = object["at"].as_f64().filter(|at| *at >= 0.0).ok_or("`at` must be seconds from the start")?;
    let prompt = match &object["prompt"] {
        Value::String(text) => Prompt::Text(text.clone()),
        Value::Array(ids) => {
            let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
            Prompt::Ids(ids.iter().map(id).collect::<Option<_>>().ok_or("`prompt` must hold token ids")?)
        }
        _ => return Err("`prompt` must be a text or token ids".to_owned()),
    };
    let max_tokens = object["max_tokens"].as_u64().filter(|count| *count > 0);
    let max_tokens = max_tokens.ok_or("`max_tokens` must be a number above 0")? as usize;
    Ok((at, Ask { prompt, max_tokens, seed: object["seed"].as_u64(), ignore_eos: !args.with_eos }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::serve) fn args() -> AskArgs {
        AskArgs {
            requests: 20,
            distinct: None,
            seed: 7,
            prompt_len: (4, 32),
            max_tokens: (1, 9),
            ids: None,
            sampled: 0.5,
            with_eos: false,
        }
    }

    #[test]
    fn a_seed_makes_the_same_requests() {
        let asks = drawn(&args(), 200, 0);
        assert_eq!(asks, drawn(&args(), 200, 0));
        assert_ne!(asks, drawn(&args(), 200, 1));
        assert_ne!(asks, drawn(&AskArgs { seed: 8, ..args() }, 200, 0));
        // A longer load begins as a shorter one.
        assert_eq!(asks[..50], drawn(&args(), 50, 0));
        let len = |ask: &Ask| match &ask.prompt {
            Prompt::Text(text) => text.split(' ').count(),
            Prompt::Ids(ids) => ids.len(),
        };
        let lens: Vec<usize> = asks.iter().map(len).collect();
        assert!(lens.iter().all(|len| (4..=32).contains(len)));
        assert!(lens.contains(&4) && lens.iter().any(|len| *len > 28), "{lens:?}");
        assert!(asks.iter().all(|ask| (1..=9).contains(&ask.max_tokens)));
        let sampled = asks.iter().filter(|ask| ask.seed.is_some()).count();
        assert!((60..140).contains(&sampled), "{sampled}");

        let ids = drawn(&AskArgs { ids: Some(50), ..args() }, 20, 0);
        assert!(
            ids.iter().all(|ask| matches!(&ask.prompt, Prompt::Ids(ids) if ids.iter().all(|id| *id < 50)))
        );
        let body: Value = serde_json::from_str(&ids[0].body("m", false)).unwrap();
        assert!(body["prompt"].is_array() && body["model"] == "m" && body["stream"] == true);
        let chat: Value = serde_json::from_str(&asks[0].body("m", true)).unwrap();
        assert_eq!(chat["messages"][0]["role"], "user");
    }

    #[test]
    fn traces_are_read_in_order_of_time() {
        let line = |line: &str| of_line(line, &args());
        let (at, ask) = line(r#"{"at": 1.5, "prompt": [1, 2], "max_tokens": 3}"#).unwrap();
        assert_eq!((at, ask.max_tokens, ask.seed), (1.5, 3, None));
        assert_eq!(ask.prompt, Prompt::Ids(vec![1, 2]));
        for (wrong, what) in [
            (r#"{"prompt": "a", "max_tokens": 3}"#, "at"),
            (r#"{"at": -1, "prompt": "a", "max_tokens": 3}"#, "at"),
            (r#"{"at": 1, "max_tokens": 3}"#, "prompt"),
            (r#"{"at": 1, "prompt": ["a"], "max_tokens": 3}"#, "prompt"),
            (r#"{"at": 1, "prompt": "a", "max_tokens": 0}"#, "max_tokens"),
            ("{", "EOF"),
        ] {
            assert!(line(wrong).unwrap_err().contains(what), "{wrong}");
        }
        let directory = verbatim_tests::temporary::TemporaryDirectory::new("trace");
        let path = directory.path().join("trace.jsonl");
        let lines = [2.0, 0.5, 1.0].map(|at| json!({"at": at, "prompt": "a", "max_tokens": 1}).to_string());
        std::fs::write(&path, lines.join("\n\n")).unwrap();
        let times: Vec<f64> = of_trace(&path, &args()).unwrap().iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0.5, 1.0, 2.0]);
        std::fs::write(&path, "\n").unwrap();
        assert!(of_trace(&path, &args()).is_err());
    }
}
