use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use umbra_api::{Change, Object};
use umbra_ir::Kind;

use super::*;
use crate::kubernetes::fake::{Asked, Reply, serve};

/// Plays `replies` to a watch of this kind until the request after the last of them; gives the requests and all that
/// the watch told. Time is virtual: nothing waits in earnest.
async fn play(kind: Kind, replies: Vec<Reply>) -> (Vec<Asked>, Vec<Message>) {
    play_with(None, kind, replies).await
}

/// The same with a resync after so long.
async fn play_with(resync: Option<Duration>, kind: Kind, replies: Vec<Reply>) -> (Vec<Asked>, Vec<Message>) {
    let (next, over) = (AtomicUsize::new(0), Arc::new(Notify::new()));
    let end = over.clone();
    let (client, requests) = serve(move |_| {
        let reply = replies.get(next.fetch_add(1, Ordering::Relaxed)).cloned();
        reply.unwrap_or_else(|| {
            end.notify_one();
            Reply::Hang
        })
    });
    let (out, mut inbox) = mpsc::channel(1000);
    let id = WatchId { kind, namespace: None };
    let task = tokio::spawn(ListWatch::new(client, id, None, None, resync, out).run());
    over.notified().await;
    task.abort();
    let mut told = Vec::new();
    while let Ok(message) = inbox.try_recv() {
        told.push(message);
    }
    (requests.all(), told)
}

/// `+a=80` for an upsert, `-a` for a deletion, then the state that the message tells of.
fn words(message: &Message) -> String {
    let change = |step: &Step| match step.change.as_ref()? {
        Change::Upsert(object) => match &**object {
            Object::Service(service) => Some(format!("+{}={} ", step.id.name, service.spec.ports[0].port)),
            _ => Some(format!("+{} ", step.id.name)),
        },
        Change::Delete(id) => Some(format!("-{} ", id.name)),
    };
    message.steps.iter().filter_map(change).collect::<String>() + message.health.state.as_str()
}

/// Plays a script of replies (see [`Reply::parse`]) and gives the requests that it led to, without the path of Services,
/// and what the watch told.
async fn script(kind: Kind, replies: &str) -> (String, String, String) {
    let replies = replies.split('|').map(Reply::parse).collect();
    let (requests, told) = play(kind, replies).await;
    let asks: Vec<_> = requests.into_iter().map(|(_, text)| text.replace(" /api/v1/services", "")).collect();
    let tells: Vec<_> = told.iter().map(words).collect();
    let reason =
        told.into_iter().rev().map(|message| message.health.reason).find(|reason| !reason.is_empty());
    (asks.join(" | "), tells.join(" | "), reason.unwrap_or_default())
}

