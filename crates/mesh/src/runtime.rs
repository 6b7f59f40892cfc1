//! The runtime layer of a class.

use std::collections::BTreeMap;

use umbra_ir::{ProxyClass, RouteSource, RuntimeFraction, RuntimeKey};

use crate::view::View;

/// The fractions of every mirror that the class's routes hold.
pub fn bind_runtime(view: &dyn View, class: &ProxyClass) -> BTreeMap<RuntimeKey, RuntimeFraction> {
    let mut layer = BTreeMap::new();
    for source in view.scope(class).sources() {
        let RouteSource::Rules(vs, _) = source else { continue };
        let refs = view.refs(source);
        if refs.keys.is_empty() {
            continue;
        }
        let Some(shares) = view.shares(vs) else { continue };
        layer.extend(refs.keys.iter().filter_map(|key| Some((key.clone(), *shares.0.get(key)?))));
    }
    layer
}
