//! The guards where they stand: in front of the routes of a server with the built-in model.
use super::super::exchange::Exchange;
use super::super::guards::keys::Secret;
use super::super::guards::options::GuardOptions;
use super::super::observe::Record;
use super::tests::Rig;
use super::{ROUTES, Route, dispatch, open};
use tiny_http::Method;

const ASK: &str = r#"{"prompt": [5], "max_tokens": 1, "temperature": 0}"#;
const JSON: &str = "Content-Type: application/json";

/// What the observer is told of a request with these header lines.
fn told(rig: &Rig, method: &Method, path: &str, lines: &[&str], body: &'static str) -> Record {
    // Without a host it is a program of HTTP/1.0 that asks.
    let version = if lines.iter().any(|line| line.starts_with("Host:")) { "1.1" } else { "1.0" };
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    rig.ask(ROUTES, &format!("{method} {path} HTTP/{version}\r\n{lines}\r\n{body}")).0
}

/// A path of a route, whatever a client may choose in it.
fn some_path(route: &Route) -> String {
    route.path.canonical().replace(['{', '}', '*'], "")
}

/// The status that a request for a completion gets.
fn asked(rig: &Rig, lines: &[&str], body: &'static str) -> u16 {
    told(rig, &Method::Post, "/v1/completions", &[lines, &[JSON]].concat(), body).status
}

#[test]
fn every_route_but_probes_demands_a_key() {
    let api_keys = vec![Secret::new("sk-a").expect("a key"), Secret::new("sk-b").expect("a key")];
    let rig = Rig::guarded(GuardOptions { api_keys, ..GuardOptions::default() });
    for route in ROUTES {
        let path = some_path(route);
        let is_open = matches!(
            path.as_str(),
            "/health" | "/ping" | "/ready" | "/page/file" | "/dashboard" | "/dashboard/file"
        );
        let body = if route.method == Method::Post { "{}" } else { "" };
        // What is watched live has no end.
        let is_live = path == "/dashboard/events";
        let method = if is_live { &Method::Head } else { &route.method };
        let ask = |line: &str| told(&rig, method, &path, &[line, JSON], body);
        for line in ["x: y", "Authorization: Bearer sk-c", "Authorization: Basic sk-a", "x-api-key: sk-"] {
            let status = ask(line).status;
            assert_eq!(status == 401, !is_open, "{path}: {line}: {status}");
        }
        for line in ["Authorization: Bearer sk-b", "x-api-key: sk-b"] {
            let record = ask(line);
            let name = (!is_open).then_some("key-2");
            assert_eq!(record.key.as_deref(), name, "{path}: {line}");
            assert!(record.status != 401, "{path}: {line}");
        }
    }
    rig.stop();
}

#[test]
fn what_a_page_could_send_is_refused() {
    let mut guard = GuardOptions::default();
    guard.cors_origins.allow("https://app.example").expect("an origin");
    guard.allowed_hosts.allow("box.example").expect("a name");
    let rig = Rig::guarded(guard);
    let ask = |lines: &[&str]| asked(&rig, lines, ASK);
    assert_eq!(ask(&[]), 200, "a program may leave out everything");
    assert_eq!(ask(&["Host: localhost"]), 200);
    assert_eq!(ask(&["Host: box.example:80"]), 200);
    assert_eq!(ask(&["Host: evil.example"]), 403);
    assert_eq!(ask(&["Host: localhost", "Origin: https://evil.example"]), 403);
    assert_eq!(ask(&["Host: localhost", "Origin: null"]), 403);
    assert_eq!(ask(&["Host: localhost:80", "Origin: http://localhost"]), 200, "its own page");
    assert_eq!(ask(&["Host: localhost", "Origin: https://app.example"]), 200);
    for lines in [&[][..], &["Content-Type: text/plain"], &["Content-Type: multipart/form-data"]] {
        assert_eq!(told(&rig, &Method::Post, "/v1/completions", lines, ASK).status, 415, "{lines:?}");
    }
    let get = |lines: &[&str]| told(&rig, &Method::Get, "/v1/models", lines, "").status;
    assert_eq!(get(&["Host: localhost", "Origin: https://evil.example"]), 200, "it cannot be read");
    assert_eq!(get(&["Host: evil.example"]), 403);
    rig.stop();
}

