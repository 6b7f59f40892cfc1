//! Delegates: rules that a VirtualService takes from another one (istio `MergeHTTPRoutes`).
//!
//! What is merged is what is written, after hosts and gateways got their full names, each in the namespace of the object
//! that says them. What comes out is read as any other rule.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_api::{Delegate, HttpMatch, HttpRoute, Object, Objects, StringMatch, VirtualService, size};
use umbra_ir::budget::DELEGATED;
use umbra_ir::{GatewayRef, Kind, ObjectId, Visibility};

use crate::names::{resolve_gateway, resolve_spelling};

/// How many matches the rules of one VirtualService may get by delegation: each of the root's is combined with each of
/// the delegate's, and that must not become the square of what an author can write.
const MAX_MATCHES: usize = 10_000;

/// What may be merged yet.
struct Left {
    matches: usize,
    size: usize,
}

impl Left {
    /// Takes what a pair of rules comes to, before it is made. Nothing fits any more after one that did not.
    fn take(&mut self, root: &HttpRoute, root_size: usize, own: &HttpRoute) -> Result<(), Dropped> {
        let (of_root, of_own) = (root.matches.len().max(1), own.matches.len().max(1));
        let fits = self.matches.checked_sub(of_root.saturating_mul(of_own)).and_then(|matches| {
            let size = root_size.saturating_mul(of_own).saturating_add(size(own).saturating_mul(of_root));
            Some(Left { matches, size: self.size.checked_sub(size)? })
        });
        let full = fits.is_none();
        *self = fits.unwrap_or(Left { matches: 0, size: 0 });
        if full { Err(Dropped::TooMany) } else { Ok(()) }
    }
}

/// A rule as it is served.
pub(crate) struct ServedRule<'a> {
    /// As written, or merged from both.
    pub(crate) rule: Cow<'a, HttpRoute>,
    /// Its index in the VirtualService's `spec.http`.
    pub(crate) index: usize,
    /// What a delegate has to do with it.
    pub(crate) part: Option<DelegatePart>,
}

/// The part of a rule that stands in a delegate.
pub(crate) struct DelegatePart {
    /// The delegate.
    pub(crate) id: ObjectId,
    /// The index in its `spec.http`.
    pub(crate) index: usize,
    /// Whether `mirror` is its own, not the root's.
    pub(crate) mirror: bool,
    /// Whether `mirrors` are.
    pub(crate) mirrors: bool,
}

impl ServedRule<'_> {
    /// Its path, for diagnostics: `spec.http[0]`, or `spec.http[0].delegate.http[1]`.
    pub(crate) fn field(&self) -> String {
        match &self.part {
            None => format!("spec.http[{}]", self.index),
            Some(part) => format!("spec.http[{}].delegate.http[{}]", self.index, part.index),
        }
    }
}

/// What becomes of one entry of `spec.http`.
pub(crate) enum Taken<'a> {
    /// It is a rule of its own.
    Own(&'a HttpRoute),
    /// It delegates: to whom, and each rule of that one, or why none.
    Delegated(ObjectId, Result<Vec<Merged>, Missing>),
}

/// One rule of a delegate.
pub(crate) struct Merged {
    /// Its index in the delegate's `spec.http`.
    pub(crate) index: usize,
    /// With the root's part, or why it is left out; and which mirrors are its own.
    pub(crate) rule: Result<(HttpRoute, bool, bool), Dropped>,
}

/// Why a rule that delegates is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// There is no such VirtualService.
    NotFound,
    /// It has hosts, so its rules are for those.
    HasHosts,
    /// Its `exportTo` does not name the root's namespace.
    NotExported,
}

/// Why a rule of a delegate is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    /// It delegates, too.
    Nested,
    /// One of its matches is narrower than none of the root's.
    Conflict,
    /// Too much came before. What comes after it in the delegate is left out, too, and is not listed.
    TooMany,
}

