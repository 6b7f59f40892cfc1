//! Where the routes of a class are written: what connects an answer of Envoy's with somebody's file.

use std::sync::Arc;

use umbra_ir::{Chain, ObjectId, Placed, ProxyClass, RouteSource, RouteTables, Scope, VirtualHostSpec};

use crate::domain::{Key, Value};
use crate::memo::Memo;
use crate::view::Mesh;

/// Of one virtual host, which rule each of its routes is made of; or, of a listener that passes bytes on, which rule each of
/// its chains is made of, with that for all others last: the listener's name stands for both then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenHost {
    /// The route configuration.
    pub table: Arc<str>,
    /// The virtual host, as its proxy gets it.
    pub host: Arc<str>,
    /// In the order of its routes; `None` for one that no rule is behind.
    pub routes: Vec<Option<WrittenRule>>,
}

/// A rule by its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenRule {
    /// The object that it stands in.
    pub object: ObjectId,
    /// Its path there, such as `spec.http[0]`.
    pub field: String,
    /// The VirtualService that has taken it in from `object`, its delegate.
    pub root: Option<ObjectId>,
}

/// All virtual hosts of a class, as of the last settle.
pub(crate) fn written(memo: &Memo<Mesh>, class: &ProxyClass) -> Vec<WrittenHost> {
    let value = memo.value(&Key::Scope(class.clone()));
    let Some(Value::Scope(scope)) = value.as_deref() else { return Vec::new() };
    let hosts =
        scope.tables.iter().flat_map(|(table, bound)| bound.hosts.iter().map(move |host| (table, host)));
    let one = |(table, spec): (&Arc<str>, &Arc<VirtualHostSpec>)| WrittenHost {
        table: table.clone(),
        host: match class.route_tables {
            RouteTables::Plain => spec.name.as_str().into(),
            RouteTables::Hosts => umbra_envoy::host_name(table, &spec.name),
        },
        routes: routes(memo, spec),
    };
    hosts.map(one).chain(listeners(memo, class, scope)).collect()
}

/// The listeners that pass bytes on by rules.
fn listeners(memo: &Memo<Mesh>, class: &ProxyClass, scope: &Scope) -> Vec<WrittenHost> {
    let rule = |rule: &Option<Placed<ObjectId>>| {
        let rule = rule.as_ref()?;
        Some(WrittenRule { object: rule.value.clone(), field: rule.field.clone(), root: None })
    };
    let mut all = Vec::new();
    let mut add = |name: Arc<str>, chains: &[Chain], rest: &Option<Placed<ObjectId>>| {
        let routes: Vec<_> = chains.iter().map(|chain| rule(&chain.rule)).chain([rule(rest)]).collect();
        if routes.iter().any(Option::is_some) {
            all.push(WrittenHost { table: name.clone(), host: name, routes });
        }
    };
    for port in &scope.ports {
        add(umbra_envoy::gateway_listener_name(&port.listener), &port.listener.chains, &None);
    }
    if let Some(Value::Manifest(manifest)) = memo.value(&Key::Manifest(class.clone())).as_deref() {
        for (.., key) in manifest.iter() {
            if let Key::CapturedListener(listener) = &**key {
                add(umbra_envoy::captured_listener_name(listener), &listener.chains, &listener.rest_rule);
            }
        }
    }
    all
}

fn routes(memo: &Memo<Mesh>, spec: &VirtualHostSpec) -> Vec<Option<WrittenRule>> {
    let of = |source: &RouteSource| match memo.value(&Key::Routes(source.clone())).as_deref() {
        Some(Value::Routes(routes)) => routes.clone(),
        _ => crate::domain::Routes::new(&umbra_ir::RouteList::default()),
    };
    let sources: Vec<_> = spec.sources.iter().map(of).collect();
    let encoded: Vec<_> = sources.iter().map(|routes| routes.encoded.clone()).collect();
    let order = umbra_envoy::order_routes(&encoded, spec.order);
    order
        .into_iter()
        .map(|(source, nth)| rule(memo, spec.sources[source].rules()?, sources[source].rules[nth]))
        .collect()
}

fn rule(memo: &Memo<Mesh>, id: &ObjectId, nth: usize) -> Option<WrittenRule> {
    let value = memo.value(&Key::Rules(id.clone()));
    let Some(Value::Rules(Some(rules))) = value.as_deref() else { return None };
    let rule = rules.rules.get(nth)?;
    let Some(delegate) = &rule.delegate else {
        return Some(WrittenRule { object: id.clone(), field: rule.field.clone(), root: None });
    };
    let inside = rule.field.rsplit_once(".delegate.").map_or(rule.field.as_str(), |(_, inside)| inside);
    Some(WrittenRule { object: delegate.clone(), field: format!("spec.{inside}"), root: Some(id.clone()) })
}
