//! What must hold before a handler runs: who asks, from where, with what, and how often. All but
//! the last is asked before the body of a request is read, so that who may not ask takes no memory.
//!
//! Here are the guards, and the lists of them that routes name. What they decide by is below and
//! knows nothing of requests:
//!
//! * [`hosts`]: the names that this server is called by. [`origins`]: web pages that may ask.
//! * [`keys`]: API keys; [`key_file`] reads them. [`quotas`]: what a key may ask for.
//! * [`content_type`]: what a body may claim to be.
//! * [`options`]: what is decided at the start. [`state`]: what a running server knows of all this.
//!   [`notices`]: what it tells its operator.
//! * [`permit`]: what a guard is.
pub mod content_type;
pub mod hosts;
pub mod key_file;
pub mod keys;
pub mod notices;
pub mod options;
pub mod origins;
pub mod permit;
pub mod quotas;
pub mod state;

use super::assets::wants_page;
use super::error::{ApiError, Detail};
use super::exchange::Exchange;
use crate::runtime::{EngineNotice, OwnedRequest, RunningStep};
pub use permit::{Guard, Permit};
use std::sync::Arc;
use std::time::Instant;
use tiny_http::Method;

/// The guards of a route, in the order in which they are asked.
#[derive(Clone, Copy, Debug)]
pub struct Guarding {
    /// Asked before a byte of the body is read; what they hold is given back then.
    pub head: &'static [Guard],
    /// Asked when the request has come whole; what they hold is kept until the handler has ended.
    pub whole: &'static [Guard],
}

impl Guarding {
    const fn by_head(head: &'static [Guard]) -> Self {
        Self { head, whole: &[] }
    }
}

/// For probes, which must get an answer whatever name and key they come with.
pub const OPEN: Guarding = Guarding::by_head(&[engine_runs]);
/// For the probe of readiness, whose handler knows whether the engine runs.
pub const READY: Guarding = Guarding::by_head(&[]);
/// For what only holders of a key may know.
pub const KEYED: Guarding = Guarding::by_head(&[host_is_ours, page_may_ask, key_is_known]);
/// For the files of pages. They come without a key, since the field for it is in the page, and
/// while the engine is down, since the page waits for it.
pub const PAGE: Guarding = Guarding::by_head(&[host_is_ours]);
/// As [`PAGE`] where a page is asked for; else only holders of a key may know, and there is an
/// answer only while the engine runs.
pub const PAGE_OR_STATUS: Guarding = Guarding::by_head(&[
    host_is_ours,
    page_may_ask,
    |exchange| if wants_page(exchange) { Ok(Permit::PASS) } else { key_is_known(exchange) },
    |exchange| if wants_page(exchange) { Ok(Permit::PASS) } else { engine_runs(exchange) },
]);
/// For metrics, which a scraper may be allowed to read without a key.
pub const METRICS: Guarding =
    Guarding::by_head(&[host_is_ours, page_may_ask, key_is_known_or_metrics_are_open]);
/// For what reads a body and computes.
pub const GENERATES: Guarding =
    Guarding { head: &[host_is_ours, page_may_ask, key_is_known, body_is_json], whole: &[key_has_quota] };

/// For files that are sent as forms. A page of another origin is refused by name.
pub const UPLOADS: Guarding =
    Guarding { head: &[host_is_ours, page_may_ask, key_is_known, body_is_form], whole: &[key_has_quota] };

/// Refuses with 503 and the reason once the engine has failed, and while a step takes a hundred
/// times as long as it should.
pub fn engine_runs(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    let engine = &exchange.server.engine;
    if let Some(failure) = engine.failure() {
        return Err(ApiError::server(503, failure.to_string()));
    }
    match engine.running_step().filter(RunningStep::is_overdue) {
        Some(step) => Err(ApiError::server(503, EngineNotice::StepOverdue(step).to_string())),
        None => Ok(Permit::PASS),
    }
}

/// Refuses a request that calls this server by a name that is not its own.
pub fn host_is_ours(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    // No browser reaches a Unix socket.
    if exchange.peer().is_none() {
        return Ok(Permit::PASS);
    }
    // Without the header it is no browser that asks.
    let Some(host) = exchange.header("host") else { return Ok(Permit::PASS) };
    if exchange.server.guards.knows_host(host) {
        return Ok(Permit::PASS);
    }
    let message = format!(
        "this server does not go by the name {}; call it localhost, or start it with that name as an allowed-host",
        quoted(host)
    );
    Err(forbidden(message))
}

