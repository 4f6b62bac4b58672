//! Errors of the hub in words of commands: what happened, and what to do next.
use super::flags::in_shell;
use crate::cli::failure::{Blame, Failure};
use crate::hub::HubError;

/// The failure of a command that asked the hub or looked at its cache.
pub(super) fn failure(error: &HubError) -> Failure {
    let blame = match error {
        HubError::Setting { .. } | HubError::Offline { .. } => Blame::Flags,
        HubError::NoRepository { .. }
        | HubError::NoRevision { .. }
        | HubError::NoFile { .. }
        | HubError::Gated { .. }
        | HubError::NothingToServe { .. }
        | HubError::Mix { .. }
        | HubError::Unsupported { .. }
        | HubError::NotCached { .. } => Blame::Model,
        _ => Blame::System,
    };
    blame.for_error(text(error))
}

/// The error, and the command that helps where one does.
pub(super) fn text(error: &HubError) -> String {
    match error {
        HubError::Mix { name, has } => match has.iter().find(|(mix, _)| mix == "Q4_K_M").or(has.first()) {
            Some((mix, _)) => format!("{error}; `verbatim pull {}` fetches one", name.with_mix(Some(mix))),
            None => error.to_string(),
        },
        HubError::NotCached { name, .. } => {
            format!(
                "{error}; `verbatim pull {}` fetches it, `verbatim list` says what is there",
                in_shell(name)
            )
        }
        HubError::Unsupported { .. } => format!("{error}; --force fetches it all the same"),
        HubError::NoSpace { .. } => format!("{error}, and `verbatim rm` makes room"),
        error if error.is_full() => format!(
            "{error}; what has come is kept: make room, as `verbatim rm` does, and the same command goes on \
             (HF_HOME moves the cache)"
        ),
        HubError::WrongHash { .. } => format!("{error}; the same command tries again"),
        HubError::Connection { .. } | HubError::Busy { .. } => {
            format!("{error}; what has come is kept, and the same command goes on")
        }
        _ => error.to_string(),
    }
}
