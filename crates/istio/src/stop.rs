//! The annotation that stops mirrors (docs/decisions/0030): their fractions become 0 and everything else stays, so that it is a
//! change of the runtime layer alone.

use std::collections::{BTreeMap, BTreeSet};

use umbra_api::VirtualService;
use umbra_ir::RuntimeKey;

use crate::names::escape;

/// On a VirtualService: `all` (or nothing), or names of its `http` entries and runtime keys of its mirrors, separated by commas.
pub const STOP: &str = "umbra.io/stop";
/// Stops all.
const ALL: &str = "all";

/// Which mirrors of a VirtualService are stopped.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a>(Option<&'a str>);

/// Everything is stopped, and only a part was to go on: what the rest is, nobody has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StopsAll;

impl<'a> Stop<'a> {
    /// What the annotation says; `None`: it is not there.
    pub fn parse(annotation: Option<&'a str>) -> Self {
        Stop(annotation)
    }

    /// What a VirtualService's annotation says.
    pub(crate) fn of(vs: &'a VirtualService) -> Self {
        Stop(vs.meta.annotations.get(STOP).map(String::as_str))
    }

    fn named(self) -> impl Iterator<Item = &'a str> {
        self.0.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty())
    }

    /// Whether it stops everything: somebody in a hurry says no more than that.
    pub fn stops_all(self) -> bool {
        self.0.is_some() && (self.named().next().is_none() || self.named().any(|name| name == ALL))
    }

    /// Whether nothing is stopped.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_none()
    }

    /// Whether it stops all that `other` names.
    pub fn covers(self, other: Stop<'_>) -> bool {
        let names = |name: &str| self.named().any(|own| own == name);
        self.stops_all() || !other.stops_all() && other.named().all(names)
    }

    /// The name that stops each of a VirtualService's mirrors (name of the rule, key), which are all that it has; `None`: it goes on.
    ///
    /// A key that no mirror has any longer is that of one whose rule was edited, since umbra writes keys and nobody else does: it
    /// stops every mirror with the same target, for a stop is taken back by somebody, and never by an edit.
    pub fn stopped(self, mirrors: &[(&str, &RuntimeKey)]) -> Vec<Option<&'a str>> {
        if self.stops_all() {
            return vec![Some(ALL); mirrors.len()];
        }
        let named: BTreeMap<&str, &'a str> = self.named().map(|name| (name, name)).collect();
        let unknown = self.unknown(mirrors).into_iter();
        let lost: BTreeMap<&str, &'a str> =
            unknown.filter_map(|(name, same)| Some((target(name).filter(|_| same)?, name))).collect();
        let by = |(rule, key): &(&str, &RuntimeKey)| -> Option<&'a str> {
            let known = named.get(rule).or_else(|| named.get(key.as_str()));
            known.or_else(|| lost.get(target(key.as_str())?)).copied()
        };
        mirrors.iter().map(by).collect()
    }

    /// What it names although there is no such mirror, and whether it stops others with the same target. Either may be thousands.
    pub(crate) fn unknown(self, mirrors: &[(&str, &RuntimeKey)]) -> Vec<(&'a str, bool)> {
        let known: BTreeSet<&str> = mirrors.iter().flat_map(|(rule, key)| [*rule, key.as_str()]).collect();
        let targets: BTreeSet<&str> = mirrors.iter().filter_map(|(_, key)| target(key.as_str())).collect();
        let unknown = self.named().filter(|name| *name != ALL && !known.contains(name));
        unknown.map(|name| (name, target(name).is_some_and(|it| targets.contains(it)))).collect()
    }

    /// The annotation that stops these names (of rules, or runtime keys) as well; of none: everything.
    pub fn and(self, names: &[&str]) -> String {
        if names.is_empty() || self.stops_all() {
            return ALL.to_owned();
        }
        let mut all: Vec<&str> = self.named().collect();
        for name in names {
            if !all.contains(name) {
                all.push(name);
            }
        }
        all.join(",")
    }

    /// The annotation that lets these names go on; of none: everything. `None`: it is not needed any longer.
    ///
    /// # Errors
    /// It stops everything, and not everything is to go on.
    pub fn but(self, names: &[&str]) -> Result<Option<String>, StopsAll> {
        if names.is_empty() {
            return Ok(None);
        }
        if self.stops_all() {
            return Err(StopsAll);
        }
        let written = |name: &str| self.named().any(|other| other == name);
        let goes = |name: &str| {
            names.iter().any(|wanted| {
                *wanted == name
                    || rule_of(name).is_some_and(|rule| rule == escape(wanted))
                    // Nothing names it, so that the key of an edited rule is what stops it.
                    || !written(wanted) && target(wanted).is_some() && target(wanted) == target(name)
            })
        };
        let left: Vec<&str> = self.named().filter(|name| !goes(name)).collect();
        Ok((!left.is_empty()).then(|| left.join(",")))
    }
}

