//! What a load on a server is made of: the flags, and what they stand for.
use std::path::PathBuf;

/// A load on any server of the OpenAI API, and what to check of its answers.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where the server listens, such as http://127.0.0.1:8080. A path before /v1 may follow.
    pub(super) url: String,
    /// Ask /v1/chat/completions instead of /v1/completions.
    #[arg(long)]
    pub(super) chat: bool,
    /// Name of the model [default: the first that the server lists].
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Key that is sent as a bearer token.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    #[command(flatten)]
    pub(super) asks: AskArgs,
    /// Clients that ask one request after another.
    #[arg(long, default_value_t = 8)]
    pub(super) clients: usize,
    /// Requests that arrive in a second, by a Poisson process, instead of --clients.
    #[arg(long, conflicts_with_all = ["trace", "of_saturation"])]
    pub(super) rate: Option<f64>,
    /// First measure what --clients get, then let requests arrive at this share of that rate.
    #[arg(long, value_name = "SHARE")]
    pub(super) of_saturation: Option<f64>,
    /// Requests and their times from a file: a JSON object a line, with `at` in seconds from the
    /// start, `prompt` (a text or token ids) and `max_tokens`.
    #[arg(long, value_name = "FILE", conflicts_with = "of_saturation")]
    pub(super) trace: Option<PathBuf>,
    /// Requests that may be under way at once when they arrive by themselves; others wait, and
    /// their wait counts.
    #[arg(long, default_value_t = 512)]
    pub(super) in_flight: usize,
    /// Seconds without a byte after which a request has failed.
    #[arg(long, default_value_t = 300)]
    pub(super) timeout_s: u64,
    /// A good answer has its first token within so many milliseconds.
    #[arg(long, default_value_t = 2000.0)]
    pub(super) ttft_ms: f64,
    /// A good answer's tokens are so many milliseconds apart at most, in the mean.
    #[arg(long, default_value_t = 200.0)]
    pub(super) itl_ms: f64,
    /// Compare each answer with that to the same request alone, asked before the load, after it
    /// (when no cache has seen it before), or not at all.
    #[arg(long, value_enum, default_value_t = RepeatCheck::After)]
    pub(super) repeat_check: RepeatCheck,
    /// Write a plot of latencies and of tokens over time to this SVG file.
    #[arg(long, value_name = "FILE")]
    pub(super) plot: Option<PathBuf>,
    /// Another server, loaded in turns with the first by the same requests, to compare.
    #[arg(long, value_name = "URL")]
    pub(super) beside: Option<String>,
    /// Rounds of a comparison.
    #[arg(long, default_value_t = 1)]
    pub(super) rounds: usize,
    /// The bar of a comparison: how many times the other's tokens a second.
    #[arg(long, value_name = "RATIO")]
    pub(super) at_least: Option<f64>,
    #[command(flatten)]
    pub(super) soak: SoakArgs,
}

/// What is asked for. The same seed makes the same requests everywhere.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AskArgs {
    /// Requests to send in all.
    #[arg(long, default_value_t = 64)]
    pub(super) requests: usize,
    /// How many of them differ; the others repeat these [default: all, in a soak 64].
    #[arg(long)]
    pub(super) distinct: Option<usize>,
    /// Seed of everything that is drawn: prompts, lengths, arrivals, cancels.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Words of a prompt, from the least to the most; short ones are more frequent.
    #[arg(long, default_value = "16-256", value_parser = span)]
    pub(super) prompt_len: (usize, usize),
    /// Tokens of an answer, from the least to the most.
    #[arg(long, default_value = "16-128", value_parser = span)]
    pub(super) max_tokens: (usize, usize),
    /// Send prompts of token ids below this number instead of words, so that --prompt-len counts
    /// tokens.
    #[arg(long, value_name = "VOCABULARY")]
    pub(super) ids: Option<u32>,
    /// Share of the requests that draw their tokens, with a seed; the others are greedy.
    #[arg(long, default_value_t = 0.5)]
    pub(super) sampled: f64,
    /// Let answers end where the model ends them, not only at their number of tokens.
    #[arg(long)]
    pub(super) with_eos: bool,
}

/// A load that lasts, with clients who leave, and whose server's memory is watched.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SoakArgs {
    /// Ask for so many minutes, whatever --requests says; every answer must equal its first.
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["rate", "trace", "of_saturation", "beside"])]
    pub(super) soak_minutes: Option<f64>,
    /// Share of the requests of a soak whose clients leave at a token that is drawn.
    #[arg(long, default_value_t = 0.1)]
    pub(super) cancels: f64,
    /// Share of the turns of a soak in which a client fails: half a head, half a body, noise, or a
    /// reset before the answer.
    #[arg(long, default_value_t = 0.05)]
    pub(super) faults: f64,
    /// Process of the server, whose memory must stay the same within 2%.
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<u32>,
}

/// When requests are asked alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RepeatCheck {
    Before,
    After,
    Off,
}

/// `A-B`, or a number for both.
fn span(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{text}: no whole number"));
    let (least, most) = match text.split_once('-') {
        Some((least, most)) => (number(least)?, number(most)?),
        None => (number(text)?, number(text)?),
    };
    if least == 0 || least > most {
        return Err(format!("{text}: expected A-B with 1 <= A <= B"));
    }
    Ok((least, most))
}

impl ServeArgs {
    /// What clap cannot check by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(format!("--{name} {value}: expected 0 to 1"))
            }
        };
        share("sampled", self.asks.sampled)?;
        share("cancels", self.soak.cancels)?;
        share("faults", self.soak.faults)?;
        let positive = |name: &str, value: f64| {
            let is_right = value > 0.0 && value.is_finite();
            if is_right { Ok(()) } else { Err(format!("--{name} {value}: expected a number above 0")) }
        };
        positive("rate", self.rate.unwrap_or(1.0))?;
        positive("of-saturation", self.of_saturation.unwrap_or(1.0))?;
        positive("soak-minutes", self.soak.soak_minutes.unwrap_or(1.0))?;
        for (name, count) in [
            ("clients", self.clients),
            ("in-flight", self.in_flight),
            ("requests", self.asks.requests),
            ("distinct", self.asks.distinct.unwrap_or(1)),
            ("rounds", self.rounds),
            ("timeout-s", self.timeout_s as usize),
        ] {
            if count == 0 {
                return Err(format!("--{name} 0: expected at least 1"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        assert_eq!(span("3-9"), Ok((3, 9)));
        assert_eq!(span("7"), Ok((7, 7)));
        for wrong in ["", "9-3", "0-1", "a", "1-b", "-"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
