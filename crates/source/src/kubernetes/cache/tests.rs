use serde_json::json;

use super::*;

fn service(name: &str, version: u64, port: i32) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string(),
                     "managedFields": [{"manager": "kubectl"}], "generation": version},
        "spec": {"ports": [{"port": port}]},
        "status": {"loadBalancer": {"ingress": [{"ip": format!("10.0.0.{version}")}]}},
    })
}

fn broken(name: &str, version: u64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
        "spec": {"ports": 5},
    })
}

/// One word for each event:
/// `init`, `l:NAME:VERSION:PORT` (listed; port `x` is broken), `done:VERSION`, `watch`, `+NAME:VERSION:PORT`,
/// `-NAME:VERSION`, `mark:VERSION`, `end`, and failures `!none`, `!forbidden`, `!gone`, `!away`, `!stall`.
fn event(word: &str) -> Event {
    let parts: Vec<&str> = word.split(':').collect();
    let number = |at: usize| parts.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    let object = |name: &str| match parts.get(2) {
        Some(&"x") => broken(name, number(1)),
        _ => service(name, number(1), i32::try_from(number(2)).unwrap()),
    };
    match parts[0] {
        "init" => Event::Init,
        "l" => {
            let object = match parts[3] {
                "x" => broken(parts[1], number(2)),
                _ => service(parts[1], number(2), i32::try_from(number(3)).unwrap()),
            };
            Event::Listed(object.into())
        }
        "done" => Event::InitDone(parts[1].to_owned()),
        "watch" => Event::Watching,
        "mark" => Event::Heard(Some(parts[1].to_owned())),
        "end" => Event::Heard(None),
        "!none" => Event::Failed(Failure::NoKind),
        "!forbidden" => Event::Failed(Failure::Forbidden("verb \"list\"".to_owned())),
        "!gone" => Event::Failed(Failure::Gone),
        "!away" => Event::Failed(Failure::Unreachable("connection refused".to_owned())),
        "!stall" => Event::Failed(Failure::Stalled(15)),
        name => match name.split_at(1) {
            ("+", name) => Event::Apply(object(name).into()),
            ("-", name) => Event::Delete(object(name).into()),
            other => panic!("{other:?}"),
        },
    }
}

/// `+a=80` for an upsert, `-a` for a deletion, `a?CODE` for a diagnostic, `disorder`.
fn said(result: Result<Vec<Step>, Failure>) -> Vec<String> {
    let steps = match result {
        Ok(steps) => steps,
        Err(failure) => return vec![format!("{failure:?}").to_lowercase()],
    };
    let words = |step: Step| {
        let change = step.change.map(|change| match change {
            Change::Upsert(object) => match &*object {
                Object::Service(service) => format!("+{}={}", service.meta.name, service.spec.ports[0].port),
                other => panic!("{other:?}"),
            },
            Change::Delete(id) => format!("-{}", id.name),
        });
        let codes =
            step.diagnostics.iter().map(|d| format!("{}?{}", step.id.name, d.code)).collect::<Vec<_>>();
        change.into_iter().chain(codes).collect::<Vec<_>>()
    };
    steps.into_iter().flat_map(words).collect()
}

/// Plays a script; gives what was said, and the state at the end with the number of objects.
fn play(script: &str) -> (String, String) {
    let mut cache = Cache::new(Resource::of(Kind::Service));
    let mut all: Vec<String> = Vec::new();
    for word in script.split_whitespace() {
        match word {
            // Nothing was kept of a former life but that there was nothing.
            "disk" => assert!(cache.restore(Vec::new(), jiff::Timestamp::UNIX_EPOCH).is_empty()),
            word => all.extend(said(cache.take(event(word)))),
        }
    }
    let health = cache.health();
    (all.join(" "), format!("{} {}", health.state.as_str(), health.objects))
}

