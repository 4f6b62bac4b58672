//! The loop that accepts connections, and ends the server in good order.
//!
//! It waits for listeners and for [`Lifecycle::wake`](crate::serve::lifecycle::Lifecycle) at once,
//! so nothing waits for a clock. It never ends because a connection could not be accepted.
use super::answer::{self, Persistence};
use super::connection::Connection;
use super::listen::{Listener, Listeners};
use super::places::{Full, Places};
use super::refusal;
use super::stream::Stream;
use crate::serve::error::ApiError;
use crate::serve::lifecycle::Phase;
use crate::serve::notice::Notice;
use crate::serve::server::{Server, draw_id};
use crate::sys::sockets::{is_out_of_descriptors, wait_for_any};
use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The stack of a connection's thread, on which handlers parse, tokenize and render templates. The
/// deepest template that is allowed takes less than a quarter of it. Memory is taken as it is used.
const STACK_BYTES: usize = 1 << 20;
/// Connections that are accepted before signals are looked at again.
const BATCH: usize = 64;
/// Refused connections that are kept open for a moment, so that their clients can read why.
const REFUSED_MAX: usize = 16;
/// How long they are kept.
const REFUSED_TIME: Duration = Duration::from_secs(1);
/// How long to wait after an error of accepting that may not go away by itself.
const PAUSE: Duration = Duration::from_millis(20);
/// How long generations may take to say that they were cut off.
const CUT_TIME: Duration = Duration::from_secs(5);
/// How long connections may take to close once all requests have ended.
const CLOSE_TIME: Duration = Duration::from_millis(250);

/// Where the end of the server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It was not asked for.
    No,
    /// Requests may go on until then.
    Draining(Instant),
    /// Requests were told to end, and are no longer waited for then.
    Cut(Instant),
}

/// Why a connection is not served.
#[derive(Debug)]
enum Unserved {
    /// There is no place.
    Full(Full),
    /// There is no thread.
    NoThread(std::io::Error),
}

/// What the loop works on.
pub(super) struct Acceptor<'s> {
    listeners: &'s Listeners,
    server: &'s Arc<Server>,
    places: Arc<Places>,
    /// Given up when no other descriptor is left, to tell a client that.
    spare: Option<File>,
    refused: VecDeque<(Instant, Stream)>,
    ending: Ending,
}

impl<'s> Acceptor<'s> {
    pub(super) fn new(listeners: &'s Listeners, server: &'s Arc<Server>) -> Self {
        let limits = &server.options.connections;
        let places = Places::new(limits.connections, limits.per_address, Arc::clone(&server.traffic));
        Self {
            listeners,
            server,
            places: Arc::new(places),
            spare: spare(),
            refused: VecDeque::new(),
            ending: Ending::No,
        }
    }

