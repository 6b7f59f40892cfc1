//! A stub of Prometheus' query API: what canary tools ask before they go on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::net::Net;

/// The running stub; it ends on drop.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    healthy: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Prometheus {
    /// Starts it at `address` of this process's network; every service is well at first.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr) -> Result<Self> {
        let listener = Net::here().listen(address)?;
        let (healthy, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (well, count) = (healthy.clone(), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (well, count) = (well.clone(), count.clone());
                let service = service_fn(move |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    // 100 is both a good success rate in percent and a good time in milliseconds.
                    let value = if well.load(Ordering::Relaxed) { "100" } else { "0" };
                    std::future::ready(Ok::<_, Infallible>(answer(value)))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { address, healthy, asked, task })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether the services are well: every query is answered with 100, else with 0 (a success rate of nothing).
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// How many queries it has answered.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An instant vector of one sample, whatever was asked.
fn answer(value: &str) -> Response<Full<Bytes>> {
    let now = jiff::Timestamp::now().as_second();
    let sample = serde_json::json!({"metric": {}, "value": [now, value]});
    let body = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": [sample]}});
    Response::new(Full::new(Bytes::from(body.to_string())))
}
