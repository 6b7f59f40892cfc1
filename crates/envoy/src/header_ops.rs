//! Header changes of a route or a weighted cluster.

use umbra_ir::{HeaderChanges, HeaderValue};
use umbra_proto::envoy::config::core::v3::{
    self as core, HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// Envoy makes the changes one after the other, so their order is kept.
pub(crate) fn to_add(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    changes.values.iter().map(option).collect()
}

fn option(value: &HeaderValue) -> HeaderValueOption {
    let action = if value.append {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    HeaderValueOption {
        header: Some(core::HeaderValue {
            key: value.name.clone(),
            value: value.value.clone(),
            ..Default::default()
        }),
        append_action: action.into(),
        ..Default::default()
    }
}
