//! Header changes of a route or a weighted cluster.

use umbra_ir::HeaderChanges;
use umbra_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// Overwriting changes first, then appending ones, each in the given order.
pub(crate) fn to_add(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    let set = changes.set.iter().map(|pair| option(pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = changes.add.iter().map(|pair| option(pair, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

fn option((key, value): &(String, String), action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.clone(), value: value.clone(), ..Default::default() }),
        append_action: action.into(),
        ..Default::default()
    }
}
