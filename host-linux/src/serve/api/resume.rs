//! `resume`: choices that another engine began, and which go on behind their ids with the same
//! bits.
//!
//! In one form the body is as it was sent first, and `token_ids` has what each choice has so far.
//! In the other, for one choice alone, the ids of the output follow those of the prompt in one
//! list, and `prompt_tokens` says where it begins.
use super::fields::Fields;
use super::limits::Reading;
use super::params;
use super::runs::Run;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::text::quote::{quote, quote_value};
use serde_json::{Map, Value};

/// The parameter of this file.
const NAME: &str = "resume";

/// Where the choices of a body go on.
#[derive(Debug)]
pub struct Resume(Form);

#[derive(Debug)]
enum Form {
    /// One choice, whose ids follow those of its prompt.
    Joined {
        /// Ids of the prompt; those after them were generated.
        prompt_tokens: usize,
        /// The number that the choice had.
        choice: u32,
        /// All ids, where they stand in `resume` itself.
        ids: Option<Vec<u32>>,
    },
    /// The ids of each choice, in the order of their indexes; none for one that had ended.
    Apart(Vec<Option<Vec<u32>>>),
}

/// An error of the parameter.
fn wrong(message: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(NAME, format!("{NAME} {message}"))
}

/// The object that the parameter is, if the body has it.
fn object<'v>(fields: &Fields<'v>) -> Result<Option<&'v Map<String, Value>>, ApiError> {
    let Some(value) = fields.get(NAME) else { return Ok(None) };
    value.as_object().map(Some).ok_or_else(|| wrong("must be an object with token_ids"))
}

/// Whether it is of the form of one list.
fn is_joined(map: &Map<String, Value>) -> bool {
    let fields = Fields::new(map);
    fields.get("prompt_tokens").is_some() || fields.get("choice").is_some()
}

/// The prompts whose ids `resume.prompt_token_ids` gives, if it is there. Each is a list that is
/// not empty and fits the context.
pub fn prompts(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Option<Vec<Vec<u32>>>, ApiError> {
    let name = "prompt_token_ids";
    let Some(map) = object(fields)?.filter(|map| !is_joined(map)) else { return Ok(None) };
    let Some(value) = Fields::new(map).get(name) else { return Ok(None) };
    let prompts = lists(value, name)?;
    reading.bounds.prompts.check(NAME, ("resume.prompt_token_ids has", prompts.len(), "prompts"))?;
    let ids = |list: Option<&[Value]>| match list.filter(|list| !list.is_empty()) {
        Some(list) => ids(list, name, reading.model),
        None => Err(wrong("has a list in prompt_token_ids that is empty")),
    };
    prompts.into_iter().map(ids).collect::<Result<_, _>>().map(Some)
}

/// The lists of ids in a field; one list of ids counts as a list of one. An entry that is null is
/// none.
fn lists<'v>(value: &'v Value, name: &str) -> Result<Vec<Option<&'v [Value]>>, ApiError> {
    let wrong = || wrong(format!("has {name} that is neither a list of ids nor a list of such lists"));
    let outer = value.as_array().ok_or_else(wrong)?;
    if outer.first().is_none_or(Value::is_number) {
        return Ok(vec![Some(outer)]);
    }
    let list = |value: &'v Value| match value {
        Value::Null => Ok(None),
        Value::Array(list) => Ok(Some(list.as_slice())),
        _ => Err(wrong()),
    };
    outer.iter().map(list).collect()
}

/// The ids of a list, which fits the context, and of which the model has each.
fn ids(list: &[Value], name: &str, model: &ServedModel) -> Result<Vec<u32>, ApiError> {
    params::check_ids_fit(list, model, NAME)?;
    let vocab_size = model.loaded.model().config().vocab_size;
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
            let found = quote_value(value);
            wrong(format!("has {found} in {name}: ids are integers from 0, below {vocab_size}"))
        })
    };
    list.iter().map(id).collect()
}

/// Refuses several choices where the ids are those of one.
fn check_one(choices: u32) -> Result<(), ApiError> {
    if choices == 1 {
        return Ok(());
    }
    let message = "with prompt_tokens goes on with one choice: n must be 1, and resume.choice may say which \
                   it was";
    Err(wrong(message))
}

/// Refuses fields that a form does not have.
fn check_names(map: &Map<String, Value>, known: &[&str]) -> Result<(), ApiError> {
    match map.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let (name, known) = (quote(name), known.join(", "));
            Err(wrong(format!("has an unknown field {name}; expected {known}")))
        }
    }
}

impl Resume {
    /// Reads `resume` of a body of completions that has so many prompts, each with so many choices.
    pub fn of_prompts(
        fields: &Fields<'_>,
        counts: (usize, u32),
        model: &ServedModel,
    ) -> Result<Option<Self>, ApiError> {
        let Some(map) = object(fields)? else { return Ok(None) };
        if !is_joined(map) {
            return Self::apart(fields, map, counts, model).map(Some);
        }
        check_one(counts.1)?;
        let ids = fields.get("prompt").and_then(Value::as_array);
        if !ids.is_some_and(|ids| ids.iter().all(Value::is_number)) {
            return Err(wrong("with prompt_tokens needs a prompt that is a list of token ids"));
        }
        check_names(map, &["prompt_tokens", "choice", "fingerprint"])?;
        Self::joined(map, None).map(Some)
    }

