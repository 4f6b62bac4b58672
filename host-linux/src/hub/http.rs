//! Requests to the hub and to the servers that it leads to: redirects, the token, proxies, pauses.
//!
//! Redirects are followed here, not by the HTTP client, since the hub says hash and length of a
//! file in the answer that leads away from it, and since what an [`Address`] watches over depends
//! on each.
use super::address::Address;
use super::error::HubError;
use super::retry_after::asked_pause;
use super::settings::{HubSettings, Transfer};
use super::verify::ContentHash;
use crate::text::quote::quote;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, SystemTime};
use ureq::http::HeaderMap;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

/// Redirects that are followed for one request, at most.
const REDIRECTS_MAX: usize = 8;
/// How long it may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// Bytes of a file of certificates, at most.
const CERTIFICATES_MAX: u64 = 16 << 20;
/// What this program calls itself.
const USER_AGENT: &str = concat!("verbatim/", env!("CARGO_PKG_VERSION"));

/// Why a request did not succeed, and whether it may later.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: HubError,
    /// Whether the same request may succeed if it is repeated.
    pub(super) may_pass: bool,
    /// How long the server asks to wait before.
    pub(super) wait: Option<Duration>,
}

impl From<HubError> for Fault {
    /// A fault that stays.
    fn from(error: HubError) -> Self {
        Self { error, may_pass: false, wait: None }
    }
}

impl Fault {
    /// A fault that may pass.
    pub(super) fn passing(error: HubError) -> Self {
        Self { error, may_pass: true, wait: None }
    }
}

/// What a server says of a file before it sends it.
#[derive(Clone, Debug, Default)]
pub(super) struct Linked {
    pub(super) hash: Option<ContentHash>,
    pub(super) bytes: Option<u64>,
}

/// An answer, at the end of all redirects.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Where the answer came from.
    pub(super) address: Address,
    /// What the hub has said of the file on the way.
    pub(super) linked: Linked,
}

impl Reply {
    /// A header, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length of the body, as the server announces it.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The whole body, which may have so many bytes.
    pub(super) fn read(self, bytes_max: u64) -> Result<Vec<u8>, Fault> {
        let (address, mut bytes) = (self.address, Vec::new());
        let read = self.body.into_reader().take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken(&address, &error))?;
        if bytes.len() as u64 > bytes_max {
            return Err(HubError::answer(&address.text(), format!("is larger than {bytes_max} bytes")).into());
        }
        Ok(bytes)
    }
}

/// What is asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// All that is there.
    All,
    /// Its bytes from the first number to the second, both included.
    Range(u64, u64),
    /// What is said of it, without any of it.
    Head,
}

/// Asks the hub, and the servers that it leads to.
#[derive(Debug)]
pub(super) struct Client {
    direct: Agent,
    by_https: Option<Agent>,
    by_http: Option<Agent>,
    settings: HubSettings,
}

impl Client {
    /// A client with these settings, which asks nothing yet.
    pub(super) fn new(settings: &HubSettings) -> Result<Self, HubError> {
        let tls = match &settings.certificates {
            Some(path) => TlsConfig::builder().root_certs(certificates(path)?).build(),
            None => TlsConfig::default(),
        };
        let silence = Some(settings.transfer.silence_max);
        let agent = |proxy: Option<Proxy>| -> Agent {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(proxy)
                .tls_config(tls.clone())
                .user_agent(USER_AGENT)
                .accept_encoding("identity")
                .max_idle_connections_per_host(settings.transfer.connections.max(1))
                .timeout_connect(Some(CONNECT_MAX))
                .timeout_recv_response(silence)
                .timeout_per_read(silence);
            config.build().into()
        };
        const NAMES: &str = "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY";
        let through = |proxy: &Option<String>| {
            let Some(address) = proxy else { return Ok(None) };
            // The address may hold a password, so it is not quoted.
            let wrong = |_| {
                HubError::setting(
                    NAMES,
                    "expected an address such as http://HOST:PORT or socks5h://HOST:PORT",
                )
            };
            Ok(Some(agent(Some(Proxy::new(address).map_err(wrong)?))))
        };
        Ok(Self {
            direct: agent(None),
            by_https: through(&settings.proxies.https)?,
            by_http: through(&settings.proxies.http)?,
            settings: settings.clone(),
        })
    }

