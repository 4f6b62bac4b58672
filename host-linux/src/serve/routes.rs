//! The table of routes, and the way of a request through it: route and guards of its head, then,
//! when its body has come, guards of the whole request, handler, and observer.
mod path;

use super::api::dashboard as live;
use super::api::{
    batches, chat, completions, embeddings, files, health, load, messages, metrics, models, ollama, openapi,
    rerank, responses, tokenize, version,
};
use super::dashboard;
use super::error::{ApiError, Detail};
use super::exchange::Exchange;
use super::guards::{
    self, GENERATES, Guarding, KEYED, METRICS, OPEN, PAGE, PAGE_OR_STATUS, Permit, READY, UPLOADS,
};
use super::observe::RecordedError;
use super::page;
use super::transport::refusal;
use crate::text::quote::{quote, quote_value};
use path::Path::{self, Api, Plain};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tiny_http::Method;

/// Answers a request that has passed the guards. An error is sent to the client unless an answer
/// was begun.
type Handler = fn(&mut Exchange<'_>) -> Result<(), ApiError>;

/// What is served at a path.
#[derive(Debug)]
pub(super) struct Route {
    /// The method; a route for GET takes HEAD too.
    method: Method,
    /// The path, without a query.
    path: Path,
    guards: Guarding,
    handler: Handler,
}

/// A route that is read from.
const fn get(path: Path, guards: Guarding, handler: Handler) -> Route {
    Route { method: Method::Get, path, guards, handler }
}

/// A route that a body is sent to.
const fn post(path: Path, guards: Guarding, handler: Handler) -> Route {
    Route { method: Method::Post, path, guards, handler }
}

/// All routes. Where several fit, the first one is taken.
static ROUTES: &[Route] = &[
    post(Api("/v1/completions"), GENERATES, completions::handle),
    post(Api("/v1/chat/completions"), GENERATES, chat::handle),
    post(Api("/v1/embeddings"), GENERATES, embeddings::handle),
    post(Api("/v1/score"), GENERATES, rerank::score),
    post(Api("/v1/rerank"), GENERATES, rerank::rerank),
    post(Plain("/v2/rerank"), GENERATES, rerank::rerank),
    post(Api("/v1/messages"), GENERATES, messages::handle),
    post(Api("/v1/messages/count_tokens"), GENERATES, messages::count_tokens),
    post(Api("/v1/responses"), GENERATES, responses::handle),
    post(Plain("/api/chat"), GENERATES, ollama::chat::handle),
    post(Plain("/api/generate"), GENERATES, ollama::generate::handle),
    post(Plain("/api/embed"), GENERATES, ollama::embed::embed),
    post(Plain("/api/embeddings"), GENERATES, ollama::embed::embeddings),
    post(Plain("/api/show"), GENERATES, ollama::library::show),
    get(Plain("/api/tags"), KEYED, ollama::library::tags),
    get(Plain("/api/ps"), KEYED, ollama::library::ps),
    get(Plain("/api/version"), KEYED, ollama::library::version),
    post(Plain("/tokenize"), GENERATES, tokenize::tokenize),
    post(Plain("/detokenize"), GENERATES, tokenize::detokenize),
    post(Plain("/apply-template"), GENERATES, tokenize::apply_template),
    post(Api("/v1/files"), UPLOADS, files::upload),
    get(Api("/v1/files"), KEYED, files::list),
    get(Api("/v1/files/{id}"), KEYED, files::one),
    get(Api("/v1/files/{id}/content"), KEYED, files::content),
    Route { method: Method::Delete, path: Api("/v1/files/{id}"), guards: KEYED, handler: files::delete },
    post(Api("/v1/batches"), GENERATES, batches::create),
    get(Api("/v1/batches"), KEYED, batches::list),
    get(Api("/v1/batches/{id}"), KEYED, batches::one),
    post(Api("/v1/batches/{id}/cancel"), KEYED, batches::cancel),
    get(Api("/v1/models"), KEYED, models::handle),
    get(Api("/v1/models/{model*}"), KEYED, models::one),
    get(Plain("/version"), KEYED, version::handle),
    get(Plain("/openapi.json"), KEYED, openapi::handle),
    get(Plain("/load"), KEYED, load::handle),
    get(Plain("/ready"), READY, health::ready),
    get(Api("/health"), OPEN, health::handle),
    get(Plain("/ping"), OPEN, health::ping),
    post(Plain("/ping"), OPEN, health::ping),
    get(Plain("/metrics"), METRICS, metrics::handle),
    get(Plain("/"), PAGE_OR_STATUS, page::root),
    get(Plain("/page/{file*}"), PAGE, page::file),
    get(Plain("/dashboard/events"), KEYED, live::events),
    Route {
        method: Method::Delete,
        path: Plain("/dashboard/requests/{id*}"),
        guards: KEYED,
        handler: live::cancel,
    },
    get(Plain("/dashboard"), PAGE, dashboard::index),
    get(Plain("/dashboard/{file*}"), PAGE, dashboard::file),
];

impl Route {
    fn takes(&self, method: &Method) -> bool {
        *method == self.method || (*method == Method::Head && self.method == Method::Get)
    }
}

/// The route for a method and a path, and what the client wrote in the path; else 404, or 405 with
/// the methods that the path takes.
fn find(routes: &'static [Route], method: &Method, path: &str) -> Result<(&'static Route, String), ApiError> {
    let mut at_path = routes.iter().filter_map(|route| Some((route, route.path.parameter(path)?)));
    let first = at_path.clone().next();
    if let Some(found) = at_path.find(|(route, _)| route.takes(method)) {
        return Ok(found);
    }
    let (Some((first, _)), Some(allow)) = (first, methods_at(routes, path)) else {
        let message = format!("there is nothing at {}", quote(path));
        return Err(ApiError { status: 404, ..ApiError::invalid("", message) });
    };
    let (path, methods) = (first.path.canonical(), allow.replace(", HEAD", "").replace(", ", " or "));
    let message = format!("{path} takes {methods}, not {}", quote_value(method));
    Err(ApiError {
        status: 405,
        detail: Some(Box::new(Detail::Allow(allow))),
        ..ApiError::invalid("", message)
    })
}

/// The methods that a path takes, as a header lists them; none if nothing is there.
fn methods_at(routes: &[Route], path: &str) -> Option<String> {
    let at_path = routes.iter().filter(|route| route.path.parameter(path).is_some());
    let mut methods = Vec::new();
    for name in at_path.flat_map(|route| match route.method {
        Method::Get => &["GET", "HEAD"][..],
        Method::Post => &["POST"],
        Method::Delete => &["DELETE"],
        _ => &[],
    }) {
        if !methods.contains(name) {
            methods.push(*name);
        }
    }
    (!methods.is_empty()).then(|| methods.join(", "))
}

/// Asks what can be asked before the body of a request has come: whether there is a route for it,
/// and whether its client may use it. `None` if that was the end of it: it was answered, with an
/// error or as a browser's question about pages, and the observer was told.
pub(super) fn open(exchange: &mut Exchange<'_>) -> Option<&'static Route> {
    open_on(ROUTES, exchange)
}

fn open_on(routes: &'static [Route], exchange: &mut Exchange<'_>) -> Option<&'static Route> {
    let start = Instant::now();
    match caught(|| enter(routes, exchange)) {
        Ok(Some(route)) => Some(route),
        ended => {
            end(exchange, start, ended.map(drop));
            None
        }
    }
}

/// The route of a request that may come in; none if it was a question about pages.
fn enter(routes: &'static [Route], exchange: &mut Exchange<'_>) -> Result<Option<&'static Route>, ApiError> {
    guards::let_page_read(exchange);
    if guards::is_preflight(exchange)
        && let Some(methods) = methods_at(routes, exchange.path())
    {
        return guards::answer_preflight(exchange, &methods).map(|()| None);
    }
    let (route, parameter) = find(routes, exchange.method(), exchange.path())?;
    exchange.record.route = Some(route.path.canonical());
    exchange.path_parameter = parameter;
    begins(route, exchange)?;
    for guard in route.guards.head {
        guard(exchange)?;
    }
    Ok(Some(route))
}