/// What a watch of Services asks for and tells after each script. The last request of each is answered by nobody.
#[tokio::test(start_paused = true)]
async fn scripts() {
    for (what, replies, asks, tells) in [
        (
            "pages are one list",
            "list a:1:80 &t | list b:2:80 @7 | watch time",
            "list | list continue=t | watch @7 | watch @7",
            "+a=80 starting | +b=80 starting | synced",
        ),
        (
            "the watch goes on from the newest event, an end in its time is no failure",
            "list a:1:80 @7 | watch +b:8:81 -a:9:80 time | watch time",
            "list | watch @7 | watch @9 | watch @9",
            "+a=80 starting | synced | +b=81 synced | -a synced",
        ),
        (
            "a bookmark moves it on without a word",
            "list @7 | watch mark:20 time",
            "list | watch @7 | watch @20",
            "synced",
        ),
        (
            "an end at once is a failure, or it would ask in a loop without a pause",
            "list a:1:80 @7 | watch now | watch time",
            "list | watch @7 | watch @7 | watch @7",
            "+a=80 starting | synced | degraded | synced",
        ),
        (
            "history gone, said by the status: what the new list lacks is gone, nothing else",
            "list a:1:80 b:2:80 @7 | watch time | 410 | list b:2:80 @30 | watch time",
            "list | watch @7 | watch @7 | list | watch @30 | watch @30",
            "+a=80 +b=80 starting | synced | degraded | -a degraded | synced",
        ),
        (
            "history gone, said in the stream",
            "list a:1:80 @7 | watch !410 silent | list a:1:80 @30 | watch time",
            "list | watch @7 | list | watch @30 | watch @30",
            "+a=80 starting | synced | degraded | synced",
        ),
        (
            "silence is a dead connection; the watch goes on where it was",
            "list a:1:80 @7 | watch mark:8 silent | watch time",
            "list | watch @7 | watch @8 | watch @8",
            "+a=80 starting | synced | degraded | synced",
        ),
        (
            "no answer at all",
            "hang | list a:1:80 @7 | hang | watch time",
            "list | list | watch @7 | watch @7 | watch @7",
            "starting | +a=80 starting | starting | synced",
        ),
        (
            "the server is gone, before the list and after it",
            "refuse | list a:1:80 @7 | watch time | refuse | watch broken | refuse | watch +a:9:81 time",
            "list | list | watch @7 | watch @7 | watch @7 | watch @7 | watch @7 | watch @9",
            "starting | +a=80 starting | synced | degraded | synced | degraded | degraded | synced | +a=81 synced",
        ),
        (
            "an overloaded server needs no new list, a refusal does",
            "list a:1:80 @7 | watch time | 429 | 500 | 503 | 400 | list a:1:80 @9 | watch time",
            "list | watch @7 | watch @7 | watch @7 | watch @7 | watch @7 | list | watch @9 | watch @9",
            "+a=80 starting | synced | degraded | degraded | degraded | degraded | synced",
        ),
        (
            "a list that breaks off takes nothing away and begins anew",
            "list a:1:80 b:2:80 @7 | watch time | 410 | list a:1:80 &t | 500 | list a:1:80 &t | 410 | list a:1:81 @9 | watch time",
            "list | watch @7 | watch @7 | list | list continue=t | list | list continue=t | list | watch @9 | watch @9",
            "+a=80 +b=80 starting | synced | degraded | degraded | degraded | +a=81 -b degraded | synced",
        ),
        (
            "forbidden later: the last word stays, and it is asked for again and again",
            "list a:1:80 @7 | watch time | 403 | 403 | watch time",
            "list | watch @7 | watch @7 | watch @7 | watch @7 | watch @7",
            "+a=80 starting | synced | degraded | degraded | synced",
        ),
        (
            "a kind that goes away after it was there: the last word stays",
            "list a:1:80 @7 | watch time | 404 | 404 | 404 | list a:1:81 @9 | watch time",
            "list | watch @7 | watch @7 | list | list | list | watch @9 | watch @9",
            "+a=80 starting | synced | degraded | degraded | degraded | +a=81 degraded | synced",
        ),
        (
            "a kind that is missing at the start counts as empty, and comes later",
            "404 | 404 | 404 | list a:1:80 @7 | watch time",
            "list | list | list | list | watch @7 | watch @7",
            "starting | absent | absent | +a=80 absent | synced",
        ),
        (
            "events out of order: the stream cannot be trusted",
            "list a:5:80 @7 | watch +b:9:80 -a:3:80 time | list a:5:80 b:9:80 @9 | watch time",
            "list | watch @7 | list | watch @9 | watch @9",
            "+a=80 starting | synced | +b=80 synced | degraded | synced",
        ),
        (
            "a list that would take many objects away is asked for again",
            "list a:1:80 b:1:80 c:1:80 d:1:80 e:1:80 f:1:80 g:1:80 h:1:80 i:1:80 j:1:80 @7 | watch !410 now | list @9 | list a:1:80 @9 | watch time",
            "list | watch @7 | list | list | watch @9 | watch @9",
            "+a=80 +b=80 +c=80 +d=80 +e=80 +f=80 +g=80 +h=80 +i=80 +j=80 starting | synced | degraded | degraded | -b -c -d -e -f -g -h -i -j degraded | synced",
        ),
        (
            "answers that are none",
            "text {}{ | text {\"metadata\": {}, \"items\": []} | list a:1:80 @7 | text nonsense | watch time",
            "list | list | list | watch @7 | watch @7 | watch @7",
            "starting | starting | +a=80 starting | synced | degraded | synced",
        ),
    ] {
        let (asked, told, _) = script(Kind::Service, replies).await;
        assert_eq!((asked.as_str(), told.as_str()), (asks, tells), "{what}");
    }
}

