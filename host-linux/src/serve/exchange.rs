//! A request on its way through guards and handler to its one answer.
use super::active::Sender;
use super::error::ApiError;
use super::error_shape;
use super::events::{Events, Framing};
use super::guards::keys::Key;
use super::observe::Record;
use super::server::{Server, draw_id};
use super::transport::answer::StreamKind;
use super::transport::client::Client;
use super::transport::head::Head;
use super::transport::traffic::Body;
use crate::text::quote::quote;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use tiny_http::Method;

/// Bytes of a file that are sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// The longest id of a request that is taken from a client.
const ID_MAX: usize = 128;

/// A request and what becomes of it. This is all that guards and handlers see of the transport.
#[derive(Debug)]
pub struct Exchange<'s> {
    /// What every handler can reach.
    pub server: &'s Server,
    /// The client that waits for the answer.
    pub(super) client: Client,
    /// What the observer will be told.
    pub record: Record,
    /// The API key that the request came with, as it was taken then.
    pub(super) key: Option<Key>,
    head: Head,
    body: Body,
    peer: Option<IpAddr>,
    /// What the client wrote in the path where its route has a part in braces.
    pub(super) path_parameter: String,
    /// Headers that the answer gets besides its own, whatever it is.
    headers: Vec<(&'static str, String)>,
}

