use super::{app::App, problem::Problem};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use subtle::ConstantTimeEq;

/// Who may ask, and by which name.
pub struct Guard {
    token: Option<String>,
    hosts: Vec<String>,
    /// It listens to all addresses of the machine, and may be called by any of
    /// them; names have to be allowed.
    is_everywhere: bool,
}

impl Guard {
    pub fn new(token: Option<String>, address: SocketAddr, allowed: Vec<String>) -> Self {
        let mut hosts: Vec<String> = allowed
            .into_iter()
            .map(|host| host.to_ascii_lowercase())
            .collect();
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            hosts.push(name.to_owned());
        }
        hosts.push(match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        });
        Self {
            token,
            hosts,
            is_everywhere: address.ip().is_unspecified(),
        }
    }

    /// A page of another site can reach a loopback server through a name that
    /// it made point here; it can not make the browser send another Host. An
    /// address is no such name.
    fn knows_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(host) = host_of(uri, headers) else {
            return false;
        };
        self.is_ours(&host) || (self.is_everywhere && is_address(&host))
    }

    fn is_ours(&self, host: &str) -> bool {
        self.hosts.iter().any(|ours| ours == host)
    }

    /// A page of another site may not read along either.
    fn knows_origin(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        origin
            .to_str()
            .ok()
            .and_then(|origin| {
                origin
                    .strip_prefix("http://")
                    .or_else(|| origin.strip_prefix("https://"))
            })
            .map(without_port)
            .is_some_and(|origin| {
                self.is_ours(&origin) || host_of(uri, headers).is_some_and(|host| host == origin)
            })
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        given.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

/// The name by which a request calls this server.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(|authority| authority.as_str()),
    };
    named.map(without_port)
}

fn without_port(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.to_ascii_lowercase()
}

/// `10.0.0.7` or `[fe80::7]`.
fn is_address(host: &str) -> bool {
    let six = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match six {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length != "0")
}

pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let guard = &app.guard;
    let path = request.uri().path();
    // The panel's own files tell nothing; what they ask for carries the token.
    let is_api = path.starts_with("/api/") || path == "/metrics";
    let refused = if !guard.knows_host(request.uri(), request.headers()) {
        Some(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server is not known by that name; allow it with --allow-host",
        ))
    } else if !guard.knows_origin(request.uri(), request.headers()) {
        Some(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of another site may not read this",
        ))
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Some(Problem::read_only())
    } else if is_api && !guard.knows_token(request.headers()) {
        Some(Problem::unauthorized())
    } else if has_body(request.headers()) {
        Some(Problem::too_large())
    } else {
        None
    };
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