#[test]
fn scripts() {
    for (what, script, want, state) in [
        ("a first list", "init l:a:1:80 l:b:2:81 done:2 watch", "+a=80 +b=81", "synced 2"),
        ("not before the watch is accepted", "init done:2", "", "starting 0"),
        ("edits", "init done:2 watch +a:3:80 +a:4:81 -a:5", "+a=80 +a=81 -a", "synced 0"),
        ("status and metadata alone", "init l:a:1:80 done:1 watch +a:2:80 +a:3:80", "+a=80", "synced 1"),
        ("an object deleted that we never saw", "init done:1 watch -a:2", "", "synced 0"),
        (
            "deletions across a relist are absences",
            "init l:a:1:80 l:b:2:81 done:2 watch !gone init l:b:2:81 l:c:5:82 done:5 watch",
            "+a=80 +b=81 +c=82 -a",
            "synced 2",
        ),
        (
            "a list that breaks off takes nothing away",
            "init l:a:1:80 l:b:2:81 done:2 watch !gone init l:b:2:83 !away",
            "+a=80 +b=81 +b=83",
            "degraded 2",
        ),
        (
            "half a list is forgotten by the next",
            "init l:a:1:80 done:1 watch !gone init l:a:1:80 !away init done:9 watch",
            "+a=80 -a",
            "synced 0",
        ),
        ("duplicates", "init done:1 watch +a:2:80 +a:2:80 -a:3 -a:3", "+a=80 -a", "synced 0"),
        ("an older event", "init done:1 watch +a:5:80 +a:4:79", "+a=80 disorder", "synced 1"),
        ("a deletion overtaken", "init done:1 watch +a:5:80 -a:7 +a:6:81", "+a=80 -a disorder", "synced 0"),
        ("older than a bookmark", "init done:1 watch mark:9 +a:4:79", "disorder", "synced 0"),
        (
            "a relist may go back",
            "init done:9 watch !gone init l:a:3:80 done:4 watch +a:5:81",
            "+a=80 +a=81",
            "synced 1",
        ),
        (
            "failures keep everything",
            "init l:a:1:80 done:1 watch !away !forbidden !gone !none !none",
            "+a=80",
            "degraded 1",
        ),
        ("back again", "init l:a:1:80 done:1 watch !away watch", "+a=80", "synced 1"),
        ("an accepted watch does not end a stall", "init done:1 watch !stall watch", "", "degraded 0"),
        ("a bookmark ends it", "init done:1 watch !stall watch mark:2", "", "synced 0"),
        ("an end in its time does too", "init done:1 watch !stall watch end", "", "synced 0"),
        ("no such kind, once", "!none", "", "starting 0"),
        ("no such kind, again", "!none !none", "", "absent 0"),
        ("not in a row", "!none !away !none", "", "starting 0"),
        ("absent stays absent", "!none !none !away !forbidden", "", "absent 0"),
        ("the CRD comes", "!none !none init l:a:1:80 done:1 watch", "+a=80", "synced 1"),
        ("the CRD goes", "init l:a:1:80 done:1 watch !none !none", "+a=80", "degraded 1"),
        ("as in a former life", "!away disk !away !none !none !away", "", "absent 0"),
        (
            "not as in a former life",
            "disk !none init l:a:1:80 done:1 watch !none !none",
            "+a=80",
            "degraded 1",
        ),
        ("forbidden at the start", "!forbidden", "", "starting 0"),
        ("forbidden to watch", "init l:a:1:80 done:1 !forbidden", "+a=80", "starting 1"),
        ("away at the start", "!away !away", "", "starting 0"),
        (
            "what cannot be understood keeps the last good version",
            "init l:a:1:80 done:1 watch +a:2:x +a:3:81",
            "+a=80 a?WrongType a?KeptLastGood +a=81",
            "synced 1",
        ),
        ("never understood", "init l:a:1:x done:1 watch -a:2", "a?WrongType", "synced 0"),
        (
            "never understood, then mended",
            "init l:a:1:x done:1 watch +a:2:80",
            "a?WrongType +a=80",
            "synced 1",
        ),
        (
            "broken while listed",
            "init l:a:1:80 done:1 watch !gone init l:a:2:x done:2 watch",
            "+a=80 a?WrongType a?KeptLastGood",
            "synced 1",
        ),
    ] {
        assert_eq!(play(script), (want.to_owned(), state.to_owned()), "{what}: {script}");
    }
}

