//! The chart's life: installed, changed, taken back, taken away; and what a person does without helm.

use umbra_testkit::client::{Ask, Client};
use umbra_testkit::cluster::Cluster;
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::net::Net;
use umbra_testkit::paths;
use umbra_testkit::tls::Authority;

use super::chart::{NAMESPACE, answer, helm, namespace, traffic, try_helm, wait_mirrored, wait_ready, web};

const COPY: &str = "web.example-shadow";

/// Counts the changes of what a Deployment should be.
const GENERATION: &str = "jsonpath={.metadata.generation}";

fn file(path: &str) -> String {
    paths::workspace().join(path).display().to_string()
}

/// The uids of umbra's Pods.
fn replicas(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.agent().pods(NAMESPACE, "app.kubernetes.io/component=control-plane");
    let mut uids: Vec<_> = pods.iter().map(|pod| pod.uid.clone()).collect();
    uids.sort();
    uids
}

#[test]
fn helm_installs_changes_takes_back_and_takes_away() {
    on_cluster(|cluster| async move {
        namespace(&cluster);
        let notes = helm(&cluster, "install", &[]);
        assert!(!notes.contains("WARNING"), "{notes}");
        assert!(notes.contains("15012 (TLS)"), "{notes}");
        wait_ready(&cluster, 2, 2).await;
        cluster.apply(&web());
        cluster.wait_ready("default", "app=web", 2).await;
        wait_mirrored(&cluster, COPY).await;
        // The replica that writes it has asked the other, by the name of their Service.
        cluster
            .wait_for("the rule to be live on both gateways", || {
                let programmed = "jsonpath={.status.conditions[?(@.type=='Programmed')].message}";
                let said = cluster.kubectl(&["get", "vs", "web", "-o", programmed]);
                std::future::ready(said.contains("2 of 2"))
            })
            .await;

        // What is off by itself is at least what an API server takes.
        let optional = ["autoscaling.enabled=true", "networkPolicy.apiNamespaces={flagger,argo}"].join(",");
        let template =
            ["template", "umbra", &file("deploy/chart"), "--namespace", NAMESPACE, "--set", &optional];
        let shown = [&template[..], &["--kube-version", "1.33.0"]].concat();
        let rendered = cluster.admin().helm(&shown).unwrap_or_else(|e| panic!("{e:#}"));
        let taken = cluster.admin().on_manifests(&["apply", "--dry-run=server"], &rendered);
        let taken = taken.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(taken.contains("horizontalpodautoscaler.autoscaling/umbra created"), "{taken}");

        // Settings are taken in by the running Pods, without a failed request.
        let requests = traffic(&cluster);
        let before = replicas(&cluster);
        helm(&cluster, "upgrade", &["--set", "config.mirror.shadowSuffix=false"]);
        wait_mirrored(&cluster, "web.example").await;
        assert_eq!(replicas(&cluster), before, "no replica was replaced");
        // The autoscaler takes over as many as there are: without a number there would be one for a while.
        let specified = || cluster.kubectl(&["get", "deploy", "umbra", "-n", NAMESPACE, "-o", GENERATION]);
        let as_specified = specified();
        helm(&cluster, "upgrade", &["--reuse-values", "--set", "autoscaling.enabled=true"]);
        assert_eq!(specified(), as_specified, "the Deployment was changed");
        helm(
            &cluster,
            "upgrade",
            &[
                "--reuse-values",
                "--set",
                "autoscaling.enabled=false,replicas=3,gateway.replicas=3,podLabels.a=b",
            ],
        );
        wait_ready(&cluster, 3, 3).await;
        assert!(replicas(&cluster).iter().all(|uid| !before.contains(uid)), "every replica was replaced");

        let refused = try_helm(&cluster, "upgrade", &["--set", "replicas=two"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("replicas"), "{said}");
        wait_mirrored(&cluster, "web.example").await;

        helm(&cluster, "rollback", &["1", "--wait", "--timeout", "300s"]);
        wait_ready(&cluster, 2, 2).await;
        wait_mirrored(&cluster, COPY).await;
        requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));

        helm(&cluster, "uninstall", &["--wait", "--timeout", "300s"]);
        let every = "deployments,services,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets,serviceaccounts";
        let left = cluster.kubectl(&["get", every, "-n", NAMESPACE, "-o", "name"]);
        let left: Vec<_> =
            left.lines().filter(|l| !l.ends_with("/kube-root-ca.crt") && !l.ends_with("/default")).collect();
        assert!(left.is_empty(), "{left:?}");
        let roles = cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]);
        assert!(!roles.contains("umbra"), "{roles}");
        // The CRDs stay, and with them what people wrote.
        assert!(cluster.kubectl(&["get", "virtualservices,gateways", "-o", "name"]).lines().count() == 2);
    });
}

