//! Flags of the server alone: a file for each part of it.
pub(super) mod batches;
pub(super) mod connections;
pub(super) mod guard;
pub(super) mod limits;
pub(super) mod starter;
pub(super) mod supervision;
pub(super) mod watch;
