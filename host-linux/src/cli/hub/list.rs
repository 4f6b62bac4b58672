//! `verbatim list`: the models of the cache.
use super::flags::ListArgs;
use super::told::failure;
use crate::cli::failure::{Blame, Failure};
use crate::cli::output;
use crate::hub::remove::incomplete;
use crate::hub::scan::repositories;
use crate::hub::{CachedRepository, HubError};
use crate::load::repository::MAIN;
use crate::load::resolve::CacheLocations;
use crate::text::figures;
use crate::text::quote::{quote, shorten};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The folder of the cache.
pub(super) fn cache() -> Result<PathBuf, Failure> {
    let none =
        || Blame::Flags.for_error("HF_HOME is not set, and neither is HOME; expected a folder for the cache");
    CacheLocations::from_env().hub().ok_or_else(none)
}

/// Prints what lies in the cache.
pub(in crate::cli) fn list(args: ListArgs) -> Result<(), Failure> {
    let cache = cache()?;
    let found = read(&cache).map_err(|error| failure(&error))?;
    if args.json {
        let models: Vec<Value> = found.iter().map(as_json).collect();
        let told = json!({"cache": cache.display().to_string(), "models": models});
        return Ok(output::line(told)?);
    }
    if found.is_empty() {
        output::note(format_args!("no models in {}; `verbatim pull ORG/NAME` fetches one", cache.display()));
        return Ok(());
    }
    output::lines(&table(&found, SystemTime::now()))?;
    let total: u64 = found.iter().map(|model| model.bytes).sum();
    output::note(format_args!("{} in {}", figures::bytes(total), cache.display()));
    Ok(())
}

fn read(cache: &Path) -> Result<Vec<CachedRepository>, HubError> {
    repositories(cache)?.iter().map(|name| CachedRepository::read(cache, name)).collect()
}

/// The form of its weights in words, with what is amiss.
fn form(model: &CachedRepository) -> String {
    let form = model.main_commit().map_or_else(|| "nothing complete".to_owned(), |commit| commit.form());
    match incomplete(model) {
        0 => form,
        _ => format!("{form}, a download broke off"),
    }
}

/// The commit of the main branch, else of another, as people read it.
fn revision(model: &CachedRepository) -> String {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    match (model.references.get(MAIN), model.references.iter().next(), model.main_commit()) {
        (Some(id), ..) => short(id),
        (None, Some((name, id)), _) => format!("{} ({})", short(id), quote(name)),
        (None, None, Some(commit)) => short(&commit.id),
        (None, None, None) => "none".to_owned(),
    }
}

/// Lines of columns, each as wide as its widest word.
fn table(models: &[CachedRepository], now: SystemTime) -> Vec<String> {
    let head = ["MODEL", "SIZE", "USED", "REVISION", "FORMAT"].map(str::to_owned);
    let row = |model: &CachedRepository| {
        [
            model.name.id(),
            figures::bytes(model.bytes),
            used(model.last_used, now),
            revision(model),
            // Names of files, which another program may have fetched.
            shorten(&form(model), 200),
        ]
    };
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(models.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let line = |row: &[String; 5]| {
        let padded = row.iter().zip(&widths).map(|(word, width)| format!("{word:width$}  "));
        padded.collect::<String>() + &row[4]
    };
    rows.iter().map(line).collect()
}

/// How long ago, in the largest unit of which there is one.
fn used(last: Option<SystemTime>, now: SystemTime) -> String {
    let Some(ago) = last.map(|last| now.duration_since(last).unwrap_or(Duration::ZERO)) else {
        return "never".to_owned();
    };
    let seconds = ago.as_secs();
    let of = |count: u64, unit: &str| format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" });
    match seconds {
        0..120 => "just now".to_owned(),
        120..7200 => of(seconds / 60, "minute"),
        7200..172_800 => of(seconds / 3600, "hour"),
        _ => of(seconds / 86_400, "day"),
    }
}

fn as_json(model: &CachedRepository) -> Value {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
    json!({
        "name": model.name.id(),
        "bytes": model.bytes,
        "form": model.main_commit().map(|commit| commit.form()),
        "incomplete_files": incomplete(model),
        "revision": model.references.get(MAIN),
        "references": model.references,
        "commits": model.commits.iter().map(|commit| &commit.id).collect::<Vec<_>>(),
        "last_used": model.last_used.and_then(seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| used(Some(now - Duration::from_secs(seconds)), now);
        let told = [0, 119, 120, 7199, 7200, 172_799, 172_800, 900_000].map(ago);
        let expected = [
            "just now",
            "just now",
            "2 minutes ago",
            "119 minutes ago",
            "2 hours ago",
            "47 hours ago",
            "2 days ago",
            "10 days ago",
        ];
        assert_eq!(told, expected);
        assert_eq!(used(Some(now + Duration::from_secs(9)), now), "just now", "clocks differ");
        assert_eq!(used(None, now), "never");
    }
}