/// Refuses what changes or computes if a web page asks for it that was not allowed to.
pub fn page_may_ask(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    if matches!(exchange.method(), Method::Get | Method::Head | Method::Options) {
        return Ok(Permit::PASS);
    }
    let Some(origin) = exchange.header("origin") else { return Ok(Permit::PASS) };
    let guards = &exchange.server.guards;
    if guards.options().cors_origins.allowed(origin).is_some() {
        return Ok(Permit::PASS);
    }
    match exchange.header("host").filter(|host| origins::is_own(origin, host)) {
        Some(host) if guards.may_have_pages(host) => Ok(Permit::PASS),
        Some(host) => Err(strange_name(host)),
        None => Err(foreign(origin)),
    }
}

/// The error for a page of a name that may be another's, pointed here.
fn strange_name(host: &str) -> ApiError {
    forbidden(format!(
        "pages may not ask at {}, a name that this server was not told; open the page by its address, or start the \
         server with that name as an allowed-host",
        quoted(host)
    ))
}

/// Demands a key, if there are any, and notes its name.
pub fn key_is_known(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    let keys = exchange.server.guards.keys();
    if keys.is_empty() {
        return Ok(Permit::PASS);
    }
    let bearer = exchange.header("authorization").and_then(keys::bearer);
    let sent = [bearer, exchange.header("x-api-key")];
    if let Some(key) = keys.find(sent.into_iter().flatten()) {
        let key = key.clone();
        exchange.record.key = Some(Arc::clone(&key.name));
        exchange.record.owner = Some(Arc::clone(&key.owner));
        exchange.key = Some(key);
        return Ok(Permit::PASS);
    }
    let is_sent = sent.iter().any(Option::is_some);
    Err(no_key(exchange, is_sent))
}

/// The error for a request without a key, or with one that is none.
fn no_key(exchange: &mut Exchange<'_>, is_sent: bool) -> ApiError {
    let (challenge, message) = if is_sent {
        (r#"Bearer error="invalid_token""#, "the API key that was sent is none of this server's")
    } else {
        ("Bearer", "an API key is missing: send the header Authorization: Bearer KEY, or x-api-key: KEY")
    };
    exchange.add_header("WWW-Authenticate", challenge);
    ApiError { status: 401, code: Some("invalid_api_key"), ..ApiError::invalid("", message) }
}

/// As [`key_is_known`], unless the operator lets everybody read metrics.
pub fn key_is_known_or_metrics_are_open(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    if exchange.server.guards.options().metrics_open { Ok(Permit::PASS) } else { key_is_known(exchange) }
}

/// Demands that a body says that it is JSON.
pub fn body_is_json(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    let found = match exchange.header("content-type") {
        Some(value) if content_type::is_json(value) => return Ok(Permit::PASS),
        Some(value) => format!("found {}", quoted(value)),
        None => "found none".to_owned(),
    };
    let message = format!(
        "Content-Type must be application/json, {found}; with curl, add -H 'Content-Type: application/json'"
    );
    Err(ApiError { status: 415, ..ApiError::invalid("", message) })
}

/// Demands that a body says that it is a form with files.
pub fn body_is_form(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    let found = match exchange.header("content-type") {
        Some(value) if content_type::is_form(value) => return Ok(Permit::PASS),
        Some(value) => format!("found {}", quoted(value)),
        None => "found none".to_owned(),
    };
    let message = format!(
        "Content-Type must be multipart/form-data, {found}; with curl, send -F purpose=batch -F file=@FILE"
    );
    Err(ApiError { status: 415, ..ApiError::invalid("", message) })
}

/// Takes a place among the requests of the key, if it has any left, and tells how it stands. A key
/// that was taken away while the body came is none any more.
pub fn key_has_quota(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
    let Some(key) = exchange.key.clone() else { return Ok(Permit::PASS) };
    if !exchange.server.guards.keys().has(key.secret) {
        return Err(no_key(exchange, true));
    }
    let now = Instant::now();
    let admitted = key.account.admit(&key.limits, now);
    let (requests, tokens) = key.account.standing(&key.limits, now);
    if let Some(at) = requests {
        exchange.add_header("x-ratelimit-limit-requests", at.limit.to_string());
        exchange.add_header("x-ratelimit-remaining-requests", at.left.to_string());
        exchange.add_header("x-ratelimit-reset-requests", quotas::reset_text(at.full_in));
    }
    if let Some(at) = tokens {
        exchange.add_header("x-ratelimit-limit-tokens", at.limit.to_string());
        exchange.add_header("x-ratelimit-remaining-tokens", at.left.to_string());
        exchange.add_header("x-ratelimit-reset-tokens", quotas::reset_text(at.full_in));
    }
    match admitted {
        Ok(place) => Ok(Permit::holding(place)),
        Err(spent) => Err(spent_quota(&spent)),
    }
}

/// The error for a key whose budget is spent.
fn spent_quota(spent: &quotas::Spent) -> ApiError {
    ApiError {
        code: Some("rate_limit_exceeded"),
        detail: Some(Box::new(Detail::RetryAfter(spent.retry_after_s().to_string()))),
        budget: Some(spent.budget()),
        ..ApiError::server(429, spent.to_string())
    }
}

/// Refuses requests of a body that are more urgent than their key allows.
pub fn check_priority(exchange: &Exchange<'_>, requests: &[OwnedRequest]) -> Result<(), ApiError> {
    let found = requests.iter().map(|request| request.priority).max().unwrap_or(0);
    let of_all = exchange.server.guards.options().max_priority;
    let most = exchange.key.as_ref().map_or(of_all, |key| key.limits.max_priority);
    if found <= most {
        return Ok(());
    }
    // In a body a lower number is sooner; in the engine a greater one is.
    let (found, least) = (-i32::from(found), -i32::from(most));
    let who = if exchange.key.is_some() { "with this key" } else { "here" };
    Err(ApiError::invalid("priority", format!("priority must be {least} or more {who}, found {found}")))
}

/// Charges the tokens of an answer that has ended to the key that the request came with.
pub fn charge(exchange: &Exchange<'_>) {
    let usage = exchange.record.usage;
    let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens) as u64;
    if let Some(key) = exchange.key.as_ref().filter(|_| tokens > 0) {
        key.account.charge(&key.limits, tokens, Instant::now());
    }
}

