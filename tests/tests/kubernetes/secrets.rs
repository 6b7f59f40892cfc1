//! Certificates of gateways from Secrets of a real cluster, with the right to just those that are named.

use tonic::Request;
use tonic::transport::Endpoint;
use umbra_proto::envoy::config::core::v3::Node;
use umbra_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
    aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use umbra_testkit::cluster::stage::on_cluster;
use umbra_testkit::cluster::{Cluster, Mesh, PATIENCE};
use umbra_testkit::tls::{Authority, Issued};
use umbra_xds::ResourceType;

use super::identity::{authorize, bound, next, node, requests, world};
use super::rights;

const GATEWAY: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: bank}
spec:
  selector: {app: door}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: door}}
";

/// What the chart writes for `gatewaySecrets: {bank: [door]}`.
const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: umbra-secrets, namespace: bank}
rules: [{apiGroups: [''], resources: [secrets], resourceNames: [door], verbs: [list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: umbra-secrets, namespace: bank}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: umbra-secrets}
subjects: [{kind: ServiceAccount, name: umbra, namespace: umbra-system}]
";

/// The versions of what a proxy is given when it asks for these Secrets by name.
async fn secrets(cluster: &Cluster, token: &str, node: &Node, names: &[&str]) -> Vec<String> {
    let address = format!("http://{}", cluster.plane.site().xds);
    let channel = Endpoint::from_shared(address).expect("an address").connect().await.expect("umbra");
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let first = DeltaDiscoveryRequest {
        node: Some(node.clone()),
        type_url: ResourceType::Secret.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut request = Request::new(requests(first));
    authorize(Some(token), request.metadata_mut());
    let answer = tokio::time::timeout(PATIENCE, async {
        let answer = client.delta_aggregated_resources(request).await.expect("a stream");
        next::<DeltaDiscoveryResponse>(answer.into_inner()).await.expect("a response")
    });
    answer.await.expect("an answer").resources.into_iter().map(|it| it.version).collect()
}

fn put(cluster: &Cluster, name: &str, issued: &Issued) {
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    let made = cluster.kubectl(&[
        "-n",
        "bank",
        "create",
        "secret",
        "tls",
        name,
        &format!("--cert={certificate}"),
        &format!("--key={key}"),
        "--dry-run=client",
        "-o",
        "yaml",
    ]);
    cluster.apply(&made);
}

/// The gateway of the Gateway's namespace gets what is named, others nothing; a deletion is said, and takes nothing away.
#[test]
fn a_secret_is_read_by_its_name_and_given_to_its_gateway() {
    on_cluster(|cluster| async move {
        let (shop, bank) = world(&cluster).await;
        let authority =
            Authority::make(&cluster.folder().join("tls"), "ca").unwrap_or_else(|e| panic!("{e:#}"));
        let issue = |name: &str| authority.issue(name, "DNS:door.test").unwrap_or_else(|e| panic!("{e:#}"));
        put(&cluster, "door", &issue("one"));
        put(&cluster, "safe", &issue("safe"));
        cluster.apply(GATEWAY);
        let user = rights::umbra(&cluster);
        cluster.apply(ROLE);
        let flags = ["--xds-identity", "token", "--gateway-secrets"];
        let mesh = Mesh::start(&cluster, &user, &flags).await.unwrap_or_else(|e| panic!("{e:#}"));
        let door = (bound(&cluster, "bank", "web", &bank), node("door", &[("PROXY_TYPE", "router")], &[]));
        let thief = (bound(&cluster, "shop", "web", &shop), node("thief", &[("PROXY_TYPE", "router")], &[]));
        let both = ["kubernetes://door", "kubernetes://safe"];
        let given = |who: &(String, Node)| {
            let (cluster, who) = (&cluster, who.clone());
            async move { secrets(cluster, &who.0, &who.1, &both).await }
        };
        let first = given(&door).await;
        assert_eq!(first.len(), 1, "{}", mesh.log());
        assert!(given(&thief).await.is_empty());

        put(&cluster, "door", &issue("two"));
        cluster.wait_for("the renewed certificate", || async { given(&door).await != first }).await;
        let second = given(&door).await;
        cluster.kubectl(&["-n", "bank", "delete", "secret", "door"]);
        let said =
            || async { mesh.get("/debug/diagnostics").await.is_ok_and(|it| it.contains("SecretGone")) };
        cluster.wait_for("the deletion to be said", said).await;
        assert_eq!(given(&door).await, second);
        assert!(!mesh.log().contains("PRIVATE KEY"));
    });
}