    /// Accepts connections until the server has ended.
    pub(super) fn run(&mut self) -> std::io::Result<()> {
        let lifecycle = Arc::clone(&self.server.lifecycle);
        loop {
            let mut sockets: Vec<BorrowedFd<'_>> = self.listeners.iter().map(AsFd::as_fd).collect();
            sockets.push(lifecycle.woken());
            let ready = wait_for_any(&sockets, self.timeout())?;
            lifecycle.clear_wakes();
            lifecycle.obey_signals();
            if self.has_ended() {
                return Ok(());
            }
            for (listener, _) in self.listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                self.accept_batch(listener);
            }
            self.close_refused();
        }
    }

    /// How long to wait for a connection: until something else is to be done.
    fn timeout(&self) -> Option<Duration> {
        let refused = self.refused.front().map(|(since, _)| *since + REFUSED_TIME);
        let ending = match self.ending {
            Ending::No => None,
            Ending::Draining(until) | Ending::Cut(until) => Some(until),
        };
        let first = refused.into_iter().chain(ending).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Goes on with the end of the server, if it was asked for; `true` once it has come.
    fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        match self.ending {
            Ending::No if self.server.lifecycle.is_ending() => {
                self.server.observer.notice(&Notice::Stopping);
                // Nothing can go on after a failure, but what it ended is still to be answered.
                let has_failed = self.server.lifecycle.phase() == Phase::Failed;
                let time = if has_failed { CUT_TIME } else { self.server.options.connections.drain_time };
                self.ending = Ending::Draining(now + time);
                self.places.close_idle();
            }
            Ending::Draining(until) if now >= until => {
                self.server.lifecycle.cut();
                self.ending = Ending::Cut(now + CUT_TIME);
            }
            Ending::Cut(until) if now >= until => return true,
            _ => {}
        }
        let is_done = self.ending != Ending::No && self.server.traffic.requests.load(Ordering::SeqCst) == 0;
        if is_done {
            self.places.wait_until_empty(CLOSE_TIME);
        }
        is_done
    }

    fn accept_batch(&mut self, listener: &Listener) {
        for _ in 0..BATCH {
            match listener.accept() {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_out_of_descriptors(&error) => {
                    if !self.make_room(listener) {
                        break;
                    }
                }
                // The client has given up, or a signal came.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(_) => {
                    // Errors of the network are told here too, and go by.
                    self.places.wait_for_change(PAUSE);
                    break;
                }
            }
        }
    }

    /// No descriptor is free: closes what is idle, else tells one client to come later. `false` if
    /// there is nothing more to be done now.
    fn make_room(&mut self, listener: &Listener) -> bool {
        let had_refused = !self.refused.is_empty();
        self.refused.clear();
        if had_refused || self.places.free_a_descriptor() {
            return true;
        }
        let had_spare = self.spare.take().is_some();
        if had_spare && let Ok((stream, _)) = listener.accept() {
            self.tell(&stream, &refusal::too_many_connections());
            discard(&stream);
        }
        self.spare = spare();
        if !had_spare {
            self.places.wait_for_change(PAUSE);
        }
        had_spare
    }

    fn admit(&mut self, stream: Stream, address: Option<IpAddr>) {
        self.server.traffic.accepted.fetch_add(1, Ordering::Relaxed);
        if stream.prepare().is_err() {
            return; // it is gone
        }
        let stream = Arc::new(stream);
        let again = |refusal| match refusal {
            // A thread less is one for this connection.
            Unserved::NoThread(_) if self.places.free_a_descriptor() => self.begin(&stream, address),
            _ => Err(refusal),
        };
        let error = match self.begin(&stream, address).or_else(again) {
            Ok(()) => return,
            Err(Unserved::Full(full)) => refusal::full(full),
            Err(Unserved::NoThread(error)) => {
                self.server.observer.notice(&Notice::ConnectionClosed(error));
                refusal::too_many_connections()
            }
        };
        self.tell(&stream, &error);
        // Nobody else has it: its thread was not started.
        if let Some(stream) = Arc::into_inner(stream) {
            stream.shutdown(Shutdown::Write);
            self.refused.push_back((Instant::now(), stream));
        }
    }

    /// Gives a connection a place and a thread.
    fn begin(&self, stream: &Arc<Stream>, address: Option<IpAddr>) -> Result<(), Unserved> {
        let briefly = |full| self.places.admit_briefly(stream, address, full).ok_or(Unserved::Full(full));
        let place = self.places.admit(stream, address).or_else(briefly)?;
        let (server, stream) = (Arc::clone(self.server), Arc::clone(stream));
        let connection = Connection { server, stream, address, place };
        let thread = Builder::new().name("verbatim-client".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(move || connection.run()).map(drop).map_err(Unserved::NoThread)
    }

    /// Sends an error without waiting; a new connection has room for it.
    fn tell(&self, stream: &Stream, error: &ApiError) {
        self.server.count_refusal(error);
        let id = draw_id();
        let mut headers = vec![("x-request-id", id.as_str()), ("Content-Type", "application/json")];
        headers.extend(error.headers());
        let body = error.body().to_string();
        let _ = stream.try_write(&answer::whole(
            error.status,
            &headers,
            body.as_bytes(),
            false,
            Persistence::Close,
        ));
    }

    /// Closes the refused connections whose clients had time to read why.
    fn close_refused(&mut self) {
        while let Some((since, _)) = self.refused.front() {
            if since.elapsed() < REFUSED_TIME && self.refused.len() <= REFUSED_MAX {
                break;
            }
            if let Some((_, stream)) = self.refused.pop_front() {
                discard(&stream);
            }
        }
    }
}

/// A descriptor to give up when no other is left.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Reads what has come, so that closing does not reset the connection.
fn discard(stream: &Stream) {
    let mut piece = [0; 16 << 10];
    for _ in 0..16 {
        if !matches!(stream.try_read(&mut piece), Ok(1..)) {
            break;
        }
    }
}
