//! tiny_http behind the [gate](super::gate): a thread for each request that is being answered, and
//! the end of the server when a signal asks for it.
use super::exchange::Exchange;
use super::gate::{self, Handover, ID_HEADER};
use super::notice::Notice;
use super::routes::dispatch;
use super::server::{Server, draw_id};
use crate::sys::signals::{catch_stop_signals, stop_is_requested};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long running requests may go on after the signal to stop.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Binds the port. An error, such as that the port is in use, names host and port.
pub fn listen(host: &str, port: u16) -> Result<TcpListener, String> {
    TcpListener::bind((host, port)).map_err(|error| format!("{host}:{port}: {error}"))
}

/// A directory for the gate's socket that only this user can enter. It is removed when dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new() -> Result<Self, String> {
        let name = format!("verbatim-{}-{}", std::process::id(), draw_id());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("{}: cannot create: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves until SIGINT or SIGTERM, then waits [`DRAIN_TIME`] for running requests.
pub(super) fn run(listener: TcpListener, server: &Arc<Server>) -> Result<(), String> {
    catch_stop_signals();
    let directory = PrivateDirectory::new()?;
    let socket = directory.0.join("http");
    let inner = UnixListener::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
    let http = tiny_http::Server::from_listener(inner, None).map_err(|error| error.to_string())?;
    let handover = Arc::new(Handover::default());
    gate::open(listener, socket, Arc::clone(&handover), Arc::clone(&server.observer))?;
    let in_flight = Arc::new(AtomicUsize::new(0));
    while !stop_is_requested() {
        let request = match http.recv_timeout(Duration::from_millis(200)) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(error) => return Err(format!("the server cannot accept connections: {error}")),
        };
        let id = request.headers().iter().find(|header| header.field.equiv(ID_HEADER));
        let client = handover.take(id.map(|header| header.value.as_str()));
        let (shared, guard) = (Arc::clone(server), InFlight::new(&in_flight));
        let spawned = std::thread::Builder::new().name("verbatim-http".to_owned()).spawn(move || {
            let _guard = guard;
            dispatch(&mut Exchange::new(&shared, &client, request));
        });
        if let Err(error) = spawned {
            // Dropped with its closure, the request was answered with a 500.
            server.observer.notice(&Notice::RequestRefused(error));
        }
    }
    server.observer.notice(&Notice::Stopping);
    let since = Instant::now();
    while in_flight.load(Ordering::Relaxed) > 0 && since.elapsed() < DRAIN_TIME {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Counts a request that is being answered, until it is dropped: a handler that panics drops it
/// too.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