    /// A client with the same settings, and connections of its own.
    pub(super) fn anew(&self) -> Self {
        let anew = |agent: &Agent| agent.config().new_agent();
        Self {
            direct: anew(&self.direct),
            by_https: self.by_https.as_ref().map(anew),
            by_http: self.by_http.as_ref().map(anew),
            settings: self.settings.clone(),
        }
    }

    /// Closes all its connections. Whoever waits for one, or asks later, has a fault that may pass.
    pub(super) fn close(&self) {
        let agents = [Some(&self.direct), self.by_https.as_ref(), self.by_http.as_ref()];
        agents.into_iter().flatten().for_each(|agent| agent.clone().shutdown());
    }

    fn agent(&self, address: &Address) -> &Agent {
        let host = address.host_name();
        let is_spared = self.settings.proxies.of(address.scheme(), host).is_none();
        let by = if address.scheme() == "https" { &self.by_https } else { &self.by_http };
        by.as_ref().filter(|_| !is_spared).unwrap_or(&self.direct)
    }

    /// Asks once, and goes where the answers lead. An answer that asks to come back later, or tells
    /// of trouble at the server, is a fault that may pass; any other status is for the caller.
    pub(super) fn ask(&self, address: &Address, ask: Ask) -> Result<Reply, Fault> {
        let (mut address, mut linked) = (address.clone(), Linked::default());
        for _ in 0..=REDIRECTS_MAX {
            let reply = self.ask_here(&address, ask)?;
            let number = |name| reply.header(name).and_then(|value| value.trim().parse().ok());
            linked.hash = linked.hash.or_else(|| reply.header("x-linked-etag").and_then(ContentHash::parse));
            linked.bytes = linked.bytes.or_else(|| number("x-linked-size"));
            match reply.status {
                301 | 302 | 303 | 307 | 308 => {
                    if ask == Ask::Head && linked.hash.is_some() && linked.bytes.is_some() {
                        return Ok(Reply { status: 200, linked, ..reply });
                    }
                    let location = reply.header("location").ok_or_else(|| {
                        HubError::answer(&address.text(), "leads elsewhere without saying where")
                    })?;
                    address = address.follow(location)?;
                }
                status @ (408 | 429 | 500 | 502 | 503 | 504) => {
                    let wait = asked_pause(&reply.headers, SystemTime::now());
                    let error = HubError::Busy { host: address.host(), wait, status };
                    return Err(Fault { error, may_pass: true, wait });
                }
                _ => return Ok(Reply { linked, ..reply }),
            }
        }
        Err(HubError::answer(&address.text(), format!("leads on after {REDIRECTS_MAX} redirects")).into())
    }

    fn ask_here(&self, address: &Address, ask: Ask) -> Result<Reply, Fault> {
        let agent = self.agent(address);
        let mut request = match ask {
            Ask::Head => agent.head(address.uri()),
            Ask::All | Ask::Range(..) => agent.get(address.uri()),
        };
        if let Ask::Range(first, last) = ask {
            request = request.header("Range", format!("bytes={first}-{last}"));
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| address.is_of_hub()) {
            request = request.header("Authorization", token.header());
        }
        // Whoever is not reached may be the proxy.
        let proxied = |mut fault: Fault| {
            if let HubError::Connection { what, .. } = &mut fault.error
                && !std::ptr::eq(agent, &self.direct)
            {
                what.push_str(", asked through the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY");
            }
            fault
        };
        let answer = request.call().map_err(|error| proxied(refused(address, error)))?;
        let (parts, body) = answer.into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(Reply { status, headers, body, address: address.clone(), linked: Linked::default() })
    }
}

