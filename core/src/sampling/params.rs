//! The sampling parameters of a request, and their ranges.

/// Resolved parameters: no defaults are left to fill in.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the `top_k` likeliest tokens are drawn; 0 is off.
    pub top_k: u32,
    /// Only the likeliest tokens whose probabilities reach this sum are drawn; 1 is off.
    pub top_p: f32,
    /// Only tokens that are at least this fraction as likely as the likeliest are drawn; 0 is off.
    pub min_p: f32,
    /// Divides positive logits, multiplies negative ones, of tokens in prompt or output; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens in the output.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens in the output, once for each occurrence.
    pub frequency_penalty: f32,
    /// The noise is made from the seed, the choice and the position.
    pub seed: u64,
    /// How many of the likeliest alternatives are listed beside each token.
    pub top_logprobs: u32,
}

impl SamplingParams {
    /// The likeliest token, no alternatives.
    pub const GREEDY: SamplingParams = SamplingParams {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 0,
        top_logprobs: 0,
    };

    /// Refuses parameters outside their ranges, and names the first.
    pub fn check(&self) -> Result<(), ParamError> {
        let within = |name, value: f32, low: f32, high: f32, expected| {
            if value >= low && value <= high { Ok(()) } else { Err(ParamError { name, expected }) }
        };
        within("temperature", self.temperature, 0.0, 100.0, "between 0 and 100")?;
        within("top_p", self.top_p, f32::MIN_POSITIVE, 1.0, "above 0 and at most 1")?;
        within("min_p", self.min_p, 0.0, 1.0, "between 0 and 1")?;
        within("repetition_penalty", self.repetition_penalty, 0.01, 100.0, "between 0.01 and 100")?;
        within("presence_penalty", self.presence_penalty, -100.0, 100.0, "between -100 and 100")?;
        within("frequency_penalty", self.frequency_penalty, -100.0, 100.0, "between -100 and 100")
    }

    pub(super) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

crate::memory::plain!(SamplingParams {
    temperature,
    top_k,
    top_p,
    min_p,
    repetition_penalty,
    presence_penalty,
    frequency_penalty,
    seed,
    top_logprobs
});

/// A parameter outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// The parameter, as the API names it.
    pub name: &'static str,
    /// The range, in words that follow "must be".
    pub expected: &'static str,
}

impl core::fmt::Display for ParamError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} must be {}", self.name, self.expected)
    }
}

impl core::error::Error for ParamError {}
