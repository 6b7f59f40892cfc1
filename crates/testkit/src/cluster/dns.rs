//! The names of Services, as a cluster's DNS has them, but for this: every Service is answered as a headless one, with
//! the addresses of its ready Pods, since there is no kube-proxy behind a cluster IP.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::agent::held;
use crate::dns::answer;
use crate::net::Net;

/// The address records of one slice: its Service, and the ready addresses.
type Slice = (String, Vec<Ipv4Addr>);

/// The slices by namespace and name.
type Slices = Arc<Mutex<BTreeMap<(String, String), Slice>>>;

/// The running DNS server; it ends on drop.
#[derive(Debug)]
pub struct ClusterDns {
    slices: Slices,
    tasks: [JoinHandle<()>; 2],
}

impl ClusterDns {
    /// Starts it at `address`, which it makes one of this process's network.
    ///
    /// # Errors
    /// When its address cannot be bound.
    pub fn start(client: Client, address: Ipv4Addr) -> Result<Self> {
        let net = Net::here();
        net.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
        let socket = net.datagrams((address, 53).into())?;
        let slices = Slices::default();
        let answering = slices.clone();
        let answer = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let look = |name: &str| lookup(&held(&answering), name);
                if let Some(answer) = answer(&buffer[..length], look) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        let following = tokio::spawn(follow(client, slices.clone()));
        Ok(Self { slices, tasks: [answer, following] })
    }

    /// The same answers without a packet.
    pub fn resolver(&self) -> Resolver {
        Resolver(self.slices.clone())
    }
}

/// What the DNS server knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resolver(Slices);

impl Resolver {
    /// The addresses of the ready Pods of a Service, in order; none when there is no such Service.
    pub fn service(&self, namespace: &str, name: &str) -> Vec<Ipv4Addr> {
        lookup(&held(&self.0), &format!("{name}.{namespace}.svc.cluster.local")).unwrap_or_default()
    }
}

impl Drop for ClusterDns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn follow(client: Client, slices: Slices) {
    let api: Api<EndpointSlice> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(slice)) => listed.extend([read(&slice)]),
            Ok(Event::InitDone) => *held(&slices) = std::mem::take(&mut listed),
            Ok(Event::Apply(slice)) => held(&slices).extend([read(&slice)]),
            Ok(Event::Delete(slice)) => {
                held(&slices).remove(&read(&slice).0);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn read(slice: &EndpointSlice) -> ((String, String), Slice) {
    let meta = &slice.metadata;
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let service = meta.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
    let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
        e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
    };
    let endpoints = slice.endpoints.iter().filter(ready);
    let addresses = endpoints.flat_map(|e| e.addresses.iter().filter_map(|a| a.parse().ok())).collect();
    ((text(meta.namespace.as_ref()), text(meta.name.as_ref())), (text(service), addresses))
}

/// The addresses of `SERVICE.NAMESPACE.svc.cluster.local`; `None` when there is no such Service.
fn lookup(slices: &BTreeMap<(String, String), Slice>, name: &str) -> Option<Vec<Ipv4Addr>> {
    let (service, namespace) = name.strip_suffix(".svc.cluster.local")?.split_once('.')?;
    let mut found = slices.iter().filter(|((ns, _), (s, _))| ns == namespace && s == service).peekable();
    found.peek()?;
    let mut addresses: Vec<_> = found.flat_map(|(_, (_, addresses))| addresses.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services() {
        let address = Ipv4Addr::new(10, 244, 0, 7);
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        let slices = BTreeMap::from([
            (key("web-1"), ("web".to_owned(), vec![address])),
            (key("empty-1"), ("empty".to_owned(), vec![])),
        ]);
        for (name, want) in [
            ("web.shop.svc.cluster.local", Some(vec![address])),
            ("empty.shop.svc.cluster.local", Some(vec![])),
            ("web.default.svc.cluster.local", None),
            ("web.shop", None),
            ("", None),
        ] {
            assert_eq!(lookup(&slices, name), want, "{name}");
        }
    }
}
