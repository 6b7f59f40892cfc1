//! What holds for every configuration, whatever the objects say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use umbra_ir::{BuiltInCluster, Interception, ProxyKind};

use crate::case::Proxy;

/// The total of weights beside copies: prime, so that shares of a million are independent of it.
const TOTAL: u64 = 999_983;

/// Every broken rule, in words.
pub(crate) fn broken(proxy: &Proxy, config: &Value) -> Vec<String> {
    let mut check = Check { proxy, config, broken: Vec::new(), keys: BTreeSet::new() };
    check.clusters();
    check.listeners();
    check.tables();
    check.runtime();
    check.broken
}

struct Check<'a> {
    proxy: &'a Proxy,
    config: &'a Value,
    broken: Vec<String>,
    /// The runtime keys that routes hold.
    keys: BTreeSet<String>,
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn names<'a>(config: &'a Value, key: &str, field: &str) -> BTreeSet<&'a str> {
    list(config, key).map(|item| text(item, field)).collect()
}

/// The clusters that a filter passes bytes on to.
fn passed_to(filter: &Value) -> impl Iterator<Item = &str> {
    let several = list(&filter["weightedClusters"], "clusters").map(|it| text(it, "name"));
    several.chain(Some(text(filter, "cluster")).filter(|it| !it.is_empty()))
}

