//! The requests that a body comes to: one for all choices of a prompt, or, where choices are
//! resumed, one for each that has come another way.
use super::answer::parsed::Place;
use crate::runtime::OwnedRequest;
use crate::serve::error::ApiError;

/// Choices of one prompt that follow each other and go on behind the same ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of the first of them among the choices of their prompt.
    pub first: u32,
    /// How many there are, at least one.
    pub choices: u32,
    /// The ids that each of them has generated so far.
    pub generated: Vec<u32>,
}

impl Run {
    /// All choices of a prompt, none of which was begun.
    pub fn all(choices: u32) -> Self {
        Self { first: 0, choices, generated: Vec::new() }
    }
}

/// The requests of a body, as far as its prompts were read.
#[derive(Debug, Default)]
pub struct Plan {
    /// The requests, in the order of their choices.
    pub requests: Vec<OwnedRequest>,
    /// For each request where its choices stand in the answer.
    pub places: Vec<Place>,
    /// Tokens of the prompts that have no request, since all their choices had ended.
    pub ended_prompt_tokens: usize,
    /// How many prompts were added.
    prompts: usize,
}

impl Plan {
    /// Adds a prompt. `request` is that of all its choices, had none of them been begun; `runs` are
    /// those that go on. An error names `resume`: it has more tokens than are asked for.
    pub fn add(&mut self, request: &OwnedRequest, runs: Vec<Run>) -> Result<(), ApiError> {
        let prompt = self.prompts;
        self.prompts += 1;
        if runs.is_empty() {
            self.ended_prompt_tokens += request.prompt.len();
        }
        for Run { first, choices, generated } in runs {
            if generated.len() > request.max_tokens {
                let message = format!(
                    "resume: {} tokens were generated, but at most {} are asked for",
                    generated.len(),
                    request.max_tokens
                );
                return Err(ApiError::invalid("resume", message));
            }
            let index = prompt * request.choices as usize + first as usize;
            self.places.push(Place { prompt, index });
            self.requests.push(OwnedRequest { generated, first_choice: first, choices, ..request.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verbatim_core::sampling::SamplingParams;

    #[test]
    fn choices_keep_their_numbers_and_share_their_prompt() {
        let request = OwnedRequest::new(vec![1, 2], SamplingParams::GREEDY, 3);
        let request = OwnedRequest { choices: 4, ..request };
        let run = |first, choices, generated: &[u32]| Run { first, choices, generated: generated.to_vec() };
        let mut plan = Plan::default();
        plan.add(&request, Vec::new()).expect("nothing to do");
        plan.add(&request, vec![run(0, 2, &[]), run(3, 1, &[7, 8])]).expect("it is no longer than asked");
        let told: Vec<_> =
            plan.requests.iter().map(|of| (of.first_choice, of.choices, &*of.generated)).collect();
        assert_eq!(told, [(0, 2, &[][..]), (3, 1, &[7, 8])]);
        assert_eq!(plan.places, [Place { prompt: 1, index: 4 }, Place { prompt: 1, index: 7 }]);
        assert_eq!(plan.ended_prompt_tokens, 2);
        assert!(std::sync::Arc::ptr_eq(&plan.requests[0].prompt, &plan.requests[1].prompt));
        let error = plan.add(&request, vec![run(0, 1, &[1; 4])]).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("resume"));
    }
}