    /// Reads `resume` of a conversation that is answered by so many choices.
    pub fn of_conversation(
        fields: &Fields<'_>,
        choices: u32,
        model: &ServedModel,
    ) -> Result<Option<Self>, ApiError> {
        let Some(map) = object(fields)? else { return Ok(None) };
        if !is_joined(map) {
            return Self::apart(fields, map, (1, choices), model).map(Some);
        }
        check_one(choices)?;
        check_names(map, &["token_ids", "prompt_tokens", "choice", "fingerprint"])?;
        let list = map.get("token_ids").and_then(Value::as_array).filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| {
            wrong("with prompt_tokens needs token_ids: those of the prompt, and then those of the output so far")
        })?;
        Self::joined(map, Some(ids(list, "token_ids", model)?)).map(Some)
    }

    fn joined(map: &Map<String, Value>, ids: Option<Vec<u32>>) -> Result<Self, ApiError> {
        let inner = |error: ApiError| ApiError::invalid(NAME, format!("{NAME}: {}", error.message));
        let fields = Fields::new(map);
        let prompt_tokens = fields.integer("prompt_tokens", 1, i64::from(u32::MAX)).map_err(inner)?;
        let prompt_tokens =
            prompt_tokens.ok_or_else(|| wrong("has a choice without prompt_tokens"))? as usize;
        let choice = fields.integer("choice", 0, i64::from(u32::MAX)).map_err(inner)?.unwrap_or(0) as u32;
        Ok(Self(Form::Joined { prompt_tokens, choice, ids }))
    }

    fn apart(
        fields: &Fields<'_>,
        map: &Map<String, Value>,
        (prompts, choices): (usize, u32),
        model: &ServedModel,
    ) -> Result<Self, ApiError> {
        check_names(map, &["token_ids", "prompt_token_ids", "fingerprint"])?;
        let value = map.get("token_ids").ok_or_else(|| wrong("must be an object with token_ids"))?;
        let lists = lists(value, "token_ids")?;
        let count = prompts.saturating_mul(choices as usize);
        if lists.len() != count {
            let found = lists.len();
            return Err(wrong(format!("has token_ids of {found} choices, but {count} are asked for")));
        }
        if lists.iter().all(Option::is_none) {
            return Err(wrong("has nothing to go on with: all of token_ids are null"));
        }
        if fields.get("seed").is_none() {
            let message = "seed is missing: whoever resumes a request sends the seed that its answer told in \
                           verbatim.seed";
            return Err(ApiError::invalid("seed", message));
        }
        let ids = |list: Option<&[Value]>| list.map(|list| ids(list, "token_ids", model)).transpose();
        Ok(Self(Form::Apart(lists.into_iter().map(ids).collect::<Result<_, _>>()?)))
    }

    /// The ids of the prompt and of the output behind it, where they stand in `resume` itself; they
    /// are taken from it.
    pub fn take_ids(&mut self) -> Option<Vec<u32>> {
        match &mut self.0 {
            Form::Joined { ids, .. } => ids.take(),
            Form::Apart(_) => None,
        }
    }

    /// The choices of one prompt that go on, by the number of the prompt and how many choices it
    /// has; what each has so far is taken. Where the output follows the prompt in one list, it is
    /// cut off `prompt`.
    pub fn take_runs(
        &mut self,
        number: usize,
        choices: u32,
        prompt: &mut Vec<u32>,
    ) -> Result<Vec<Run>, ApiError> {
        let lists = match &mut self.0 {
            Form::Apart(lists) => lists,
            Form::Joined { prompt_tokens, choice, .. } => {
                if *prompt_tokens > prompt.len() {
                    let message = format!(
                        "resume: prompt_tokens is {prompt_tokens}, but there are {} ids",
                        prompt.len()
                    );
                    return Err(ApiError::invalid(NAME, message));
                }
                let generated = prompt.split_off(*prompt_tokens);
                return Ok(vec![Run { first: *choice, choices: 1, generated }]);
            }
        };
        let mut runs: Vec<Run> = Vec::new();
        let of_prompt = lists.iter_mut().skip(number * choices as usize);
        for (first, list) in (0..choices).zip(of_prompt) {
            let Some(generated) = list.take() else { continue };
            match runs.last_mut() {
                // None of these was begun, so they are one request, as they were first.
                Some(run)
                    if run.generated.is_empty()
                        && generated.is_empty()
                        && run.first + run.choices == first =>
                {
                    run.choices += 1;
                }
                _ => runs.push(Run { first, choices: 1, generated }),
            }
        }
        Ok(runs)
    }
}
