//! Where the hub and its cache are, and how patiently the one is asked.
use super::error::HubError;
use super::token::{Token, is_true};
use crate::load::resolve::CacheLocations;
use crate::sys::disk::free_bytes;
use crate::text::quote::quote;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub that is asked where nothing else is said.
pub const ENDPOINT: &str = "https://huggingface.co";

/// Everything about the hub that is chosen before it is asked.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Who asks; `None` is anybody.
    pub token: Option<Token>,
    /// The folder of cached repositories.
    pub cache: PathBuf,
    /// What forbids to ask the hub; `None` is nothing.
    pub offline: Option<String>,
    /// The proxies, and the hosts that are asked without them.
    pub proxies: Proxies,
    /// A file of certificates, in PEM, in place of those that are compiled in.
    pub certificates: Option<PathBuf>,
    /// How files are cut and how often a request is repeated.
    pub transfer: Transfer,
    /// Asks how many bytes are free where a path lies.
    pub free_bytes: fn(&Path) -> io::Result<u64>,
}

/// The proxies of each scheme, and the hosts that are asked without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `https` addresses: `HTTPS_PROXY`, else `ALL_PROXY`.
    pub https: Option<String>,
    /// For `http` addresses: `HTTP_PROXY`, else `ALL_PROXY`.
    pub http: Option<String>,
    /// `NO_PROXY`: hosts, each with all below it, separated by commas; `*` is all.
    pub no_proxy: String,
}

/// How files are cut, and how patiently a server is asked.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Parts of one file that come at the same time; 0 is as 1.
    pub connections: usize,
    /// Bytes of a part; of a file of more than 1,024 parts they are larger.
    pub part_bytes: u64,
    /// Requests for one thing, at most, none of which got on.
    pub tries: u32,
    /// The pause before the second of them; it doubles with each.
    pub first_pause: Duration,
    /// The longest pause that a server may ask for.
    pub pause_max: Duration,
    /// How long a connection may say nothing.
    pub silence_max: Duration,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            connections: 4,
            part_bytes: 16 << 20,
            tries: 5,
            first_pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(320),
            silence_max: Duration::from_secs(30),
        }
    }
}

impl HubSettings {
    /// What the environment says, by the names that Hugging Face's own library knows.
    pub fn from_env() -> Result<Self, HubError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from_variables(variable, &CacheLocations::from_env())
    }

    /// What the variables say; `caches` are those about the cache.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<OsString>,
        caches: &CacheLocations,
    ) -> Result<Self, HubError> {
        let text = |name: &str| {
            let value = variable(name).map(|value| value.into_string());
            value.transpose().map_err(|_| HubError::setting(name, "is no UTF-8"))
        };
        let first = |names: &[&str]| names.iter().find_map(|name| text(name).transpose()).transpose();
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned());
        let cache = caches.hub().ok_or_else(|| {
            HubError::setting("HF_HOME", "is not set, and neither is HOME; expected a folder for the cache")
        })?;
        let offline = ["VERBATIM_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .find(|name| variable(name).is_some_and(|value| is_true(&value)));
        Ok(Self {
            endpoint: checked_endpoint(&endpoint)?,
            token: Token::find(&variable, caches.hugging_face().as_deref())?,
            cache,
            offline: offline.map(str::to_owned),
            proxies: Proxies {
                https: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?,
                http: first(&["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])?,
                no_proxy: first(&["NO_PROXY", "no_proxy"])?.unwrap_or_default(),
            },
            certificates: variable("SSL_CERT_FILE")
                .or_else(|| variable("REQUESTS_CA_BUNDLE"))
                .map(Into::into),
            transfer: Transfer::default(),
            free_bytes,
        })
    }

    /// The hub as messages name it: without the name and password that an address may carry.
    pub fn host(&self) -> String {
        let (scheme, rest) = self.endpoint.split_once("://").unwrap_or(("https", &self.endpoint));
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let host = authority.rsplit('@').next().unwrap_or(authority);
        quote(&format!("{scheme}://{host}{}{path}", if path.is_empty() { "" } else { "/" }))
    }
}

/// The address of a hub, if it is one.
fn checked_endpoint(text: &str) -> Result<String, HubError> {
    let address = text.trim().trim_end_matches('/');
    let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    if rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain)) {
        return Ok(address.to_owned());
    }
    let what = format!("found {}, expected an address such as {ENDPOINT}", quote(text));
    Err(HubError::setting("HF_ENDPOINT", what))
}

impl Proxies {
    /// The proxy through which a host is asked; `None` is none.
    pub fn of(&self, scheme: &str, host: &str) -> Option<&str> {
        let proxy = if scheme == "https" { self.https.as_deref() } else { self.http.as_deref() };
        proxy.filter(|_| !self.spares(host))
    }

    /// Whether `NO_PROXY` names a host, or a domain above it.
    fn spares(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        self.no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
            let entry = entry.to_ascii_lowercase();
            let domain = entry.trim_start_matches('*').trim_start_matches('.');
            let is_below = || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
            entry == "*" || (!domain.is_empty() && (host == domain || is_below()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<HubSettings, String> {
        let of = |name: &str| pairs.iter().find(|(found, _)| *found == name).map(|(_, v)| (*v).into());
        let caches = CacheLocations { home: Some("/no/such/home".into()), ..CacheLocations::default() };
        HubSettings::from_variables(of, &caches).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_is_read_as_hugging_face_reads_it() {
        let plain = settings(&[]).unwrap();
        assert_eq!((plain.endpoint.as_str(), plain.offline, plain.token), (ENDPOINT, None, None));
        assert_eq!(plain.cache, Path::new("/no/such/home/hub"));
        let given = settings(&[
            ("HF_ENDPOINT", "http://user:secret@127.0.0.1:9/hub/"),
            ("HF_HUB_OFFLINE", "yes"),
            ("ALL_PROXY", "http://proxy:3128"),
            ("HTTPS_PROXY", "http://secure:3128"),
            ("NO_PROXY", "localhost, .corp.example ,10.0.0.1"),
        ])
        .unwrap();
        assert_eq!(given.endpoint, "http://user:secret@127.0.0.1:9/hub");
        assert_eq!(given.host(), "http://127.0.0.1:9/hub");
        assert_eq!(given.offline.as_deref(), Some("HF_HUB_OFFLINE"));
        let proxies = given.proxies;
        assert_eq!(proxies.of("https", "huggingface.co"), Some("http://secure:3128"));
        assert_eq!(proxies.of("http", "huggingface.co"), Some("http://proxy:3128"));
        for host in ["localhost", "a.localhost", "hub.corp.example", "CORP.example", "10.0.0.1"] {
            assert_eq!(proxies.of("https", host), None, "{host}");
        }
        assert!(proxies.of("https", "notcorp.example").is_some());
        assert_eq!(settings(&[("HF_HUB_OFFLINE", "0")]).unwrap().offline, None);
    }

    #[test]
    fn an_endpoint_is_an_address() {
        for wrong in ["huggingface.co", "ftp://huggingface.co", "https://", "https://a b", "https://a/?b"] {
            let error = settings(&[("HF_ENDPOINT", wrong)]).unwrap_err();
            assert!(error.starts_with("HF_ENDPOINT: found"), "{error}");
        }
    }
}
