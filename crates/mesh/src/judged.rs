//! Judged requests: routes of their own before the plain one, which do the same and mark their copies (docs/verdicts.md).
//!
//! Envoy draws one number for a request, by which it takes the route, the destination and each mirror. So a judged request is one
//! that every mirror copies whose share is as large, and weights stay what they are.

use umbra_ir::{
    Code, CopiedRequests, Diagnostic, Forward, HeaderChanges, HeaderMatch, JUDGED, Mirror, MirrorHost,
    MirrorShare, ObjectId, Role, Route, RouteAction, RouteClient, Rule, RuleAction, RuntimeKey,
    TargetCluster, TextMatch,
};

use crate::clusters::{goes_as_asked, goes_where_called};
use crate::view::View;

/// Methods that may be sent once more without harm (RFC 9110, 9.2.1): the control goes to production itself.
const SAFE_METHODS: &str = "GET|HEAD|OPTIONS";

/// The routes for judged requests before `route`: with a control for safe methods, then without one. None where nothing is judged.
pub(crate) fn judged_routes(
    view: &dyn View,
    vs: &ObjectId,
    (rule, route): (&Rule, &Route),
    client: &RouteClient,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Route> {
    let (RuleAction::Forward(written), RouteAction::Forward(forward)) = (&rule.action, &route.action) else {
        return Vec::new();
    };
    let (Some(first), Some(verdicts)) = (written.mirrors.first(), written.verdicts) else {
        return Vec::new();
    };
    if forward.mirrors.is_empty() {
        return Vec::new();
    }
    let lacks = if !client.judges.any() {
        Some(
            "verdicts are wanted, and some of the proxies cannot tell of single requests (their bootstrap is without --verdicts, or their Envoy before 1.40): those copy, and are not judged",
        )
    } else if verdicts.contents && !client.judges.sees_bodies() {
        Some(
            "contents are to be compared, and some of the proxies show no judge what is answered (their bootstrap is without --judge): their copies are judged by the rest",
        )
    } else {
        None
    };
    if let Some(message) = lacks {
        let place = first.place;
        let found = Diagnostic::new(Code::NotJudged, vs, place.field(), message).about_mirror(place);
        if !diagnostics.contains(&found) {
            diagnostics.push(found);
        }
    }
    if !client.judges.any() {
        return Vec::new();
    }
    let contents = verdicts.contents && client.judges.sees_bodies();
    let key = &first.key;
    let mut marked = forward.clone();
    for mirror in &mut marked.mirrors {
        mirror.mark = match &mirror.share {
            MirrorShare::Runtime(key) => Some(key.mark().into()),
            MirrorShare::Fixed(_) => None,
        };
    }
    let name = key.rule();
    let stat_prefix = if *route.stat_prefix == *name {
        format!("{name}{JUDGED}").into()
    } else {
        route.stat_prefix.clone()
    };
    let judged = Route {
        name: format!("{name}{JUDGED}"),
        judged: Some(key.judging()),
        stat_prefix,
        action: RouteAction::Forward(marked.clone()),
        ..route.clone()
    };
    let controlled = control(view, key, &marked).map(|control| {
        let mut safe = judged.clone();
        marked.mirrors.push(control);
        // Without a control nobody knows what of an answer is the same each time.
        if contents {
            for mirror in &mut marked.mirrors {
                mirror.cluster = mirror.cluster.with_contents();
            }
        }
        safe.action = RouteAction::Forward(marked);
        safe.request.headers.push(HeaderMatch {
            name: ":method".to_owned(),
            value: TextMatch::Regex(SAFE_METHODS.to_owned()),
            invert: false,
        });
        safe
    });
    controlled.into_iter().chain([judged]).collect()
}

/// A copy of each request to where most of them go themselves; `None`: there is no such address.
fn control(view: &dyn View, key: &RuntimeKey, forward: &Forward) -> Option<Mirror> {
    let heaviest = forward.targets.iter().rev().max_by_key(|target| target.weight)?;
    let TargetCluster::Known(cluster) = &heaviest.cluster else { return None };
    if goes_where_called(view, cluster) || goes_as_asked(view, cluster) {
        return None;
    }
    Some(Mirror {
        cluster: cluster.with_role(Role::Control),
        // By the number that the route was taken by: of all judged requests, and of none when somebody stops judging.
        share: MirrorShare::Runtime(key.judging()),
        // As the request itself.
        host: MirrorHost::Keep,
        requests: CopiedRequests::default(),
        headers: HeaderChanges::default(),
        mark: Some(key.control_mark().into()),
    })
}
