//! An API server in the process, for tests: whatever answers a script or a closure gives, and the requests that came.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::stream::{self, StreamExt};
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An error with this code.
    Status(u16),
    /// A page of a list: its objects, and its version or (`&TOKEN`) the token of the next page.
    Page(Vec<Value>, String),
    /// The lines of a watch, and how it ends.
    Watch(Vec<Value>, End),
    /// The body as it stands here.
    Text(String),
    /// The connection fails.
    Refuse,
    /// No answer, ever.
    Hang,
}

impl Reply {
    /// From its words: `list NAME:VERSION:PORT … @VERSION` (`&TOKEN` in the place of the version: there are more pages),
    /// `watch EVENT … END`, `text …`, `refuse`, `hang`, or a status such as `410`. An EVENT is `+NAME:VERSION:PORT`,
    /// `-NAME:VERSION:PORT`, `mark:VERSION` or `!STATUS`; an END `now`, `time`, `broken` or `silent`. The objects are
    /// Services.
    pub(crate) fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some((last, middle)) = words[1..].split_last() else {
            return match words[0] {
                "refuse" => Reply::Refuse,
                "hang" => Reply::Hang,
                code => Reply::Status(code.parse().unwrap()),
            };
        };
        match words[0] {
            "list" => {
                let end = last.strip_prefix('@').unwrap_or(last).to_owned();
                Reply::Page(middle.iter().map(|word| service(word)).collect(), end)
            }
            "watch" => {
                let end = match *last {
                    "now" => End::Now,
                    "time" => End::InTime,
                    "broken" => End::Broken,
                    "silent" => End::Silent,
                    end => panic!("no end of a watch: {end}"),
                };
                Reply::Watch(middle.iter().map(|word| event(word)).collect(), end)
            }
            "text" => Reply::Text(words[1..].join(" ")),
            word => panic!("no reply: {word}"),
        }
    }
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// At once.
    Now,
    /// In its time.
    InTime,
    /// The connection breaks.
    Broken,
    /// Never: nothing more comes.
    Silent,
}

/// One request: when, and `list PATH …` or `watch PATH @VERSION …`.
pub(crate) type Asked = (Instant, String);

/// How a server in the process is used.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<Asked>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.all().into_iter().map(|(_, text)| text).collect()
    }
}

/// A client of a server that answers each request as `answer` says, from what [`Asked`] shows of it.
pub(crate) fn serve(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (Client, Requests) {
    let (requests, answer) = (Requests::default(), Arc::new(answer));
    let seen = requests.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let text = describe(&request);
        seen.0.lock().unwrap().push((Instant::now(), text.clone()));
        reply(answer(&text))
    });
    (Client::new(service, "default"), requests)
}

fn describe<T>(request: &Request<T>) -> String {
    let query = request.uri().query().unwrap_or_default();
    let mut query: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let mut words = vec![String::new(), request.uri().path().to_owned()];
    let version = query.remove("resourceVersion");
    words[0] = match query.remove("watch") {
        None => {
            assert_eq!((version, query.remove("limit")), (None, Some("500")), "the newest, in pages");
            "list".to_owned()
        }
        Some(_) => {
            // Without them a connection that went silent would look like a quiet cluster.
            assert_eq!(query.remove("allowWatchBookmarks"), Some("true"));
            assert_eq!(query.remove("timeoutSeconds"), Some("12"));
            words.push(format!("@{}", version.unwrap_or("none")));
            "watch".to_owned()
        }
    };
    words.extend(query.into_iter().map(|(key, value)| format!("{key}={value}")));
    words.join(" ")
}

async fn reply(reply: Reply) -> io::Result<Response<Body>> {
    let json = |code: u16, body: Value| Response::builder().status(code).body(Body::from(body.to_string()));
    let response = match reply {
        Reply::Status(code) => json(code, status(code)),
        Reply::Page(items, end) => {
            let metadata = match end.strip_prefix('&') {
                Some(token) => json!({"continue": token, "resourceVersion": "1"}),
                None => json!({"resourceVersion": end}),
            };
            json(200, json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
        }
        Reply::Watch(events, end) => Response::builder().body(watch(events, end)),
        Reply::Text(text) => Response::builder().body(Body::from(text)),
        Reply::Refuse => return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused")),
        Reply::Hang => pending().await,
    };
    Ok(response.unwrap())
}

/// The error object that comes with a status, or as the last event of a watch.
fn status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Test",
           "message": format!("the server says {code}"), "code": code})
}

fn watch(events: Vec<Value>, end: End) -> Body {
    let lines = events.into_iter().map(|event| Ok(Bytes::from(format!("{event}\n"))));
    let end = stream::once(async move {
        match end {
            End::Now => None,
            End::InTime => {
                tokio::time::sleep(Duration::from_secs(12)).await;
                None
            }
            End::Broken => Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset"))),
            End::Silent => pending().await,
        }
    });
    Body::from_stream(stream::iter(lines).chain(end.filter_map(ready)))
}

/// A Service, from `NAME:VERSION:PORT`.
fn service(text: &str) -> Value {
    let [name, version, port] = text.split(':').collect::<Vec<_>>()[..] else { panic!("no Service: {text}") };
    json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": {"ports": [{"port": port.parse::<u16>().unwrap()}]},
    })
}

fn event(text: &str) -> Value {
    if let Some(version) = text.strip_prefix("mark:") {
        let metadata = json!({"resourceVersion": version});
        let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata});
        return json!({"type": "BOOKMARK", "object": object});
    }
    let (kind, rest) = text.split_at(1);
    match kind {
        "+" => json!({"type": "MODIFIED", "object": service(rest)}),
        "-" => json!({"type": "DELETED", "object": service(rest)}),
        _ => json!({"type": "ERROR", "object": status(rest.parse().unwrap())}),
    }
}
