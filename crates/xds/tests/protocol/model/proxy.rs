//! What the proxy does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_proto::google::rpc::Status;
use umbra_xds::{Decoded, Request, ResourceType, Session, Variant};

use ResourceType::{Cluster, Endpoint, Listener, Route, Runtime};

use super::{Read, Sent, World};

impl World {
    pub(super) fn connect(&mut self) {
        self.to_proxy.clear();
        self.to_server.clear();
        self.nonces.clear();
        self.asked.clear();
        self.asked_again.clear();
        self.withheld.clear();
        self.of_stream.clear();
        self.fresh = ResourceType::ALL.into_iter().collect();
        self.session = Session::new(self.kind.variant);
        self.clusters_later = !self.warming.is_empty();
        if self.snapshot.generation() > 0 {
            let output = self.session.on_snapshot(self.snapshot.clone(), self.now);
            self.take(output);
        }
        for ty in [Runtime, Cluster, Endpoint, Listener, Route] {
            let names = &self.watches[&ty];
            if (ty == Cluster && self.clusters_later) || (ty == Endpoint && names.is_empty()) {
                continue;
            }
            self.ask_first(ty);
        }
    }

    pub(super) fn ask_first(&mut self, ty: ResourceType) {
        let names: Vec<Arc<str>> = self.watches[&ty].iter().cloned().collect();
        // State-of-the-world does not say what the proxy has, so every name may come again.
        let known = |name: &Arc<str>| self.kind.variant == Variant::Delta && self.has[&ty].contains_key(name);
        self.asked.extend(names.iter().filter(|name| !known(name)).map(|name| (ty, name.clone())));
        let versions = self.has[&ty].values().map(|read| {
            let version = umbra_xds::version(&read.body);
            (read.name.to_string(), version.to_string())
        });
        let versions = versions.collect();
        self.request(ty, names, Vec::new(), versions, None);
    }

