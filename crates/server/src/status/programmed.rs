//! How far an object has come on its proxies, over all replicas, and what its status says about that.

use std::collections::BTreeMap;

use umbra_ir::ObjectId;
use umbra_source::kubernetes::{Condition, Reason};

use super::judge::cut;
use crate::engine_task::ClusterObject;
use crate::live::{AwayProxy, Laggard, ObjectLive};
use crate::peers::PeerAnswer;

/// How many laggards are named.
const NAMED: usize = 3;

/// How far all objects have come, on all replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Liveness {
    /// By object; one that no replica knows is missing.
    pub(super) objects: BTreeMap<ObjectId, ObjectLive>,
    /// How many replicas there are.
    pub(super) replicas: usize,
    /// Those that did not answer, with why.
    pub(super) silent: Vec<String>,
}

impl From<PeerAnswer> for Liveness {
    fn from(answer: PeerAnswer) -> Self {
        let PeerAnswer { objects, silent, replicas, .. } = answer;
        let objects = objects.into_iter().map(|live| (live.object.clone(), live)).collect();
        Liveness { objects, replicas, silent }
    }
}

impl Liveness {
    /// Whether an answer is on its way that will be another one: some proxy has not said anything yet.
    pub(super) fn is_open(&self) -> bool {
        self.objects.values().any(|live| live.laggards.iter().any(|laggard| !laggard.refused()))
    }
}

/// The condition `Programmed` of an object.
pub(super) fn programmed(object: &ClusterObject, live: Option<&ObjectLive>, all: &Liveness) -> Condition {
    let condition = |reason, message| Condition { reason, message: cut(message) };
    let (on, total) = live.map_or((0, 0), |live| (live.live, live.total));
    let laggards = live.map_or(&[][..], |live| &live.laggards);
    let counts = format!("live on {on} of {total} proxies");
    let away = live.map(away).unwrap_or_default();
    if object.in_force != object.generation {
        let message = match object.in_force {
            0 => "no version of it could be understood: no proxy has any".to_owned(),
            version => format!("generation {version}, the last that was understood, is {counts}"),
        };
        return condition(Reason::NOT_ACCEPTED, message);
    }
    let named = live.map_or_else(String::new, waiting_for);
    let rejected = laggards.first().is_some_and(Laggard::refused);
    if rejected {
        return condition(Reason::REJECTED, format!("{counts}: {named}{away}"));
    }
    if !all.silent.is_empty() {
        let (silent, replicas) = (all.silent.len(), all.replicas);
        let who = all.silent.join(", ");
        let message =
            format!("{silent} of {replicas} replicas did not answer: {who}; {counts} of the others");
        return condition(Reason::REPLICAS_SILENT, message);
    }
    if let Some(version) = live.map(|live| live.generation).filter(|version| *version != object.generation) {
        let message = format!("{counts} as of generation {version} of the object, not yet as of this one");
        return condition(Reason::PENDING, message);
    }
    match (total, on) {
        (0, _) => {
            let message = format!("{counts}: it reaches none that is connected");
            condition(Reason::NO_PROXIES, message)
        }
        (total, live) if live >= total && laggards.is_empty() => condition(Reason::LIVE, counts + &away),
        _ => condition(Reason::PENDING, format!("{counts}: waiting for {named}{away}")),
    }
}

/// Such as `; 2 of them are away: web-1.shop since 2026-11-29T14:02:00Z (told v2 25%) and 1 more`; nothing where nobody is.
fn away(live: &ObjectLive) -> String {
    if live.total_away == 0 {
        return String::new();
    }
    let name = |it: &AwayProxy| {
        let told = if it.told.is_empty() { String::new() } else { format!(" (told {})", it.told) };
        format!("{} since {:.0}{told}", it.proxy, it.since)
    };
    let named: Vec<String> = live.away.iter().take(NAMED).map(name).collect();
    let more = match live.total_away.saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; {} away: {}{more}", live.total_away, named.join(", "))
}

/// Some of the proxies that have not taken an object, and how many others there are.
pub(super) fn waiting_for(live: &ObjectLive) -> String {
    let named: Vec<String> = live.laggards.iter().take(NAMED).map(name).collect();
    let more = live.total.saturating_sub(live.live).saturating_sub(named.len());
    let mut named = named.join("; ");
    if more > 0 {
        named += &format!("; and {more} more");
    }
    named
}

fn name(laggard: &Laggard) -> String {
    let Laggard { proxy, resource, words } = laggard;
    match words {
        Some(words) if resource.is_empty() => format!("{proxy}: {words}"),
        Some(words) => {
            format!("{proxy} rejected {resource}: {}{}", words.trim(), way_out(resource, words))
        }
        None => format!("{proxy} ({resource})"),
    }
}

