//! The annotation that stops mirrors (docs/decisions/0030): their fractions become 0 and everything else stays, so that it is a
//! change of the runtime layer alone.

use umbra_api::VirtualService;
use umbra_ir::RuntimeKey;

/// On a VirtualService: `all` (or nothing), or names of its `http` entries and runtime keys of its mirrors, separated by commas.
pub(crate) const STOP: &str = "umbra.io/stop";

/// Which mirrors of a VirtualService are stopped.
pub(crate) struct Stop<'a> {
    all: bool,
    named: Vec<&'a str>,
}

impl<'a> Stop<'a> {
    /// What the annotation says.
    pub(crate) fn of(vs: &'a VirtualService) -> Self {
        let Some(text) = vs.meta.annotations.get(STOP) else { return Stop { all: false, named: Vec::new() } };
        let named: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        // Somebody in a hurry says no more than that.
        Stop { all: named.is_empty() || named.contains(&"all"), named }
    }

    /// Whether nothing is stopped.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.named.is_empty()
    }

    /// Whether it stops a mirror.
    pub(crate) fn stops(&self, rule: &str, key: &RuntimeKey) -> bool {
        self.all || self.named.iter().any(|name| is(name, rule, key))
    }

    /// What it names although there is no such mirror.
    pub(crate) fn unknown<'m>(
        &self,
        mirrors: impl Iterator<Item = (&'m str, &'m RuntimeKey)> + Clone,
    ) -> Vec<&'a str> {
        let known = |name: &str| name == "all" || mirrors.clone().any(|(rule, key)| is(name, rule, key));
        self.named.iter().copied().filter(|name| !known(name)).collect()
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
}
