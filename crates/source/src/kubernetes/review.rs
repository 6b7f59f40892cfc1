//! Whose token it is: asked of the API server (`authentication.k8s.io/v1` TokenReview).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;

use super::connect::ApiServer;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the name of a ServiceAccount begins with.
const ACCOUNT: &str = "system:serviceaccount:";
/// Where the API server names the Pod that a token is bound to.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// A ServiceAccount, and the Pod that its token is bound to: the API server takes such a token only as long as that Pod,
/// by its uid, is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The Pod's name; `None`: a token that is bound to no Pod, as `kubectl create token` makes them.
    pub pod: Option<String>,
}

/// What the API server says of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Review {
    /// It is good, and whose it is.
    Good(Account),
    /// It is not, and why.
    Bad(String),
    /// Nobody can say now.
    Away(String),
}

/// A way to ask.
#[derive(Clone)]
pub struct Reviewer {
    reviews: Api<TokenReview>,
    audience: String,
}

impl ApiServer {
    /// Asks for tokens of this audience.
    pub fn reviewer(&self, audience: impl Into<String>) -> Reviewer {
        Reviewer { reviews: Api::all(self.client.clone()), audience: audience.into() }
    }
}

impl Reviewer {
    /// Asks about one token.
    pub async fn review(&self, token: &str) -> Review {
        let spec =
            TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![self.audience.clone()]) };
        let question = TokenReview { spec, ..TokenReview::default() };
        let parameters = PostParams::default();
        match timeout(PATIENCE, self.reviews.create(&parameters, &question)).await {
            Err(_) => Review::Away("the API server does not answer in time".to_owned()),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Review::Away(format!("umbra's role lacks create on tokenreviews: {}", status.message))
            }
            Ok(Err(error)) => Review::Away(format!("the API server cannot be asked: {error}")),
            Ok(Ok(answer)) => judge(answer.status.unwrap_or_default(), &self.audience),
        }
    }
}

/// What a review comes to.
fn judge(status: TokenReviewStatus, audience: &str) -> Review {
    if status.authenticated != Some(true) {
        let why = status.error.unwrap_or_else(|| "the API server does not know it".to_owned());
        return Review::Bad(why);
    }
    // An API server that knows nothing of audiences names none, and would take any token.
    if !status.audiences.iter().flatten().any(|it| it == audience) {
        return Review::Bad(format!("it is not for the audience {audience:?}"));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let Some((namespace, account)) = name.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':')) else {
        return Review::Bad(format!("{name:?} is no ServiceAccount"));
    };
    let extra: BTreeMap<String, Vec<String>> = user.extra.unwrap_or_default();
    let pod = extra.get(POD).and_then(|names| names.first()).filter(|name| !name.is_empty()).cloned();
    Review::Good(Account { namespace: namespace.to_owned(), name: account.to_owned(), pod })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_an_answer_means() {
        let good = |pod: Option<&str>| {
            let pod = pod.map(str::to_owned);
            Review::Good(Account { namespace: "shop".to_owned(), name: "web".to_owned(), pod })
        };
        let bad = |why: &str| Review::Bad(why.to_owned());
        let user = |extra: Value| json!({"username": "system:serviceaccount:shop:web", "extra": extra});
        let umbra = json!(["umbra"]);
        for (status, want) in [
            (json!({}), bad("the API server does not know it")),
            (json!({"authenticated": false, "error": "expired"}), bad("expired")),
            (
                json!({"authenticated": true, "user": user(json!({})), "audiences": []}),
                bad("it is not for the audience \"umbra\""),
            ),
            (
                json!({"authenticated": true, "user": user(json!({}))}),
                bad("it is not for the audience \"umbra\""),
            ),
            (
                json!({"authenticated": true, "audiences": umbra, "user": {"username": "eve"}}),
                bad("\"eve\" is no ServiceAccount"),
            ),
            (json!({"authenticated": true, "audiences": umbra}), bad("\"\" is no ServiceAccount")),
            (json!({"authenticated": true, "audiences": umbra, "user": user(json!({}))}), good(None)),
            (json!({"authenticated": true, "audiences": umbra, "user": user(json!({POD: []}))}), good(None)),
            (
                json!({"authenticated": true, "audiences": umbra, "user": user(json!({POD: [""]}))}),
                good(None),
            ),
            (
                json!({"authenticated": true, "audiences": umbra, "user": user(json!({POD: ["web-1"]}))}),
                good(Some("web-1")),
            ),
        ] {
            let read = serde_json::from_value(status.clone()).unwrap();
            assert_eq!(judge(read, "umbra"), want, "{status}");
        }
    }
}
