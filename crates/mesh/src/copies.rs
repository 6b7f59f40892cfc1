//! Which requests mirrors copy, where a MirrorPolicy says: Envoy's mirrors have no conditions of their own, so that the routes
//! have them (docs/decisions/0050).

use std::collections::BTreeMap;
use std::sync::Arc;

use umbra_ir::{
    Code, CopiedRequests, Diagnostic, Forward, HeaderChanges, HeaderMatch, HeaderOps, HeaderValue,
    MARK_HEADER, Mirror, MirrorPlace, MirrorRule, MirrorTerms, ObjectId, Route, RouteAction, Rule,
    RuleAction, Settings, TextMatch,
};

/// The header by which a request asks for another protocol.
const UPGRADE: &str = "upgrade";
/// The pseudo header that is a request's method.
const METHOD: &str = ":method";

/// The routes that one comes to whose mirrors do not all copy every request: those for requests that some of them copy first,
/// each with just these, and at the end the route itself with what copies every request.
///
/// Each but the last asks for a method, or for no other protocol, beside what the route asks, and all do the same but for
/// copies: so requests go where they went.
pub(crate) fn split_by_request(route: Route) -> Vec<Route> {
    let RouteAction::Forward(forward) = &route.action else { return vec![route] };
    if forward.mirrors.iter().all(|mirror| mirror.requests == CopiedRequests::All) {
        return vec![route];
    }
    let always = |mirror: &Mirror| mirror.requests == CopiedRequests::All;
    let taking =
        |method: Option<&str>| forward.mirrors.iter().map(|m| m.requests.takes(method)).collect::<Vec<_>>();
    let whatever: Vec<bool> = forward.mirrors.iter().map(always).collect();
    let mut pieces = Vec::new();
    if let Some(method) = only_method(&route) {
        pieces.push((taking(Some(method)), Vec::new()));
    } else {
        let others = taking(None);
        let mut groups: BTreeMap<Vec<bool>, Vec<Arc<str>>> = BTreeMap::new();
        let mut named: Vec<&Arc<str>> = forward.mirrors.iter().flat_map(|m| m.requests.methods()).collect();
        named.sort();
        named.dedup();
        for method in named {
            let copied = taking(Some(method));
            if copied != others {
                groups.entry(copied).or_default().push(method.clone());
            }
        }
        // The most copies first.
        pieces.extend(groups.into_iter().rev());
        pieces.push((others, Vec::new()));
    }
    let mut routes: Vec<Route> = pieces
        .into_iter()
        .filter(|(copied, _)| *copied != whatever)
        .map(|(copied, methods)| piece(&route, forward, &copied, &methods))
        .collect();
    let action = RouteAction::Forward(with_mirrors(forward, &whatever));
    routes.push(Route { action, ..route });
    routes
}

/// The one method that a route takes, if it asks for one.
fn only_method(route: &Route) -> Option<&str> {
    route.request.headers.iter().find_map(|header| match &header.value {
        TextMatch::Exact(method) if header.name == METHOD && !header.invert => Some(method.as_str()),
        _ => None,
    })
}

/// The part of a route for requests with one of these methods, or (none) with any, that ask for no other protocol.
fn piece(route: &Route, forward: &Forward, copied: &[bool], methods: &[Arc<str>]) -> Route {
    let mut request = route.request.clone();
    let condition = |name: &str, value, invert| HeaderMatch { name: name.to_owned(), value, invert };
    request.headers.push(condition(UPGRADE, TextMatch::Present, true));
    match methods {
        [] => {}
        [only] => request.headers.push(condition(METHOD, TextMatch::Exact(only.to_string()), false)),
        several => {
            let each: Vec<String> = several.iter().map(|method| regex_syntax_free(method)).collect();
            request.headers.push(condition(METHOD, TextMatch::Regex(each.join("|")), false));
        }
    }
    Route { request, action: RouteAction::Forward(with_mirrors(forward, copied)), ..route.clone() }
}

/// A method as an expression that takes it alone: it may have any sign of a token.
fn regex_syntax_free(method: &str) -> String {
    let quoted =
        |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_string() } else { format!("\\{c}") };
    method.chars().map(quoted).collect()
}

fn with_mirrors(forward: &Forward, copied: &[bool]) -> Forward {
    let kept = forward.mirrors.iter().zip(copied).filter(|(_, copied)| **copied);
    Forward { mirrors: kept.map(|(mirror, _)| mirror.clone()).collect(), ..forward.clone() }
}

/// Whether the copies of a mirror say of which they are.
fn is_marked(settings: &Settings, mirror: &MirrorRule) -> bool {
    mirror.terms.as_ref().and_then(|terms| terms.mark).unwrap_or(settings.mirror.mark)
}

/// What a copy's headers are changed by: what its policy takes away, the mark, and what its policy gives, maybe instead of it.
pub(crate) fn copy_headers(settings: &Settings, mirror: &MirrorRule) -> HeaderChanges {
    let mut changes = mirror.terms.as_ref().map(|terms| terms.headers.clone()).unwrap_or_default();
    let own = changes.values.iter().any(|value| value.name.eq_ignore_ascii_case(MARK_HEADER));
    if is_marked(settings, mirror) && !own {
        // What looks like one of Envoy's substitutions is none.
        let value = mirror.key.mark().replace('%', "%%");
        changes.values.insert(0, HeaderValue { name: MARK_HEADER.to_owned(), value, append: false });
    }
    changes
}

