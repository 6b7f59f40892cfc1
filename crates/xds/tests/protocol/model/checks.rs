//! What must hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use umbra_xds::{Output, ResourceType, Snapshot, Variant};

use ResourceType::{Cluster, Endpoint, Listener, Route};

use super::{Position as _, Read, World};

impl World {
    /// No route before its clusters, no cluster gone before its routes.
    pub(super) fn check_order(
        &self,
        ty: ResourceType,
        resources: &[Read],
        removed: &[Arc<str>],
        snapshot: &Snapshot,
        clusters_asked: bool,
        fresh: bool,
    ) {
        if ty == Route && clusters_asked {
            for (route, cluster) in resources.iter().flat_map(|it| it.requires.iter().map(move |c| (it, c))) {
                if snapshot.get(Cluster, cluster).is_some() {
                    assert!(self.has[&Cluster].contains_key(cluster), "{} before {cluster}", route.name);
                    let warm = self.lagged || !self.warming.contains(cluster);
                    assert!(warm, "{} before {cluster} was warm", route.name);
                }
            }
        }
        // A reconnected state-of-the-world stream does not say what it has, so its first response cannot care.
        if ty == Cluster && !self.lagged && !(self.kind.variant == Variant::Sotw && fresh) {
            let known = |name| self.kind.variant == Variant::Delta || self.of_stream.contains(name);
            for (name, route) in self.has[&Route].iter().filter(|(name, _)| known(*name)) {
                let now = snapshot.get(Route, name);
                for cluster in removed.iter().filter(|cluster| route.requires.contains(cluster)) {
                    let still = now.is_some_and(|now| now.requires.iter().any(|it| it.name == *cluster));
                    assert!(still, "{cluster} is gone and {name} still names it");
                }
            }
        }
    }

    /// Nothing is sent that the proxy has and did not ask for.
    pub(super) fn check_need(&self, ty: ResourceType, resources: &[Read], removed: &[Arc<str>], fresh: bool) {
        let asked = self.asked.iter().any(|(of, _)| *of == ty);
        if ty == Endpoint || fresh || asked {
            return;
        }
        let complete = matches!(ty, Cluster | Listener);
        let news = |read: &Read| {
            let given_up = !complete && !self.watches[&ty].contains(&read.name);
            let again = self.asked_again.contains(&(ty, read.name.clone()));
            // Of names given up or asked for again in the meantime it could not know.
            given_up || again || self.has[&ty].get(&read.name) != Some(read)
        };
        assert!(!removed.is_empty() || resources.iter().any(news), "{ty}: nothing new");
    }

    /// Everything on its way arrives, without any time passing.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.to_proxy.is_empty() && self.to_server.is_empty() {
                break;
            }
            self.deliver();
            self.receive();
        }
        assert!(self.to_proxy.is_empty() && self.to_server.is_empty(), "the exchange never ends");
    }

    /// State-of-the-world cannot say that a name does not exist, so a proxy does two things of its own accord: it
    /// gives up routes that its listeners no longer name, and a cluster whose assignment does not exist is warm
    /// after its initial fetch timeout.
    pub(super) fn settle_sotw(&mut self) {
        let snapshot = self.snapshot.clone();
        let routes: Vec<_> = self.watches[&Route].iter().cloned().collect();
        for name in routes.into_iter().filter(|name| snapshot.get(Route, name).is_none()) {
            self.watch(Route, name, false);
        }
        self.settle();
        let assignments: Vec<_> = self.watches[&Endpoint].iter().cloned().collect();
        for name in assignments.iter().filter(|name| snapshot.get(Endpoint, name).is_none()) {
            self.warmed(name);
        }
        self.follow_clusters();
        self.settle();
    }

    pub(super) fn check_settled(&mut self) {
        let status = self.session.status();
        // The version that it would replace a warming one with was refused.
        self.warming.retain(|name| !status[Cluster.position()].refused.contains(name));
        assert!(self.warming.is_empty(), "stuck warming: {:?}", self.warming);
        let anything_refused = status.iter().any(|ty| !ty.refused.is_empty());
        for ty in ResourceType::ALL {
            let wild = matches!(ty, Cluster | Listener);
            let names: BTreeSet<_> = if wild {
                self.snapshot.map(ty).keys().chain(self.has[&ty].keys()).cloned().collect()
            } else {
                self.watches[&ty].clone()
            };
            let refused = &status[ty.position()].refused;
            for name in names.iter().filter(|name| !refused.contains(*name)) {
                let should = self.snapshot.get(ty, name).map(|resource| resource.body.to_vec());
                let has = self.has[&ty].get(name).map(|read| read.body.clone());
                // State-of-the-world cannot take it away; or something whose replacement was refused uses it.
                let sotw = !wild && self.kind.variant == Variant::Sotw;
                let forgotten = should.is_none() && (anything_refused || sotw);
                assert!(forgotten || has == should, "{name}: has {has:?}, should have {should:?}");
            }
        }
        if !anything_refused && self.snapshot.generation() > 0 {
            assert_eq!(self.session.acked_generation(), self.snapshot.generation());
        }
        assert_eq!(self.session.next_deadline(), None);
        let later = self.session.on_timer(self.now + Duration::from_secs(3600));
        assert_eq!(later, Output::default(), "more to say after all");
    }
}
