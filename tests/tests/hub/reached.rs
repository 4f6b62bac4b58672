//! Whom the requests reach: the token, proxies.
use super::{Bench, assert_holds, tiny};
use std::collections::BTreeSet;
use verbatim::hub::token::Token;
use verbatim::hub::{HubSettings, Unwatched};
use verbatim_tests::hub::proxy::FakeProxy;
use verbatim_tests::hub::server::TOKEN;
use verbatim_tests::hub::{Access, Side, socks};

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let mut repository = tiny();
    repository.access = Access::Private;
    let bench = Bench::new(vec![repository]);
    let token = Token::parse(TOKEN, "HF_TOKEN").unwrap();
    bench.pull_as(HubSettings { token, ..bench.settings() }, "org/tiny", &Unwatched).unwrap();
    let seen = bench.hub.take_seen();
    assert!(seen.iter().any(|seen| seen.side == Side::Store));
    for seen in seen {
        let expected = (seen.side == Side::Hub).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(seen.authorization, expected, "{}", seen.path);
    }
}

#[test]
fn a_proxy_stands_between_unless_the_host_is_spared() {
    let repository = tiny();
    let bench = Bench::new(vec![repository.clone()]);
    let proxy = FakeProxy::start();
    let through = |no_proxy: &str| {
        let mut settings = bench.settings();
        settings.proxies.http = Some(format!("http://{}", proxy.address));
        settings.proxies.no_proxy = no_proxy.to_owned();
        settings
    };
    bench.pull_as(through("127.0.0.1"), "org/tiny", &Unwatched).unwrap();
    assert!(proxy.connected().is_empty());
    std::fs::remove_dir_all(bench.cache.path().join("models--org--tiny")).unwrap();
    let folder = bench.pull_as(through(""), "org/tiny", &Unwatched).unwrap();
    assert_holds(&folder, &repository);
    let hosts: BTreeSet<String> = proxy.connected().into_iter().collect();
    assert_eq!(hosts.len(), 2, "the hub and its store: {hosts:?}");
}

#[test]
fn a_socks_proxy_connects_and_finds_the_names() {
    let repository = tiny();
    let bench = Bench::new(vec![repository.clone()]);
    let proxy = socks::start();
    let through = |scheme: &str, endpoint: String| {
        let mut settings = HubSettings { endpoint, ..bench.settings() };
        settings.proxies.http = Some(format!("{scheme}://{}", proxy.address));
        bench.pull_as(settings, "org/tiny", &Unwatched)
    };
    let hosts = || BTreeSet::from_iter(proxy.connected());
    assert_holds(&through("socks5", bench.hub.endpoint.clone()).unwrap(), &repository);
    assert_eq!(hosts().len(), 2, "the hub and its store: {:?}", hosts());
    // A name that only the proxy knows is told to it.
    let port = bench.hub.endpoint.rsplit(':').next().unwrap();
    let named = format!("hub.invalid:{port}");
    through("socks5h", format!("http://{named}")).unwrap();
    assert!(hosts().contains(&named), "{:?}", hosts());
    // One that is not there is no fault of the hub's.
    let mut settings = bench.settings();
    settings.transfer.tries = 1;
    for scheme in ["socks5", "http"] {
        settings.proxies.http = Some(format!("{scheme}://127.0.0.1:1"));
        let error = bench.pull_as(settings.clone(), "org/tiny", &Unwatched).unwrap_err().to_string();
        let told = ", asked through the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY";
        assert!(error.starts_with(&bench.hub.endpoint) && error.ends_with(told), "{error}");
    }
    for wrong in ["socks9", "ftp"] {
        let error = through(wrong, bench.hub.endpoint.clone()).unwrap_err().to_string();
        assert!(
            error.ends_with("expected an address such as http://HOST:PORT or socks5h://HOST:PORT"),
            "{error}"
        );
    }
}