/// Lets the page that asks read the answer, whatever it is, if the page was allowed to ask.
pub fn let_page_read(exchange: &mut Exchange<'_>) {
    let origins = &exchange.server.guards.options().cors_origins;
    let allowed = exchange.header("origin").and_then(|origin| origins.allowed(origin));
    if origins.vary() {
        exchange.add_header("Vary", "Origin");
    }
    if let Some(allowed) = allowed {
        exchange.add_header("Access-Control-Allow-Origin", allowed);
        exchange.add_header("Access-Control-Expose-Headers", origins::EXPOSED_HEADERS);
    }
}

/// Whether a browser asks if a page may ask.
pub fn is_preflight(exchange: &Exchange<'_>) -> bool {
    *exchange.method() == Method::Options
        && exchange.header("origin").is_some()
        && exchange.header("access-control-request-method").is_some()
}

/// Answers a browser that asks what a page may ask for at a path that takes `methods`. Such a
/// question carries no key, so none is demanded. [`let_page_read`] has added the origin.
pub fn answer_preflight(exchange: &mut Exchange<'_>, methods: &str) -> Result<(), ApiError> {
    let origin = exchange.header("origin").unwrap_or_default();
    if exchange.server.guards.options().cors_origins.allowed(origin).is_none() {
        return Err(foreign(origin));
    }
    let asked = exchange.header("access-control-request-headers").map(origins::asked_headers);
    let is_private = exchange.header("access-control-request-private-network").is_some();
    exchange.add_header("Access-Control-Allow-Methods", methods);
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        exchange.add_header("Access-Control-Allow-Headers", asked);
    }
    if is_private {
        exchange.add_header("Access-Control-Allow-Private-Network", "true");
    }
    // Browsers keep it two hours at most.
    exchange.add_header("Access-Control-Max-Age", "7200");
    exchange.send_nothing(204);
    Ok(())
}

fn foreign(origin: &str) -> ApiError {
    forbidden(format!(
        "pages of {} may not ask here; start the server with that origin as a cors-origin to let them",
        quoted(origin)
    ))
}

fn forbidden(message: String) -> ApiError {
    ApiError { status: 403, ..ApiError::invalid("", message) }
}

/// The beginning of a text from a request, in quotes.
fn quoted(text: &str) -> String {
    let start: String = text.chars().take(100).collect();
    let end = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{end}")
}