/// Ten objects, then what `after` says.
fn many(after: &str) -> String {
    let list: String = (1..=10).map(|at| format!("l:o{at}:{at}:80 ")).collect();
    format!("init {list} done:10 watch {after}")
}

/// An empty list after many objects counts when it was said six times in a row.
#[test]
fn many_objects_do_not_go_at_one_word() {
    for (what, after, gone, state) in [
        ("once", "init done:11", 0, "synced 10"),
        (
            "five times, errors between",
            "init done:11 init !away init done:11 init done:11 !gone init done:11 init done:11",
            0,
            "degraded 10",
        ),
        (
            "six times",
            "init done:11 init done:11 init done:11 init done:11 init done:11 init done:11 watch",
            10,
            "synced 0",
        ),
        (
            "a list between",
            "init done:11 init done:11 init done:11 init done:11 init done:11 init l:o1:1:80 done:12 watch",
            9,
            "synced 1",
        ),
        (
            "deletions are not doubted",
            "-o1:11 -o2:12 -o3:13 -o4:14 -o5:15 -o6:16 -o7:17 -o8:18 -o9:19 -o10:20",
            10,
            "synced 0",
        ),
        ("fewer objects", "-o1:11 !gone init done:12 watch", 10, "synced 0"),
        (
            "one of eleven is left",
            "+o11:11:80 init l:o1:1:80 done:12 init l:o1:1:80 done:12 watch",
            0,
            "synced 11",
        ),
        (
            "one of eleven is left, six times",
            "+o11:11:80 init l:o1:1:80 done:12 init l:o1:1:80 done:12 init l:o1:1:80 done:12 init l:o1:1:80 done:12 \
             init l:o1:1:80 done:12 init l:o1:1:80 done:12 watch",
            10,
            "synced 1",
        ),
    ] {
        let (said, now) = play(&many(after));
        let gone_now = said.split(' ').filter(|word| word.starts_with('-')).count();
        assert_eq!((gone_now, now.as_str()), (gone, state), "{what}: {said}");
    }
}

/// Whatever a watch tells, in whatever order: once a list has come through, its word counts.
#[test]
fn any_noise_ends_with_the_list() {
    use proptest::prelude::*;
    let word = prop::sample::select(vec![
        "init",
        "l:a:1:80",
        "l:b:2:x",
        "done:3",
        "watch",
        "+a:4:81",
        "+b:5:82",
        "-a:6",
        "mark:7",
        "end",
        "!none",
        "!forbidden",
        "!gone",
        "!away",
        "!stall",
        "+c:2:83",
    ]);
    proptest!(|(noise in prop::collection::vec(word, 0..40))| {
        let mut cache = Cache::new(Resource::of(Kind::Service));
        let mut world: BTreeMap<ObjectId, Change> = BTreeMap::new();
        for word in noise.into_iter().chain(["init", "l:a:8:90", "l:c:9:91", "done:9", "watch", "end"]) {
            for step in cache.take(event(word)).unwrap_or_default() {
                if let Some(change) = step.change {
                    world.insert(step.id, change);
                }
            }
        }
        let words = world.into_iter().map(|(id, change)| said(Ok(vec![Step {
            id, change: Some(change), diagnostics: Vec::new(), seen: None,
        }])).concat());
        let left: Vec<_> = words.filter(|word| word.starts_with('+')).collect();
        prop_assert_eq!(left.join(" "), "+a=90 +c=91");
        prop_assert_eq!(cache.health().objects, 2);
        prop_assert_eq!(cache.health().state, WatchState::Synced);
    });
}

/// Only what gives an object its meaning is kept, whichever version it is written in.
#[test]
fn every_version_is_one_object() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let mut cache = Cache::new(Resource::of(Kind::VirtualService));
        let value = json!({
            "apiVersion": format!("networking.istio.io/{version}"), "kind": "VirtualService",
            "metadata": {"name": "a", "namespace": "shop", "resourceVersion": "1"},
            "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
            "status": {"conditions": []},
        });
        let steps = cache.take(Event::Apply(value.into())).unwrap();
        assert_eq!(steps.len(), 1, "{version}");
        assert!(steps[0].diagnostics.is_empty(), "{version}: {:?}", steps[0].diagnostics);
    }
}