#[test]
fn kubectl_installs_it_and_a_sidecar() {
    on_cluster(|cluster| async move {
        let apply = ["apply", "-f", &file("deploy/install.yaml")];
        let out = cluster.admin().try_kubectl(&apply, "").expect("kubectl runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.is_empty(), "{said}");
        wait_ready(&cluster, 2, 2).await;
        let generations = || {
            cluster.kubectl(&[
                "get",
                "deploy",
                "-n",
                NAMESPACE,
                "-o",
                "jsonpath={.items[*].metadata.generation}",
            ])
        };
        let before = generations();
        let again = cluster.kubectl(&apply);
        assert_eq!(generations(), before, "the same again changes nothing");
        // kubectl always sends the selector of a PodDisruptionBudget, which is a field to be replaced.
        let sent = |line: &&str| !line.ends_with("unchanged") && !line.starts_with("poddisruptionbudget");
        assert_eq!(again.lines().find(sent), None, "{again}");
        // Nor is there a conflict when somebody goes over to server-side apply.
        cluster.kubectl(&[&apply[..], &["--server-side"]].concat());
        cluster.apply(&web());
        cluster.wait_ready("default", "app=web", 2).await;
        wait_mirrored(&cluster, COPY).await;

        let told = ["-n", NAMESPACE, "get", "configmap", "umbra-ca", "-o", "jsonpath={.data.ca\\.crt}"];
        let ca = format!("--from-literal=ca.crt={}", cluster.kubectl(&told));
        cluster.kubectl(&["create", "configmap", "umbra-ca", &ca]);
        cluster.kubectl(&["apply", "-f", &file("deploy/examples/sidecar.yaml")]);
        let pods = cluster.wait_ready("default", "app=sleep", 1).await;
        let net = pods[0].net().expect("a network");
        cluster
            .wait_for("a copy of the sidecar's request", || async {
                let answer =
                    Client::new(&net, ([127, 0, 0, 1], 8000).into()).ask(&Ask::get("web:8000", "/")).await;
                let copies = cluster.agent().pods("default", "version=v2");
                answer.is_ok_and(|answer| answer.served_by() == "v1")
                    && copies.iter().flat_map(|pod| pod.requests()).any(|copy| copy.host == "web-shadow:8000")
            })
            .await;
    });
}

/// The metric of each replica, from its probe port.
async fn metric(cluster: &Cluster, name: &str) -> Vec<u64> {
    let mut all = Vec::new();
    for pod in cluster.agent().pods(NAMESPACE, "app.kubernetes.io/component=control-plane") {
        let Some(address) = pod.address() else { continue };
        let answer =
            Client::new(&Net::here(), (address, 15020).into()).ask(&Ask::get("localhost", "/metrics")).await;
        let text = answer.map(|answer| answer.text()).unwrap_or_default();
        all.extend(text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()));
    }
    all
}

/// Writes the Secret that umbra shows to proxies.
fn certificate(cluster: &Cluster, authority: &Authority, name: &str) {
    secret(cluster, authority, "umbra-tls", name);
}

/// Writes a Secret with a new certificate called `name`.
fn secret(cluster: &Cluster, authority: &Authority, secret: &str, name: &str) {
    let issued = authority.issue(name, "DNS:umbra.umbra-system.svc").unwrap_or_else(|e| panic!("{e:#}"));
    let files = [
        format!("--from-file=tls.crt={}", issued.certificate.display()),
        format!("--from-file=tls.key={}", issued.key.display()),
        format!("--from-file=ca.crt={}", authority.certificate().display()),
    ];
    let create = ["create", "secret", "generic", secret, "-n", NAMESPACE, "--dry-run=client", "-o", "yaml"];
    let secret = cluster.kubectl(&[&create[..], &files.each_ref().map(String::as_str)].concat());
    cluster.apply(&secret);
}

