//! Who may ask, and who may change anything: on this machine's own address the pages of this server alone, elsewhere those who have the token.

use super::Site;
use super::desk::Problem;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// A browser loads and runs nothing on our pages but what this server gives. Plotly sets styles.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'";

/// Refuses what a page of somebody else could ask for in a visitor's name.
pub async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if let Err(problem) = allowed(&site, request.method(), request.uri().path(), request.headers()) {
        return problem.into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in [("content-security-policy", POLICY), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn allowed(site: &Site, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // Those ask who have no browser, and by whatever name they know us.
    if path == "/livez" || path == "/readyz" {
        return Ok(());
    }
    let host = text(HOST).unwrap_or_default();
    // A name that somebody else lets point at this machine would make our pages theirs.
    if site.is_loopback && !is_local(host) {
        return Err(Problem::Forbidden(format!("this server answers to localhost, not to '{host}'; see --listen")));
    }
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    if text(ORIGIN).is_some_and(|origin| origin.split_once("://").map(|(_, rest)| rest) != Some(host)) {
        return Err(Problem::Forbidden("a page of another site may change nothing here".into()));
    }
    // A form of another site cannot say so without being asked first.
    if !text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Problem::Wrong("send JSON, with Content-Type: application/json".into()));
    }
    let given = text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match &site.token {
        Some(token) if same(token.as_bytes(), given.as_bytes()) => Ok(()),
        Some(_) => Err(Problem::Unauthorized("this needs the token: send Authorization: Bearer TOKEN".into())),
        None if site.is_loopback => Ok(()),
        None => Err(Problem::Forbidden("nothing can be changed from here: start the run with --token-file, or listen at 127.0.0.1".into())),
    }
}

/// Whether a `Host` names this machine as it calls itself.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Compares in a time that does not say how much was right.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tests::site;

    fn asks(site: &Site, method: &Method, pairs: &[(&'static str, &str)]) -> Result<(), String> {
        let headers = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        allowed(site, method, "/api/v1/silences", &headers).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn a_page_of_another_site_neither_reads_nor_writes() {
        let site = site(true, None);
        let json = ("content-type", "application/json");
        assert_eq!(asks(&site, &Method::GET, &[("host", "127.0.0.1:8080")]), Ok(()));
        assert_eq!(asks(&site, &Method::GET, &[("host", "[::1]:8080")]), Ok(()));
        assert!(asks(&site, &Method::GET, &[("host", "evil.example:8080")]).unwrap_err().starts_with("Forbidden"));
        assert!(asks(&site, &Method::GET, &[("host", "localhost.evil.example")]).is_err());
        assert_eq!(asks(&site, &Method::POST, &[("host", "localhost:8080"), ("origin", "http://localhost:8080"), json]), Ok(()));
        assert_eq!(asks(&site, &Method::POST, &[("host", "localhost:8080"), json]), Ok(()), "a script of one's own says no origin");
        assert!(asks(&site, &Method::POST, &[("host", "localhost:8080"), ("origin", "http://evil.example"), json]).is_err());
        assert!(asks(&site, &Method::POST, &[("host", "localhost:8080"), ("origin", "null"), json]).is_err());
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert!(asks(&site, &Method::POST, &[("host", "localhost:8080"), form]).unwrap_err().starts_with("Wrong"));
    }

    #[test]
    fn who_is_elsewhere_reads_freely_and_writes_with_the_token_alone() {
        let (open, closed) = (site(false, Some("secret")), site(false, None));
        let json = ("content-type", "application/json");
        assert_eq!(asks(&open, &Method::GET, &[("host", "watch.example")]), Ok(()));
        assert!(asks(&closed, &Method::DELETE, &[("host", "watch.example"), json]).unwrap_err().starts_with("Forbidden"));
        assert!(asks(&open, &Method::DELETE, &[("host", "watch.example"), json]).unwrap_err().starts_with("Unauthorized"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "secret"] {
            assert!(asks(&open, &Method::POST, &[("host", "watch.example"), json, ("authorization", wrong)]).is_err(), "{wrong}");
        }
        assert_eq!(asks(&open, &Method::POST, &[("host", "watch.example"), json, ("authorization", "Bearer secret")]), Ok(()));
    }
}
