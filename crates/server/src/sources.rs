//! Where objects come from: a directory, an API server, or both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use umbra_source::kubernetes::{
    Access, AllObserved, ApiServer, ConnectError, Health, Keep, Scope, WatchState, watch_cluster,
};
use umbra_source::{Update, Work};

use crate::config::Options;
use crate::failure::{usage, words};
use crate::metrics::{ByWatch, Metrics};

/// How old the last good state may be unless told otherwise.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is served; at least one of the two is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// The folder of manifests.
    pub dir: Option<PathBuf>,
    /// The cluster; with a folder beside it, the folder's objects win.
    pub cluster: Option<ClusterSource>,
}

/// A cluster to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterSource {
    /// Who umbra is there.
    pub access: Access,
    /// What it watches.
    pub scope: Scope,
    /// Where its last good state outlives the process.
    pub keep: Option<Keep>,
    /// How long a watch goes on before it lists all anew; `None`: without an end.
    pub resync: Option<Duration>,
}

impl Sources {
    /// What the options name.
    ///
    /// # Errors
    /// Nothing is named, or two clusters are.
    pub fn choose(options: &Options) -> Result<Self, &'static str> {
        let (dir, access) = (options.dir.clone(), access(options)?);
        if dir.is_none() && access.is_none() {
            return Err(
                "nothing to serve: name the folder of manifests with --dir PATH (or UMBRA_DIR, or `dir:` in \
                        umbra.yaml), or a cluster with --kubeconfig FILE or --in-cluster",
            );
        }
        let scope = Scope {
            namespaces: namespaces(options.watch_namespaces.as_deref().unwrap_or_default())?,
            selector: options.watch_selector.clone().filter(|text| !text.is_empty()),
            secrets: options.gateway_secrets.unwrap_or_default(),
        };
        if access.is_none() && scope != Scope::default() {
            return Err(
                "--watch-namespaces, --watch-selector and --gateway-secrets are about a cluster: name one with \
                        --kubeconfig FILE or --in-cluster",
            );
        }
        let keep = keep(options)?;
        if access.is_none() && keep.is_some() {
            return Err("--last-good is about a cluster: name one with --kubeconfig FILE or --in-cluster");
        }
        let resync = options.resync()?;
        Ok(Sources { dir, cluster: access.map(|access| ClusterSource { access, scope, keep, resync }) })
    }

    /// True when a Service without EndpointSlices gets its endpoints from Pods: nobody else makes slices.
    pub fn pods_as_endpoints(&self) -> bool {
        self.cluster.is_none()
    }

    /// How to read.
    ///
    /// # Errors
    /// The folder cannot be listed, or the cluster's credentials cannot be used; the message says which option.
    pub async fn start(&self) -> anyhow::Result<Started> {
        let files = self.dir.as_deref().map(umbra_source::watch).transpose().context("--dir");
        let files = files.map_err(|error| usage(words(&error)))?;
        let Some(cluster) = &self.cluster else {
            let files = files.context("nothing to serve")?;
            let (updates, work) = (files.updates, vec![files.work]);
            return Ok(Started { updates, health: None, cluster: None, work });
        };
        let option = match cluster.access {
            Access::Kubeconfig(_) => "--kubeconfig",
            Access::InCluster => "--in-cluster",
        };
        let server = ApiServer::new(&cluster.access).await.map_err(|error| {
            let unreadable = matches!(error, ConnectError::Kubeconfig { .. });
            let error = anyhow::Error::new(error).context(option);
            if unreadable { usage(words(&error)) } else { error }
        })?;
        let watched = watch_cluster(&server, &cluster.scope, files, cluster.keep.clone(), cluster.resync);
        let cluster = Some((server, watched.observed));
        let (updates, work) = (watched.updates, watched.work);
        Ok(Started { updates, health: Some(watched.health), cluster, work })
    }
}

impl std::fmt::Display for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = self.dir.as_ref().map(|path| format!("folder {}", path.display()));
        let cluster = self.cluster.as_ref().map(|cluster| match &cluster.access {
            Access::Kubeconfig(path) => format!("cluster of {}", path.display()),
            Access::InCluster => "this cluster".to_owned(),
        });
        let all: Vec<String> = dir.into_iter().chain(cluster).collect();
        f.write_str(&all.join(" and "))
    }
}

/// Names of namespaces, as a person writes a list of them: an empty one is none. A name that no namespace can have
/// would be waited for in vain.
fn namespaces(names: &[String]) -> Result<Vec<Arc<str>>, &'static str> {
    let names = names.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |name: &str| {
        let bytes = name.as_bytes();
        let edges = bytes.first().is_some_and(|b| letter(*b)) && bytes.last().is_some_and(|b| letter(*b));
        edges && bytes.len() <= 63 && bytes.iter().all(|b| letter(*b) || *b == b'-')
    };
    names
        .map(|name| match label(name) {
            true => Ok(Arc::from(name)),
            false => Err(
                "--watch-namespaces: a namespace's name is made of lower-case letters, digits and '-', at \
                          most 63 of them",
            ),
        })
        .collect()
}

/// Where and how long the last good state is kept.
fn keep(options: &Options) -> Result<Option<Keep>, &'static str> {
    let folder = options.last_good.clone().filter(|path| !path.as_os_str().is_empty());
    let max_age = match &options.last_good_max_age {
        Some(text) => text.parse::<umbra_api::Duration>().ok().and_then(umbra_api::Duration::to_std),
        None => Some(DEFAULT_MAX_AGE),
    };
    let max_age = max_age.ok_or("--last-good-max-age: expected a duration such as 24h or 90m")?;
    Ok(folder.map(|folder| Keep { folder, max_age }))
}