/// What Envoy's words do not say: whose a listener's port is, and what to do about it.
fn way_out(resource: &str, words: &str) -> &'static str {
    match resource {
        _ if !words.contains("Address already in use") => "",
        _ if resource.starts_with("lds/127.0.0.1_") => {
            " (something in this Pod listens on that port itself, where a sidecar without capture takes calls to the Service's \
             port: give the Service another port, or let its application listen on the Pod's own address alone)"
        }
        _ if resource.starts_with("lds/") => " (something in this Pod listens on that port itself)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_explained() {
        let taken =
            "Error adding/updating listener(s) x: cannot bind '127.0.0.1:8000': Address already in use";
        for (resource, words, part) in [
            ("lds/127.0.0.1_8000", taken, "give the Service another port"),
            ("lds/0.0.0.0_8080", taken, "listens on that port itself)"),
            ("lds/127.0.0.1_80", "cannot bind '127.0.0.1:80': Permission denied", ""),
            ("rds/8000", "no", ""),
        ] {
            let said = way_out(resource, words);
            assert!(said.is_empty() == part.is_empty() && said.contains(part), "{resource}: {said:?}");
        }
    }

    /// Version 7 of an object, with this one in force.
    fn object(in_force: i64) -> ClusterObject {
        ClusterObject { generation: 7, in_force, ..ClusterObject::default() }
    }

    /// `GENERATION LIVE/TOTAL LAGGARD…`, a laggard as `POD` or `POD!WORDS`; how many replicas there are, and who of
    /// them is silent.
    fn check(said: &str, replicas: usize, silent: &[&str], want: &str) {
        let silent: Vec<String> = silent.iter().map(|who| (*who).to_owned()).collect();
        let words: Vec<&str> = said.split(' ').collect();
        let (live, total) = words[1].split_once('/').unwrap();
        let slow = words[2..].iter().map(|word| {
            let (proxy, said) = word.split_once('!').map_or((*word, None), |(p, w)| (p, Some(w)));
            let resource = if proxy.starts_with("replica") { "" } else { "rds/8000" };
            Laggard { proxy: proxy.to_owned(), resource: resource.to_owned(), words: said.map(str::to_owned) }
        });
        let mut laggards: Vec<Laggard> = slow.collect();
        laggards.sort_by(Laggard::by_weight);
        let id = ObjectId::new(umbra_ir::Kind::Gateway, "shop", "door");
        let generation = words[0].parse().unwrap();
        let (total, live) = (total.parse().unwrap(), live.parse().unwrap());
        let live = ObjectLive {
            object: id,
            generation,
            newest: generation,
            total,
            live,
            laggards,
            excused: Vec::new(),
            stopped: Vec::new(),
            away: Vec::new(),
            total_away: 0,
        };
        let all = Liveness { replicas, silent, ..Liveness::default() };
        let said = programmed(&object(7), Some(&live), &all);
        let got = format!("{} {}: {}", said.reason.holds.as_str(), said.reason.word, said.message);
        assert_eq!(got, want);
    }

    #[test]
    fn what_programmed_says() {
        check("7 12/12", 1, &[], "True Live: live on 12 of 12 proxies");
        check(
            "7 0/0",
            1,
            &[],
            "Unknown NoProxies: live on 0 of 0 proxies: it reaches none that is connected",
        );
        check("7 1/2 a.x", 1, &[], "False Pending: live on 1 of 2 proxies: waiting for a.x (rds/8000)");
        check(
            "7 1/6 b.x a.x!no c.x d.x e.x",
            2,
            &[],
            "False Rejected: live on 1 of 6 proxies: a.x rejected rds/8000: no; b.x (rds/8000); c.x (rds/8000); and 2 more",
        );
        check(
            "7 9/9",
            3,
            &["10.0.0.3:15013 (why)"],
            "Unknown ReplicasSilent: 1 of 3 replicas did not answer: 10.0.0.3:15013 (why); live on 9 of 9 proxies of the others",
        );
        check(
            "7 0/1 a.x!no",
            2,
            &["10.0.0.3:15013"],
            "False Rejected: live on 0 of 1 proxies: a.x rejected rds/8000: no",
        );
        check(
            "6 3/3",
            1,
            &[],
            "False Pending: live on 3 of 3 proxies as of generation 6 of the object, not yet as of this one",
        );
        check(
            "7 2/2 replica-b!late",
            2,
            &[],
            "False Pending: live on 2 of 2 proxies: waiting for replica-b: late",
        );
    }

    #[test]
    fn who_is_away_is_named() {
        let since = |second| jiff::Timestamp::from_second(1_764_424_920 + second).unwrap();
        let one = |second: i64, told: &str| AwayProxy {
            since: since(second),
            proxy: format!("p{second}.shop"),
            told: told.to_owned(),
        };
        let mut live = ObjectLive {
            object: ObjectId::new(umbra_ir::Kind::VirtualService, "shop", "web"),
            generation: 7,
            newest: 7,
            total: 3,
            live: 3,
            laggards: Vec::new(),
            excused: Vec::new(),
            stopped: Vec::new(),
            away: vec![one(0, "v2 25%")],
            total_away: 1,
        };
        let told = |live: &ObjectLive| programmed(&object(7), Some(live), &Liveness::default()).message;
        let want = "live on 3 of 3 proxies; 1 away: p0.shop since 2025-11-29T14:02:00Z (told v2 25%)";
        assert_eq!(told(&live), want);
        live.away.extend([one(1, ""), one(2, ""), one(3, "")]);
        live.total_away = 4;
        let want = want.replace("1 away", "4 away")
            + ", p1.shop since 2025-11-29T14:02:01Z, p2.shop since 2025-11-29T14:02:02Z and 1 more";
        assert_eq!(told(&live), want);
    }

    #[test]
    fn a_version_that_is_not_understood() {
        for (in_force, want) in [
            (0, "no version of it could be understood: no proxy has any"),
            (6, "generation 6, the last that was understood, is live on 0 of 0 proxies"),
        ] {
            let said = programmed(&object(in_force), None, &Liveness::default());
            assert_eq!(said.reason, Reason::NOT_ACCEPTED);
            assert_eq!(said.message, want);
        }
    }
}