impl Check<'_> {
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// What the names of tables begin with.
    fn begin(&self) -> &'static str {
        if self.proxy.node.takes_hosts { "hosts/" } else { "" }
    }

    fn captured(&self) -> bool {
        self.proxy.node.interception != Interception::None
    }

    fn clusters(&mut self) {
        let config = self.config;
        let built_in: Vec<&str> = BuiltInCluster::ALL.iter().map(|it| it.name()).collect();
        let assignments = names(config, "endpoints", "clusterName");
        let mut used = BTreeSet::new();
        for cluster in list(config, "clusters") {
            let name = text(cluster, "name");
            if built_in.contains(&name) {
                let known = self.captured() || name == BuiltInCluster::BlackHole.name();
                self.expect(known, || format!("{name} is for captured sidecars"));
                continue;
            }
            if name == umbra_envoy::LOG_CLUSTER {
                continue;
            }
            // Behind it the limits of a MirrorPolicy.
            let end = |name: &str| {
                name.rsplit_once('|')
                    .is_some_and(|(_, last)| ["h2", "control", "judge"].contains(&last) || last.contains('/'))
            };
            let mut plain = name;
            while plain.starts_with("mirror|") && end(plain) {
                plain = plain.rsplit_once('|').map_or(plain, |(plain, _)| plain);
            }
            let parts: Vec<&str> = plain.split('|').collect();
            let mirror = parts[0] == "mirror";
            let formed = parts.len() == 4
                && ["mirror", "outbound", "direct"].contains(&parts[0])
                && parts[1].parse::<u16>().is_ok_and(|port| port > 0)
                && !parts[3].is_empty();
            self.expect(formed, || format!("{name:?} is no cluster name"));
            let filters = cluster.to_string().contains("httpFilters");
            let looked_at = mirror && name.contains("|judge");
            self.expect(filters == looked_at, || format!("{name} has HTTP filters, or lacks them"));
            // One that could answer by itself would end Envoy.
            let only_looks = cluster.to_string().contains("\"observabilityMode\":true");
            self.expect(!filters || only_looks, || format!("{name} has a filter that does more than look"));
            if cluster["type"] == "EDS" {
                let assignment = text(&cluster["edsClusterConfig"], "serviceName");
                let primary = plain.replacen("mirror|", "outbound|", 1);
                self.expect(assignment == primary, || {
                    format!("{name} takes the endpoints of {assignment:?}")
                });
                self.expect(assignments.contains(assignment), || format!("{name} has no load assignment"));
                used.insert(assignment);
            } else if cluster["type"] == "ORIGINAL_DST" {
                self.expect(!mirror, || format!("{name} loses every copy"));
            } else if !cluster["clusterType"].is_null() {
                self.expect(!mirror, || format!("{name} looks up the Host of copies"));
            } else {
                self.expect(!cluster["loadAssignment"].is_null(), || {
                    format!("{name} has no endpoints inline")
                });
            }
            if mirror {
                self.limits(name, cluster);
            }
        }
        for unused in assignments.difference(&used) {
            self.expect(false, || format!("the load assignment {unused} is nobody's"));
        }
    }

    /// A target that hangs holds a bounded number of copies for a bounded time.
    fn limits(&mut self, name: &str, cluster: &Value) {
        let thresholds = &cluster["circuitBreakers"]["thresholds"][0];
        for key in ["maxConnections", "maxPendingRequests", "maxRequests", "maxRetries"] {
            let limit = thresholds[key].as_u64();
            self.expect(limit.is_some_and(|n| n < u64::from(u32::MAX)), || {
                format!("{name}: {key} is {limit:?}")
            });
        }
        let options = &cluster["typedExtensionProtocolOptions"];
        let common =
            &options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["commonHttpProtocolOptions"];
        let end = text(common, "maxStreamDuration");
        self.expect(!end.is_empty() && end != "0s", || format!("{name}: maxStreamDuration is {end:?}"));
    }

    fn listeners(&mut self) {
        let config = self.config;
        let tables = names(config, "routes", "name");
        for listener in list(config, "listeners") {
            let name = text(listener, "name");
            let socket = &listener["address"]["socketAddress"];
            let path = text(&listener["address"]["pipe"], "path");
            let address = match path {
                "" => text(socket, "address").to_owned(),
                path => format!("unix://{path}"),
            };
            let port = socket["portValue"].as_u64().unwrap_or_default();
            // A Sidecar may ask for some that are called, not captured.
            let called = listener["bindToPort"].is_null() && name != "virtualOutbound";
            if self.captured() && !called {
                self.captured_listener(listener);
                continue;
            }
            self.expect(name == format!("{address}_{port}"), || {
                format!("{name} listens on {address}:{port}")
            });
            if self.tells_apart(listener) {
                continue;
            }
            let manager = &listener["filterChains"][0]["filters"][0]["typedConfig"];
            let table = text(&manager["rds"], "routeConfigName");
            let wanted = match self.proxy.node.kind {
                ProxyKind::Sidecar if !path.is_empty() => address.clone(),
                ProxyKind::Sidecar => port.to_string(),
                ProxyKind::Router if address == "0.0.0.0" => format!("http.{port}"),
                ProxyKind::Router => format!("http.{port}.{address}"),
            };
            let wanted = format!("{}{wanted}", self.begin());
            self.expect(table == wanted, || format!("{name} asks for the table {table:?}, not {wanted}"));
            self.expect(tables.contains(table), || format!("{name} asks for a table that is not there"));
            let loopback =
                address.starts_with("127.") || !path.is_empty() || self.proxy.node.kind == ProxyKind::Router;
            self.expect(loopback, || format!("a sidecar listens on {address}"));
        }
    }

    /// Whether a bound listener tells connections apart, or passes bytes on; then its tables and clusters are there, and its secrets.
    fn tells_apart(&mut self, listener: &Value) -> bool {
        let config = self.config;
        let name = text(listener, "name");
        let begin = if self.proxy.node.kind == ProxyKind::Router { "http." } else { "" };
        let plain = |chain: &Value| {
            let table = text(&chain["filters"][0]["typedConfig"]["rds"], "routeConfigName");
            !table.is_empty()
                && table.trim_start_matches("hosts/").starts_with(begin)
                && chain["filterChainMatch"].is_null()
        };
        if list(listener, "filterChains").all(plain) {
            return false;
        }
        for chain in list(listener, "filterChains") {
            // The last one decides; one before it may look at what the client asks for.
            let filter = list(chain, "filters").last().map_or(&Value::Null, |it| &it["typedConfig"]);
            let table = text(&filter["rds"], "routeConfigName");
            for cluster in passed_to(filter) {
                let there = names(config, "clusters", "name").contains(cluster);
                self.expect(there, || format!("{name} sends to {cluster}, which is not there"));
            }
            let there = table.is_empty() || names(config, "routes", "name").contains(table);
            self.expect(there, || format!("{name} asks for the table {table:?}"));
            let tls = &chain["transportSocket"]["typedConfig"]["commonTlsContext"];
            let clients = &tls["combinedValidationContext"]["validationContextSdsSecretConfig"];
            let own =
                list(tls, "tlsCertificateSdsSecretConfigs").chain(clients.is_object().then_some(clients));
            for secret in own.map(|it| text(it, "name")) {
                let there = names(config, "secrets", "name").contains(secret);
                self.expect(there, || format!("{name} waits for the secret {secret}"));
            }
        }
        let secrets = serde_json::to_string(&config["secrets"]).unwrap_or_default();
        self.expect(!secrets.contains("PRIVATE KEY"), || "a private key is shown".to_owned());
        true
    }

    /// Bound is the entrance alone, and whatever a listener names is there.
    fn captured_listener(&mut self, listener: &Value) {
        let config = self.config;
        let name = text(listener, "name");
        let socket = &listener["address"]["socketAddress"];
        let (address, port) = (text(socket, "address"), socket["portValue"].as_u64().unwrap_or_default());
        let entrance = name == "virtualOutbound";
        let own = if entrance { port == 15001 } else { name == format!("{address}_{port}") };
        self.expect(own, || format!("{name} stands for {address}:{port}"));
        self.expect((listener["bindToPort"] == false) != entrance, || format!("{name} is bound, or is not"));
        self.expect((listener["useOriginalDst"] == true) == entrance, || {
            format!("{name} passes on, or does not")
        });
        let default = std::iter::once(&listener["defaultFilterChain"]);
        for chain in list(listener, "filterChains").chain(default) {
            let filter = list(chain, "filters").last().map_or(&Value::Null, |it| &it["typedConfig"]);
            let clusters: Vec<&str> = passed_to(filter).collect();
            let table = text(&filter["rds"], "routeConfigName");
            let there = match clusters.as_slice() {
                [] => {
                    let wanted = format!("{}{port}", self.begin());
                    names(config, "routes", "name").contains(table) && table == wanted
                }
                some => some.iter().all(|it| names(config, "clusters", "name").contains(it)),
            };
            self.expect(there, || {
                format!("{name} leads to {clusters:?} or by {table:?}, which is not there")
            });
        }
    }

    fn tables(&mut self) {
        let config = self.config;
        for table in list(config, "routes") {
            let mut domains = BTreeMap::new();
            let mut hosts: Vec<&str> = Vec::new();
            for host in list(table, "virtualHosts") {
                let name = text(host, "name");
                let last = hosts.last().copied();
                // For every Host that has none of its own: after all others.
                let rest = self.captured() && ["allow_any", "block_all"].contains(&name);
                self.expect(rest || last.is_none_or(|last| last < name), || {
                    format!("{name} comes after {last:?}")
                });
                hosts.push(name);
                let formed =
                    rest || name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                self.expect(formed, || format!("{name:?} is no virtual host name"));
                self.expect(list(host, "domains").count() > 0, || format!("{name} has no domain"));
                for domain in list(host, "domains").filter_map(Value::as_str) {
                    self.expect(domain == domain.to_lowercase(), || format!("{domain} is not in lower case"));
                    let other = domains.insert(domain, name);
                    self.expect(other.is_none(), || format!("{domain} is in {name} and {other:?}"));
                }
                for route in list(host, "routes") {
                    self.route(name, route);
                }
            }
        }
    }

    fn route(&mut self, host: &str, route: &Value) {
        let place = format!("{host} route {:?}", text(route, "name"));
        let actions =
            ["route", "redirect", "directResponse"].iter().filter(|a| !route[**a].is_null()).count();
        self.expect(actions == 1, || format!("{place} has {actions} actions"));
        let judged = &route["match"]["runtimeFraction"];
        if !judged.is_null() {
            let key = text(judged, "runtimeKey");
            let named =
                text(route, "name").strip_suffix("#judge").is_some_and(|rule| key == format!("judge/{rule}"));
            self.expect(named, || format!("{place} is judged by {key:?}"));
            self.share(&place, judged);
        }
        let action = &route["route"];
        if action.is_null() {
            return;
        }
        let weighted = &action["weightedClusters"];
        let targets: Vec<&str> = if weighted.is_null() {
            vec![text(action, "cluster")]
        } else {
            list(weighted, "clusters").map(|c| text(c, "name")).collect()
        };
        self.expect(!targets.is_empty() && !targets.contains(&""), || {
            format!("{place} has the targets {targets:?}")
        });
        let known = names(self.config, "clusters", "name");
        let mirrors: Vec<&Value> = list(action, "requestMirrorPolicies").collect();
        let total: u64 = list(weighted, "clusters").map(|c| c["weight"].as_u64().unwrap_or_default()).sum();
        if !mirrors.is_empty() && targets.len() > 1 {
            self.expect(total == TOTAL, || format!("{place}: weights beside copies total {total}"));
        }
        for mirror in mirrors {
            let cluster = text(mirror, "cluster");
            self.expect(cluster.starts_with("mirror|"), || format!("{place} copies to {cluster:?}"));
            self.expect(known.contains(cluster), || {
                format!("{place} copies to {cluster}, which is not there")
            });
            self.share(&place, &mirror["runtimeFraction"]);
            // A control copies judged requests, and no others.
            let control = cluster.contains("|control");
            let same = !judged.is_null()
                && text(&mirror["runtimeFraction"], "runtimeKey") == text(judged, "runtimeKey");
            self.expect(control == same, || format!("{place}: {cluster} copies by another key"));
            // A policy may have changed more of a copy before.
            let given = list(mirror, "requestHeadersMutations");
            let given: Vec<_> = given.map(|it| text(&it["append"]["header"], "key")).collect();
            let marked = given.ends_with(&["x-shadow", "x-shadow-of"]);
            self.expect(marked != judged.is_null(), || {
                format!("{place}: copies to {cluster} are given {given:?}")
            });
        }
    }

    /// By key with a default of 0 under RTDS, else a fraction that is not 0; always of a million.
    fn share(&mut self, place: &str, fraction: &Value) {
        let default = &fraction["defaultValue"];
        let numerator = default["numerator"].as_u64().unwrap_or_default();
        let key = text(fraction, "runtimeKey");
        self.expect(default["denominator"] == "MILLION", || {
            format!("{place}: {fraction} is not of a million")
        });
        if self.proxy.rtds {
            self.expect(numerator == 0, || format!("{place} copies before it is told to"));
            let parts = key.splitn(5, '/').count();
            let mirror = key.starts_with("mirror/") && parts == 5 && key.matches('|').count() == 2;
            let formed = mirror || key.starts_with("judge/") && parts == 4;
            self.expect(formed, || format!("{place}: {key:?} is no runtime key"));
            self.keys.insert(key.to_owned());
        } else {
            self.expect(numerator > 0 && numerator <= 1_000_000, || format!("{place}: copies {numerator}"));
            self.expect(key.is_empty(), || format!("{place}: the key {key} is never set"));
        }
    }

    fn runtime(&mut self) {
        let config = self.config;
        let layers: Vec<&Value> = list(config, "runtime").collect();
        self.expect(layers.len() == usize::from(self.proxy.rtds), || {
            format!("{} runtime layers", layers.len())
        });
        let mut set = BTreeSet::new();
        for (key, value) in layers.iter().filter_map(|layer| layer["layer"].as_object()).flatten() {
            let numerator = value["numerator"].as_f64();
            let whole = numerator.is_some_and(|n| n.fract() == 0.0 && (0.0..=1e6).contains(&n));
            self.expect(whole && value["denominator"] == "MILLION", || format!("{key} is {value}"));
            set.insert(key.clone());
        }
        let keys = std::mem::take(&mut self.keys);
        self.expect(set == keys, || format!("routes hold the keys {keys:?}, the layer {set:?}"));
    }
}