/// Refuses what is not only looked at once the server is about to end.
fn begins(route: &Route, exchange: &Exchange<'_>) -> Result<(), ApiError> {
    let is_late = exchange.server.lifecycle.is_ending() && !route.takes(&Method::Head);
    if is_late { Err(refusal::ending()) } else { Ok(()) }
}

/// Answers a request of an open route that has come whole, then tells the observer of it.
pub(super) fn dispatch(route: &Route, exchange: &mut Exchange<'_>) {
    let start = Instant::now();
    let result = caught(|| answer(route, exchange));
    end(exchange, start, result);
}

fn answer(route: &Route, exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    exchange.record.arrived.get_or_insert_with(Instant::now);
    // The server may have been asked to stop while the body came.
    begins(route, exchange)?;
    let guards = route.guards.whole.iter();
    // What the guards hold is given back when the handler has ended, or a later guard has refused.
    let _held = guards.map(|guard| guard(exchange)).collect::<Result<Vec<Permit>, _>>()?;
    let result = caught(|| (route.handler)(exchange));
    // Before a place among the requests of the key is given back.
    guards::charge(exchange);
    result
}

/// Ends a request that has not come whole with an error, and tells the observer of it.
pub(super) fn refuse(exchange: &mut Exchange<'_>, error: ApiError) {
    end(exchange, Instant::now(), Err(error));
}