/// Whether an id can be sent back and logged as it is.
fn is_plain(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The id that a client gives its request in the head, if it is one.
fn id_of(head: &Head) -> Option<&str> {
    head.header("x-request-id").filter(|id| is_plain(id))
}

impl<'s> Exchange<'s> {
    /// The exchange of a request whose head has come, from an address if the socket has one.
    pub(super) fn new(server: &'s Server, client: Client, head: Head, peer: Option<IpAddr>) -> Self {
        let request_id = id_of(&head).map_or_else(draw_id, str::to_owned);
        let record = Record { request_id, ..Record::default() };
        let (path_parameter, headers) = (String::new(), Vec::new());
        let body = Body::unbudgeted(Vec::new());
        Self { server, client, record, key: None, head, body, peer, path_parameter, headers }
    }

    /// The request has come whole, with this body.
    pub(super) fn has_come(&mut self, body: Body) {
        self.body = body;
    }

    /// Takes the id that the body gives the request, where the head gives none.
    ///
    /// # Errors
    /// It could not be sent back and logged as it is.
    pub fn take_id(&mut self, param: &str, id: &str) -> Result<(), ApiError> {
        if !is_plain(id) {
            let expected = format!("{param} must have 1 to {ID_MAX} visible characters of ASCII");
            return Err(ApiError::invalid(param, format!("{expected}, found {}", quote(id))));
        }
        if id_of(&self.head).is_none() {
            id.clone_into(&mut self.record.request_id);
        }
        Ok(())
    }

    /// Who owns what the request leaves behind; nobody where no key is demanded.
    pub fn owner(&self) -> Option<&str> {
        self.key.as_ref().map(|key| &*key.owner)
    }

    /// Whose request it is, for those who watch the server.
    pub fn sender(&self) -> Sender {
        Sender {
            request_id: self.record.request_id.clone(),
            route: self.record.route,
            key: self.record.key.clone(),
            owner: self.record.owner.clone(),
        }
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path of the request, without its query.
    pub fn path(&self) -> &str {
        &self.head.path
    }

    /// The value of the first parameter of that name in the query, decoded; none without one.
    pub fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.head.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let value = value.replace('+', " ");
        Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
    }

    /// What the client chose in the path of its route, decoded, such as the id of a model; empty
    /// where the route leaves nothing to choose.
    pub fn path_parameter(&self) -> &str {
        &self.path_parameter
    }

    /// The value of the request's first header of that name, whatever its case.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.head.header(name)
    }

    /// The address that the request comes from; none where it came over a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Gives the answer one more header, be it whole, an error or events. Guards use this; after
    /// the answer has begun it has no effect.
    pub fn add_header(&mut self, name: &'static str, value: impl Into<String>) {
        self.headers.push((name, value.into()));
    }

    /// Whether the answer, or the first part of it, was sent.
    pub fn is_answered(&self) -> bool {
        self.client.is_answered()
    }

    /// Takes the body of the request, which was read whole within the limits; a second call finds
    /// it empty. Its bytes count against the memory of all bodies until it is dropped.
    pub fn body(&mut self) -> Result<Body, ApiError> {
        Ok(self.body.take())
    }

    /// All headers of an answer: those of the handler, of the guards, and the request's id.
    fn all_headers<'h>(&'h self, own: &[(&'h str, &'h str)]) -> Vec<(&'h str, &'h str)> {
        // What a guard adds stands back behind the handler's own.
        let is_new = |name: &str| !own.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let added = self.headers.iter().filter(|(name, _)| is_new(name));
        let added = added.map(|(name, value)| (*name, value.as_str()));
        let id = self.record.request_id.as_str();
        let other = error_shape::is_anthropic(self.path()).then_some(("request-id", id));
        own.iter().copied().chain(added).chain([("x-request-id", id)]).chain(other).collect()
    }

    /// Answers with bytes of a content type; without one there is no such header. A second answer
    /// is not sent.
    pub fn send(&mut self, status: u16, content_type: Option<&str>, body: &[u8], headers: &[(&str, &str)]) {
        let mut all = self.all_headers(headers);
        all.extend(content_type.map(|content_type| ("Content-Type", content_type)));
        if self.client.send_whole(status, &all, body) {
            self.record.status = status;
        }
    }

    /// Answers with JSON. A second answer is not sent.
    pub fn send_json(&mut self, status: u16, body: &Value, headers: &[(&str, &str)]) {
        self.send(status, Some("application/json"), body.to_string().as_bytes(), headers);
    }

    /// Answers without a body, such as with 204. A second answer is not sent.
    pub fn send_nothing(&mut self, status: u16) {
        self.send(status, None, &[], &[]);
    }

    /// Answers with an error.
    pub fn refuse(&mut self, error: &ApiError) {
        let body = error_shape::body(self.path(), error);
        self.send_json(error.status, &body, &error.headers());
    }

    /// Answers with status 200 and bytes that are read piece by piece. Where they cannot be read to
    /// their end the connection breaks, so that the client does not take them for whole.
    pub fn send_pieces(&mut self, content_type: &'static str, mut from: impl Read) {
        if *self.method() == Method::Head {
            return self.send(200, Some(content_type), &[], &[]);
        }
        let kind = StreamKind { content_type, filler: b"" };
        if !self.client.open_stream(&self.all_headers(&[]), kind) {
            return;
        }
        self.record.status = 200;
        let (mut piece, mut buffer) = (vec![0; PIECE_BYTES], Vec::new());
        loop {
            let count = match from.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.client.close_after(),
                Ok(count) => count,
            };
            let sent = self.client.send_piece(&mut buffer, count == 0, |buffer| {
                buffer.extend_from_slice(&piece[..count]);
            });
            if sent.is_err() || count == 0 {
                return;
            }
        }
    }

    /// Begins an answer of events, with status 200. After another answer the events go nowhere.
    pub fn open_events(&mut self, framing: Framing, headers: &[(&str, &str)]) -> Events {
        let is_open = self.client.open_stream(&self.all_headers(headers), framing.kind());
        if is_open {
            self.record.status = 200;
        }
        Events::new(is_open.then(|| self.client.clone()), framing)
    }
}

#[cfg(test)]
impl<'s> Exchange<'s> {
    /// The exchange of a request as text, head and body, and the other side of its connection.
    ///
    /// # Panics
    /// If the text is not a whole head and a body.
    pub(super) fn for_test(server: &'s Server, text: &str) -> (Self, std::os::unix::net::UnixStream) {
        use super::transport::stream::Stream;
        let (stream, theirs) = Stream::pair();
        let (head, length) = Head::parse(text.as_bytes()).expect("a good head").expect("a whole head");
        let time = std::time::Duration::from_secs(60);
        let client = Client::new(&std::sync::Arc::new(stream), &head, time, &server.lifecycle);
        // As if over TCP: guards let Unix sockets pass more.
        let mut exchange = Self::new(server, client, head, Some(std::net::Ipv4Addr::LOCALHOST.into()));
        exchange.has_come(Body::unbudgeted(text.as_bytes()[length..].to_vec()));
        (exchange, theirs)
    }
}
