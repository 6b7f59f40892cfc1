//! xDS over TLS: who may connect, and certificates that change under living streams.

use std::path::{Path, PathBuf};

use umbra_testkit::envoy::EnvoyProcess;
use umbra_testkit::isolate::isolated;
use umbra_testkit::tls::{Authority, Issued};
use umbra_testkit::world::World;
use umbra_testkit::{gate, paths, umbra};
use umbra_tests::manifests::{rules, to_v1, web};

use super::{set_rules, wait_share};

const ADDRESS: &str = "127.0.0.1:15012";
const MIRROR: &str = "mirror: {host: web, subset: v2}";

/// The files that umbra is shown, as a mounted Secret has them: behind one link that is swapped.
struct Mount {
    folder: PathBuf,
    authority: Authority,
    versions: usize,
}

impl Mount {
    fn new(world: &World) -> Self {
        let folder = world.folder().join("tls");
        let authority = Authority::make(&folder, "ca").unwrap_or_else(|e| panic!("{e:#}"));
        let mut mount = Mount { folder, authority, versions: 0 };
        mount.rotate("umbra");
        mount
    }

    fn issue(&self, name: &str) -> Issued {
        self.authority.issue(name, "DNS:umbra.test,IP:127.0.0.1").unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Shows a new certificate.
    fn rotate(&mut self, name: &str) -> Issued {
        let issued = self.issue(name);
        self.show(&issued.certificate, &issued.key);
        issued
    }

    /// Shows these files.
    fn show(&mut self, certificate: &Path, key: &Path) {
        self.versions += 1;
        let version = self.folder.join(format!("..{}", self.versions));
        std::fs::create_dir(&version).expect("a version");
        std::fs::copy(certificate, version.join("tls.crt")).expect("a certificate");
        std::fs::copy(key, version.join("tls.key")).expect("a key");
        let (new, data) = (self.folder.join("..new"), self.folder.join("..data"));
        std::os::unix::fs::symlink(&version, &new).expect("a link");
        std::fs::rename(&new, &data).expect("a swap");
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `umbra.yaml` of a server that shows these files.
    fn settings(&self, mutual: bool) -> String {
        let client = if mutual { format!("tlsClientCa: {}\n", self.file("ca.crt")) } else { String::new() };
        format!(
            "xdsTls: {ADDRESS}\ntlsCert: {}\ntlsKey: {}\n{client}",
            self.file("..data/tls.crt"),
            self.file("..data/tls.key")
        )
    }
}

/// A world with rules and an umbra that listens on TLS; `None` after a loud line.
async fn start(mutual: bool) -> Option<(World, Mount)> {
    if !gate::require_openssl() {
        return None;
    }
    let mut world = World::new();
    let mount = Mount::new(&world);
    world.write("web.yaml", &web());
    world.write("rules.yaml", &rules("web", "web", &to_v1(MIRROR)));
    world.start_umbra_with(&mount.settings(mutual)).await;
    Some((world, mount))
}

/// The bootstrap of a sidecar that connects over TLS, with these further arguments.
fn bootstrap(authority: &str, args: &[&str]) -> String {
    let all =
        ["bootstrap", "--proxy", "sidecar/default/app=client", "--server", ADDRESS, "--tls-ca", authority];
    let out = umbra::run(&[&all, args].concat()).expect("umbra runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// The value of one of umbra's metrics.
async fn metric(world: &World, name: &str) -> u64 {
    let all = world.umbra().get("/metrics").await.unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name}: {all}"))
}

/// Starts an Envoy that umbra must not take, and waits until both sides have seen that.
async fn assert_refused(world: &World, name: &str, bootstrap: &str) {
    let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
    let before = metric(world, "umbra_tls_handshake_failures_total").await;
    let started = EnvoyProcess::start(world.net(), &binary, world.folder(), name, bootstrap).await;
    let envoy = started.unwrap_or_else(|e| panic!("{e:#}"));
    world
        .wait_for(&format!("{name} to be refused"), || async {
            metric(world, "umbra_tls_handshake_failures_total").await > before
                && envoy.stat("cluster.umbra-xds.upstream_cx_total").await > 1
        })
        .await;
    assert!(!envoy.ready().await, "{name} has a configuration");
    // `connected_state` may be 1 for a moment: in TLS 1.3 a client is through before its certificate is judged.
    assert_eq!(envoy.stat("cluster_manager.cds.update_success").await, 0, "{name}");
}

/// A certificate of one namespace lets its proxy claim no other, also where nobody asks for that; who is asked and shows none
/// is not served.
#[test]
fn a_certificate_says_the_namespace() {
    isolated(async {
        if !gate::require_openssl() {
            return;
        }
        let mut world = World::new();
        let mount = Mount::new(&world);
        world.write("web.yaml", &web());
        world.write("rules.yaml", &rules("web", "web", &to_v1(MIRROR)));
        let settings = mount.settings(true) + "xdsIdentity: certificate\n";
        world.start_umbra_with(&settings).await;
        let binary = paths::envoy().expect("isolated tests run only where there is an Envoy");
        let issued =
            |name: &str, names: &str| mount.authority.issue(name, names).unwrap_or_else(|e| panic!("{e:#}"));
        let shown = |issued: &Issued| {
            let (certificate, key) = (issued.certificate.display(), issued.key.display());
            let (certificate, key) = (certificate.to_string(), key.to_string());
            bootstrap(&mount.file("ca.crt"), &["--tls-cert", &certificate, "--tls-key", &key])
        };
        for (name, names, words) in [
            ("theirs", "URI:spiffe://cluster.local/ns/bank/sa/client", "its proof is of namespace"),
            ("nobody", "DNS:client.test", "no SPIFFE identity"),
        ] {
            let started =
                EnvoyProcess::start(world.net(), &binary, world.folder(), name, &shown(&issued(name, names)))
                    .await;
            let envoy = started.unwrap_or_else(|e| panic!("{e:#}"));
            world
                .wait_for(&format!("{name} to be refused"), || async {
                    world.umbra().process().log().contains(words)
                })
                .await;
            assert_eq!(envoy.stat("cluster_manager.cds.update_success").await, 0, "{name}");
        }
        let all = world.umbra().get("/metrics").await.unwrap_or_default();
        assert!(all.contains("umbra_streams_closed_total{reason=\"unproven\"}"), "{all}");
        let ours = issued("ours", "URI:spiffe://cluster.local/ns/default/sa/client");
        world.start_envoy("client", &shown(&ours)).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        let all = world.umbra().get("/debug/proxies").await.unwrap_or_default();
        assert!(all.contains("default/client"), "{all}");
    });
}

#[test]
fn a_stream_outlives_the_certificate_it_began_with() {
    isolated(async {
        let Some((mut world, mut mount)) = start(false).await else { return };
        let first = bootstrap(&mount.file("ca.crt"), &[]);
        world.start_envoy("client", &first).await;
        wait_share(&world, "|v2|web", 1_000_000).await;

        // Half of a rotation: refused, said, and nothing changes.
        let issued = mount.issue("half");
        let old = mount.file("..data/tls.key");
        mount.show(&issued.certificate, Path::new(&old));
        world
            .wait_for("the half pair to be refused", || async {
                metric(&world, "umbra_tls_reload_failures_total").await == 1
            })
            .await;
        world.start_envoy("second", &first).await;

        // A new authority: whoever connects now must know it, whoever is connected need not.
        mount.authority = Authority::make(&mount.folder, "later").unwrap_or_else(|e| panic!("{e:#}"));
        mount.rotate("renewed");
        world
            .wait_for("the new pair", || async { metric(&world, "umbra_tls_reloads_total").await == 1 })
            .await;
        assert_refused(&world, "outdated", &first).await;
        world.start_envoy("third", &bootstrap(&mount.file("later.crt"), &[])).await;
        set_rules(&world, &to_v1(&format!("{MIRROR}\nmirrorPercentage: {{value: 7}}")));
        for name in ["client", "second", "third"] {
            world.wait_share(name, "|v2|web", 70_000).await;
            assert_eq!(world.proxy(name).stat("cluster.umbra-xds.upstream_cx_total").await, 1, "{name}");
        }
        world.assert_clean().await;
    });
}

#[test]
fn a_proxy_expects_the_name_of_its_server() {
    isolated(async {
        let Some((mut world, mount)) = start(false).await else { return };
        let ca = mount.file("ca.crt");
        assert_refused(&world, "elsewhere", &bootstrap(&ca, &["--tls-name", "other.test"])).await;
        world.start_envoy("named", &bootstrap(&ca, &["--tls-name", "umbra.test"])).await;
        // The plaintext port is another door, and stays.
        world.start_proxy("plain", "sidecar/default/app=client").await;
    });
}

#[test]
fn only_proxies_with_a_certificate_are_served() {
    isolated(async {
        let Some((mut world, mount)) = start(true).await else { return };
        let ca = mount.file("ca.crt");
        assert_refused(&world, "nobody", &bootstrap(&ca, &[])).await;
        let with = |issued: &Issued| {
            let path = |path: &Path| path.display().to_string();
            bootstrap(&ca, &["--tls-cert", &path(&issued.certificate), "--tls-key", &path(&issued.key)])
        };
        let stranger =
            Authority::make(&mount.folder, "stranger").and_then(|ca| ca.issue("forged", "DNS:client"));
        assert_refused(&world, "forger", &with(&stranger.unwrap_or_else(|e| panic!("{e:#}")))).await;
        world.start_envoy("client", &with(&mount.issue("client"))).await;
        wait_share(&world, "|v2|web", 1_000_000).await;
        world.assert_clean().await;
    });
}

#[test]
fn a_bad_pair_at_the_start_is_an_error() {
    if !gate::require_openssl() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::make(folder.path(), "ca").unwrap_or_else(|e| panic!("{e:#}"));
    let [a, b] =
        ["a", "b"].map(|name| authority.issue(name, "DNS:umbra").unwrap_or_else(|e| panic!("{e:#}")));
    let missing = folder.path().join("missing");
    for (certificate, key, part) in [
        (&a.certificate, &b.key, "--tls-cert and --tls-key cannot be used together"),
        (&a.key, &a.key, "--tls-cert"),
        (&a.certificate, &a.certificate, "--tls-key"),
        (&missing, &a.key, "--tls-cert: cannot read"),
    ] {
        let path = |path: &Path| path.display().to_string();
        let (dir, certificate, key) = (path(folder.path()), path(certificate), path(key));
        let args = ["serve", "--dir", &dir, "--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--xds-tls"];
        let tls = ["127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        let out = umbra::run(&[&args[..], &tls[..]].concat()).expect("umbra runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(1) && said.contains(part), "{part}: {} {said}", out.status);
    }
}
