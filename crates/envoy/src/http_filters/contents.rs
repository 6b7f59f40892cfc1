//! What a judge sees of judged requests (`contents.rs` of this crate): off, where no route switches it on.

use umbra_proto::envoy::extensions::filters::http::ext_proc::v3::{
    ExtProcOverrides, ExtProcPerRoute, ext_proc_per_route::Override,
};
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::contents::{NAME, PRIMARY, processor};

/// In a listener: behind all other filters, so that it sees what came and not what they made of it, as on the way of copies.
pub(super) const FILTER: HttpFilter = HttpFilter {
    name: NAME,
    disabled: true,
    config: |listener, _| listener.judges.sees_bodies().then(|| pack_any(&processor(PRIMARY))),
    per_route: |route| {
        let on = ExtProcPerRoute { r#override: Some(Override::Overrides(ExtProcOverrides::default())) };
        route.compares_contents().then(|| pack_any(&on))
    },
};