/// What changes in an object's metadata alone is no change; what Istio reads there is one.
#[test]
fn annotations_that_nobody_reads_are_no_change() {
    let mut cache = Cache::new(Resource::of(Kind::Service));
    let mut version = 0;
    for (annotations, changes) in [
        (json!({"a": "1"}), 1),
        (json!({"a": "2", "kubectl.kubernetes.io/last-applied-configuration": "{}"}), 0),
        (json!({"networking.istio.io/exportTo": "."}), 1),
        (json!({"networking.istio.io/exportTo": ".", "a": "3"}), 0),
        (json!(null), 1),
    ] {
        version += 1;
        let mut value = service("web", version, 80);
        value["metadata"]["annotations"] = annotations.clone();
        assert_eq!(cache.take(Event::Apply(value.into())).unwrap().len(), changes, "{annotations}");
    }
}

/// What a folder makes of a text, and what a watch makes of the same as the API server has it.
fn both(text: &str) -> Vec<(Option<Object>, Option<Object>)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_default();
    let known = |value: &Value| Kind::ALL.iter().copied().find(|kind| value["kind"] == kind.as_str());
    let each = documents.into_iter().filter_map(|mut value| {
        let kind = known(&value)?;
        let metadata = value.as_object_mut()?.entry("metadata").or_insert(json!({}));
        if kind.is_namespaced() && metadata.get("namespace").is_none() {
            metadata["namespace"] = "default".into();
        }
        let from_file = crate::Reading::parse(&value.to_string(), "a.json", false).objects;
        let from_file = from_file.first().map(|place| Object::clone(&place.value));
        // What only a server writes.
        for (key, more) in [
            ("uid", json!("0")),
            ("resourceVersion", json!("7")),
            ("generation", json!(3)),
            ("managedFields", json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}])),
        ] {
            value["metadata"][key] = more;
        }
        if kind != Kind::Pod {
            value["status"] = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
        }
        let mut cache = Cache::new(Resource::of(kind));
        let id = identity(kind, &value.clone().into())?;
        cache.take(Event::Apply(value.into())).unwrap();
        let watched = cache.held.get(&id).and_then(|held| held.object.as_deref().cloned());
        Some((from_file, watched))
    });
    each.collect()
}

/// Whatever an object says in a folder, it says in a cluster.
#[test]
fn both_sources_see_the_same_object() {
    let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let (mut seen, mut kinds) = (0, BTreeSet::new());
    for case in std::fs::read_dir(cases).unwrap() {
        let path = case.unwrap().path().join("input.yaml");
        for (from_file, watched) in both(&std::fs::read_to_string(&path).unwrap()) {
            assert_eq!(watched, from_file, "{}", path.display());
            kinds.extend(watched.iter().map(|object| object.id().kind));
            seen += usize::from(watched.is_some());
        }
    }
    assert!(seen > 300 && kinds.len() == Kind::ALL.len(), "{seen} objects of {kinds:?}");
}

/// Annotations that can mean something survive, those that can't do not.
#[test]
fn our_own_annotations_survive() {
    for kind in Kind::ALL.iter().copied() {
        let all = [
            "umbra.io/a",
            "networking.istio.io/exportTo",
            "kubectl.kubernetes.io/restartedAt",
            "umbra.iox/a",
        ];
        let annotations: serde_json::Map<_, _> =
            all.map(|key| (key.to_owned(), json!("x"))).into_iter().collect();
        let resource = Resource::of(kind);
        let api_version = resource.api_version(resource.versions()[0]);
        let metadata = json!({"name": "a", "annotations": annotations});
        let text =
            json!({"apiVersion": api_version, "kind": kind.as_str(), "metadata": metadata}).to_string();
        let [(Some(from_file), Some(watched))] = &both(&text)[..] else { panic!("{kind}") };
        for object in [from_file, watched] {
            let kept: Vec<_> = object.meta().annotations.keys().collect();
            assert_eq!(kept, ["networking.istio.io/exportTo", "umbra.io/a"], "{kind}");
        }
    }
}
