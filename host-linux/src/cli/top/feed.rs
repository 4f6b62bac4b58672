//! The thread that reads a server's events, and asks again when it is gone.
use super::state::Update;
use crate::cli::http::Place;
use crate::cli::sse::Events;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long a server that is gone is left alone before it is asked again.
const REST: Duration = Duration::from_secs(1);
/// Events that wait to be shown; a server goes on with the newest for a reader that is slow.
const WAITING: usize = 8;

/// Reads events in a thread until nobody listens.
pub(super) fn watch(place: Place, interval_ms: u64) -> Result<Receiver<Update>, String> {
    let (sender, updates) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("verbatim-feed".to_owned());
    let spawned = thread.spawn(move || {
        while let Err(why) = follow(&place, interval_ms, &sender) {
            if sender.send(Update::Lost(why)).is_err() {
                return;
            }
            std::thread::sleep(REST);
        }
    });
    spawned.map(|_| updates).map_err(|error| format!("the system gives no thread: {error}"))
}

/// Reads events until they end; the error says why. Without one, nobody listens any more.
fn follow(place: &Place, interval_ms: u64, sender: &SyncSender<Update>) -> Result<(), String> {
    let answer = place.get(&format!("/dashboard/events?interval_ms={interval_ms}"))?;
    if sender.send(Update::Reached).is_err() {
        return Ok(());
    }
    let (_, body) = answer.into_parts();
    for data in Events::new(body.into_with_config().limit(u64::MAX).reader()) {
        let data = data.map_err(|error| format!("the connection is cut: {error}"))?;
        let event = serde_json::from_str(&data).map_err(|error| format!("an event is no JSON: {error}"))?;
        if sender.send(Update::Event(event)).is_err() {
            return Ok(());
        }
    }
    Err("the server has ended".to_owned())
}
