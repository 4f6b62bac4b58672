//! A request on its way through guards and handler to its one answer.
use super::error::ApiError;
use super::gate::Client;
use super::observe::Record;
use super::server::Server;
use super::sse::Events;
use serde_json::Value;
use tiny_http::{Header, Method, Request, Response};

/// A request and what becomes of it. This is all that guards and handlers see of the transport.
pub struct Exchange<'s> {
    /// What every handler can reach.
    pub server: &'s Server,
    /// The client that waits for the answer.
    pub(super) client: &'s Client,
    /// What the observer will be told.
    pub record: Record,
    method: Method,
    path: String,
    /// The request; none once it is answered.
    request: Option<Request>,
}

impl std::fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, path, record, .. } = self;
        f.debug_struct("Exchange")
            .field("method", method)
            .field("path", path)
            .field("record", record)
            .finish_non_exhaustive()
    }
}

impl<'s> Exchange<'s> {
    /// The exchange of a request that has just arrived.
    pub(super) fn new(server: &'s Server, client: &'s Client, request: Request) -> Self {
        let path = request.url().split('?').next().unwrap_or_default().to_owned();
        let method = request.method().clone();
        Self { server, client, record: Record::default(), method, path, request: Some(request) }
    }

    /// The method of the request.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path of the request, without its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of the request's first header of that name, whatever its case. `None` once the
    /// request is answered.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        let headers = self.request.as_ref()?.headers();
        headers.iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
    }

    /// Whether the answer, or the first part of it, was sent.
    pub fn is_answered(&self) -> bool {
        self.request.is_none()
    }

    /// The body of the request. The gate has read it whole and bounded its size.
    pub fn body(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        if let Some(request) = &mut self.request {
            let read = request.as_reader().read_to_end(&mut body);
            read.map_err(|error| ApiError::server(500, format!("the body: {error}")))?;
        }
        Ok(body)
    }

    /// Answers with JSON. A second answer is not sent.
    pub fn send_json(&mut self, status: u16, body: &Value, headers: &[(&str, &str)]) {
        let Some(request) = self.request.take() else { return };
        self.record.status = status;
        let mut response = Response::from_data(body.to_string()).with_status_code(status);
        for (name, value) in headers.iter().chain(&[("Content-Type", "application/json")]) {
            if let Ok(header) = Header::from_bytes(name.as_bytes(), value.as_bytes()) {
                response.add_header(header);
            }
        }
        // A client that is gone wants no answer.
        let _ = request.respond(response);
    }

    /// Answers with an error.
    pub fn refuse(&mut self, error: &ApiError) {
        self.send_json(error.status, &error.body(), &error.headers());
    }

    /// Begins an answer of events, with status 200. After another answer the events go nowhere.
    pub fn open_events(&mut self, headers: &[(&str, &str)]) -> Events {
        if self.request.is_some() {
            self.record.status = 200;
        }
        Events::open(self.request.take(), headers)
    }
}