#[test]
fn xds_over_tls_where_istio_has_its_own_crds() {
    on_cluster(|cluster| async move {
        cluster.install_crds("istio");
        namespace(&cluster);
        let authority =
            Authority::make(&cluster.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
        certificate(&cluster, &authority, "first");
        // The gateways prove who they are by their tokens.
        let proof = "tls.secretName=umbra-tls";
        let notes = helm(&cluster, "install", &["--set", proof]);
        assert!(!notes.contains("WARNING"), "{notes}");
        let ours = cluster.kubectl(&["get", "crds", "-l", "app.kubernetes.io/part-of=umbra", "-o", "name"]);
        let own = "customresourcedefinition.apiextensions.k8s.io/mirrorpolicies.umbra.io";
        assert_eq!(ours.trim(), own, "Istio's CRDs stay Istio's");
        wait_ready(&cluster, 2, 2).await;
        cluster.apply(&web());
        cluster.wait_ready("default", "app=web", 2).await;
        wait_mirrored(&cluster, COPY).await;
        assert_eq!(metric(&cluster, "umbra_xds_identity{mode=\"token\"}").await, [1, 1]);

        let requests = traffic(&cluster);
        certificate(&cluster, &authority, "second");
        cluster
            .wait_for("both replicas to take the new certificate in", || async {
                metric(&cluster, "umbra_tls_reloads_total").await == [1, 1]
            })
            .await;
        // Streams from before are told what changes after.
        let rule = ["patch", "vs", "web", "--type=json", "-p"];
        let gone = r#"[{"op": "remove", "path": "/spec/http/0/mirror"}, {"op": "replace", "path": "/spec/http/0/route/0/destination/subset", "value": "v2"}]"#;
        cluster.kubectl(&[&rule[..], &[gone]].concat());
        cluster
            .wait_for("the changed rule", || async {
                answer(&cluster).await.is_some_and(|answer| answer.served_by() == "v2")
            })
            .await;
        assert_eq!(metric(&cluster, "umbra_tls_reload_failures_total").await, [0, 0]);

        // From now on proxies need a certificate too: the gateways get one of their own.
        secret(&cluster, &authority, "gateway-tls", "gateway");
        let mutual = ["--reuse-values", "--set", "tls.mutual=true,gateway.tls.secretName=gateway-tls"];
        helm(&cluster, "upgrade", &mutual);
        wait_ready(&cluster, 2, 2).await;
        requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
        // A replica that was replaced has sent its proxies to another.
        cluster
            .wait_for("both gateways to be connected", || async {
                metric(&cluster, "umbra_proxies{kind=\"router\"}").await.iter().sum::<u64>() == 2
            })
            .await;
    });
}

/// The certificate that umbra makes itself is renewed, by the authority that proxies know, and no request fails.
#[test]
fn a_certificate_of_umbras_own_is_renewed() {
    on_cluster(|cluster| async move {
        namespace(&cluster);
        helm(&cluster, "install", &[]);
        wait_ready(&cluster, 2, 2).await;
        cluster.apply(&web());
        cluster.wait_ready("default", "app=web", 2).await;
        wait_mirrored(&cluster, COPY).await;
        let requests = traffic(&cluster);
        let part = |name: &str| {
            let path = format!("jsonpath={{.data.{}}}", name.replace('.', "\\."));
            cluster.kubectl(&["get", "secret", "umbra-xds", "-n", NAMESPACE, "-o", &path])
        };
        let before = ["tls.crt", "tls.key", "ca.crt", "ca.key"].map(part);
        let past = "umbra.io/renew-after=2020-01-01T00:00:00Z";
        cluster.kubectl(&["annotate", "secret", "umbra-xds", "-n", NAMESPACE, "--overwrite", past]);
        cluster
            .wait_for("both replicas to show a new certificate", || async {
                metric(&cluster, "umbra_tls_reloads_total").await == [2, 2]
            })
            .await;
        let after = ["tls.crt", "tls.key", "ca.crt", "ca.key"].map(part);
        assert!(before[..2].iter().zip(&after).all(|(before, after)| before != after));
        assert_eq!(before[2..], after[2..], "the authority stays");
        // Proxies that come now see the new one.
        cluster.kubectl(&["rollout", "restart", "deployment/umbra-gateway", "-n", NAMESPACE]);
        let status = ["rollout", "status", "deployment/umbra-gateway", "-n", NAMESPACE, "--timeout=240s"];
        cluster.kubectl(&status);
        wait_ready(&cluster, 2, 2).await;
        wait_mirrored(&cluster, COPY).await;
        requests.stop_unharmed().await.unwrap_or_else(|e| panic!("{e:#}"));
    });
}