/// A watch that says it is in step and skips events: what it never told comes to light with the next list, which is doubted as
/// any other.
#[tokio::test(start_paused = true)]
async fn what_a_watch_never_told_comes_to_light() {
    // A tenth more or less lies between the ends of the second and the third watch.
    let period = Duration::from_secs(30);
    let all = "a:1:80 b:1:80 c:1:80 d:1:80 e:1:80 f:1:80 g:1:80 h:1:80 i:1:80 j:1:80 k:1:80";
    for (what, resync, replies, asks, tells) in [
        (
            "one changed, one came, one went",
            Some(period),
            "list a:1:80 b:1:80 @7 | watch time | watch time | watch time | list a:8:81 c:9:80 @9 | watch time".to_owned(),
            "list | watch @7 | watch @7 | watch @7 | list | watch @9 | watch @9",
            "+a=80 +b=80 starting | synced | +a=81 +c=80 -b synced",
        ),
        (
            "nothing is told where nothing changed",
            Some(period),
            "list a:1:80 @7 | watch time | watch time | watch time | list a:1:80 @9 | watch time".to_owned(),
            "list | watch @7 | watch @7 | watch @7 | list | watch @9 | watch @9",
            "+a=80 starting | synced",
        ),
        (
            "a list that lacks most is doubted",
            Some(period),
            format!("list {all} @7 | watch time | watch time | watch time | list a:1:80 @9 | list {all} @9 | watch time"),
            "list | watch @7 | watch @7 | watch @7 | list | list | watch @9 | watch @9",
            "+a=80 +b=80 +c=80 +d=80 +e=80 +f=80 +g=80 +h=80 +i=80 +j=80 +k=80 starting | synced | degraded | synced",
        ),
        (
            "without it the watch goes on",
            None,
            "list a:1:80 @7 | watch time | watch time | watch time | watch time".to_owned(),
            "list | watch @7 | watch @7 | watch @7 | watch @7 | watch @7",
            "+a=80 starting | synced",
        ),
    ] {
        let replies = replies.split('|').map(Reply::parse).collect();
        let (requests, told) = play_with(resync, Kind::Service, replies).await;
        let asked: Vec<_> =
            requests.into_iter().map(|(_, text)| text.replace(" /api/v1/services", "")).collect();
        assert_eq!(asked.join(" | "), asks, "{what}");
        assert_eq!(told.iter().map(words).collect::<Vec<_>>().join(" | "), tells, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn reasons() {
    for (replies, state, want) in [
        (
            "403",
            "starting",
            "forbidden: umbra's role lacks verb \"list\" on resource \"services\" of apiGroup \"\" in the ClusterRole",
        ),
        (
            "list @7 | watch time | 403",
            "degraded",
            "forbidden: umbra's role lacks verb \"watch\" on resource \"services\" of apiGroup \"\" in the ClusterRole",
        ),
        ("refuse", "starting", "the API server cannot be reached: ServiceError: connection refused"),
        (
            "list @7 | watch silent",
            "degraded",
            "nothing heard for 15 s, neither event nor bookmark; connecting again",
        ),
        ("418", "starting", "the API server answered 418: the server says 418"),
        ("404 | 404", "absent", "the API server has no such kind; its CRD may not be installed"),
        (
            "list @7 | watch !410 silent",
            "degraded",
            "the API server no longer has the history since the last event; listing again",
        ),
    ] {
        let (_, told, reason) = script(Kind::Service, replies).await;
        assert!(told.ends_with(state), "{replies}: {told}");
        assert!(reason.contains(want), "{replies}: {reason}");
    }
}

/// The best version that the server has, for the list and for the watch after it; a kind is absent when none is there.
#[tokio::test(start_paused = true)]
async fn versions() {
    for (replies, versions) in [
        ("list @7 | watch time", "list v1 | watch v1 @7 | watch v1 @7"),
        ("404 | list @7 | watch time", "list v1 | list v1beta1 | watch v1beta1 @7 | watch v1beta1 @7"),
        ("404 | 404 | list @7", "list v1 | list v1beta1 | list v1alpha3 | watch v1alpha3 @7"),
        // A CRD that drops the old version while umbra runs.
        (
            "404 | list @7 | 404 | list @9",
            "list v1 | list v1beta1 | watch v1beta1 @7 | list v1 | watch v1 @9",
        ),
    ] {
        let (asked, ..) = script(Kind::VirtualService, replies).await;
        let asked = asked.replace("/apis/networking.istio.io/", "").replace("/virtualservices", "");
        assert_eq!(asked, versions, "{replies}");
    }
}

/// The pauses between the requests of a watch that gets these replies.
async fn pauses(replies: Vec<Reply>) -> Vec<Duration> {
    let (requests, _) = play(Kind::Service, replies).await;
    requests.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_a_cap_with_jitter_and_shrink_after_a_word() {
    let long = pauses(vec![Reply::Refuse; 40]).await;
    let mut most = FIRST_PAUSE;
    for (at, pause) in long.iter().enumerate() {
        // Half of it is by chance; timers tick in milliseconds.
        assert!(*pause >= most / 2 && *pause <= most + Duration::from_millis(2), "pause {at}: {pause:?}");
        most = (most * 2).min(LONGEST_PAUSE);
    }
    assert!(LONGEST_PAUSE <= Duration::from_secs(5), "a user waits for it after an outage");
    let capped = &long[10..];
    assert!(capped.iter().any(|pause| *pause != capped[0]), "no jitter: {capped:?}");

    // Seven failures, then a word, then a failure again.
    let replies = "refuse|".repeat(7) + "list @7 | watch mark:8 broken | refuse";
    let short = pauses(replies.split('|').map(Reply::parse).collect()).await;
    assert!(short[6] >= LONGEST_PAUSE / 2, "{short:?}");
    assert!(short[8] <= FIRST_PAUSE * 2, "{short:?}");

    // A server that says that history is gone is there: how long it was away doesn't matter, but it isn't flooded.
    let replies = "list @7 |".to_owned() + &"refuse|".repeat(7) + &["410"; 9].join("|");
    let gone = pauses(replies.split('|').map(Reply::parse).collect()).await;
    assert!(gone[8] <= FIRST_PAUSE * 2 && gone[15] >= LONGEST_PAUSE / 2, "{gone:?}");

    // A connection that went silent is noticed before a user does.
    let silent = pauses(["list @7", "watch silent", "hang"].map(Reply::parse).to_vec()).await;
    assert!(silent[1] <= Duration::from_secs(16) && silent[2] <= Duration::from_secs(6), "{silent:?}");
}

/// An object that cannot be read is named, and holds up neither the list nor the watch that it comes in.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_is_its_own_trouble() {
    let deep = |name: &str, version: u32| {
        let spec = "[".repeat(5000) + &"]".repeat(5000);
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"default","resourceVersion":"{version}"}},"spec":{spec}}}"#
        )
    };
    let service = |name: &str, version: u32| {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"default","resourceVersion":"{version}"}},"spec":{{"ports":[{{"port":80}}]}}}}"#
        )
    };
    let list = format!(
        r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{},{}]}}"#,
        deep("bad", 1),
        service("good", 2)
    );
    let line = |event: &str, object: String| format!("{{\"type\":\"{event}\",\"object\":{object}}}\n");
    let watch = line("MODIFIED", deep("good", 8))
        + &line("ADDED", service("more", 9))
        + &line("ADDED", service("bad", 10))
        + &line("DELETED", deep("more", 11));
    let replies = vec![Reply::Text(list), Reply::Text(watch)];
    let (_, told) = play(Kind::Service, replies).await;
    let said: Vec<_> = told.iter().filter(|message| !message.steps.is_empty()).map(words).collect();
    assert_eq!(said, ["+good=80 starting", "synced", "+more=80 synced", "+bad=80 synced", "-more synced"]);
    let steps = || told.iter().flat_map(|message| &message.steps);
    let about = |name: &str| -> Vec<_> {
        steps().filter(|step| &*step.id.name == name).flat_map(|step| &step.diagnostics).collect()
    };
    for (name, codes) in [("bad", vec!["WrongType"]), ("good", vec!["WrongType", "KeptLastGood"])] {
        assert_eq!(about(name).iter().map(|it| it.code.as_str()).collect::<Vec<_>>(), codes, "{name}");
        assert!(about(name)[0].message.contains("recursion limit"), "{name}");
    }
}
