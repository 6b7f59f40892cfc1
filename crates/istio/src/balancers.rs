//! `loadBalancer` as written to what it means (istio-semantics "Field map").

use umbra_api::{ConsistentHashLb, Double, LoadBalancerSettings, LocalityLbSetting, SimpleLb};
use umbra_ir::{
    Distribute, HashCookie, HashKey, LoadBalancer, LoadBalancing, LocalityBalancing, Number, Warmup,
};

use crate::numbers::duration;

pub(crate) fn resolve_balancing(written: &LoadBalancerSettings) -> LoadBalancing {
    let locality = written.locality_lb_setting.as_ref().map(resolve_locality);
    let hash = written.consistent_hash.as_ref().filter(|_| written.simple.is_none());
    if let Some((hash, key)) = hash.and_then(|hash| Some((hash, hash_key(hash)?))) {
        return LoadBalancing { balancer: hashing(hash), hash: Some(key), warmup: None, locality };
    }
    let balancer = match written.simple.unwrap_or_default() {
        SimpleLb::Random => LoadBalancer::Random,
        SimpleLb::RoundRobin => LoadBalancer::RoundRobin,
        SimpleLb::Passthrough => LoadBalancer::Passthrough,
        SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest => LoadBalancer::LeastRequest,
    };
    let warms = matches!(balancer, LoadBalancer::LeastRequest | LoadBalancer::RoundRobin);
    let warmup = resolve_warmup(written).filter(|_| warms);
    LoadBalancing { balancer, hash: None, warmup, locality }
}

/// Of `distribute` and failover the first counts, as Istio takes either.
fn resolve_locality(written: &LocalityLbSetting) -> LocalityBalancing {
    let distribute: Vec<Distribute> = written
        .distribute
        .iter()
        .filter(|it| umbra_api::check_distribute(it).is_ok())
        .map(|it| Distribute { from: it.from.clone(), to: it.to.clone() })
        .collect();
    let failover = written.failover.iter().map(|it| (it.from.clone(), it.to.clone())).collect();
    let label = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.clone(), None),
    };
    LocalityBalancing {
        off: written.enabled == Some(false),
        distribute,
        failover,
        failover_priority: written.failover_priority.iter().map(label).collect(),
    }
}

fn hashing(hash: &ConsistentHashLb) -> LoadBalancer {
    if let Some(maglev) = &hash.maglev {
        let size = Some(maglev.table_size).filter(|size| umbra_api::check_maglev_size(*size).is_ok());
        return LoadBalancer::Maglev(size.filter(|size| *size > 0));
    }
    let size = hash.ring_hash.as_ref().map_or(hash.minimum_ring_size, |ring| ring.minimum_ring_size);
    let good = size > 0 && umbra_api::check_ring_size(size).is_ok();
    LoadBalancer::RingHash(if good { size } else { LoadBalancer::RING })
}

/// Of several keys the first that can be served.
fn hash_key(hash: &ConsistentHashLb) -> Option<HashKey> {
    let header = hash.http_header_name.as_ref().filter(|name| umbra_api::check_hash_header(name).is_ok());
    if let Some(name) = header {
        return Some(HashKey::Header(name.clone()));
    }
    let cookie = hash.http_cookie.as_ref().filter(|cookie| umbra_api::check_hash_cookie(cookie).is_ok());
    if let Some(cookie) = cookie {
        let attributes = cookie.attributes.iter().map(|it| (it.name.clone(), it.value.clone())).collect();
        return Some(HashKey::Cookie(HashCookie {
            name: cookie.name.clone(),
            ttl: cookie
                .ttl
                .filter(|ttl| umbra_api::check_duration(*ttl, true).is_ok())
                .map(|ttl| ttl.to_std().unwrap_or_default()),
            path: cookie.path.clone(),
            attributes,
        }));
    }
    if hash.use_source_ip == Some(true) {
        return Some(HashKey::SourceAddress);
    }
    let query = hash.http_query_parameter_name.as_ref();
    query.filter(|name| umbra_api::check_hash_query(name).is_ok()).map(|name| HashKey::Query(name.clone()))
}

/// The old spelling counts where the new one is absent.
fn resolve_warmup(written: &LoadBalancerSettings) -> Option<Warmup> {
    let (time, minimum, aggression) = match &written.warmup {
        Some(warmup) => (warmup.duration, warmup.minimum_percent, warmup.aggression),
        None => (written.warmup_duration_secs, None, None),
    };
    let number = |written: Option<Double>, check: fn(f64) -> bool, default| {
        Number(written.map(|number| number.0).filter(|number| check(*number)).unwrap_or(default))
    };
    Some(Warmup {
        duration: duration(time)?,
        minimum_percent: number(minimum, umbra_api::is_percent, 10.0),
        aggression: number(aggression, umbra_api::is_aggression, 1.0),
    })
}
