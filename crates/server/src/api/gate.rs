//! `/v1/live/KIND/NAMESPACE/NAME[?generation=G]`: may a canary tool go on? 200 when the object is live on every proxy
//! that it reaches, else 409, and a body that says why to those who may know.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Value, json};
use umbra_ir::{Kind, ObjectId};
use umbra_source::kubernetes::{Verb, Wish};

use super::asker::Asker;
use super::plain::{read, refuse, refused};
use super::{ASKS_OF_ONE, Api};
use crate::crowd::origin;
use crate::identity::{Caller, Refusal};
use crate::listen::InUse;
use crate::live::{Laggard, ObjectLive};
use crate::peers::PeerAnswer;

/// How long a question may wait for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What the gate says of one object.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    object: ObjectView,
    /// The generation that was asked for; `null`: whichever is in force.
    generation: Option<i64>,
    /// The generation that is in force and that the counts are about; 0: none, or one from a file.
    observed_generation: i64,
    live: usize,
    total: usize,
    laggards: Vec<LaggardView>,
    /// Runtime keys of those of its mirrors that are stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stopped: Vec<String>,
    /// Proxies that have left it unanswered for longer than `--laggard-patience`: they are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    excused: Vec<LaggardView>,
    /// Replicas that did not answer.
    silent: Vec<String>,
    message: String,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct ObjectView {
    kind: &'static str,
    namespace: String,
    name: String,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct LaggardView {
    proxy: String,
    resource: String,
    /// Envoy's words when it rejected the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
}

/// The answer to GET and POST.
pub(super) async fn live(
    State(api): State<Api>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    by: Option<Extension<InUse>>,
    Extension(asker): Extension<Asker>,
    body: Body,
) -> Response {
    let portion = by.map(|Extension(by)| api.asks_of.take(origin(by.peer)));
    if matches!(portion, Some(None)) {
        let message = format!("{ASKS_OF_ONE} questions of this address are not answered yet");
        return refuse(StatusCode::TOO_MANY_REQUESTS, message);
    }
    // What a webhook sends is not looked at, the path says all.
    if let Err(refused) = read(body).await {
        return refused;
    }
    let (kind, generation) =
        match parse_kind(&kind).and_then(|kind| Ok((kind, parse_query(query.as_deref())?))) {
            Ok(asked) => asked,
            Err(message) => return refuse(StatusCode::BAD_REQUEST, message),
        };
    let told = match told(&asker, &Wish::one(Verb::Get, kind, namespace.as_str(), name.as_str())).await {
        Ok(told) => told,
        Err(refusal) => return refused(&refusal),
    };
    let id = ObjectId::new(kind, namespace, name);
    let Ok(_turn) = tokio::time::timeout(TURN, api.gates.acquire()).await else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once".to_owned());
    };
    let (status, verdict) = judge(&id, generation, api.peers.object(&id).await);
    match told {
        Told::All => (status, Json(verdict)).into_response(),
        Told::YesOrNo => (status, Json(bare(status == StatusCode::OK, verdict))).into_response(),
    }
}

/// How much a caller is told.
enum Told {
    All,
    /// Whoever reaches the port: canary tools know a path, and can mostly send no proof.
    YesOrNo,
}

async fn told(asker: &Asker, wish: &Wish) -> Result<Told, Refusal> {
    if *asker.who()? == Caller::Stranger {
        return Ok(Told::YesOrNo);
    }
    asker.may(std::slice::from_ref(wish)).await.map(|()| Told::All)
}

/// Yes (1 of 1) or no (0 of 1), in the form of a whole verdict, so that what reads `live` of one reads it of the other.
fn bare(yes: bool, verdict: Verdict) -> Value {
    let message = if yes { "live" } else { "not live; who proves who they are is told why" };
    let Verdict { object, generation, .. } = verdict;
    json!({
        "object": object,
        "generation": generation,
        "live": u8::from(yes),
        "total": 1,
        "message": message,
    })
}

