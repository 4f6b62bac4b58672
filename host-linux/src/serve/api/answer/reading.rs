//! Reading the body of a request that generates.
use super::parsed::ParsedBody;
use crate::runtime::ServedModel;
use crate::serve::api::body::read_in_turn;
use crate::serve::api::dialect::Dialect;
use crate::serve::api::fields::{self, Fields};
use crate::serve::api::fingerprint;
use crate::serve::api::limits::{Reading, RequestBounds, RequestLimits};
use crate::serve::api::parameters::checked;
use crate::serve::error::ApiError;
use crate::serve::exchange::Exchange;
use serde_json::{Map, Value};

/// Reads a body within the default budgets. The names that mean nothing here are added to
/// `ignored`, also where the body is refused for another reason.
pub fn parse(
    dialect: &dyn Dialect,
    body: &[u8],
    model: &ServedModel,
    ignored: &mut Vec<String>,
) -> Result<ParsedBody, ApiError> {
    let bounds = RequestBounds::new(&RequestLimits::default(), model);
    parse_within(dialect, body, Reading { model, bounds: &bounds }, ignored)
}

/// Reads a body, as [`parse`] does, within the budgets of `reading`.
fn parse_within(
    dialect: &dyn Dialect,
    body: &[u8],
    reading: Reading<'_>,
    ignored: &mut Vec<String>,
) -> Result<ParsedBody, ApiError> {
    let object = fields::object(body, reading.bounds)?;
    parse_object(dialect, &object, reading, ignored)
}

/// Reads a body, as [`parse`] does, that is an object already.
pub fn parse_object(
    dialect: &dyn Dialect,
    object: &Map<String, Value>,
    reading: Reading<'_>,
    ignored: &mut Vec<String>,
) -> Result<ParsedBody, ApiError> {
    ignored.extend(checked(dialect.endpoint(), object, reading.bounds.is_strict)?);
    let parsed = of_fields(dialect, &Fields::new(object), reading)?;
    Ok(with_ignored(parsed, ignored))
}

/// Reads the body of a request when it is its turn.
pub fn read(dialect: &dyn Dialect, exchange: &mut Exchange<'_>) -> Result<ParsedBody, ApiError> {
    let parsed =
        read_in_turn(exchange, dialect.endpoint(), |fields, reading| of_fields(dialect, fields, reading))?;
    Ok(with_ignored(parsed, &exchange.record.ignored))
}

/// Reads fields whose names were checked, if they are for the model that is served.
fn of_fields(
    dialect: &dyn Dialect,
    fields: &Fields<'_>,
    reading: Reading<'_>,
) -> Result<ParsedBody, ApiError> {
    fingerprint::check(fields, &reading.model.fingerprint)?;
    dialect.parse(fields, reading)
}

/// The names that mean nothing, before those that the dialect itself has found.
fn with_ignored(mut parsed: ParsedBody, ignored: &[String]) -> ParsedBody {
    parsed.ignored.splice(0..0, ignored.iter().cloned());
    parsed
}
