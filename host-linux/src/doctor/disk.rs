//! Where models lie, and what room there is for more.
use super::{Finding, gib};
use crate::load::resolve::CacheLocations;
use crate::sys::disk::free_bytes;

/// What a small model in bf16 takes.
const ROOM: u64 = 5 << 30;
/// Folders that are counted, at most.
const FOLDERS_MAX: usize = 10_000;

/// The cache of models, and the room on its disk.
pub fn cache(locations: &CacheLocations) -> Finding {
    const SUBJECT: &str = "model cache";
    let Some(hub) = locations.hub() else {
        return Finding::doubtful(
            SUBJECT,
            "neither HF_HUB_CACHE, HF_HOME nor HOME is set, so ORG/NAME finds no model",
            "set HF_HOME to a folder for models, or name models by their paths",
        );
    };
    let models = std::fs::read_dir(&hub).map(|entries| {
        let names = entries.flatten().take(FOLDERS_MAX).map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("models--")).count()
    });
    let told = match models {
        Ok(1) => "1 model".to_owned(),
        Ok(count) => format!("{count} models"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "not there yet".to_owned(),
        Err(error) => {
            let mend = "let this user read it, or set HF_HOME to another folder";
            return Finding::doubtful(SUBJECT, format!("{}: {error}", hub.display()), mend);
        }
    };
    let Ok(free) = free_bytes(&hub) else {
        return Finding::well(SUBJECT, format!("{}: {told}", hub.display()));
    };
    let found = format!("{}: {told}, {} free on its disk", hub.display(), gib(free));
    if free < ROOM {
        let mend = "delete models (verbatim list, verbatim rm), or set HF_HOME to another disk";
        return Finding::doubtful(SUBJECT, found, mend);
    }
    Finding::well(SUBJECT, found)
}
