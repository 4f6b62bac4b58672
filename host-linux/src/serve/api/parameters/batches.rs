//! What `/v1/batches` takes.
use super::endpoint::BATCHES;
use super::parameter::{OBJECT, Parameter, Schema, inert, used};

pub(super) const ROWS: &[Parameter] = &[
    used("input_file_id", BATCHES, Schema::Nonempty, "The file of requests, one a line, from /v1/files."),
    used("endpoint", BATCHES, Schema::Nonempty, "The endpoint that all requests are for."),
    inert("completion_window", BATCHES, Schema::Text, "When it must be done; it is done when it is."),
    used("metadata", BATCHES, OBJECT, "Notes for the sender's own use, which the batch tells."),
    inert("output_expires_after", BATCHES, OBJECT, "When the results are deleted; none are."),
];