/// Whom a rule of an object in `namespace` delegates to.
fn delegate_id(written: &Delegate, namespace: &Arc<str>) -> ObjectId {
    let namespace = match written.namespace.as_str() {
        "" => namespace.clone(),
        other => other.into(),
    };
    ObjectId::new(Kind::VirtualService, namespace, written.name.as_str())
}

/// Whom the rules of a VirtualService delegate to.
pub fn select_delegates(vs: &VirtualService) -> BTreeSet<ObjectId> {
    list_delegates(vs).collect()
}

/// The same, once for each rule that does.
pub fn list_delegates(vs: &VirtualService) -> impl Iterator<Item = ObjectId> {
    let written = vs.spec.http.iter().filter_map(|rule| rule.delegate.as_ref());
    written.map(|delegate| delegate_id(delegate, &vs.meta.namespace))
}

/// The rules of a VirtualService that has hosts, those of its delegates in the place of the rules that name them.
pub(crate) fn served_rules<'a>(
    objects: &impl Objects,
    vs: &'a VirtualService,
    domain: &str,
) -> Vec<ServedRule<'a>> {
    let mut served = Vec::new();
    for (index, taken) in take_rules(objects, vs, domain).into_iter().enumerate() {
        match taken {
            Taken::Own(rule) => served.push(ServedRule { rule: Cow::Borrowed(rule), index, part: None }),
            Taken::Delegated(id, rules) => {
                for merged in rules.unwrap_or_default() {
                    let Ok((rule, mirror, mirrors)) = merged.rule else { continue };
                    let part = DelegatePart { id: id.clone(), index: merged.index, mirror, mirrors };
                    served.push(ServedRule { rule: Cow::Owned(rule), index, part: Some(part) });
                }
            }
        }
    }
    served
}

/// What becomes of each entry of `spec.http`.
pub(crate) fn take_rules<'a>(objects: &impl Objects, vs: &'a VirtualService, domain: &str) -> Vec<Taken<'a>> {
    let namespace = &vs.meta.namespace;
    let mut left = Left { matches: MAX_MATCHES, size: DELEGATED };
    let mut take = |written: &'a HttpRoute| {
        let Some(delegate) = &written.delegate else { return Taken::Own(written) };
        let id = delegate_id(delegate, namespace);
        let rules = find(objects, &id, namespace).map(|found| {
            let mut root = written.clone();
            name_in_full(&mut root, namespace, domain);
            let root_size = size(&root);
            let mut rules = Vec::new();
            for (index, own) in written_rules(&found).iter().enumerate() {
                let rule = left.take(&root, root_size, own).and_then(|()| {
                    let mut own = own.clone();
                    name_in_full(&mut own, &id.namespace, domain);
                    merge_rule(&root, own)
                });
                let full = matches!(rule, Err(Dropped::TooMany));
                rules.push(Merged { index, rule });
                if full {
                    break;
                }
            }
            rules
        });
        Taken::Delegated(id, rules)
    };
    vs.spec.http.iter().map(&mut take).collect()
}

/// The delegate, if a VirtualService of `namespace` may take its rules.
fn find(objects: &impl Objects, id: &ObjectId, namespace: &Arc<str>) -> Result<Arc<Object>, Missing> {
    let object = objects.object(id).ok_or(Missing::NotFound)?;
    let Object::VirtualService(found) = &*object else { return Err(Missing::NotFound) };
    if !found.spec.hosts.is_empty() {
        return Err(Missing::HasHosts);
    }
    let exported = found.spec.export_to.iter().map(String::as_str);
    if !Visibility::resolve(exported, &found.meta.namespace).covers(namespace) {
        return Err(Missing::NotExported);
    }
    Ok(object)
}

/// The rules of what [`find`] found.
fn written_rules(object: &Object) -> &[HttpRoute] {
    match object {
        Object::VirtualService(found) => &found.spec.http,
        _ => &[],
    }
}

