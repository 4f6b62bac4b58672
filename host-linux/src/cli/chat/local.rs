//! A model in this process as the partner of a conversation. Bodies are read by the code that reads
//! them for the server, so every parameter of the API works, with the same bits and errors.
use super::partner::{End, Figures, Partner, Piece, Stop, Told};
use crate::cli::generate::draft_notes;
use crate::cli::session::Session;
use crate::runtime::{Ending, Generation, GenerationError, TextEventKind};
use crate::serve::api::answer::parsed::ParsedBody;
use crate::serve::api::answer::reading::parse_object;
use crate::serve::api::chat::Chat;
use crate::serve::api::limits::{Reading, RequestBounds, RequestLimits};
use crate::text::parts::{Part, PartReader};
use crate::text::{ChatEncoder, TextError};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// A model that runs for this conversation alone.
pub(super) struct Local {
    session: Session,
    bounds: RequestBounds,
}

impl Local {
    /// The model of a session, if it has a template for conversations.
    pub(super) fn new(session: Session) -> Result<Self, String> {
        let model = &session.model;
        let with_flag = |error: TextError| format!("{error}, or give a template with --chat-template");
        ChatEncoder::new(&model.tokenizer, model.template.as_ref()).map_err(with_flag)?;
        let bounds = RequestBounds::new(&RequestLimits::default(), model);
        Ok(Self { session, bounds })
    }

    fn read(&self, body: &Map<String, Value>) -> Result<ParsedBody, String> {
        let reading = Reading { model: &self.session.model, bounds: &self.bounds };
        parse_object(&Chat, body, reading, &mut Vec::new()).map_err(|error| error.message)
    }
}

impl Partner for Local {
    fn name(&self) -> &str {
        &self.session.model.name
    }

    fn fingerprint(&self) -> Option<&str> {
        Some(&self.session.model.fingerprint)
    }

    fn describe(&mut self) -> Result<Vec<String>, String> {
        let model = &self.session.model;
        Ok(vec![
            format!("{}, fingerprint {}", model.name, model.fingerprint),
            format!("a context of {} tokens", model.limits.model_len),
        ])
    }

    fn choose(&mut self, _: &str) -> Result<(), String> {
        Err("this conversation has one model; --model chooses it at the start".to_owned())
    }

    fn takes_any_name(&self) -> bool {
        false
    }

    fn check(&self, parameters: &Map<String, Value>) -> Result<(), String> {
        let mut body = parameters.clone();
        body.insert("messages".to_owned(), json!([{"role": "user", "content": "."}]));
        self.read(&body).map(drop)
    }

    fn answer(
        &mut self,
        body: &Map<String, Value>,
        stop: &Stop,
        tell: &mut dyn FnMut(Piece) -> Result<(), String>,
    ) -> Result<Told, String> {
        let parsed = self.read(body)?;
        let start = Instant::now();
        let before = self.session.engine.gauges().counters;
        let started = Generation::start(&self.session.engine, parsed.requests.clone(), &parsed.stop);
        let stop = stop.clone();
        let mut generation = started.map_err(|error| error.to_string())?.while_wanted(move || !stop.is_set());
        let mut reader = PartReader::new(parsed.format.clone());
        let (mut end, mut first) = (End::Whole, None);
        for event in generation.by_ref() {
            let mut parts = Vec::new();
            match event.kind {
                TextEventKind::Delta(delta) => {
                    first.get_or_insert_with(|| start.elapsed());
                    reader.push(&delta.text, &mut parts);
                }
                TextEventKind::End(ending) => {
                    end = match ending {
                        Ending::Stop => End::Whole,
                        Ending::Length => End::Length,
                        Ending::Error(GenerationError::Unwanted) => End::Stopped,
                        Ending::Error(error) => return Err(error.to_string()),
                    };
                    reader.finish(&mut parts);
                }
            }
            for part in parts {
                match part {
                    Part::Text(text) => tell(Piece::Text(text))?,
                    Part::Reasoning(text) => tell(Piece::Reasoning(text))?,
                    // No tools were offered.
                    Part::CallBegins { .. } | Part::Arguments { .. } => {}
                }
            }
        }
        let whole = start.elapsed();
        let figures = Figures {
            prompt_tokens: Some(parsed.prompt_tokens()),
            cached_tokens: Some(generation.cached_tokens(0)),
            tokens: Some(generation.tokens(0)),
            first: first.unwrap_or(whole),
            whole,
            notes: draft_notes(&before, &self.session.engine.gauges().counters),
        };
        // Nothing is drawn at temperature 0.
        let is_drawn = parsed.requests.iter().any(|request| request.params.temperature != 0.0);
        Ok(Told { end, seed: is_drawn.then_some(parsed.seed as i64), figures })
    }
}
