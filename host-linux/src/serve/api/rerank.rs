//! `POST /v1/rerank` and `/v1/score`: how near texts are to each other, by the angle between their
//! embeddings. The shapes are vLLM's, which are Jina's and Cohere's for reranking.
use super::body::{read_in_turn, send_telling};
use super::fields::Fields;
use super::limits::Reading;
use super::parameters::{RERANK, SCORE};
use super::params;
use super::vectors::{self, Encoding};
use crate::runtime::pooling::cosine;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use crate::serve::server::now;
use crate::text::quote::quote_value;
use serde_json::{Value, json};

/// Bytes of a result besides its document: its object, and its text.
const RESULT_BYTES: usize = 512;
/// Bytes of a document for each of its own: once as it came, and as JSON, in a buffer that grows.
const DOCUMENT_RATIO: usize = 8;

/// A question, and what may answer it.
struct Reranking {
    /// The prompts: that of the question, then those of the documents.
    prompts: Vec<Vec<u32>>,
    /// The documents, where they are to be sent back.
    documents: Option<Vec<String>>,
    /// How many results are sent, the best first.
    top: usize,
    cache_salt: u64,
}

/// Answers with the documents nearest to a question, the nearest first; of equally near ones the
/// first.
pub fn rerank(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let Reranking { prompts, mut documents, top, cache_salt } =
        read_in_turn(exchange, RERANK, read_reranking)?;
    let mut room = vectors::room(exchange.server, prompts.len(), RESULT_BYTES)?;
    let sent_back = documents.iter().flatten().map(String::len).sum::<usize>();
    room.grow(sent_back.saturating_mul(DOCUMENT_RATIO))?;
    let vectors = vectors::embed(exchange, "documents", prompts, cache_salt)?;
    let Some((question, rest)) = vectors.split_first() else {
        return Err(ApiError::invalid("query", "query is missing"));
    };
    let mut scored: Vec<(usize, f32)> =
        rest.iter().map(|vector| cosine(question, vector)).enumerate().collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let results = scored.into_iter().take(top).map(|(index, score)| {
        let mut result = json!({"index": index, "relevance_score": score_json(score)});
        if let Some(documents) = &mut documents {
            result["document"] = json!({"text": std::mem::take(&mut documents[index])});
        }
        result
    });
    let results: Vec<Value> = results.collect();
    let server = exchange.server;
    let body = json!({
        "id": format!("rerank-{}", exchange.record.request_id),
        "object": "list", "model": server.model.name, "system_fingerprint": server.model.fingerprint,
        "results": results, "usage": vectors::usage_json(exchange.record.usage),
    });
    send_telling(exchange, body);
    Ok(())
}

fn read_reranking(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Reranking, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    vectors::config(model)?;
    let missing = |name: &str| ApiError::invalid(name, format!("{name} is missing"));
    let query = text_of("query", fields.get("query").ok_or_else(|| missing("query"))?)?;
    let list = fields.get("documents").ok_or_else(|| missing("documents"))?;
    let list = list.as_array().ok_or_else(|| wrong("documents", list))?;
    vectors::check_count("documents", list.len())?;
    // 0 is all of them.
    let top = match fields.integer("top_n", 0, i64::from(u32::MAX))? {
        None | Some(0) => list.len(),
        Some(top) => top as usize,
    };
    let returns = fields.get("return_documents").is_none() || fields.flag("return_documents")?;
    let encoding = Encoding::read(fields, model)?;
    let documents =
        list.iter().map(|document| text_of("documents", document)).collect::<Result<Vec<_>, _>>()?;
    let mut prompts = vec![encoding.text(query, "query")?];
    for document in &documents {
        prompts.push(encoding.text(document, "documents")?);
    }
    let documents = returns.then(|| documents.into_iter().map(str::to_owned).collect());
    Ok(Reranking { prompts, documents, top, cache_salt: params::cache_salt(fields)? })
}

/// Texts that are compared pair by pair.
struct Scoring {
    /// The prompts of the first texts, then those of the second.
    prompts: Vec<Vec<u32>>,
    /// How many of them are of first texts: one, or as many as of second.
    firsts: usize,
    cache_salt: u64,
}

/// Answers with a score for each pair of texts. One first text is compared with every second.
pub fn score(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let Scoring { prompts, firsts, cache_salt } = read_in_turn(exchange, SCORE, read_scoring)?;
    let _room = vectors::room(exchange.server, prompts.len(), RESULT_BYTES)?;
    let vectors = vectors::embed(exchange, "text_2", prompts, cache_salt)?;
    let (first, second) = vectors.split_at(firsts);
    let pairs = first.iter().cycle().zip(second).enumerate();
    let scores = pairs
        .map(|(index, (a, b))| json!({"index": index, "object": "score", "score": score_json(cosine(a, b))}));
    let scores: Vec<Value> = scores.collect();
    let server = exchange.server;
    let body = json!({
        "id": format!("score-{}", exchange.record.request_id),
        "object": "list", "created": now(), "model": server.model.name,
        "system_fingerprint": server.model.fingerprint,
        "data": scores, "usage": vectors::usage_json(exchange.record.usage),
    });
    send_telling(exchange, body);
    Ok(())
}

fn read_scoring(fields: &Fields<'_>, reading: Reading<'_>) -> Result<Scoring, ApiError> {
    let model = reading.model;
    params::check_model(fields, model)?;
    vectors::config(model)?;
    let encoding = Encoding::read(fields, model)?;
    let texts = |name: &str| {
        let value = fields.get(name).ok_or_else(|| ApiError::invalid(name, format!("{name} is missing")))?;
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        vectors::check_count(name, list.len())?;
        let prompt = |value| encoding.text(text_of(name, value)?, name);
        list.iter().map(prompt).collect::<Result<Vec<Vec<u32>>, ApiError>>()
    };
    let (mut prompts, second) = (texts("text_1")?, texts("text_2")?);
    let firsts = prompts.len();
    if firsts != 1 && firsts != second.len() {
        let message =
            format!("text_1 has {firsts} texts and text_2 {}; expected one, or as many", second.len());
        return Err(ApiError::invalid("text_1", message));
    }
    prompts.extend(second);
    Ok(Scoring { prompts, firsts, cache_salt: params::cache_salt(fields)? })
}

/// A text, which may stand alone or in an object.
fn text_of<'v>(name: &str, value: &'v Value) -> Result<&'v str, ApiError> {
    value.as_str().or_else(|| value.get("text")?.as_str()).ok_or_else(|| wrong(name, value))
}

fn wrong(name: &str, found: &Value) -> ApiError {
    let expected = if name == "query" { "a string" } else { "strings, or objects with text" };
    ApiError::invalid(name, format!("{name} must be {expected}, found {}", quote_value(found)))
}

/// A score with no more digits than it has.
fn score_json(score: f32) -> Value {
    super::answer::tokens::number(score)
}