/// Gives hosts and gateways the names that they have everywhere.
fn name_in_full(rule: &mut HttpRoute, namespace: &Arc<str>, domain: &str) {
    let destinations = rule.route.iter_mut().filter_map(|entry| entry.destination.as_mut());
    let mirrors = rule.mirrors.iter_mut().filter_map(|entry| entry.destination.as_mut());
    for destination in destinations.chain(rule.mirror.as_mut()).chain(mirrors) {
        destination.host = resolve_spelling(&destination.host, namespace, domain);
    }
    for gateway in rule.matches.iter_mut().flat_map(|condition| &mut condition.gateways) {
        if let GatewayRef::Named(id) = resolve_gateway(gateway, namespace) {
            *gateway = format!("{}/{}", id.namespace, id.name);
        }
    }
}

/// A delegate's rule with what the root adds: each field on its own is the delegate's if it has it, else the root's.
fn merge_rule(root: &HttpRoute, mut own: HttpRoute) -> Result<(HttpRoute, bool, bool), Dropped> {
    if own.delegate.is_some() {
        return Err(Dropped::Nested);
    }
    own.matches = merge_matches(&root.matches, own.matches).ok_or(Dropped::Conflict)?;
    own.name = join_names(&root.name, own.name);
    let (mirror, mirrors) = (own.mirror.is_some(), !own.mirrors.is_empty());
    if own.mirrors.is_empty() {
        own.mirrors.clone_from(&root.mirrors);
    }
    macro_rules! inherit {
        ($($field:ident),*) => {$( own.$field = own.$field.or_else(|| root.$field.clone()); )*};
    }
    inherit!(rewrite, direct_response, timeout, retries, fault, mirror, mirror_percent, mirror_percentage);
    inherit!(cors_policy, headers);
    Ok((own, mirror, mirrors))
}

fn join_names(root: &str, own: String) -> String {
    match (root, own.as_str()) {
        (root, "") => root.to_owned(),
        ("", _) => own,
        (root, own) => format!("{root}-{own}"),
    }
}

