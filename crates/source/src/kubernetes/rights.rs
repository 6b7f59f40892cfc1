//! What somebody may do: asked of the API server (`authorization.k8s.io/v1` SubjectAccessReview), so that who may read rules
//! is said in one place, RBAC.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;
use umbra_ir::Kind;

use super::connect::ApiServer;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest name of anything in Kubernetes.
const LONGEST_NAME: usize = 253;

/// What is done with an object, as RBAC spells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// Reading one.
    Get,
    /// Reading all.
    List,
    /// Changing one.
    Patch,
}

impl Verb {
    /// The word in a rule of RBAC.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Wish {
    /// What.
    pub verb: Verb,
    /// With objects of this kind.
    pub kind: Kind,
    /// In this namespace; empty: in all.
    pub namespace: String,
    /// The one of this name; empty: all.
    pub name: String,
}

impl Wish {
    /// To read all objects of a kind, in one namespace or (empty) in all.
    pub fn list(kind: Kind, namespace: impl Into<String>) -> Self {
        Wish { verb: Verb::List, kind, namespace: namespace.into(), name: String::new() }
    }

    /// To do something with one object.
    pub fn one(verb: Verb, kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Wish { verb, kind, namespace: namespace.into(), name: name.into() }
    }

    /// Whether there can be such an object at all: nobody is asked about, and nothing kept of, names without end.
    pub fn can_be(&self) -> bool {
        self.namespace.len() <= LONGEST_NAME && self.name.len() <= LONGEST_NAME
    }
}

/// As a person would say what right it takes.
impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let facts = self.kind.facts();
        write!(f, "{} {}.{}", self.verb.as_str(), facts.plural, facts.group)?;
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        match self.namespace.as_str() {
            "" => f.write_str(" in all namespaces"),
            namespace => write!(f, " in namespace {namespace:?}"),
        }
    }
}

/// What the API server says of a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Right {
    /// It is granted.
    Yes,
    /// It is not.
    No,
    /// Nobody can say now, and why.
    Away(String),
}

/// A way to ask.
#[derive(Clone)]
pub struct RightsReviewer {
    reviews: Api<SubjectAccessReview>,
}

impl ApiServer {
    /// Asks what ServiceAccounts may do.
    pub fn rights_reviewer(&self) -> RightsReviewer {
        RightsReviewer { reviews: Api::all(self.client.clone()) }
    }
}

impl RightsReviewer {
    /// Asks whether the ServiceAccount `account` of `namespace` may have its wish.
    pub async fn review(&self, namespace: &str, account: &str, wish: &Wish) -> Right {
        let question =
            SubjectAccessReview { spec: spec(namespace, account, wish), ..SubjectAccessReview::default() };
        let parameters = PostParams::default();
        match timeout(PATIENCE, self.reviews.create(&parameters, &question)).await {
            Err(_) => Right::Away("the API server does not answer in time".to_owned()),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Right::Away(format!("umbra's role lacks create on subjectaccessreviews: {}", status.message))
            }
            Ok(Err(error)) => Right::Away(format!("the API server cannot be asked: {error}")),
            Ok(Ok(answer)) => judge(answer.status.as_ref()),
        }
    }
}

/// The question. Groups are those that every ServiceAccount is in.
fn spec(namespace: &str, account: &str, wish: &Wish) -> SubjectAccessReviewSpec {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let facts = wish.kind.facts();
    SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{account}")),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(ResourceAttributes {
            verb: Some(wish.verb.as_str().to_owned()),
            group: Some(facts.group.to_owned()),
            resource: Some(facts.plural.to_owned()),
            namespace: some(&wish.namespace),
            name: some(&wish.name),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// What a review comes to.
fn judge(status: Option<&SubjectAccessReviewStatus>) -> Right {
    match status {
        Some(status) if status.allowed && status.denied != Some(true) => Right::Yes,
        _ => Right::No,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked() {
        for (wish, words, want) in [
            (
                Wish::list(Kind::VirtualService, ""),
                "list virtualservices.networking.istio.io in all namespaces",
                json!({"verb": "list", "group": "networking.istio.io", "resource": "virtualservices"}),
            ),
            (
                Wish::list(Kind::Service, "shop"),
                "list services. in namespace \"shop\"",
                json!({"verb": "list", "group": "", "resource": "services", "namespace": "shop"}),
            ),
            (
                Wish::one(Verb::Patch, Kind::VirtualService, "shop", "web"),
                "patch virtualservices.networking.istio.io \"web\" in namespace \"shop\"",
                json!({
                    "verb": "patch", "group": "networking.istio.io", "resource": "virtualservices",
                    "namespace": "shop", "name": "web",
                }),
            ),
        ] {
            let asked = serde_json::to_value(spec("bank", "door", &wish)).unwrap();
            assert_eq!(asked["resourceAttributes"], want, "{wish}");
            assert_eq!(asked["user"], json!("system:serviceaccount:bank:door"));
            assert_eq!(asked["groups"][1], json!("system:serviceaccounts:bank"));
            assert_eq!(wish.to_string(), words);
            assert!(wish.can_be());
        }
        assert!(!Wish::list(Kind::Service, "x".repeat(254)).can_be());
    }

    #[test]
    fn what_an_answer_means() {
        for (status, want) in [
            (json!({"allowed": true}), Right::Yes),
            (json!({"allowed": false}), Right::No),
            (json!({"allowed": true, "denied": true}), Right::No),
        ] {
            assert_eq!(judge(serde_json::from_value(status.clone()).ok().as_ref()), want, "{status}");
        }
        assert_eq!(judge(None), Right::No);
    }
}
