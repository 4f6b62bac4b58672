//! The document of the API and the table of routes say the same.
use super::super::api::openapi::operations::OPERATIONS;
use super::ROUTES;
use std::collections::BTreeSet;

#[test]
fn every_route_is_documented_and_nothing_else() {
    let routes: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|route| (route.method.to_string(), route.path.canonical().replace('*', "")))
        .collect();
    let documented: BTreeSet<(String, String)> =
        OPERATIONS.iter().map(|at| (at.method.to_owned(), at.path.to_owned())).collect();
    let lacking: Vec<_> = routes.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&routes).collect();
    assert!(
        lacking.is_empty() && invented.is_empty(),
        "not documented: {lacking:?}; not routes: {invented:?}"
    );
}
