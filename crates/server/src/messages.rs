//! What the process knows, as messages of `umbra.v1`, and replicas' answers back.

use jiff::Timestamp;
use umbra_ir::{HostOf, Interception, Kind, MirrorState, ObjectId, ProxyClass, ProxyKind, RuntimeKey};
use umbra_proto::google;
use umbra_proto::umbra::v1;
use umbra_proto::umbra::v1::type_status::State;

use crate::diagnostics::severity_name;
use crate::live::{AwayProxy, Laggard, MirrorLive, ObjectLive};
use crate::proxies::{Proxy, TypeState, TypeView};
use crate::replica::Identity;

pub(crate) fn proxy(proxy: &Proxy, class: Option<&ProxyClass>, identity: &Identity) -> v1::Proxy {
    let view = proxy.view();
    // In push order, which the view's names are not in.
    let types = umbra_xds::ResourceType::ALL
        .into_iter()
        .filter_map(|it| Some(type_status(it.short_name(), view.types.get(it.short_name())?)));
    v1::Proxy {
        id: format!("{}/{}", identity.id, proxy.id),
        node_id: proxy.node_id.clone(),
        pod: proxy.node.pod.as_deref().unwrap_or_default().to_owned(),
        namespace: proxy.node.namespace.to_string(),
        kind: kind(proxy.node.kind).into(),
        peer: proxy.peer.clone(),
        replica: identity.name.clone(),
        class: class.map(|class| v1::ProxyClass {
            kind: kind(class.kind).into(),
            namespace: class.namespace.to_string(),
            labels: (*class.labels).clone(),
            rtds: class.rtds.any(),
            unprivileged: class.unprivileged,
            trusted_proxies: class.trusted_proxies,
            interception: interception(class.interception).into(),
        }),
        connected: Some(timestamp(proxy.connected)),
        generation: view.generation.unwrap_or_default(),
        acked_generation: view.acked_generation,
        types: types.collect(),
        excused: proxy.pace().is_excused(),
    }
}

fn kind(kind: ProxyKind) -> v1::ProxyKind {
    match kind {
        ProxyKind::Sidecar => v1::ProxyKind::Sidecar,
        ProxyKind::Router => v1::ProxyKind::Router,
    }
}

fn interception(interception: Interception) -> v1::proxy_class::Interception {
    match interception {
        Interception::None => v1::proxy_class::Interception::None,
        Interception::Redirect { .. } => v1::proxy_class::Interception::Redirect,
    }
}

fn type_status(name: &str, view: &TypeView) -> v1::TypeStatus {
    let state = match view.state {
        TypeState::Rejected => State::Rejected,
        TypeState::Sent => State::Sent,
        TypeState::Pending => State::Pending,
        TypeState::Synced => State::Synced,
    };
    let nack = view.last_nack.as_ref();
    v1::TypeStatus {
        r#type: name.to_owned(),
        state: state.into(),
        sent_generation: view.sent_generation,
        acked_generation: view.acked_generation,
        nacked_generation: nack.map_or(0, |nack| nack.generation),
        nack_message: nack.map_or(String::new(), |nack| nack.message.clone()),
        nacked: nack.and_then(|nack| nack.at).map(timestamp),
        rejected: view.rejected.iter().map(|name| name.to_string()).collect(),
    }
}

