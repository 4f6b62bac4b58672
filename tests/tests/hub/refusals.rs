//! What the hub refuses, and what is not taken from it.
use super::{Bench, assert_holds, tiny};
use verbatim::hub::token::Token;
use verbatim::hub::{HubSettings, Unwatched};
use verbatim_tests::hub::repository::COMMIT;
use verbatim_tests::hub::server::TOKEN;
use verbatim_tests::hub::{Access, Does, Repository, Side};

#[test]
fn what_the_hub_refuses_is_told_with_what_to_do() {
    let of = |id: &str, access| Repository { id: id.to_owned(), access, ..tiny() };
    let bench = Bench::new(vec![
        of("org/open", Access::Open),
        of("org/private", Access::Private),
        of("org/gated", Access::Gated),
    ]);
    let host = bench.hub.endpoint.clone();
    let with = |token: &str, name: &str| {
        let token = Token::parse(token, "HF_TOKEN").unwrap();
        let pulled = bench.pull_as(HubSettings { token, ..bench.settings() }, name, &Unwatched);
        pulled.map_err(|error| error.to_string())
    };
    let unknown = |name: &str| {
        format!(
            "{host} has no model {name}, or it is private: check the name, or set HF_TOKEN to a token from \
             {host}/settings/tokens"
        )
    };
    assert_eq!(bench.error("org/none"), unknown("org/none"));
    assert_eq!(bench.error("org/private"), unknown("org/private"));
    let terms = format!("org/gated is gated: accept its terms at {host}/org/gated");
    let then = format!("{terms}, then set HF_TOKEN to a token from {host}/settings/tokens");
    assert_eq!(bench.error("org/gated"), then);
    assert_eq!(bench.error("org/open@v9"), "org/open has no branch, tag or commit v9");
    let wrong = with("hf_wrong", "org/open").unwrap_err();
    assert_eq!(
        wrong,
        format!("{host} does not accept the token of HF_TOKEN: {host}/settings/tokens has another")
    );
    let none = with(TOKEN, "org/none").unwrap_err();
    assert!(none.ends_with("or it is private and the token may not read it"), "{none}");
    assert!(with(TOKEN, "org/private").is_ok() && with(TOKEN, "org/gated").is_ok());
    // The terms of this one were not accepted by whoever has the token.
    bench.hub.rule(Side::Hub, "/api/", 1, Does::Status(403, "X-Error-Code: GatedRepo\r\n"));
    assert_eq!(with(TOKEN, "org/gated").unwrap_err(), format!("{terms} as the user whose token this is"));

    bench.hub.take_seen();
    bench.hub.rule(Side::Hub, "/api/", 100, Does::Status(429, "Retry-After: 4000\r\n"));
    let error = bench.error("org/open");
    assert_eq!(error, format!("{host} answers with status 429 and asks to wait 4000 s"));
    assert_eq!(bench.hub.take_seen().len(), 1, "nobody waits an hour");
    bench.hub.forget_rules();
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 10:49:37 GMT\r\n";
    bench.hub.rule(Side::Hub, "/api/", 100, Does::Status(503, date));
    let error = bench.error("org/open");
    assert_eq!(error, format!("{host} answers with status 503 and asks to wait 7200 s"));
    assert_eq!(bench.hub.take_seen().len(), 1, "nor two");
}

#[test]
fn a_short_commit_is_what_the_hub_takes_it_for() {
    let bench = Bench::new(vec![tiny()]);
    let folder = bench.pull("org/tiny@0123456").unwrap();
    assert!(folder.ends_with(format!("snapshots/{COMMIT}")), "{}", folder.display());
    let note = bench.cache.path().join("models--org--tiny/refs/0123456");
    assert_eq!(std::fs::read_to_string(note).unwrap(), COMMIT);
    // A hub that knows whole ids alone says no more than that there is none.
    let error = bench.error("org/tiny@feedbee");
    let told =
        "org/tiny has no branch, tag or commit feedbee; a commit that has it is found by all its 40 digits";
    assert_eq!(error, told);
}

#[test]
fn hostile_lists_are_refused() {
    let list = |list: serde_json::Value| {
        let bench = Bench::new(vec![Repository { list: Some(list), ..tiny() }]);
        let error = bench.error("org/tiny");
        assert!(!bench.cache.path().join("models--org--tiny").exists(), "nothing was written");
        error
    };
    let file = |name: &str| serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": name, "size": 1}]});
    for name in ["../../../.bashrc", "/etc/passwd", "a/../../b", "a\\..\\b", "a\u{0}b", ""] {
        assert!(list(file(name)).contains("its path could lead out of the repository"), "{name:?}");
    }
    assert!(list(file(&"../".repeat(90_000))).len() < 400, "a long name is quoted in short");
    let commit = list(serde_json::json!({"sha": "../../x", "siblings": []}));
    assert!(commit.contains("expected 40 hexadecimal digits"), "{commit}");
    assert!(list(serde_json::json!([1])).contains("is no list of files"));
    let hash = serde_json::json!({"rfilename": "a", "size": 1, "blobId": "../x"});
    assert!(list(serde_json::json!({"sha": COMMIT, "siblings": [hash]})).contains("its hash is none"));
    let many: Vec<_> = (0..50_001).map(|i| serde_json::json!({"rfilename": format!("f{i}")})).collect();
    assert!(list(serde_json::json!({"sha": COMMIT, "siblings": many})).contains("expected at most 50000"));
    // A huge file is refused before anything of it is asked for.
    let huge = serde_json::json!({
        "sha": COMMIT, "siblings": [
            {"rfilename": "m.gguf", "size": 1, "lfs": {"sha256": "a".repeat(64), "size": u64::MAX, "pointerSize": 1}},
        ],
    });
    assert!(list(huge).contains("are still to come"));
}

#[test]
fn a_mirror_that_tells_no_hashes_is_asked_for_each_file() {
    let repository = Repository { tells_hashes: false, ..tiny() };
    let bench = Bench::new(vec![repository.clone()]);
    assert_holds(&bench.pull("org/tiny").unwrap(), &repository);
    let seen = bench.hub.take_seen();
    let asked: Vec<_> = seen.iter().filter(|seen| seen.method == "HEAD").collect();
    assert_eq!(asked.len(), 6, "one for each file that is needed");
    assert!(asked.iter().all(|seen| seen.side == Side::Hub));
}
