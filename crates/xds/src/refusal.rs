//! What a NACK is about.
//!
//! A NACK answers a whole response, and Envoy loses good resources along with a bad one: all of them when a message
//! breaks a rule of its fields, otherwise route tables and assignments that it had not come to (measured on 1.40).
//! Its words mostly name the resource at fault. Then the others were not judged, and are worth another response;
//! each version once, so that nothing can go round in circles.

use std::sync::Arc;

use crate::flight::Items;
use crate::held::{Held, NackInfo};
use crate::resource::ResourceType;

impl NackInfo {
    /// Which names the words blame. Envoy adds the clusters and listeners of a response one by one, keeps the good
    /// ones and names the others (`CdsApiHelper::onConfigUpdate`, `LdsApiImpl::onConfigUpdate`). Any other words
    /// blame all.
    pub(crate) fn blames(&self, ty: ResourceType) -> impl Fn(&str) -> bool + use<> {
        let said = match ty {
            ResourceType::Cluster => self.message.strip_prefix("Error adding/updating cluster(s)"),
            ResourceType::Listener => self.message.strip_prefix("Error adding/updating listener(s)"),
            _ => None,
        };
        let is_named = |said: &str, name: &str| {
            let begins = |(at, _): (usize, &str)| said[..at].ends_with([' ', '\n']);
            said.match_indices(&format!("{name}: ")).any(begins)
        };
        let said = said.filter(|said| !said.ends_with("(truncated)"));
        let said = said.filter(|said| self.resources.iter().any(|(name, _)| is_named(said, name)));
        let said = said.map(str::to_owned);
        move |name| said.as_ref().is_none_or(|said| is_named(said, name))
    }
}

/// Divides what was refused by the last NACK: what stays refused, and what is to be sent once more.
pub(crate) fn divide(held: &Held, ty: ResourceType, items: Items) -> (Items, Items) {
    let Some(nack) = &held.last_nack else { return (items, Items::new()) };
    let blames = nack.blames(ty);
    if items.keys().any(|name| !blames(name)) {
        // The proxy has the others.
        return (items, Items::new());
    }
    let (at_fault, others): (Items, Items) =
        items.into_iter().partition(|(name, _)| names(&nack.message, name));
    if at_fault.is_empty() {
        return (others, Items::new());
    }
    let (again, gave_up): (Items, Items) = others.into_iter().partition(|(name, content)| {
        let version = content.as_ref().map(|it| &it.version);
        held.subscription.watches(name) && held.repeated.get(name).map(Option::as_ref) != Some(version)
    });
    (at_fault.into_iter().chain(gave_up).collect(), again)
}

/// Whether the words name a resource, and not merely one whose name has this one in it.
fn names(words: &str, name: &Arc<str>) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '|');
    !name.is_empty()
        && words.match_indices(&**name).any(|(at, _)| {
            let (before, after) = (&words[..at], &words[at + name.len()..]);
            !before.ends_with(goes_on) && !after.starts_with(goes_on)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_resource_as_envoy_does() {
        let cluster = "outbound|8000||a.default.svc.cluster.local";
        for (words, name, expected) in [
            ("Error adding/updating cluster(s) a: malformed IP address: x", "a", true),
            (
                "Error adding/updating cluster(s) mirror|80||b: x, outbound|8000||a.default.svc.cluster.local: y",
                cluster,
                true,
            ),
            ("name: \"8000\"\nvirtual_hosts {", "8000", true),
            ("Only a single wildcard domain is permitted in route c", "c", true),
            ("port_value: 80801", "8080", false),
            ("cluster_name: \"outbound|8000||a.default.svc.cluster.local.example.com\"", cluster, false),
            ("malformed IP address: not-an-ip", "an", false),
            ("no", "a", false),
            ("anything", "", false),
        ] {
            assert_eq!(names(words, &name.into()), expected, "{name} in {words}");
        }
    }

    #[test]
    fn whom_a_refusal_blames() {
        use ResourceType::{Cluster, Endpoint, Listener, Route};
        let long = "Error adding/updating cluster(s) a: no...(truncated)";
        for (ty, words, blamed) in [
            (Cluster, "Error adding/updating cluster(s) a: Invalid path: /x", "a"),
            (Cluster, "Error adding/updating cluster(s) a: no, c|80||c: no", "a c|80||c"),
            (Cluster, "Error adding/updating cluster(s) xa: no, b: no", "b"),
            (Cluster, "Error adding/updating cluster(s) d: no", "a b c|80||c"),
            (Cluster, "no such field", "a b c|80||c"),
            (Cluster, long, "a b c|80||c"),
            (Listener, "Error adding/updating listener(s) a: in use\nb: in use\n", "a b"),
            (Route, "Error adding/updating cluster(s) a: no", "a b c|80||c"),
            (Endpoint, "a: no", "a b c|80||c"),
        ] {
            let names = ["a", "b", "c|80||c"];
            let resources = names.map(|name| (Arc::from(name), None)).to_vec();
            let blames = NackInfo { message: words.to_owned(), resources, generation: 1 }.blames(ty);
            let got: Vec<_> = names.into_iter().filter(|name| blames(name)).collect();
            assert_eq!(got.join(" "), blamed, "{words}");
        }
    }
}