fn access(options: &Options) -> Result<Option<Access>, &'static str> {
    match (&options.kubeconfig, options.in_cluster.unwrap_or_default()) {
        (Some(_), true) => Err("--kubeconfig and --in-cluster name two ways to a cluster: give one"),
        (Some(path), false) => Ok(Some(Access::Kubeconfig(path.clone()))),
        (None, true) => Ok(Some(Access::InCluster)),
        (None, false) => Ok(None),
    }
}

/// Sources that are read once their work is started.
#[derive(Debug)]
pub struct Started {
    /// What changed; the first is the whole state.
    pub updates: mpsc::Receiver<Update>,
    /// How the watches of the cluster are; `None` without one.
    pub health: Option<watch::Receiver<Health>>,
    /// Where statuses go, and what they say there now; `None` without a cluster.
    pub cluster: Option<(ApiServer, watch::Receiver<AllObserved>)>,
    /// What reads.
    pub work: Vec<Work>,
}

/// Shows the health of the watches in the metrics, as long as there are watches.
pub(crate) async fn report(mut health: watch::Receiver<Health>, metrics: Arc<Metrics>) {
    loop {
        for (id, now) in health.borrow_and_update().iter() {
            let labels = ByWatch {
                kind: id.kind.as_str(),
                namespace: id.namespace.as_deref().unwrap_or_default().to_owned(),
            };
            let in_step = matches!(now.state, WatchState::Synced | WatchState::Absent);
            metrics.watch_in_step.get_or_create(&labels).set(in_step.into());
            let failures = metrics.watch_failures.get_or_create(&labels);
            failures.inc_by(now.failures.saturating_sub(failures.get()));
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// The lines of `/readyz?verbose` about the watches.
pub(crate) fn describe(health: &Health) -> String {
    let line = |(id, now): (&umbra_source::kubernetes::WatchId, &umbra_source::kubernetes::WatchHealth)| {
        let objects = now.objects;
        match now.state {
            WatchState::Synced => format!("[+] watch {id}: {objects} objects\n"),
            WatchState::Absent => format!("[+] watch {id}: no objects; {}\n", now.reason),
            WatchState::Degraded => {
                format!("[!] watch {id}: degraded, its {objects} objects stay; {}\n", now.reason)
            }
            WatchState::Starting if now.reason.is_empty() => format!("[-] watch {id}: starting\n"),
            WatchState::Starting => format!("[-] watch {id}: {}\n", now.reason),
        }
    };
    health.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::tests::merged;

    #[test]
    fn what_is_named_is_read() {
        for (flags, file, want) in [
            ("dir=a", "dir: b", Ok("a none")),
            ("", "dir: b", Ok("b none")),
            ("dir=a kubeconfig=k", "", Ok("a k")),
            ("in-cluster", "kubeconfig: k", Ok("- in-cluster")),
            ("kubeconfig=k", "inCluster: true", Ok("- k")),
            ("in-cluster=false", "kubeconfig: k", Ok("- k")),
            ("kubeconfig=k watch-namespaces=x,y", "watchNamespaces: [z]", Ok("- k x,y")),
            ("kubeconfig=k", "{watchNamespaces: [z], watchSelector: a=b}", Ok("- k z a=b")),
            ("kubeconfig=k watch-namespaces=", "watchNamespaces: [z]", Ok("- k")),
            ("kubeconfig=k watch-namespaces=x,,y,", "", Ok("- k x,y")),
            ("kubeconfig=k watch-namespaces=Shop", "", Err("lower-case")),
            ("kubeconfig=k watch-namespaces=x/y", "", Err("lower-case")),
            ("", "", Err("nothing to serve")),
            ("in-cluster kubeconfig=k", "", Err("give one")),
            ("dir=a watch-namespaces=x", "", Err("about a cluster")),
            ("kubeconfig=k last-good=f", "", Ok("- k f@86400s")),
            ("kubeconfig=k last-good=f", "lastGoodMaxAge: 1h30m", Ok("- k f@5400s")),
            ("kubeconfig=k last-good=f last-good-max-age=soon", "", Err("such as 24h")),
            ("dir=a last-good=f", "", Err("about a cluster")),
        ] {
            let got = Sources::choose(&merged(flags, file));
            match (got, want) {
                (Ok(sources), Ok(want)) => {
                    let dir = sources.dir.as_deref().map_or("-".to_owned(), |p| p.display().to_string());
                    let mut words = vec![dir];
                    match &sources.cluster {
                        None => words.push("none".to_owned()),
                        Some(cluster) => {
                            words.push(match &cluster.access {
                                Access::Kubeconfig(path) => path.display().to_string(),
                                Access::InCluster => "in-cluster".to_owned(),
                            });
                            if !cluster.scope.namespaces.is_empty() {
                                words.push(cluster.scope.namespaces.join(","));
                            }
                            words.extend(cluster.scope.selector.clone());
                            let keep = |keep: &Keep| {
                                format!("{}@{}s", keep.folder.display(), keep.max_age.as_secs())
                            };
                            words.extend(cluster.keep.as_ref().map(keep));
                        }
                    }
                    assert_eq!(words.join(" "), want, "{flags} | {file}");
                    assert_eq!(sources.pods_as_endpoints(), sources.cluster.is_none());
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{flags} | {file}: {error}"),
                (got, want) => panic!("{flags} | {file}: {got:?}, not {want:?}"),
            }
        }
    }
}