/// A panic must not leave a request without an answer, nor the observer without a record.
fn caught<T>(work: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ApiError::panicked()))
}

/// Answers with the error, if it is one and nothing was answered yet, and tells of a request that
/// has been on its way since `start`.
fn end(exchange: &mut Exchange<'_>, start: Instant, result: Result<(), ApiError>) {
    let start = *exchange.record.arrived.get_or_insert(start);
    if let Err(error) = result {
        if !exchange.is_answered() {
            exchange.refuse(&error);
        }
        exchange.server.count_refusal(&error);
        let kind = error.code.unwrap_or_else(|| error.kind());
        exchange.record.error = Some(RecordedError { kind, param: error.param });
    }
    exchange.record.duration = start.elapsed();
    exchange.server.metrics.request_ended(&exchange.record);
    exchange.server.observer.request_ended(&exchange.record);
}

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod openapi_tests;
#[cfg(test)]
mod page_tests;

#[cfg(test)]
pub(super) mod tests {
    use super::super::guards::Guard;
    use super::super::guards::options::GuardOptions;
    use super::super::guards::state::Guards;
    use super::super::lifecycle::Lifecycle;
    use super::super::notice::Notice;
    use super::super::observe::{Observer, Record, Usage};
    use super::super::server::Server;
    use super::super::watch::families::{FAMILIES, SHARED_LABELS, exposition};
    use super::*;
    use crate::load::NoProgress;
    use crate::runtime::{EngineHandle, Options, ServedModel};
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[test]
    fn routes_are_found_by_method_and_path() {
        let found =
            |method: Method, path: &str| find(ROUTES, &method, path).map(|(route, _)| route.path.canonical());
        for route in ROUTES {
            let path = route.path.canonical();
            assert_eq!(found(route.method.clone(), path), Ok(path));
        }
        for (path, canonical) in [
            ("/health", "/health"),
            ("/v1/health", "/health"),
            ("/models", "/v1/models"),
            ("/models/a/b", "/v1/models/{model*}"),
        ] {
            assert_eq!(found(Method::Head, path), Ok(canonical));
        }
        for (method, path, status, allow) in [
            (Method::Get, "/v1/completions", 405, Some("POST")),
            (Method::Head, "/v1/completions", 405, Some("POST")),
            (Method::Options, "/v1/models", 405, Some("GET, HEAD")),
            (Method::Post, "/v1/model", 404, None),
            (Method::Get, "/v1/models/", 404, None),
            (Method::Post, "/chat", 404, None),
            (Method::Get, "/completions", 405, Some("POST")),
            (Method::Delete, "/models/a", 405, Some("GET, HEAD")),
            (Method::Put, "/ping", 405, Some("GET, HEAD, POST")),
        ] {
            let error = found(method, path).unwrap_err();
            let told = error.headers().iter().find(|(name, _)| *name == "Allow").map(|(_, methods)| *methods);
            assert_eq!((error.status, told), (status, allow), "{path}");
        }
    }

    /// Keeps what it is told.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl Observer for Kept {
        fn request_ended(&self, record: &Record) {
            self.0.lock().unwrap().push(record.clone());
        }