/// The certificates in a file of PEM.
fn certificates(path: &std::path::Path) -> Result<RootCerts, HubError> {
    const NAMES: &str = "SSL_CERT_FILE or REQUESTS_CA_BUNDLE";
    let mut pem = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(CERTIFICATES_MAX).read_to_end(&mut pem));
    let wrong = |what: String| HubError::setting(NAMES, format!("{}: {what}", path.display()));
    read.map_err(|error| wrong(format!("cannot read it: {error}")))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<Certificate<'static>> = found.collect();
    if found.is_empty() {
        return Err(wrong("has no certificate, expected a file of them in PEM".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// What it means that a request got no answer.
fn refused(address: &Address, error: ureq::Error) -> Fault {
    let what = match &error {
        ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            format!("{error} (SSL_CERT_FILE names certificates to trust)")
        }
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "did not answer in time".to_owned(),
        ureq::Error::HostNotFound => {
            "no such host: check the network, HF_ENDPOINT and HTTPS_PROXY".to_owned()
        }
        error => error.to_string(),
    };
    let may_pass = match &error {
        // So a certificate is told that is not trusted.
        ureq::Error::Io(error) => error.kind() != ErrorKind::InvalidData,
        ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Protocol(_) => true,
        _ => false,
    };
    Fault { error: HubError::Connection { host: address.host(), what: quote(&what) }, may_pass, wait: None }
}

/// What it means that an answer broke off.
pub(super) fn broken(address: &Address, error: &io::Error) -> Fault {
    let what = format!("the connection broke: {}", quote(&error.to_string()));
    Fault::passing(HubError::Connection { host: address.host(), what })
}

/// Counts the tries for one thing.
#[derive(Debug)]
pub(super) struct Patience<'t> {
    transfer: &'t Transfer,
    tries: u32,
}

impl<'t> Patience<'t> {
    /// The patience that these settings ask for.
    pub(super) fn new(transfer: &'t Transfer) -> Self {
        Self { transfer, tries: 0 }
    }

    /// Something came; the tries before it no longer count.
    pub(super) fn refresh(&mut self) {
        self.tries = 0;
    }

    /// The pause before the next try, or the error if there is to be none.
    pub(super) fn pause_after(&mut self, fault: Fault) -> Result<(HubError, Duration), HubError> {
        self.tries += 1;
        let doubled = self.transfer.first_pause.saturating_mul(1 << (self.tries - 1).min(16));
        let pause = fault.wait.unwrap_or(doubled);
        if !fault.may_pass || self.tries >= self.transfer.tries || pause > self.transfer.pause_max {
            return Err(fault.error);
        }
        Ok((fault.error, pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_cannot_be_read_are_told_by_what_named_them() {
        for (path, why) in [("/no/such.pem", "cannot read it: "), ("/dev/null", "has no certificate")] {
            let error = certificates(std::path::Path::new(path)).unwrap_err().to_string();
            let expected = format!("SSL_CERT_FILE or REQUESTS_CA_BUNDLE: {path}: {why}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let transfer = Transfer { tries: 4, ..Transfer::default() };
        let mut patience = Patience::new(&transfer);
        let fault = |wait| {
            let error = HubError::Busy { host: "h".to_owned(), wait, status: 429 };
            Fault { error, may_pass: true, wait }
        };
        let mut pause = |wait| patience.pause_after(fault(wait)).map(|(_, pause)| pause.as_millis()).ok();
        assert_eq!((pause(None), pause(None)), (Some(500), Some(1000)));
        assert_eq!(pause(Some(Duration::from_secs(7))), Some(7000));
        assert_eq!(pause(None), None, "tries are counted");
        let mut patience = Patience::new(&transfer);
        assert!(
            patience.pause_after(fault(Some(Duration::from_secs(3600)))).is_err(),
            "nobody waits an hour"
        );
        assert!(patience.pause_after(HubError::answer("a", "b").into()).is_err(), "some faults stay");
    }
}