fn timestamp(at: Timestamp) -> google::protobuf::Timestamp {
    google::protobuf::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

pub(crate) fn mirror(mirror: &MirrorLive, observed: Option<v1::Observed>) -> v1::Mirror {
    let state = &mirror.state;
    let mut target = state.host.clone();
    if !state.subset.is_empty() {
        target = format!("{target} subset {}", state.subset);
    }
    if let Some(port) = state.port {
        target = format!("{target} port {port}");
    }
    let clusters = mirror.clusters().map(|(name, endpoints)| v1::MirrorCluster {
        name: name.to_string(),
        ready_endpoints: count(endpoints),
    });
    v1::Mirror {
        id: format!("{}/{}/{}", mirror.rule.namespace, mirror.rule.name, state.place.field()),
        rule: Some(reference(&mirror.rule)),
        field: state.place.field(),
        route: state.route.clone(),
        hosts: state.hosts.to_vec(),
        target,
        parts_per_million: mirror.share().map(|share| share.millionths()),
        runtime_key: state.key.as_str().to_owned(),
        clusters: clusters.collect(),
        total: count(mirror.total),
        live: count(mirror.live),
        problem: mirror.problem().map(|problem| v1::Problem {
            code: problem.code.to_string(),
            severity: severity_name(problem.severity).to_owned(),
            message: problem.message.clone(),
        }),
        observed,
        stopped: state.stopped,
        away: count(mirror.away),
        verdict: None,
        written_parts_per_million: held_down(state),
        methods: state.requests.methods().map(ToString::to_string).collect(),
        copied_host: match state.copied_host.of {
            None => String::new(),
            Some(HostOf::Caller) => "caller".to_owned(),
            Some(HostOf::Target) => "target".to_owned(),
        },
        shadow_suffix: state.copied_host.suffix,
        limits: Vec::new(),
        uncounted: count(mirror.uncounted),
    }
}

/// What a mirror's rule wants copied, of a million, where a policy lets less of it be copied.
fn held_down(state: &MirrorState) -> Option<u32> {
    let written = state.written.filter(|_| state.pacing.is_some() && !state.stopped)?;
    (state.share < Some(written)).then(|| written.millionths())
}

/// An object as `umbra.v1` names it.
pub(crate) fn reference(id: &ObjectId) -> v1::ObjectReference {
    v1::ObjectReference {
        group: id.kind.facts().group.to_owned(),
        kind: id.kind.as_str().to_owned(),
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
    }
}

/// A Pod.
pub(crate) fn pod(id: &ObjectId) -> v1::PodReference {
    v1::PodReference { namespace: id.namespace.to_string(), name: id.name.to_string() }
}

/// The reverse of [`pod`].
pub(crate) fn pod_id(reference: v1::PodReference) -> ObjectId {
    ObjectId::new(Kind::Pod, reference.namespace, reference.name)
}

/// `None` for a kind that has no liveness.
pub(crate) fn object_id(reference: &v1::ObjectReference) -> Option<ObjectId> {
    let kind = Kind::find(&reference.group, &reference.kind).filter(|kind| kind.facts().status)?;
    Some(ObjectId::new(kind, reference.namespace.as_str(), reference.name.as_str()))
}

/// How far an object is, as one replica tells another.
pub(crate) fn liveness(live: &ObjectLive) -> v1::ObjectLiveness {
    let laggards = |all: &[Laggard]| {
        let one = |laggard: &Laggard| v1::Laggard {
            proxy: laggard.proxy.clone(),
            resource: laggard.resource.clone(),
            words: laggard.words.clone().unwrap_or_default(),
        };
        all.iter().map(one).collect()
    };
    v1::ObjectLiveness {
        object: Some(reference(&live.object)),
        generation: live.generation,
        newest_generation: live.newest,
        total: count(live.total),
        live: count(live.live),
        laggards: laggards(&live.laggards),
        excused: laggards(&live.excused),
        stopped: live.stopped.iter().map(|key| key.as_str().to_owned()).collect(),
        away: live.away.iter().map(away).collect(),
        total_away: count(live.total_away),
    }
}

fn away(away: &AwayProxy) -> v1::Away {
    v1::Away { proxy: away.proxy.clone(), since: Some(timestamp(away.since)), told: away.told.clone() }
}

fn away_proxy(message: v1::Away) -> AwayProxy {
    let since = message.since.and_then(|since| Timestamp::new(since.seconds, since.nanos).ok());
    AwayProxy { since: since.unwrap_or_default(), proxy: message.proxy, told: message.told }
}

/// The reverse of [`liveness`]; `None` for a kind that this version does not know.
pub(crate) fn object_live(message: v1::ObjectLiveness) -> Option<ObjectLive> {
    let laggards = |all: Vec<v1::Laggard>| {
        let one = |laggard: v1::Laggard| Laggard {
            proxy: laggard.proxy,
            resource: laggard.resource,
            words: Some(laggard.words).filter(|words| !words.is_empty()),
        };
        all.into_iter().map(one).collect()
    };
    Some(ObjectLive {
        object: object_id(&message.object?)?,
        generation: message.generation,
        newest: message.newest_generation,
        total: message.total as usize,
        live: message.live as usize,
        laggards: laggards(message.laggards),
        excused: laggards(message.excused),
        stopped: message.stopped.into_iter().map(RuntimeKey::new).collect(),
        away: message.away.into_iter().map(away_proxy).collect(),
        total_away: message.total_away as usize,
    })
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_replica_tells_another_comes_back_as_it_was() {
        let laggard = |words: Option<&str>| Laggard {
            proxy: "web-1.shop".to_owned(),
            resource: "rds/8000".to_owned(),
            words: words.map(str::to_owned),
        };
        let live = ObjectLive {
            object: ObjectId::new(Kind::Gateway, "shop", "web"),
            generation: 4,
            newest: 5,
            total: 3,
            live: 1,
            laggards: vec![laggard(None), laggard(Some("no"))],
            stopped: vec![RuntimeKey::new("mirror/shop/web/r/|v2|web")],
            excused: vec![laggard(None)],
            away: vec![AwayProxy {
                since: Timestamp::from_second(1_000_000).unwrap(),
                proxy: "web-2.shop".to_owned(),
                told: "v2 25%".to_owned(),
            }],
            total_away: 9,
        };
        assert_eq!(object_live(liveness(&live)), Some(live.clone()));
        let mut of_the_future = liveness(&live);
        of_the_future.object = Some(v1::ObjectReference { kind: "Sidecar".to_owned(), ..Default::default() });
        assert_eq!(object_live(of_the_future), None);
    }
}