    pub(super) fn request(
        &mut self,
        ty: ResourceType,
        more: Vec<Arc<str>>,
        less: Vec<Arc<str>>,
        versions: BTreeMap<String, String>,
        answer: Option<(String, Option<Status>)>,
    ) {
        let strings = |names: Vec<Arc<str>>| names.iter().map(|name| name.to_string()).collect();
        let type_url = ty.type_url().to_owned();
        let request = match self.kind.variant {
            Variant::Delta => {
                let (response_nonce, error_detail) = answer.unwrap_or_default();
                Request::Delta(DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe: strings(more),
                    resource_names_unsubscribe: strings(less),
                    initial_resource_versions: versions,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                })
            }
            Variant::Sotw => Request::Sotw(DiscoveryRequest {
                type_url,
                resource_names: strings(self.watches[&ty].iter().cloned().collect()),
                response_nonce: self.nonces.get(&ty).cloned().unwrap_or_default(),
                error_detail: answer.and_then(|(_, error)| error),
                ..Default::default()
            }),
        };
        self.to_server.push_back(request);
    }

    pub(super) fn watch(&mut self, ty: ResourceType, name: Arc<str>, on: bool) {
        let names = self.watches.get_mut(&ty).unwrap();
        if on && names.insert(name.clone()) {
            self.asked.insert((ty, name.clone()));
            self.asked_again.insert((ty, name.clone()));
            self.request(ty, vec![name], Vec::new(), BTreeMap::new(), None);
        } else if !on && names.remove(&name) {
            self.has.get_mut(&ty).unwrap().remove(&name);
            self.asked.remove(&(ty, name.clone()));
            self.request(ty, Vec::new(), vec![name], BTreeMap::new(), None);
        }
    }

    pub(super) fn receive(&mut self) {
        let Some(Sent { response, snapshot, clusters_asked }) = self.to_proxy.pop_front() else { return };
        let ty = ResourceType::from_type_url(response.type_url()).unwrap();
        self.nonces.insert(ty, response.nonce());
        let nonce = response.nonce();
        let (resources, removed): (Vec<Read>, Vec<Arc<str>>) = match response.decode().unwrap() {
            Decoded::Delta(delta) => (
                delta.resources.iter().map(|it| Read::new(&it.resource.as_ref().unwrap().value)).collect(),
                delta.removed_resources.iter().map(|name| name.as_str().into()).collect(),
            ),
            Decoded::Sotw(sotw) => {
                let resources: Vec<_> = sotw.resources.iter().map(|any| Read::new(&any.value)).collect();
                let complete = matches!(ty, Cluster | Listener);
                let left_out =
                    self.has[&ty].keys().filter(|name| resources.iter().all(|it| it.name != **name));
                let gone = left_out.filter(|_| complete).cloned().collect();
                (resources, gone)
            }
        };
        let bodies: Vec<_> = resources.iter().map(|read| String::from_utf8_lossy(&read.body)).collect();
        self.log.push(format!("< {ty}#{nonce} +{bodies:?} -{removed:?}"));
        let fresh = self.fresh.remove(&ty);
        if !self.kind.refusals {
            self.check_order(ty, &resources, &removed, &snapshot, clusters_asked, fresh);
            self.check_need(ty, &resources, &removed, fresh);
        }
        for name in resources.iter().map(|read| &read.name).chain(&removed) {
            self.asked.remove(&(ty, name.clone()));
        }
        let refused: Vec<_> =
            resources.iter().filter(|read| read.bad).map(|read| read.name.to_string()).collect();
        // Half of the refusals find fault with the whole response (model of a message that breaks a rule), the others
        // with the bad resources alone.
        let whole = nonce.parse::<u64>().unwrap() % 2 == 0;
        if refused.is_empty() || !whole {
            self.apply(ty, resources, removed);
        } else if ty == Endpoint {
            // A refusal ends every wait for an assignment.
            self.warming.clear();
        }
        let error = (!refused.is_empty()).then(|| Status {
            code: 3,
            message: refused.join(" "),
            ..Default::default()
        });
        if ty == Cluster && error.is_none() {
            self.withheld.push(nonce);
        } else {
            self.request(ty, Vec::new(), Vec::new(), BTreeMap::new(), Some((nonce, error)));
        }
        self.follow_clusters();
    }

    pub(super) fn apply(&mut self, ty: ResourceType, resources: Vec<Read>, removed: Vec<Arc<str>>) {
        let watched = |names: &BTreeSet<Arc<str>>, name: &Arc<str>| {
            matches!(ty, Cluster | Listener) || names.contains(name)
        };
        for read in resources {
            if ty == Endpoint && read.bad {
                // A refused assignment ends the wait for it as well.
                self.warmed(&read.name);
            }
            if !watched(&self.watches[&ty], &read.name) || read.bad {
                continue;
            }
            let old = self.has.get_mut(&ty).unwrap().insert(read.name.clone(), read.clone());
            if ty == Cluster && old.as_ref() != Some(&read) {
                if read.requires.is_empty() {
                    self.warming.remove(&read.name);
                } else {
                    self.warming.insert(read.name.clone());
                }
            }
            if ty == Endpoint {
                self.warmed(&read.name);
            }
        }
        for name in removed {
            self.has.get_mut(&ty).unwrap().remove(&name);
            match ty {
                Cluster => drop(self.warming.remove(&name)),
                Endpoint => self.warmed(&name),
                _ => {}
            }
        }
    }

    pub(super) fn warmed(&mut self, assignment: &Arc<str>) {
        let clusters = &self.has[&Cluster];
        self.warming.retain(|name| !clusters.get(name).is_some_and(|it| it.requires.contains(assignment)));
    }

    /// Watches the assignments of the clusters there are, and gives the ACKs that waited for warming.
    pub(super) fn follow_clusters(&mut self) {
        let wanted: BTreeSet<_> =
            self.has[&Cluster].values().flat_map(|it| it.requires.iter().cloned()).collect();
        let watched = self.watches.insert(Endpoint, wanted.clone()).unwrap();
        let more: Vec<_> = wanted.difference(&watched).cloned().collect();
        let less: Vec<_> = watched.difference(&wanted).cloned().collect();
        for name in &less {
            self.has.get_mut(&Endpoint).unwrap().remove(name);
        }
        if !more.is_empty() || !less.is_empty() {
            self.request(Endpoint, more, less, BTreeMap::new(), None);
        }
        if self.warming.is_empty() {
            for nonce in std::mem::take(&mut self.withheld) {
                self.request(Cluster, Vec::new(), Vec::new(), BTreeMap::new(), Some((nonce, None)));
            }
            if std::mem::take(&mut self.clusters_later) {
                self.ask_first(Cluster);
            }
        }
    }
}