/// Subset and host of a runtime key, `mirror/NAMESPACE/NAME/RULE/PORT|SUBSET|HOST`; `None`: it is none.
fn target(name: &str) -> Option<&str> {
    let target = name.strip_prefix("mirror/")?.splitn(4, '/').nth(3)?;
    let (_, target) = target.split_once('|')?;
    // Behind a host: which of several that are the same.
    Some(target.split_once('/').map_or(target, |(target, _)| target))
}

/// The rule of a runtime key, as the key has it.
fn rule_of(name: &str) -> Option<&str> {
    target(name)?;
    name.split('/').nth(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stopped of the mirrors `canary` and `rest`, and what is not understood.
    #[track_caller]
    fn check(annotation: Option<&str>, want: (bool, bool), unknown: &[&str]) {
        let text =
            annotation.map_or(String::new(), |text| format!("annotations: {{umbra.io/stop: \"{text}\"}}"));
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: web\n  {text}\nspec: {{hosts: [web]}}\n"
        );
        let parsed = umbra_api::parse_documents(&text, "a.yaml").objects.remove(0).value;
        let umbra_api::Object::VirtualService(vs) = parsed else { panic!("{text}") };
        let stop = Stop::of(&vs);
        let keys = ["canary", "rest"]
            .map(|rule| (rule, RuntimeKey::new(format!("mirror/default/web/{rule}/|v2|web"))));
        let mirrors = [0, 1].map(|n| (keys[n].0, &keys[n].1));
        let [one, two] = stop.stopped(&mirrors)[..] else { panic!("two") };
        assert_eq!((one.is_some(), two.is_some()), want, "{annotation:?}");
        let said: Vec<&str> = stop.unknown(&mirrors).into_iter().map(|(name, _)| name).collect();
        assert_eq!(said, unknown, "{annotation:?}");
    }

    #[test]
    fn what_is_stopped() {
        check(None, (false, false), &[]);
        check(Some("all"), (true, true), &[]);
        check(Some(""), (true, true), &[]);
        check(Some(" , "), (true, true), &[]);
        check(Some("canary"), (true, false), &[]);
        check(Some("rest, canary"), (true, true), &[]);
        check(Some("mirror/default/web/rest/|v2|web"), (false, true), &[]);
        check(Some("canery,rest"), (false, true), &["canery"]);
        check(Some("false"), (false, false), &["false"]);
        // Of a rule that was renamed, or whose mirror was given a port.
        let lost = "mirror/default/web/before/|v2|web";
        check(Some(lost), (true, true), &[lost]);
        let lost = "mirror/default/web/canary/80|v2|web/2";
        check(Some(lost), (true, true), &[lost]);
        for other in ["mirror/default/web/canary/|v3|web", "mirror/default/web/canary/|v2|api", "mirror/x"] {
            check(Some(other), (false, false), &[other]);
        }
    }

    const KEY: &str = "mirror/default/web/canary/|v2|web";

    #[test]
    fn what_is_written_to_stop_and_to_go_on() {
        for (annotation, names, more, less) in [
            (None, &[][..], "all", Ok(None)),
            (None, &["canary"], "canary", Ok(None)),
            (Some("rest"), &["canary", "rest"], "rest,canary", Ok(None)),
            (Some("rest, canary"), &["canary"], "rest,canary", Ok(Some("rest".to_owned()))),
            (Some("rest"), &[], "all", Ok(None)),
            (Some("all"), &["canary"], "all", Err(StopsAll)),
            (Some(""), &["canary"], "all", Err(StopsAll)),
            (Some("all"), &[], "all", Ok(None)),
            (Some(KEY), &["canary"], "mirror/default/web/canary/|v2|web,canary", Ok(None)),
            (Some(KEY), &[KEY], KEY, Ok(None)),
            (Some(KEY), &["rest"], "mirror/default/web/canary/|v2|web,rest", Ok(Some(KEY.to_owned()))),
            (
                Some(KEY),
                &["mirror/default/web/now/80|v2|web"],
                "mirror/default/web/canary/|v2|web,mirror/default/web/now/80|v2|web",
                Ok(None),
            ),
            (
                Some(KEY),
                &["mirror/default/web/now/|v3|web"],
                "mirror/default/web/canary/|v2|web,mirror/default/web/now/|v3|web",
                Ok(Some(KEY.to_owned())),
            ),
        ] {
            let stop = Stop::parse(annotation);
            assert_eq!((stop.and(names).as_str(), stop.but(names)), (more, less), "{annotation:?} {names:?}");
        }
    }
}
