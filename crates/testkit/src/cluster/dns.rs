//! The names of Services, twice: for umbra and Envoy every Service is answered as a headless one, with the addresses of its
//! ready Pods, since there is no kube-proxy behind a cluster IP; for applications as a cluster's DNS does it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::JoinHandle;

use super::agent::held;
use super::site::Site;
use crate::dns::answer;
use crate::net::Net;

/// The address records of one slice: its Service, and the ready addresses.
type Slice = (String, Vec<Ipv4Addr>);

/// A namespace and a name.
type Key = (String, String);

/// What is known of the objects of a kind.
type Known<T> = Arc<Mutex<BTreeMap<Key, T>>>;

/// The slices.
type Slices = Known<Slice>;

/// The cluster IPs of Services.
type Services = Known<Option<Ipv4Addr>>;

/// The running DNS server; it ends on drop.
#[derive(Debug)]
pub struct ClusterDns {
    slices: Slices,
    tasks: [JoinHandle<()>; 4],
}

impl ClusterDns {
    /// Starts it at the two addresses of `site`, which it makes addresses of this process's network.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn start(client: Client, site: Site) -> Result<Self> {
        let (slices, services) = (Slices::default(), Services::default());
        let (pods, known, behind) = (slices.clone(), services.clone(), slices.clone());
        let tasks = [
            serve(site.dns, move |name| lookup(&held(&pods), name))?,
            serve(site.names, move |name| match cluster_ip(&held(&known), name)? {
                Some(address) => Some(vec![address]),
                None => lookup(&held(&behind), name).or_else(|| Some(Vec::new())),
            })?,
            tokio::spawn(follow(client.clone(), slices.clone(), read)),
            tokio::spawn(follow(client, services, read_service)),
        ];
        Ok(Self { slices, tasks })
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

/// Answers at an address by what `look` knows.
fn serve(
    address: Ipv4Addr,
    look: impl Fn(&str) -> Option<Vec<Ipv4Addr>> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let net = Net::here();
    net.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    let socket = net.datagrams((address, 53).into())?;
    Ok(tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(&buffer[..length], &look) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }))
}

/// Keeps `known` as the API server has it.
async fn follow<K, T>(client: Client, known: Known<T>, read: fn(&K) -> (Key, T))
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::all(client);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => listed.extend([read(&object)]),
            Ok(Event::InitDone) => *held(&known) = std::mem::take(&mut listed),
            Ok(Event::Apply(object)) => held(&known).extend([read(&object)]),
            Ok(Event::Delete(object)) => {
                held(&known).remove(&read(&object).0);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The cluster IP of a Service; a headless one has none.
fn read_service(service: &Service) -> (Key, Option<Ipv4Addr>) {
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref());
    let key = (text(service.metadata.namespace.as_ref()), text(service.metadata.name.as_ref()));
    (key, ip.and_then(|ip| ip.parse().ok()))
}

/// What a name leads to for an application; the outer `None`: there is no such Service.
fn cluster_ip(services: &BTreeMap<Key, Option<Ipv4Addr>>, name: &str) -> Option<Option<Ipv4Addr>> {
    let (service, namespace) = name.strip_suffix(".svc.cluster.local")?.split_once('.')?;
    services.get(&(namespace.to_owned(), service.to_owned())).copied()
}

fn read(slice: &EndpointSlice) -> (Key, Slice) {
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
fn lookup(slices: &BTreeMap<Key, Slice>, name: &str) -> Option<Vec<Ipv4Addr>> {
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
