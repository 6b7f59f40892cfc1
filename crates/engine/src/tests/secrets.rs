//! What a Secret costs, and what stays of it.

use umbra_api::Change;
use umbra_ir::{Code, Kind, ObjectId, ProxyKind, ProxyNode};
use umbra_xds::ResourceType;

use super::{apply, names, objects, sidecar};
use crate::{Engine, Options, ProxyId};

const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
"#;

fn secret(pair: Option<(&str, &str)>) -> String {
    let data = pair.map_or("{}".to_owned(), |(certificate, key)| {
        serde_json::json!({"tls.crt": certificate, "tls.key": key}).to_string()
    });
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: shop}}\nstringData: {data}\n")
}

fn pair(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn router(namespace: &str, may_have_keys: bool) -> ProxyNode {
    ProxyNode { kind: ProxyKind::Router, may_have_keys, ..sidecar(namespace) }
}

fn codes(engine: &Engine) -> Vec<Code> {
    engine
        .diagnostics()
        .iter()
        .map(|note| note.code)
        .filter(|code| code.as_str().contains("Secret"))
        .collect()
}

#[test]
fn a_certificate_is_for_its_gateways_and_outlives_its_secret() {
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    for (id, node) in
        [(1, router("default", true)), (2, router("other", true)), (3, router("default", false))]
    {
        engine.connect(ProxyId(id), node, true);
    }
    apply(&mut engine, GATEWAY);
    let secrets = |engine: &Engine, id| names(&engine.snapshot(ProxyId(id)).unwrap(), ResourceType::Secret);
    let listeners =
        |engine: &Engine, id| names(&engine.snapshot(ProxyId(id)).unwrap(), ResourceType::Listener);
    let version = |engine: &Engine| {
        engine
            .snapshot(ProxyId(1))
            .unwrap()
            .get(ResourceType::Secret, "kubernetes://shop")
            .unwrap()
            .version
            .clone()
    };
    assert_eq!(codes(&engine), [Code::SecretNotFound]);
    assert!(listeners(&engine, 1).is_empty());

    let (first, key) = pair("a");
    apply(&mut engine, &secret(Some((&first, &key))));
    assert_eq!(secrets(&engine, 1), ["kubernetes://shop"]);
    for id in [2, 3] {
        assert!(secrets(&engine, id).is_empty() && listeners(&engine, id).is_empty(), "{id}");
    }
    assert!(codes(&engine).is_empty());
    let served = version(&engine);

    // A key that does not fit, and no key at all: what was served stays.
    let (other, _) = pair("b");
    for broken in [secret(Some((&other, &key))), secret(None)] {
        apply(&mut engine, &broken);
        assert_eq!(version(&engine), served);
        let rebuilt = engine.rebuilt().snapshot(ProxyId(1)).unwrap();
        assert_eq!(rebuilt.get(ResourceType::Secret, "kubernetes://shop").unwrap().version, served);
    }
    let id = ObjectId::new(Kind::Secret, "default", "shop");
    engine.apply(Change::Delete(id.clone()));
    engine.settle();
    assert_eq!((version(&engine), codes(&engine)), (served.clone(), vec![Code::SecretGone]));

    // A rotation is one resource.
    let (second, key) = pair("c");
    let before = engine.snapshot(ProxyId(1)).unwrap();
    apply(&mut engine, &secret(Some((&second, &key))));
    let after = engine.snapshot(ProxyId(1)).unwrap();
    let changed: Vec<_> = after.changed_from(&before).unwrap().collect();
    assert!(matches!(&changed[..], [(ResourceType::Secret, _)]), "{changed:?}");
    assert!(codes(&engine).is_empty());

    // Nothing of a key in any text.
    let text = format!("{:?} {:?}", engine.diagnostics(), engine.objects());
    assert!(!text.contains("PRIVATE KEY"));

    // Deleted, and named no more: forgotten.
    engine.apply(Change::Delete(id.clone()));
    engine.settle();
    assert!(engine.knows(&id));
    engine.apply(Change::Delete(objects(GATEWAY)[0].id()));
    engine.settle();
    assert!(!engine.knows(&id));
}
