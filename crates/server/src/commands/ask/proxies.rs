//! Proxies as rows.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tonic::Status;
use umbra_proto::umbra::v1::proxy_class::Interception;
use umbra_proto::umbra::v1::type_status::State;
use umbra_proto::umbra::v1::{
    ListProxiesRequest, Proxy, ProxyClass, ProxyKind, Replica, WatchProxiesRequest,
};
use umbra_xds::ResourceType;

use super::door::Client;
use super::table::printable;
use super::watched::{Shown, Update, updates};

impl Shown for Proxy {
    const FIELD: &'static str = "proxies";
    const NONE: &'static str = "no proxy is connected";

    fn id(&self) -> &str {
        &self.id
    }

    fn list(
        mut client: Client,
        namespace: String,
    ) -> BoxFuture<'static, Result<(Replica, Vec<Self>), Status>> {
        Box::pin(async move {
            let answer = client.list_proxies(ListProxiesRequest { namespace }).await?.into_inner();
            Ok((answer.replica.unwrap_or_default(), answer.proxies))
        })
    }

    fn watch(
        mut client: Client,
        namespace: String,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Result<Update<Self>, Status>>, Status>> {
        Box::pin(async move {
            let stream = client.watch_proxies(WatchProxiesRequest { namespace }).await?.into_inner();
            Ok(updates(stream, |it| Update {
                complete: it.complete,
                changed: it.changed,
                removed: it.removed,
            }))
        })
    }

    /// A stream belongs to one replica.
    fn add(&mut self, _other: &Self) {}

    fn sort(all: &mut [Self]) {
        all.sort_by(|a, b| (&a.namespace, a.name(), &a.id).cmp(&(&b.namespace, b.name(), &b.id)));
    }

    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["NAMESPACE", "NAME", "KIND", "CDS", "EDS", "LDS", "RDS", "RTDS", "REPLICA"];
        if wide {
            header.extend(["PEER", "CLASS", "ACKED", "NODE"]);
        }
        header
    }

    fn row(&self, wide: bool) -> Vec<String> {
        let state = |ty: ResourceType| {
            let status = self.types.iter().find(|status| status.r#type == ty.short_name());
            status.map(|status| status.state())
        };
        self.cells(wide, |ty| {
            // Virtual hosts that are resources of their own are a part of what tables are to everybody else.
            let part = (ty == ResourceType::Route).then(|| state(ResourceType::VirtualHost)).flatten();
            match (state(ty), part) {
                (Some(State::Synced), Some(part)) => word(part),
                (Some(state), _) => word(state),
                (None, _) => "-",
            }
        })
    }

    fn gone(&self, wide: bool) -> Vec<String> {
        self.cells(wide, |_| "GONE")
    }

    fn notes(&self) -> Vec<String> {
        let rejected = self.types.iter().filter(|status| status.state() == State::Rejected);
        let note = |status: &umbra_proto::umbra::v1::TypeStatus| {
            let who = format!("{}.{}", printable(self.name()), printable(&self.namespace));
            let what = printable(&status.rejected.join(", "));
            format!("{who} rejected {} {what}: {}", status.r#type, printable(&status.nack_message))
        };
        rejected.map(note).collect()
    }
}

trait Named {
    fn name(&self) -> &str;
    fn cells(&self, wide: bool, state: impl Fn(ResourceType) -> &'static str) -> Vec<String>;
}

impl Named for Proxy {
    /// The Pod, when its id tells.
    fn name(&self) -> &str {
        if self.pod.is_empty() { &self.node_id } else { &self.pod }
    }

    fn cells(&self, wide: bool, state: impl Fn(ResourceType) -> &'static str) -> Vec<String> {
        let mut cells = vec![self.namespace.clone(), self.name().to_owned(), kind(self.kind()).to_owned()];
        let columns = ResourceType::ALL.into_iter().filter(|ty| *ty != ResourceType::VirtualHost);
        cells.extend(columns.map(|ty| state(ty).to_owned()));
        cells.push(self.replica.clone());
        if wide {
            let acked = format!("{}/{}", self.acked_generation, self.generation);
            let class = self.class.as_ref().map_or(String::new(), class);
            cells.extend([self.peer.clone(), class, acked, self.node_id.clone()]);
        }
        cells
    }
}

fn kind(kind: ProxyKind) -> &'static str {
    match kind {
        ProxyKind::Sidecar => "sidecar",
        ProxyKind::Router => "router",
        ProxyKind::Unspecified => "unknown",
    }
}

/// As `--proxy` has it, with what else makes a difference.
fn class(class: &ProxyClass) -> String {
    let labels: Vec<_> = class.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut text = format!("{}/{}", kind(class.kind()), class.namespace);
    if !labels.is_empty() {
        text = format!("{text}/{}", labels.join(","));
    }
    if class.interception() == Interception::Redirect {
        text.push_str(" captured");
    }
    if !class.rtds {
        text.push_str(" without rtds");
    }
    if class.unprivileged {
        text.push_str(" unprivileged");
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Synced => "SYNCED",
        State::Sent => "SENT",
        State::Pending => "PENDING",
        State::Rejected => "REJECTED",
        State::Unspecified => "UNKNOWN",
    }
}
