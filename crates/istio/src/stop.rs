//! The annotation that stops mirrors (docs/decisions/0030): their fractions become 0 and everything else stays, so that it is a
//! change of the runtime layer alone.

use umbra_api::VirtualService;
use umbra_ir::RuntimeKey;

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

    /// Whether it stops a mirror of a rule of this name.
    pub fn stops(self, rule: &str, key: &RuntimeKey) -> bool {
        self.stops_all() || self.named().any(|name| is(name, rule, key))
    }

    /// What it names although there is no such mirror.
    pub(crate) fn unknown<'m>(
        self,
        mirrors: impl Iterator<Item = (&'m str, &'m RuntimeKey)> + Clone,
    ) -> Vec<&'a str> {
        let known = |name: &str| name == ALL || mirrors.clone().any(|(rule, key)| is(name, rule, key));
        self.named().filter(|name| !known(name)).collect()
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
        let left: Vec<&str> = self.named().filter(|name| !names.contains(name)).collect();
        Ok((!left.is_empty()).then(|| left.join(",")))
    }
}

fn is(name: &str, rule: &str, key: &RuntimeKey) -> bool {
    name == rule || name == key.as_str()
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
        let [one, two] = [&keys[0], &keys[1]].map(|(rule, key)| stop.stops(rule, key));
        assert_eq!((one, two), want, "{annotation:?}");
        assert_eq!(stop.unknown(keys.iter().map(|(rule, key)| (*rule, key))), unknown, "{annotation:?}");
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
    }

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
        ] {
            let stop = Stop::parse(annotation);
            assert_eq!((stop.and(names).as_str(), stop.but(names)), (more, less), "{annotation:?} {names:?}");
        }
    }
}