/// A kind as people and kubectl write it.
fn parse_kind(text: &str) -> Result<Kind, String> {
    let live = || Kind::all().filter(|kind| kind.facts().status);
    live().find(|kind| kind.is_called(text)).ok_or_else(|| {
        let kinds: Vec<_> = live().map(|kind| format!("{kind} ({})", kind.facts().short)).collect();
        format!("{text:?} is no kind that can be live on a proxy; these are: {}", kinds.join(", "))
    })
}

/// The generation, if one is asked for. A misspelt parameter must not let a canary pass.
fn parse_query(query: Option<&str>) -> Result<Option<i64>, String> {
    let mut generation = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != "generation" {
            return Err(format!("unknown parameter {key:?}; there is only generation"));
        }
        let number = value.parse::<i64>().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| {
            format!("generation {value:?} is no metadata.generation: expected a whole number from 1")
        })?;
        if generation.replace(number).is_some() {
            return Err("generation is there twice".to_owned());
        }
    }
    Ok(generation)
}

fn judge(id: &ObjectId, asked: Option<i64>, answer: PeerAnswer) -> (StatusCode, Verdict) {
    let PeerAnswer { objects, silent, .. } = answer;
    let found = objects.into_iter().find(|object| object.object == *id);
    let mut status = StatusCode::CONFLICT;
    let message = match &found {
        _ if !silent.is_empty() => {
            format!("not every replica answers, so some proxies are not counted: {}", silent.join("; "))
        }
        // Not a 404: it may come any moment, and then the answer is another one.
        None => format!("umbra knows no {id}"),
        Some(object) => match obstacle(object, asked) {
            Some(why) => why,
            None => {
                status = StatusCode::OK;
                format!("live on {} of {} proxies{}", object.live, object.total, not_counted(object))
            }
        },
    };
    let laggards = found.iter().flat_map(|object| &object.laggards).map(view);
    let excused = found.iter().flat_map(|object| &object.excused).map(view);
    let stopped = found.iter().flat_map(|object| &object.stopped);
    let verdict = Verdict {
        object: ObjectView {
            kind: id.kind.as_str(),
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
        },
        generation: asked,
        observed_generation: found.as_ref().map_or(0, |object| object.generation),
        live: found.as_ref().map_or(0, |object| object.live),
        total: found.as_ref().map_or(0, |object| object.total),
        laggards: laggards.collect(),
        stopped: stopped.map(|key| key.as_str().to_owned()).collect(),
        excused: excused.collect(),
        silent,
        message,
    };
    (status, verdict)
}

/// Who is not waited for any more, if somebody is not.
fn not_counted(object: &ObjectLive) -> String {
    let first = object.excused.first();
    first.map_or_else(String::new, |it| format!("; not counted, for want of an answer: {}", describe(it)))
}

fn view(laggard: &Laggard) -> LaggardView {
    let Laggard { proxy, resource, words } = laggard.clone();
    LaggardView { proxy, resource, words }
}

/// Why an object is not live; `None` when it is.
fn obstacle(object: &ObjectLive, asked: Option<i64>) -> Option<String> {
    let ObjectLive { generation, newest, live, total, laggards, .. } = object;
    if let Some(asked) = asked
        && asked > *generation
    {
        return Some(match (*newest, *generation) {
            (0, _) => "it comes from a file, which has no generation: leave generation out".to_owned(),
            (newest, 0) if newest >= asked => {
                format!("generation {newest} was not understood, and no version of it is in force")
            }
            (newest, generation) if newest >= asked => {
                format!("generation {newest} was not understood: generation {generation} stays in force")
            }
            (newest, _) => format!("generation {asked} has not come yet: the newest seen is {newest}"),
        });
    }
    if asked.is_none() && newest > generation {
        return Some(format!("generation {newest} was not understood: the version before stays in force"));
    }
    if live < total || !laggards.is_empty() {
        let named = laggards.first().map_or_else(String::new, |first| format!(": {}", describe(first)));
        return Some(format!("live on {live} of {total} proxies{named}"));
    }
    if *total == 0 {
        return Some(format!("no connected proxy gets anything of it{}", not_counted(object)));
    }
    None
}

