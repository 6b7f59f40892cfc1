//! Where rules stand, for people.

use std::collections::BTreeMap;

use umbra_engine::WrittenRule;
use umbra_explain::Written;
use umbra_ir::ObjectId;
use umbra_source::Place;

/// The place of a rule, with file and line where its object stands in a file.
pub(crate) fn written(rule: &WrittenRule, places: &BTreeMap<ObjectId, Place>) -> Written {
    let place = places.get(&rule.object);
    Written {
        object: rule.object.to_string(),
        rule: rule.field.clone(),
        through: rule.root.as_ref().map(ToString::to_string),
        file: place.map(|place| place.file.to_string()),
        line: place.and_then(|place| place.locate(&rule.field)).map(|(line, _)| line),
    }
}
