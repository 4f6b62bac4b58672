//! A request on its way through guards and handler to its one answer.
use super::error::ApiError;
use super::guards::keys::Key;
use super::observe::Record;
use super::server::{Server, draw_id};
use super::sse::Events;
use super::transport::client::Client;
use super::transport::head::Head;
use super::transport::traffic::Body;
use serde_json::Value;
use std::net::IpAddr;
use tiny_http::Method;

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
    /// Headers that the answer gets besides its own, whatever it is.
    headers: Vec<(&'static str, String)>,
}

/// The id that a client gives its request, if it can be sent back and logged as it is.
fn id_of(head: &Head) -> Option<&str> {
    let is_plain =
        |id: &&str| (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    head.header("x-request-id").filter(is_plain)
}

impl<'s> Exchange<'s> {
    /// The exchange of a request whose head has come, from an address if the socket has one.
    pub(super) fn new(server: &'s Server, client: Client, head: Head, peer: Option<IpAddr>) -> Self {
        let request_id = id_of(&head).map_or_else(draw_id, str::to_owned);
        let record = Record { request_id, ..Record::default() };
        let body = Body::unbudgeted(Vec::new());
        Self { server, client, record, key: None, head, body, peer, headers: Vec::new() }
    }

    /// The request has come whole, with this body.
    pub(super) fn has_come(&mut self, body: Body) {
        self.body = body;
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path of the request, without its query.
    pub fn path(&self) -> &str {
        &self.head.path
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
        let id = ("x-request-id", self.record.request_id.as_str());
        own.iter().copied().chain(added).chain([id]).collect()
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
        self.send_json(error.status, &error.body(), &error.headers());
    }

    /// Begins an answer of events, with status 200. After another answer the events go nowhere.
    pub fn open_events(&mut self, headers: &[(&str, &str)]) -> Events {
        let is_open = self.client.open_events(&self.all_headers(headers));
        if is_open {
            self.record.status = 200;
        }
        Events::new(is_open.then(|| self.client.clone()))
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