        fn notice(&self, _: &Notice) {}
    }

    /// The built-in model behind an engine of its own.
    pub(in crate::serve) struct Rig {
        pub(in crate::serve) server: Server,
        kept: Kept,
        thread: std::thread::JoinHandle<()>,
    }

    impl Rig {
        pub(in crate::serve) fn new() -> Self {
            Self::guarded(GuardOptions::default())
        }

        pub(super) fn guarded(guard: GuardOptions) -> Self {
            let options = Options { workers: Some(1), ..Options::default() };
            let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("the built-in model"));
            let started = EngineHandle::start(Arc::clone(&model), options.step_ms);
            let (engine, thread) = started.expect("an engine");
            let kept = Kept::default();
            let options = super::super::options::ServeOptions { guard, ..Default::default() };
            let guards = Guards::open(&options.guard, &[]).expect("keys").0;
            let observer = Arc::new(kept.clone());
            let lifecycle = Arc::new(Lifecycle::new().expect("two sockets"));
            let server = Server::new(model, engine, observer, guards, options, lifecycle);
            Self { server, kept, thread }
        }

        /// What the observer is told of a request, and what the client reads.
        pub(super) fn ask(&self, routes: &'static [Route], request: &str) -> (Record, String) {
            let (mut exchange, mut theirs) = Exchange::for_test(&self.server, request);
            theirs.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
            // It reads along, since a long answer finds no room in the socket otherwise.
            let reader = std::thread::spawn(move || {
                let mut answer = String::new();
                theirs.read_to_string(&mut answer).expect("an answer");
                answer
            });
            if let Some(route) = open_on(routes, &mut exchange) {
                dispatch(route, &mut exchange);
            }
            drop(exchange);
            let answer = reader.join().expect("an answer");
            let mut kept = self.kept.0.lock().unwrap();
            let record = kept.pop().expect("the observer was told");
            assert!(kept.is_empty(), "the observer was told twice");
            let status = format!("HTTP/1.1 {} ", record.status);
            assert!(answer.starts_with(&status) && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
            let id = format!("\r\nx-request-id: {}\r\n", record.request_id);
            assert_eq!(answer.matches(&id).count(), 1, "{answer}");
            (record, answer)
        }

        pub(in crate::serve) fn stop(self) {
            self.server.engine.stop();
            self.thread.join().expect("the engine ends");
        }
    }

    #[test]
    fn the_observer_is_told_of_each_request_once() {
        let rig = Rig::new();
        let ask = |method: Method, path: &str, body: &'static str| {
            rig.ask(ROUTES, &format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n{body}")).0
        };
        let record = ask(Method::Get, "/nothing?x=1", "");
        assert_eq!((record.route, record.status), (None, 404));
        let record = ask(Method::Get, "/v1/completions", "");
        assert_eq!((record.route, record.status), (None, 405));
        let record = ask(Method::Get, "/health?x=1", "");
        assert_eq!((record.route, record.status, record.usage), (Some("/health"), 200, Usage::default()));
        let record = ask(Method::Post, "/v1/completions", r#"{"prompt": [], "x": 1}"#);
        assert_eq!((record.route, record.status), (Some("/v1/completions"), 400));
        assert_eq!(record.ignored, ["x"], "names are told where the body is refused for another reason");
        for body in [
            r#"{"prompt": [5, 6, 7], "n": 2, "max_tokens": 4, "ignore_eos": true, "y": 1}"#,
            r#"{"prompt": [5, 6, 7], "n": 2, "max_tokens": 4, "ignore_eos": true, "y": 1, "stream": true}"#,
        ] {
            let record = ask(Method::Post, "/v1/completions", body);
            assert_eq!((record.route, record.status), (Some("/v1/completions"), 200));
            assert_eq!((record.usage.prompt_tokens, record.usage.completion_tokens), (3, 8));
            assert_eq!(record.ignored, ["y"]);
        }
        rig.stop();
    }

    /// Every sample of `/metrics` belongs to the metric before it and has its labels, no others.
    #[test]
    fn metrics_are_told_as_their_table_says() {
        let rig = Rig::new();
        rig.server.metrics.declare_budget("queue");
        let ask = |method: Method, path: &str, body: &'static str| {
            let head = "HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
            rig.ask(ROUTES, &format!("{method} {path} {head}\r\n\r\n{body}")).0
        };
        ask(Method::Post, "/v1/completions", r#"{"prompt": [5], "max_tokens": 2, "ignore_eos": true}"#);
        let record = ask(Method::Get, "/metrics", "");
        assert_eq!((record.route, record.status), (Some("/metrics"), 200));
        let text = exposition(&rig.server);
        for family in FAMILIES {
            let head = format!("# HELP {} {}\n# TYPE {0} {}\n", family.name, family.help, family.kind.name());
            let (_, rest) = text.split_once(&head).expect("a head");
            let samples: Vec<_> = rest.lines().take_while(|line| !line.starts_with('#')).collect();
            assert!(!samples.is_empty(), "{} has no sample", family.name);
            for sample in samples {
                let (name, _) = sample.split_once(['{', ' ']).expect("a name");
                assert!(name.starts_with(family.name), "{sample}");
                let mut labels: Vec<&str> = Vec::new();
                labels.extend(family.labels);
                if family.is_shared() {
                    labels.extend(SHARED_LABELS);
                }
                if name.ends_with("_bucket") {
                    labels.push("le");
                }
                assert!(labels.iter().all(|label| sample.contains(&format!("{label}=\""))), "{sample}");
                assert_eq!(sample.matches("=\"").count(), labels.len(), "{sample}");
            }
        }
        rig.stop();
    }

    #[test]
    fn an_engine_that_is_gone_is_told() {
        let rig = Rig::new();
        rig.server.engine.stop();
        let body = r#"{"prompt": [5], "max_tokens": 1}"#;
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
        assert_eq!(rig.ask(ROUTES, &format!("{head}\r\n\r\n{body}")).0.status, 503);
        rig.thread.join().expect("the engine ends");
    }

    /// Requests that hold a permit of [`passes`] now.
    static HELD: AtomicUsize = AtomicUsize::new(0);

    #[derive(Debug)]
    struct Place;

    impl Drop for Place {
        fn drop(&mut self) {
            HELD.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn passes(exchange: &mut Exchange<'_>) -> Result<Permit, ApiError> {
        assert_eq!(exchange.header("authorization"), Some("Bearer k"));
        HELD.fetch_add(1, Ordering::Relaxed);
        Ok(Permit::holding(Place))
    }

    fn refuses(_: &mut Exchange<'_>) -> Result<Permit, ApiError> {
        assert_eq!(HELD.load(Ordering::Relaxed), 1);
        Err(ApiError::server(429, "not now"))
    }

    fn panics(_: &mut Exchange<'_>) -> Result<(), ApiError> {
        panic!("a handler's fault")
    }

    fn is_late(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
        exchange.send_json(200, &serde_json::json!({}), &[]);
        Err(ApiError::server(500, "after the answer"))
    }

    fn is_at_the_door(_: &mut Exchange<'_>) -> Result<Permit, ApiError> {
        assert_eq!(HELD.load(Ordering::Relaxed), 0);
        Err(ApiError::server(403, "never"))
    }

    const fn guards(head: &'static [Guard], whole: &'static [Guard]) -> Guarding {
        Guarding { head, whole }
    }

    static OTHERS: [Route; 5] = [
        get(Plain("/guarded"), guards(&[], &[passes, refuses]), panics),
        get(Plain("/panics"), guards(&[], &[passes]), panics),
        get(Plain("/late"), guards(&[], &[]), is_late),
        get(Plain("/door"), guards(&[is_at_the_door], &[passes]), panics),
        get(Plain("/broken"), guards(&[breaks], &[passes]), panics),
    ];

    fn breaks(_: &mut Exchange<'_>) -> Result<Permit, ApiError> {
        panic!("a guard's fault")
    }

    #[test]
    fn guards_stand_before_the_handler_and_each_request_has_one_answer() {
        let rig = Rig::new();
        for (path, status) in
            [("/guarded", 429), ("/panics", 500), ("/late", 200), ("/door", 403), ("/broken", 500)]
        {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nauthorization: Bearer k\r\n\r\n");
            let (record, _) = rig.ask(&OTHERS, &request);
            assert_eq!((record.route, record.status), (Some(path), status));
            assert_eq!(HELD.load(Ordering::Relaxed), 0, "{path}: permits are given back");
        }
        rig.stop();
    }

    #[test]
    fn ids_of_requests_are_taken_over_where_they_are_plain() {
        let rig = Rig::new();
        for (id, is_taken) in [("a-1_~!", true), ("a b", false), ("", false), ("\u{e9}", false)] {
            let request = format!("GET /late HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {id}\r\n\r\n");
            let (record, _) = rig.ask(&OTHERS, &request);
            assert_eq!(record.request_id == id, is_taken, "{id:?}");
            assert!(is_taken || record.request_id.len() == 16, "{id:?}");
        }
        rig.stop();
    }

    #[test]
    fn a_server_that_ends_begins_nothing_and_can_be_looked_at() {
        let rig = Rig::new();
        let ask = |method: &str, path: &str| {
            let head = "HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
            rig.ask(ROUTES, &format!("{method} {path} {head}\r\n\r\n")).1
        };
        assert!(ask("GET", "/ready").contains("503"), "it has not begun");
        rig.server.lifecycle.begin();
        assert!(ask("GET", "/ready").contains("200 OK"));
        rig.server.lifecycle.stop();
        for (method, path, status) in [
            ("GET", "/ready", 503),
            ("GET", "/health", 200),
            ("GET", "/v1/models", 503),
            ("POST", "/v1/completions", 503),
            ("POST", "/v1/chat/completions", 503),
        ] {
            let answer = ask(method, path);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{path}: {answer}");
            assert_eq!(answer.contains("\r\nRetry-After: "), status == 503, "{path}: {answer}");
        }
        rig.stop();
    }
}
