//! Mirrors of a route (`RouteAction.RequestMirrorPolicy`).

use umbra_ir::{HeaderChanges, Mirror, MirrorHost, MirrorShare, RuntimeFraction};
use umbra_proto::envoy::config::common::mutation_rules::v3::{HeaderMutation, header_mutation::Action};
use umbra_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use umbra_proto::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use umbra_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use crate::convert::boolean;
use crate::header_ops::to_add;
use crate::judged::marks;
use crate::names::cluster_name;

pub(crate) fn mirror_policy(mirror: &Mirror) -> RequestMirrorPolicy {
    let host_rewrite_literal = match &mirror.host {
        MirrorHost::Literal(host) => host.clone(),
        MirrorHost::Suffix | MirrorHost::Keep => String::new(),
    };
    RequestMirrorPolicy {
        cluster: cluster_name(&mirror.cluster).to_string(),
        runtime_fraction: Some(runtime_fraction(&mirror.share)),
        // A copy is no part of the caller's trace.
        trace_sampled: Some(boolean(false)),
        disable_shadow_host_suffix_append: mirror.host == MirrorHost::Keep,
        host_rewrite_literal,
        request_headers_mutations: mutations(&mirror.headers)
            .into_iter()
            .chain(mirror.mark.as_deref().map(marks).unwrap_or_default())
            .collect(),
        ..Default::default()
    }
}

/// Envoy makes them one after the other: what is given stands, though it is among what is taken away.
fn mutations(changes: &HeaderChanges) -> Vec<HeaderMutation> {
    let remove = changes.remove.iter().cloned().map(Action::Remove);
    let append = to_add(changes).into_iter().map(Action::Append);
    remove.chain(append).map(|action| HeaderMutation { action: Some(action) }).collect()
}

/// Always of a million: Envoy chooses a weighted destination by the same number, often modulo a hundred.
fn runtime_fraction(share: &MirrorShare) -> RuntimeFractionalPercent {
    let (fraction, key) = match share {
        // Nothing is copied before the runtime layer says so.
        MirrorShare::Runtime(key) => (RuntimeFraction::NONE, key.as_str()),
        MirrorShare::Fixed(fraction) => (*fraction, ""),
    };
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: fraction.millionths(),
            denominator: DenominatorType::Million.into(),
        }),
        runtime_key: key.to_owned(),
    }
}
