//! Copies that arrive at a gateway under a host with the suffix, for which it has no rule.

use umbra_ir::{
    ClusterRef, Code, Diagnostic, GatewayHead, GatewayRef, Hostname, Kind, MirrorHost, MirrorTerms, ObjectId,
    Role, RuleHead,
};

use crate::View;
use crate::routes::mirror_host;
use crate::view::Index;

/// Gateways that are looked at: bounds what a mirror's report reads.
const MAX_GATEWAYS: usize = 64;

/// Says so when the gateway that a mirror aims at answers its copies 404: in this mesh, or in another that is described by
/// the same objects.
pub(super) fn unrouted_shadow(
    view: &dyn View,
    id: &ObjectId,
    field: &str,
    cluster: &ClusterRef,
    terms: Option<&MirrorTerms>,
) -> Option<Diagnostic> {
    let (hosts, addressed) = match mirror_host(view, cluster, terms) {
        MirrorHost::Keep => return None,
        MirrorHost::Suffix => (suffixed(&*view.rule_head(id)?), false),
        MirrorHost::Literal(text) => {
            let host = text.split(':').next().unwrap_or_default();
            (
                vec![Hostname::new(host)].into_iter().filter(|it| it.as_str().ends_with("-shadow")).collect(),
                true,
            )
        }
    };
    let gateways = view.ids(&Index::Kind(Kind::Gateway));
    if hosts.is_empty() || gateways.len() > MAX_GATEWAYS {
        return None;
    }
    let members = view.members(&cluster.with_role(Role::Primary));
    let receives = |gateway: &GatewayHead| match addressed {
        // Which gateway serves another mesh's host is known where one admits that very host.
        true => admits(gateway, &hosts),
        false => !gateway.selector.is_empty() && members.0.iter().any(|it| it.has_labels(&gateway.selector)),
    };
    let heads = gateways.iter().filter_map(|gateway| view.gateway_head(gateway));
    let gateway = heads.into_iter().find(|gateway| receives(gateway) && !routes(view, gateway, &hosts))?;
    let (first, more) = hosts.split_first()?;
    let others = if more.is_empty() { String::new() } else { format!(" (nor for {} others)", more.len()) };
    let message = format!(
        "copies arrive at {} with the host {first}, for which no rule is bound there{others}: they are answered 404",
        gateway.id
    );
    Some(Diagnostic::new(Code::ShadowNotRouted, id, field, message))
}

/// The hosts that copies of a rule's requests have.
fn suffixed(head: &RuleHead) -> Vec<Hostname> {
    let exact = head.hosts().filter(|host| !host.is_wildcard());
    exact.map(|host| Hostname::new(&format!("{host}-shadow"))).collect()
}

fn admits(gateway: &GatewayHead, hosts: &[Hostname]) -> bool {
    let mut admitted = gateway.servers.iter().flat_map(|server| &server.hosts).map(|it| &it.host);
    admitted.any(|host| hosts.contains(host))
}

/// Whether some rule there is for one of the hosts.
fn routes(view: &dyn View, gateway: &GatewayHead, hosts: &[Hostname]) -> bool {
    let bound = view.bound_rules(&gateway.id.namespace, &GatewayRef::Named(gateway.id.clone()));
    bound.iter().any(|head| head.hosts().any(|rule| hosts.iter().any(|host| host.subset_of(rule))))
}