fn describe(laggard: &Laggard) -> String {
    let Laggard { proxy, resource, words } = laggard;
    match words {
        Some(words) if resource.is_empty() => format!("{proxy}: {words}"),
        Some(words) => format!("{proxy} rejected {resource}: {words}"),
        None => format!("{proxy} has not taken {resource} yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_as_people_write_them() {
        for (text, kind) in [
            ("VirtualService", Some(Kind::VirtualService)),
            ("virtualservices", Some(Kind::VirtualService)),
            ("VS", Some(Kind::VirtualService)),
            ("destinationrule", Some(Kind::DestinationRule)),
            ("dr", Some(Kind::DestinationRule)),
            ("ServiceEntries", Some(Kind::ServiceEntry)),
            ("se", Some(Kind::ServiceEntry)),
            ("gateways", Some(Kind::Gateway)),
            ("gw", Some(Kind::Gateway)),
            ("virtualservice.networking.istio.io", Some(Kind::VirtualService)),
            ("gateway.gateway.networking.k8s.io", None),
            ("Service", None),
            ("pod", None),
            ("", None),
        ] {
            assert_eq!(parse_kind(text).ok(), kind, "{text}");
        }
        let message = parse_kind("pod").unwrap_err();
        assert!(message.contains("VirtualService (vs)") && message.contains("Gateway (gw)"), "{message}");
    }

    #[test]
    fn queries() {
        for (query, want) in [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some("generation=7"), Ok(Some(7))),
            (Some("generation=0"), Err("generation \"0\"")),
            (Some("generation=-1"), Err("generation \"-1\"")),
            (Some("generation=x"), Err("generation \"x\"")),
            (Some("generation"), Err("generation \"\"")),
            (Some("generation=99999999999999999999"), Err("whole number")),
            (Some("generation=1&generation=2"), Err("twice")),
            (Some("generaton=7"), Err("unknown parameter \"generaton\"")),
        ] {
            match (parse_query(query), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{query:?}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{query:?}: {got}"),
                (got, _) => panic!("{query:?}: {got:?}"),
            }
        }
    }

    /// What is known as `GENERATION NEWEST LIVE/TOTAL` and Envoy's words, or `-`; then silent replicas, the generation
    /// asked for, the status and a part of the sentence.
    #[track_caller]
    fn check(known: &str, silent: &[&str], asked: Option<i64>, status: u16, part: &str) {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let parts: Vec<&str> = known.splitn(5, [' ', '/']).collect();
        let number = |at: usize| parts[at].parse::<usize>().unwrap();
        let object = (known != "-").then(|| ObjectLive {
            object: id.clone(),
            generation: number(0) as i64,
            newest: number(1) as i64,
            live: number(2),
            total: number(3),
            laggards: (number(2)..number(3))
                .map(|n| Laggard {
                    proxy: format!("web-{n}.shop"),
                    resource: "rds/80".to_owned(),
                    words: parts.get(4).map(|words| (*words).to_owned()),
                })
                .collect(),
            stopped: Vec::new(),
            excused: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        });
        let silent = silent.iter().map(|name| (*name).to_owned()).collect();
        let answer = PeerAnswer {
            objects: object.into_iter().collect(),
            silent,
            replicas: 1,
            ..PeerAnswer::default()
        };
        let (got, verdict) = judge(&id, asked, answer);
        assert_eq!(got.as_u16(), status, "{known}: {verdict:?}");
        assert!(verdict.message.contains(part), "{known}: {}", verdict.message);
    }

    #[test]
    fn verdicts() {
        check("7 7 3/3", &[], None, 200, "live on 3 of 3 proxies");
        check("7 7 3/3", &[], Some(7), 200, "live on 3 of 3 proxies");
        check("7 7 3/3", &[], Some(6), 200, "live on 3 of 3 proxies");
        check("7 7 3/3", &[], Some(8), 409, "generation 8 has not come yet: the newest seen is 7");
        check("7 8 3/3", &[], Some(8), 409, "generation 8 was not understood: generation 7 stays in force");
        check("7 8 3/3", &[], None, 409, "generation 8 was not understood");
        check("0 8 0/0", &[], Some(8), 409, "no version of it is in force");
        check("7 7 2/3", &[], Some(7), 409, "live on 2 of 3 proxies: web-2.shop has not taken rds/80 yet");
        check("7 7 2/3 bad route", &[], None, 409, "web-2.shop rejected rds/80: bad route");
        check("7 7 0/0", &[], None, 409, "no connected proxy");
        check("0 0 1/1", &[], None, 200, "live on 1 of 1 proxies");
        check("0 0 1/1", &[], Some(1), 409, "comes from a file");
        check("-", &[], None, 409, "umbra knows no VirtualService shop/web");
        check("7 7 3/3", &["10.0.0.2:15013 (refused)"], None, 409, "10.0.0.2:15013 (refused)");
        check("-", &["10.0.0.2:15013 (refused)"], None, 409, "not every replica answers");
    }

    #[test]
    fn whoever_is_not_waited_for_is_named() {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let slow = Laggard { proxy: "web-2.shop".to_owned(), resource: "rds/80".to_owned(), words: None };
        let object = ObjectLive {
            object: id.clone(),
            generation: 7,
            newest: 7,
            total: 1,
            live: 1,
            laggards: Vec::new(),
            excused: vec![slow],
            stopped: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        };
        let answer = PeerAnswer { objects: vec![object], replicas: 1, ..PeerAnswer::default() };
        let (status, verdict) = judge(&id, None, answer);
        let body = serde_json::to_value(verdict).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["excused"], json!([{"proxy": "web-2.shop", "resource": "rds/80"}]));
        let named =
            "live on 1 of 1 proxies; not counted, for want of an answer: web-2.shop has not taken rds/80 yet";
        assert_eq!(body["message"], json!(named));
    }

    #[test]
    fn a_stranger_is_told_yes_or_no() {
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let (_, verdict) = judge(&id, Some(7), PeerAnswer::default());
        for (yes, live, message) in
            [(true, 1, "live"), (false, 0, "not live; who proves who they are is told why")]
        {
            let again = judge(&id, verdict.generation, PeerAnswer::default()).1;
            assert_eq!(
                bare(yes, again),
                json!({
                    "object": {"kind": "VirtualService", "namespace": "shop", "name": "web"},
                    "generation": 7,
                    "live": live,
                    "total": 1,
                    "message": message,
                })
            );
        }
    }

    #[test]
    fn the_body_is_for_tools() {
        let laggard = Laggard { proxy: "web-1.shop".to_owned(), resource: "rds/80".to_owned(), words: None };
        let id = ObjectId::new(Kind::VirtualService, "shop", "web");
        let object = ObjectLive {
            object: id.clone(),
            generation: 7,
            newest: 7,
            total: 1,
            live: 0,
            laggards: vec![laggard],
            stopped: Vec::new(),
            excused: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        };
        let (_, verdict) =
            judge(&id, Some(7), PeerAnswer { objects: vec![object], replicas: 1, ..PeerAnswer::default() });
        assert_eq!(
            serde_json::to_value(verdict).unwrap(),
            json!({
                "object": {"kind": "VirtualService", "namespace": "shop", "name": "web"},
                "generation": 7,
                "observedGeneration": 7,
                "live": 0,
                "total": 1,
                "laggards": [{"proxy": "web-1.shop", "resource": "rds/80"}],
                "silent": [],
                "message": "live on 0 of 1 proxies: web-1.shop has not taken rds/80 yet",
            })
        );
    }
}