/// A page may have its own name point to this server (DNS rebinding), wherever that listens.
#[test]
fn a_page_that_has_its_name_point_here_is_no_page_of_ours() {
    let ask = |rig: &Rig, host: &str, more: &str| {
        let (host, origin) = (format!("Host: {host}:8080"), format!("Origin: http://{host}:8080"));
        asked(rig, &[&host, &origin, more], ASK)
    };
    let mut guard = GuardOptions { host: Some("0.0.0.0".to_owned()), ..GuardOptions::default() };
    let rig = Rig::guarded(guard.clone());
    assert_eq!(ask(&rig, "evil.example", "x: y"), 403);
    let lines = format!("Host: evil.example:8080\r\nOrigin: http://evil.example:8080\r\n{JSON}");
    let told = rig.ask(ROUTES, &format!("POST /v1/completions HTTP/1.1\r\n{lines}\r\n\r\n{ASK}")).1;
    assert!(told.contains("as an allowed-host"), "it says how the name becomes its own: {told}");
    for host in ["192.0.2.1", "[2001:db8::1]", "localhost"] {
        assert_eq!(ask(&rig, host, "x: y"), 200, "{host}");
    }
    rig.stop();
    guard.api_keys.push(Secret::new("sk-a").expect("a key"));
    let rig = Rig::guarded(guard);
    assert_eq!(ask(&rig, "box.example", "x-api-key: sk-a"), 200, "who has a key was meant to ask");
    rig.stop();
}

#[test]
fn a_preflight_is_answered_on_every_route() {
    let mut guard = GuardOptions::default();
    guard.cors_origins.allow("https://app.example").expect("an origin");
    guard.api_keys.push(Secret::new("sk-a").expect("a key"));
    let rig = Rig::guarded(guard);
    let preflight = |path: &str, origin: &str| {
        let lines = ["Access-Control-Request-Method: POST", &format!("Origin: {origin}")];
        told(&rig, &Method::Options, path, &lines, "").status
    };
    for path in ROUTES.iter().map(some_path) {
        assert_eq!(preflight(&path, "https://app.example"), 204, "{path}");
        assert_eq!(preflight(&path, "https://evil.example"), 403, "{path}");
    }
    assert_eq!(preflight("/nothing", "https://app.example"), 404);
    rig.stop();
}

#[test]
fn priority_has_a_bound() {
    const URGENT: &str = r#"{"prompt": [5], "max_tokens": 1, "priority": -2}"#;
    const PATIENT: &str = r#"{"prompt": [5], "max_tokens": 1, "priority": 127}"#;
    for (max_priority, status) in [(0, 400), (1, 400), (2, 200)] {
        let rig = Rig::guarded(GuardOptions { max_priority, ..GuardOptions::default() });
        assert_eq!((asked(&rig, &[], URGENT), asked(&rig, &[], PATIENT)), (status, 200));
        rig.stop();
    }
}

#[test]
fn a_key_that_is_taken_away_while_a_body_comes_is_none_any_more() {
    let path = std::env::temp_dir().join(format!("verbatim-revoked-{}", std::process::id()));
    std::fs::write(&path, "sk-a\nsk-b requests-per-minute=1\nsk-c").expect("a file");
    let api_key_file = Some(path.clone());
    let rig = Rig::guarded(GuardOptions { api_key_file, ..GuardOptions::default() });
    let begin = |key: &str| {
        let text = format!("POST /v1/completions HTTP/1.0\r\nx-api-key: {key}\r\n{JSON}\r\n\r\n{ASK}");
        let (mut exchange, theirs) = Exchange::for_test(&rig.server, &text);
        let route = open(&mut exchange).expect("the key is one");
        (exchange, route, theirs)
    };
    let requests = ["sk-a", "sk-b", "sk-b"].map(begin);
    // What was key-2 is key-1 from now on.
    std::fs::write(&path, "sk-b requests-per-minute=1\nsk-c").expect("a file");
    rig.server.reread();
    let statuses = requests.map(|(mut exchange, route, _theirs)| {
        dispatch(route, &mut exchange);
        exchange.record.status
    });
    assert_eq!(statuses, [401, 200, 429]);
    std::fs::remove_file(path).expect("the file is there");
    rig.stop();
}

#[test]
fn what_an_answer_took_is_charged_to_its_key() {
    let path = std::env::temp_dir().join(format!("verbatim-quota-{}", std::process::id()));
    let text = "ann sk-a tokens-per-minute=1\nbob sk-b requests-per-minute=2";
    std::fs::write(&path, text).expect("a file");
    let api_key_file = Some(path.clone());
    let rig = Rig::guarded(GuardOptions { api_key_file, ..GuardOptions::default() });
    let ask = |key: &str, body| asked(&rig, &[&format!("x-api-key: {key}")], body);
    // Two tokens of one were used, so none is left for two minutes.
    let statuses = [ask("sk-a", "{}"), ask("sk-a", ASK), ask("sk-a", ASK), ask("sk-a", "{}")];
    assert_eq!(statuses, [400, 200, 429, 429]);
    rig.server.reread();
    assert_eq!(ask("sk-a", ASK), 429, "reading the keys anew forgives nothing");
    assert_eq!([ask("sk-b", ASK), ask("sk-b", "{}"), ask("sk-b", ASK)], [200, 400, 429]);
    std::fs::remove_file(path).expect("the file is there");
    rig.stop();
}