/// Every pair that agrees. `None`: one of the delegate's agrees with none of the root's.
fn merge_matches(root: &[HttpMatch], own: Vec<HttpMatch>) -> Option<Vec<HttpMatch>> {
    if root.is_empty() {
        return Some(own);
    }
    if own.is_empty() {
        return Some(root.to_vec());
    }
    let mut merged = Vec::new();
    for leaf in &own {
        let agreeing = root.iter().filter(|root| !has_conflict(root, leaf));
        let before = merged.len();
        merged.extend(agreeing.map(|root| merge_match(root, leaf)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn merge_match(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let text = |leaf: &Option<StringMatch>, root: &Option<StringMatch>| leaf.clone().or_else(|| root.clone());
    let word = |leaf: &String, root: &String| if leaf.is_empty() { root.clone() } else { leaf.clone() };
    HttpMatch {
        name: join_names(&root.name, leaf.name.clone()),
        uri: text(&leaf.uri, &root.uri),
        scheme: text(&leaf.scheme, &root.scheme),
        method: text(&leaf.method, &root.method),
        authority: text(&leaf.authority, &root.authority),
        headers: both(&root.headers, &leaf.headers),
        port: if leaf.port == 0 { root.port } else { leaf.port },
        source_labels: both(&root.source_labels, &leaf.source_labels),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
        query_params: both(&root.query_params, &leaf.query_params),
        ignore_uri_case: leaf.ignore_uri_case,
        without_headers: both(&root.without_headers, &leaf.without_headers),
        source_namespace: word(&leaf.source_namespace, &root.source_namespace),
        stat_prefix: word(&leaf.stat_prefix, &root.stat_prefix),
    }
}

/// Of both; the delegate's value where both have the key.
fn both<V: Clone>(root: &BTreeMap<String, V>, leaf: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    let entries = root.iter().chain(leaf);
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether a delegate's match asks for something that the root's does not admit.
fn has_conflict(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let maps = [
        (&root.headers, &leaf.headers),
        (&root.without_headers, &leaf.without_headers),
        (&root.query_params, &leaf.query_params),
    ];
    let maps_conflict = |(root, leaf): &(&BTreeMap<_, _>, &BTreeMap<_, _>)| {
        leaf.iter().any(|(key, value)| text_conflicts(root.get(key), Some(value)))
    };
    let labels = |(key, value): (&String, &String)| root.source_labels.get(key).is_some_and(|v| v != value);
    let gateways = || {
        let admitted: BTreeSet<_> = root.gateways.iter().collect();
        !admitted.is_empty() && leaf.gateways.iter().any(|gateway| !admitted.contains(gateway))
    };
    texts.iter().any(|(root, leaf)| text_conflicts(root.as_ref(), leaf.as_ref()))
        || maps.iter().any(maps_conflict)
        || root.ignore_uri_case != leaf.ignore_uri_case
        || (root.port != 0 && leaf.port != 0 && root.port != leaf.port)
        || (!root.source_namespace.is_empty() && root.source_namespace != leaf.source_namespace)
        || leaf.source_labels.iter().any(labels)
        || gateways()
}

/// Whether the delegate's condition is not plainly as narrow as the root's; of patterns nobody knows.
fn text_conflicts(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> bool {
    let (Some(root), Some(leaf)) = (root, leaf) else { return false };
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root != leaf,
        (StringMatch::Prefix(root), StringMatch::Exact(leaf) | StringMatch::Prefix(leaf)) => {
            !leaf.starts_with(root.as_str())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &str, text: &str) -> Option<StringMatch> {
        match kind {
            "exact" => Some(StringMatch::Exact(text.to_owned())),
            "prefix" => Some(StringMatch::Prefix(text.to_owned())),
            "regex" => Some(StringMatch::Regex(text.to_owned())),
            "any" => Some(StringMatch::Present),
            _ => None,
        }
    }

    #[test]
    fn narrower_texts() {
        for (root, leaf, conflict) in [
            (("", ""), ("regex", "a"), false),
            (("regex", "a"), ("", ""), false),
            (("exact", "/a"), ("exact", "/a"), false),
            (("exact", "/a"), ("exact", "/b"), true),
            (("exact", "/a"), ("prefix", "/a"), true),
            (("prefix", "/a"), ("exact", "/ab"), false),
            (("prefix", "/a"), ("prefix", "/a"), false),
            (("prefix", "/a/"), ("prefix", "/a"), true),
            (("prefix", "/a"), ("regex", "/a/.*"), true),
            (("regex", ".*"), ("exact", "/a"), true),
            (("regex", ".*"), ("regex", ".*"), true),
            (("prefix", "/a"), ("any", ""), true),
            (("any", ""), ("exact", "a"), true),
        ] {
            let (root_match, leaf_match) = (text(root.0, root.1), text(leaf.0, leaf.1));
            assert_eq!(
                text_conflicts(root_match.as_ref(), leaf_match.as_ref()),
                conflict,
                "{root:?} {leaf:?}"
            );
        }
    }

    #[test]
    fn matches_are_combined() {
        let uri = |kind, value| HttpMatch { uri: text(kind, value), ..HttpMatch::default() };
        let port = |port| HttpMatch { port, ..HttpMatch::default() };
        let source =
            |namespace: &str| HttpMatch { source_namespace: namespace.into(), ..HttpMatch::default() };
        for (what, root, own, want) in [
            ("the root asks nothing", vec![], vec![port(1)], Some(1)),
            ("the delegate asks nothing", vec![port(1), port(2)], vec![], Some(2)),
            ("every pair that agrees", vec![uri("prefix", "/"), port(1)], vec![uri("exact", "/a")], Some(2)),
            (
                "one has no partner",
                vec![uri("prefix", "/a")],
                vec![uri("exact", "/a"), uri("exact", "/b")],
                None,
            ),
            ("ports", vec![port(1)], vec![port(2)], None),
            ("the root names a namespace", vec![source("a")], vec![port(1)], None),
            ("the delegate does", vec![port(1)], vec![source("a")], Some(1)),
        ] {
            assert_eq!(merge_matches(&root, own).map(|merged| merged.len()), want, "{what}");
        }
    }
}