/// Takes what looks like a mark from the requests of a rule whose copies are marked: a caller may send anything, and whoever gets
/// both must be able to tell them apart. The copies get theirs after that.
pub(crate) fn unmark(settings: &Settings, rule: &Rule, headers: &mut HeaderOps) {
    let RuleAction::Forward(forward) = &rule.action else { return };
    let removed = &mut headers.request.remove;
    if forward.mirrors.iter().any(|mirror| is_marked(settings, mirror))
        && !removed.iter().any(|name| name.eq_ignore_ascii_case(MARK_HEADER))
    {
        removed.push(MARK_HEADER.to_owned());
    }
}

/// Why a proxy has no part in a mirror whose copies it would send as they are.
pub(crate) fn not_edited(vs: &ObjectId, place: MirrorPlace, terms: &MirrorTerms) -> Diagnostic {
    let message = format!(
        "{} changes its copies, which an Envoy before 1.36 cannot do, and some of the proxies are older: those do not mirror",
        terms.policy
    );
    Diagnostic::new(Code::CopiesNotEdited, vs, place.field(), message).about_mirror(place)
}

#[cfg(test)]
mod tests {
    use umbra_ir::{
        ClusterRef, ForwardOptions, Hostname, Kind, MirrorHost, MirrorShare, PortNumber, RequestMatch, Role,
        RouteFilters, RuntimeFraction, ServiceId,
    };

    use super::*;

    /// A mirror that copies these: `every`, `*`, or methods.
    fn mirror(name: &str, copies: &str) -> Mirror {
        let object = ObjectId::new(Kind::Service, "default", name);
        let service = ServiceId { object, host: Hostname::new(name), also: Default::default() };
        Mirror {
            cluster: ClusterRef {
                service,
                spelling: name.into(),
                port: PortNumber::new(80).unwrap(),
                subset: None,
                policy: None,
                role: Role::Mirror,
                limits: None,
                contents: false,
            },
            share: MirrorShare::Fixed(RuntimeFraction::ALL),
            host: MirrorHost::Keep,
            requests: match copies {
                "every" => CopiedRequests::All,
                "*" => CopiedRequests::NoUpgrades,
                methods => CopiedRequests::Methods(methods.split(' ').map(Arc::from).collect()),
            },
            headers: HeaderChanges::default(),
            mark: None,
        }
    }

    /// Each route as its conditions, with the mirrors that it has.
    #[track_caller]
    fn check(only: Option<&str>, copies: &[&str], want: &[&str]) {
        let mut request = RequestMatch::everything();
        request.headers.extend(only.map(|method| HeaderMatch {
            name: METHOD.to_owned(),
            value: TextMatch::Exact(method.to_owned()),
            invert: false,
        }));
        let mirrors = ["a", "b", "c"].iter().zip(copies).map(|(name, copies)| mirror(name, copies)).collect();
        let forward = Forward {
            targets: Vec::new(),
            weighted: false,
            mirrors,
            hash: Vec::new(),
            options: ForwardOptions::default(),
        };
        let route = Route {
            judged: None,
            name: String::new(),
            origin: None,
            rule: 0,
            catch_all: request.is_catch_all(),
            request,
            action: RouteAction::Forward(forward),
            headers: HeaderOps::default(),
            filters: RouteFilters::default(),
            stat_prefix: "".into(),
        };
        let shown = |route: Route| {
            let RouteAction::Forward(forward) = route.action else { panic!("forwards") };
            assert_eq!(route.catch_all, only.is_none());
            let conditions = route.request.headers.iter().map(|header| match &header.value {
                TextMatch::Present => "plain",
                TextMatch::Exact(text) | TextMatch::Regex(text) | TextMatch::Prefix(text) => text,
            });
            let mirrors: String = forward.mirrors.iter().map(|mirror| &*mirror.cluster.spelling).collect();
            format!("{}: {mirrors}", conditions.collect::<Vec<_>>().join(" "))
        };
        let is: Vec<String> = split_by_request(route).into_iter().map(shown).collect();
        assert_eq!(is, want, "{only:?} {copies:?}");
    }

    #[test]
    fn routes_for_what_mirrors_copy() {
        check(None, &[], &[": "]);
        check(None, &["every", "every"], &[": ab"]);
        check(None, &["*"], &["plain: a", ": "]);
        check(None, &["GET"], &["plain GET: a", ": "]);
        check(None, &["GET HEAD"], &["plain GET|HEAD: a", ": "]);
        check(None, &["M-SEARCH A.B"], &["plain A\\.B|M\\-SEARCH: a", ": "]);
        check(None, &["GET", "every"], &["plain GET: ab", ": b"]);
        check(None, &["GET", "*"], &["plain GET: ab", "plain: b", ": "]);
        check(None, &["*", "every"], &["plain: ab", ": b"]);
        check(None, &["GET POST", "GET HEAD"], &["plain GET: ab", "plain POST: a", "plain HEAD: b", ": "]);
        check(
            None,
            &["GET POST", "GET HEAD", "*"],
            &["plain GET: abc", "plain POST: ac", "plain HEAD: bc", "plain: c", ": "],
        );
    }

    #[test]
    fn a_route_for_one_method_needs_no_other() {
        check(Some("GET"), &["GET HEAD"], &["GET plain: a", "GET: "]);
        check(Some("PUT"), &["GET HEAD"], &["PUT: "]);
        check(Some("PUT"), &["GET HEAD", "every"], &["PUT: b"]);
        check(Some("PUT"), &["GET HEAD", "*"], &["PUT plain: b", "PUT: "]);
    }
}
