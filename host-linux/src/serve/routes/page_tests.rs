//! The pages where they stand: who gets them, and what they go out with.
use super::super::guards::keys::Secret;
use super::super::guards::options::GuardOptions;
use super::super::page;
use super::ROUTES;
use super::tests::Rig;

/// What a browser sends when its user opens a page.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// The status of an answer, its head and its body.
fn get(rig: &Rig, method: &str, path: &str, lines: &[&str]) -> (u16, String, String) {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
    let (record, answer) = rig.ask(ROUTES, &request);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (record.status, format!("{head}\r\n"), body.to_owned())
}

/// The values of a header.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

fn keyed() -> Rig {
    let api_keys = vec![Secret::new("sk-a").expect("a key")];
    Rig::guarded(GuardOptions { api_keys, ..GuardOptions::default() })
}

#[test]
fn the_root_is_a_page_for_browsers_alone() {
    let rig = keyed();
    for (lines, status, is_page) in [
        (&[BROWSER][..], 200, true),
        (&[BROWSER, "x-api-key: sk-b"], 200, true),
        (&["Accept: */*"], 401, false),
        (&["Accept: application/json", "x-api-key: sk-a"], 200, false),
        (&["x-api-key: sk-a"], 200, false),
        (&["Accept: text/html;q=0, */*", "x-api-key: sk-a"], 200, false),
    ] {
        let (found, head, body) = get(&rig, "GET", "/", lines);
        assert_eq!((found, body.starts_with("<!doctype html>")), (status, is_page), "{lines:?}");
        assert_eq!(body.starts_with('{'), !is_page, "{lines:?}");
        let vary = if status == 200 { &["Accept"][..] } else { &[] };
        assert_eq!(values(&head, "Vary"), vary, "{lines:?}");
        let (of_head, head, nothing) = get(&rig, "HEAD", "/", lines);
        assert_eq!((of_head, nothing.as_str()), (status, ""), "{lines:?}");
        assert_eq!(values(&head, "Content-Length"), [body.len().to_string()], "{lines:?}");
    }
    rig.server.engine.stop();
    rig.stop();
}

#[test]
fn the_page_comes_while_the_engine_is_gone_and_by_no_strange_name() {
    let mut guard = GuardOptions::default();
    guard.allowed_hosts.allow("box.example").expect("a name");
    let rig = Rig::guarded(guard);
    let foreign = format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{BROWSER}\r\n\r\n");
    assert_eq!(rig.ask(ROUTES, &foreign).0.status, 403);
    let foreign = "GET /page/app.js HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(rig.ask(ROUTES, foreign).0.status, 403);
    rig.server.engine.stop();
    let body = r#"{"prompt": [5], "max_tokens": 1}"#;
    let ask = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n{body}"
    );
    assert_eq!(rig.ask(ROUTES, &ask).0.status, 503, "the engine is gone");
    assert_eq!(get(&rig, "GET", "/", &[BROWSER]).0, 200);
    assert_eq!(get(&rig, "GET", "/page/app.js", &[]).0, 200);
    rig.stop();
}

#[test]
fn every_file_goes_out_with_its_type_a_tag_and_what_it_may_do() {
    let rig = keyed();
    for file in page::FILES.files {
        let path = format!("/page/{}", file.name);
        let (status, head, body) = get(&rig, "GET", &path, &[]);
        assert_eq!((status, body.as_bytes()), (200, file.bytes), "{path}");
        let of_type = match file.name.rsplit_once('.').expect("an ending").1 {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(values(&head, "Content-Type"), [of_type], "{path}");
        let policy = values(&head, "Content-Security-Policy");
        for rule in ["script-src 'self'", "style-src 'self'", "require-trusted-types-for 'script'"] {
            let rules: Vec<_> = policy.iter().flat_map(|policy| policy.split("; ")).collect();
            assert!(policy.len() == 1 && rules.contains(&rule), "{path}: {policy:?}");
        }
        assert!(!policy[0].contains("unsafe-") && !policy[0].contains('*'), "{policy:?}");
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
        ] {
            assert_eq!(values(&head, name), [value], "{path}: {name}");
        }
        let tags = values(&head, "ETag");
        let known = format!("If-None-Match: \"0\", {}", tags.concat());
        let (status, again, nothing) = get(&rig, "GET", &path, &[&known]);
        assert_eq!((status, nothing.as_str()), (304, ""), "{path}");
        assert_eq!((values(&again, "ETag"), values(&again, "Content-Security-Policy")), (tags, policy));
        assert!(values(&again, "Content-Length").is_empty(), "304 has no length: {again}");
        assert_eq!(get(&rig, "GET", &path, &["If-None-Match: \"0\""]).0, 200, "{path}");
    }
    rig.stop();
}

#[test]
fn nothing_but_the_list_is_served() {
    let rig = Rig::new();
    for (method, path, status) in [
        ("GET", "/page/nothing.js", 404),
        ("GET", "/page/README.md", 404),
        ("GET", "/page/mod.rs", 404),
        ("GET", "/page/../api.js", 404),
        ("GET", "/page/..%2F..%2Froutes.rs", 404),
        ("GET", "/page/view", 404),
        ("GET", "/page//app.js", 404),
        ("GET", "/page/App.js", 404),
        ("GET", "/page/", 404),
        ("GET", "/page", 404),
        ("POST", "/page/app.js", 405),
        ("DELETE", "/", 405),
        ("HEAD", "/page/app.js", 200),
        ("GET", "/page/view%2Fraw.js", 200),
        ("GET", "/page/app.js?v=1", 200),
    ] {
        let (found, head, _) = get(&rig, method, path, &[]);
        assert_eq!(found, status, "{method} {path}");
        if status == 405 {
            assert_eq!(values(&head, "Allow"), ["GET, HEAD"], "{path}");
        }
    }
    rig.stop();
}
