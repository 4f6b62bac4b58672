//! The table of routes, and the way of a request through it: route, guards, handler, observer.
use super::api::{chat, completions, health, models};
use super::error::ApiError;
use super::exchange::Exchange;
use super::guards::{Guard, Permit, engine_runs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tiny_http::Method;

/// Answers a request that has passed the guards. An error is sent to the client unless an answer
/// was begun.
type Handler = fn(&mut Exchange<'_>) -> Result<(), ApiError>;

/// What is served at a path.
#[derive(Debug)]
struct Route {
    /// The method; a route for GET takes HEAD too.
    method: Method,
    /// The whole path, without a query.
    path: &'static str,
    /// Asked in order before the handler.
    guards: &'static [Guard],
    handler: Handler,
}

static ROUTES: &[Route] = &[
    Route { method: Method::Post, path: "/v1/completions", guards: &[], handler: completions::handle },
    Route { method: Method::Post, path: "/v1/chat/completions", guards: &[], handler: chat::handle },
    Route { method: Method::Get, path: "/v1/models", guards: &[], handler: models::handle },
    Route { method: Method::Get, path: "/health", guards: &[engine_runs], handler: health::handle },
    Route { method: Method::Get, path: "/", guards: &[engine_runs], handler: health::handle },
];

impl Route {
    fn takes(&self, method: &Method) -> bool {
        *method == self.method || (*method == Method::Head && self.method == Method::Get)
    }
}

/// The route for a method and a path; else 404, or 405 with the methods that the path takes.
fn find(routes: &'static [Route], method: &Method, path: &str) -> Result<&'static Route, ApiError> {
    let at_path = || routes.iter().filter(|route| route.path == path);
    if let Some(route) = at_path().find(|route| route.takes(method)) {
        return Ok(route);
    }
    let methods: Vec<&str> = at_path().map(|route| route.method.as_str()).collect();
    if methods.is_empty() {
        let message = format!("there is nothing at {path}");
        return Err(ApiError { status: 404, ..ApiError::invalid("", message) });
    }
    let message = format!("{path} takes {}, not {method}", methods.join(" or "));
    let mut allow = methods.join(", ");
    if methods.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    Err(ApiError { status: 405, allow: Some(allow), ..ApiError::invalid("", message) })
}

/// Answers a request, then tells the observer of it.
pub(super) fn dispatch(exchange: &mut Exchange<'_>) {
    dispatch_on(ROUTES, exchange);
}

fn dispatch_on(routes: &'static [Route], exchange: &mut Exchange<'_>) {
    let start = Instant::now();
    // A panic must not leave a request without an answer, nor the observer without a record.
    let result = catch_unwind(AssertUnwindSafe(|| answer(routes, exchange)));
    let result = result
        .unwrap_or_else(|_| Err(ApiError::server(500, "an internal error was reported on standard error")));
    if let Err(error) = result
        && !exchange.is_answered()
    {
        exchange.refuse(&error);
    }
    exchange.record.duration = start.elapsed();
    exchange.server.observer.request_ended(&exchange.record);
}

fn answer(routes: &'static [Route], exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    let route = find(routes, exchange.method(), exchange.path())?;
    exchange.record.route = Some(route.path);
    // What the guards hold is given back when the handler has ended, or a later guard has refused.
    let _held = route.guards.iter().map(|guard| guard(exchange)).collect::<Result<Vec<Permit>, _>>()?;
    (route.handler)(exchange)
}

#[cfg(test)]
mod tests {
    use super::super::gate::Client;
    use super::super::notice::Notice;
    use super::super::observe::{Observer, Record, Usage};
    use super::super::server::Server;
    use super::*;
    use crate::load::NoProgress;
    use crate::runtime::{EngineHandle, Options, ServedModel};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use tiny_http::{Header, TestRequest};

    #[test]
    fn routes_are_found_by_method_and_path() {
        let found = |method: Method, path: &str| find(ROUTES, &method, path).map(|route| route.path);
        for route in ROUTES {
            assert_eq!(found(route.method.clone(), route.path), Ok(route.path));
        }
        assert_eq!(found(Method::Head, "/health"), Ok("/health"));
        for (method, path, status, allow) in [
            (Method::Get, "/v1/completions", 405, Some("POST")),
            (Method::Head, "/v1/completions", 405, Some("POST")),
            (Method::Options, "/v1/models", 405, Some("GET, HEAD")),
            (Method::Post, "/v1/model", 404, None),
            (Method::Get, "/v1/models/", 404, None),
            (Method::Post, "/chat", 404, None),
        ] {
            let error = found(method, path).unwrap_err();
            assert_eq!((error.status, error.allow.as_deref()), (status, allow), "{path}");
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
    struct Rig {
        server: Server,
        kept: Kept,
        thread: std::thread::JoinHandle<()>,
    }

    impl Rig {
        fn new() -> Self {
            let options = Options { workers: Some(1), ..Options::default() };
            let model = Arc::new(ServedModel::open(&options, &NoProgress).expect("the built-in model"));
            let started = EngineHandle::start(Arc::clone(&model), options.step_ms);
            let (engine, thread) = started.expect("an engine");
            let kept = Kept::default();
            let server = Server { model, engine, created: 0, observer: Arc::new(kept.clone()) };
            Self { server, kept, thread }
        }

        /// What the observer is told of a request.
        fn ask(&self, routes: &'static [Route], request: TestRequest) -> Record {
            dispatch_on(routes, &mut Exchange::new(&self.server, &Client::default(), request.into()));
            let mut kept = self.kept.0.lock().unwrap();
            let record = kept.pop().expect("the observer was told");
            assert!(kept.is_empty(), "the observer was told twice");
            record
        }

        fn stop(self) {
            self.server.engine.stop();
            self.thread.join().expect("the engine ends");
        }
    }

    #[test]
    fn the_observer_is_told_of_each_request_once() {
        let rig = Rig::new();
        let ask = |method: Method, path: &str, body: &'static str| {
            rig.ask(ROUTES, TestRequest::new().with_method(method).with_path(path).with_body(body))
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

    #[test]
    fn an_engine_that_is_gone_is_told() {
        let rig = Rig::new();
        rig.server.engine.stop();
        let body = r#"{"prompt": [5], "max_tokens": 1}"#;
        let request = TestRequest::new().with_method(Method::Post).with_path("/v1/completions");
        assert_eq!(rig.ask(ROUTES, request.with_body(body)).status, 503);
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

    fn passes(exchange: &Exchange<'_>) -> Result<Permit, ApiError> {
        assert_eq!(exchange.header("authorization"), Some("Bearer k"));
        HELD.fetch_add(1, Ordering::Relaxed);
        Ok(Permit::holding(Place))
    }

    fn refuses(_: &Exchange<'_>) -> Result<Permit, ApiError> {
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

    static OTHERS: [Route; 3] = [
        Route { method: Method::Get, path: "/guarded", guards: &[passes, refuses], handler: panics },
        Route { method: Method::Get, path: "/panics", guards: &[passes], handler: panics },
        Route { method: Method::Get, path: "/late", guards: &[], handler: is_late },
    ];

    #[test]
    fn guards_stand_before_the_handler_and_each_request_has_one_answer() {
        let rig = Rig::new();
        for (path, status) in [("/guarded", 429), ("/panics", 500), ("/late", 200)] {
            let key = Header::from_bytes("Authorization", "Bearer k").expect("a header");
            let record = rig.ask(&OTHERS, TestRequest::new().with_path(path).with_header(key));
            assert_eq!((record.route, record.status), (Some(path), status));
            assert_eq!(HELD.load(Ordering::Relaxed), 0, "{path}: permits are given back");
        }
        rig.stop();
    }
}
