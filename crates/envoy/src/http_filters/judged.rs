//! Says of a request that it is judged (`envoy.extensions.filters.http.header_to_metadata.v3.Config`), so that the log of judged requests
//! has to look into a table only, where an expression over the route's name takes microseconds of every request: off, where no route
//! switches it on.

use umbra_proto::envoy::extensions::filters::http::header_to_metadata::v3::{
    Config,
    config::{KeyValuePair, Rule},
};
use umbra_proto::pack_any;

use super::HttpFilter;
use crate::judged::{JUDGED_FIELD, JUDGED_METADATA};

pub(super) const FILTER: HttpFilter = HttpFilter {
    name: "envoy.filters.http.header_to_metadata",
    disabled: true,
    config: |listener, _| listener.judges.any().then(|| pack_any(&Config::default())),
    per_route: |route| {
        let said = KeyValuePair {
            metadata_namespace: JUDGED_METADATA.to_owned(),
            key: JUDGED_FIELD.to_owned(),
            value: "1".to_owned(),
            ..Default::default()
        };
        // A header that each request has: the value above is said instead of its own.
        let rule = Rule { header: ":method".to_owned(), on_header_present: Some(said), ..Default::default() };
        let on = Config { request_rules: vec![rule], ..Default::default() };
        route.judged.as_ref().map(|_| pack_any(&on))
    },
};
