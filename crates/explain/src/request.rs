//! A request as a proxy meets it.

use std::net::IpAddr;

use crate::path;

/// What a client sends, and where it connects to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Over TLS.
    pub tls: bool,
    /// Inside there is no HTTP, but bytes of another protocol.
    pub bytes: bool,
    /// The `Host` header (`:authority` in HTTP/2), with the port if the client writes it.
    pub authority: String,
    /// Path and query, as they are sent.
    pub path: String,
    /// The other headers, in order.
    pub headers: Vec<(String, String)>,
    /// The port that the client connects to.
    pub port: u16,
    /// The address that it connects to, where that decides.
    pub address: Option<IpAddr>,
}

impl Request {
    /// What a client makes of a URL (`http://httpbin:8000/headers`). A header `Host` goes in the place of the URL's. The
    /// schemes `tcp` and `tls` stand for a connection that carries another protocol; such a URL names its port.
    ///
    /// # Errors
    /// What is no such URL, in words.
    pub fn new(method: &str, url: &str, headers: Vec<(String, String)>) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} is no URL such as http://httpbin:8000/headers: {why}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("there is no ://"))?;
        let (tls, bytes) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (false, false),
            "https" => (true, false),
            "tcp" => (false, true),
            "tls" => (true, true),
            _ => return Err(wrong("its scheme is none of http, https, tcp and tls")),
        };
        // What follows a # stays with the client.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let port = match port_start(authority).map(|at| &authority[at + 1..]) {
            Some(port) => {
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("its port is no number"))?
            }
            None if bytes => return Err(wrong("it has no port")),
            None if tls => 443,
            None => 80,
        };
        if authority.is_empty() || authority.starts_with(':') {
            return Err(wrong("it has no host"));
        }
        let (hosts, headers): (Vec<_>, Vec<_>) =
            headers.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = hosts.into_iter().next().map_or_else(|| authority.to_owned(), |(_, host)| host);
        Ok(Request { method: method.to_owned(), tls, bytes, authority, path, headers, port, address: None })
    }
}

/// Where the port of an authority begins, with its colon: the colons of an IPv6 address are inside of brackets.
pub(crate) fn port_start(authority: &str) -> Option<usize> {
    let colon = authority.rfind(':')?;
    authority.rfind(']').is_none_or(|end| end < colon).then_some(colon)
}

/// A request in the words of routes: header names in lower case, with what Envoy adds before it looks for a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) scheme: String,
    /// By what it came, as is said (`x-forwarded-proto`): mostly, but not always, the scheme.
    pub(crate) forwarded: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: Headers,
}

impl Seen {
    /// What of a request a connection manager looks for a route by; or the status with which it answers at once.
    ///
    /// `edge`: what a client says of where it comes from is not believed (`use_remote_address`).
    pub(crate) fn new(request: &Request, normalize: bool, edge: bool) -> Result<Self, (u16, &'static str)> {
        let path = match normalize {
            true => path::normalize(&request.path).ok_or((400, "its path holds what no path may"))?,
            false => request.path.clone(),
        };
        let mut headers = Headers::default();
        for (name, value) in &request.headers {
            headers.add(name, value.trim());
        }
        let own = if request.tls { "https" } else { "http" };
        let told = headers.get("x-forwarded-proto").filter(|_| !edge);
        let forwarded = told.unwrap_or_else(|| own.to_owned());
        let valid = Some(forwarded.to_ascii_lowercase()).filter(|it| it == "http" || it == "https");
        let scheme = valid.unwrap_or_else(|| own.to_owned());
        headers.set("x-forwarded-proto", &forwarded);
        if headers.get("x-request-id").is_none() {
            headers.set("x-request-id", GENERATED);
        }
        let (method, authority) = (request.method.clone(), request.authority.clone());
        Ok(Seen { method, scheme, forwarded, authority, path, headers })
    }

    /// The values of a header or pseudo header, as conditions see them one by one.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        match name.to_ascii_lowercase().as_str() {
            ":method" => vec![self.method.clone()],
            ":authority" | "host" => vec![self.authority.clone()],
            ":scheme" => vec![self.scheme.clone()],
            ":path" => vec![self.path.clone()],
            name => self.headers.values(name),
        }
    }

    /// All of them in one text.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// Stands for the id that Envoy makes for a request without one.
pub(crate) const GENERATED: &str = "(made by Envoy)";

/// Headers that Envoy keeps in one place: of such as come more than once it joins those that are not empty as it reads them.
const JOINED: &[&str] = &[
    "accept",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "content-type",
    "origin",
    "user-agent",
    "x-forwarded-proto",
    "x-request-id",
];

/// Headers by their names in lower case, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// All values of one, as conditions see them one by one.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(is, _)| is == name).map(|(_, value)| value.clone());
        let values: Vec<_> = values.collect();
        if values.len() > 1 && JOINED.contains(&name) {
            return vec![values.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join(",")];
        }
        values
    }

    /// All of them in one text.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.join(","))
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_ascii_lowercase(), value.to_owned()));
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(is, _)| !is.eq_ignore_ascii_case(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, want) in [
            ("http://httpbin:8000/headers", Some(("httpbin:8000", 8000, "/headers", false))),
            ("https://a.example.com", Some(("a.example.com", 443, "/", true))),
            ("http://[::1]:80/a?b#c", Some(("[::1]:80", 80, "/a?b", false))),
            ("http://[::1]?x", Some(("[::1]", 80, "/?x", false))),
            ("httpbin/headers", None),
            ("tls://a:8443", Some(("a:8443", 8443, "/", true))),
            ("tcp://a", None),
            ("ftp://a/", None),
            ("http:///a", None),
            ("http://a:b/", None),
            ("http://a:0/", None),
        ] {
            let is = Request::new("GET", url, Vec::new()).ok();
            let is = is.as_ref().map(|it| (it.authority.as_str(), it.port, it.path.as_str(), it.tls));
            assert_eq!(is, want, "{url}");
        }
        let host = vec![("HOST".to_owned(), "b".to_owned())];
        assert_eq!(Request::new("GET", "http://a:8000/", host).unwrap().authority, "b");
    }
}
