//! Who a proxy is, by what it can prove: a ServiceAccount's token that the API server vouches for, or a certificate with a
//! SPIFFE identity. Where proof is asked for, a proxy's namespace, Pod and labels never come from what it says of itself.
//!
//! Who asks `--api`, and what that caller may be told, is judged here too.
//!
//! Start reading at: [`Gate::admit`] (before a byte of a stream's requests is read), then [`Admission::name`]; for callers at
//! [`Callers`].

mod cache;
mod callers;
mod certificate;
mod claims;
mod rights;
mod tokens;
mod turns;

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;
use umbra_ir::ProxyNode;
use umbra_istio::{NodeError, parse_node};

pub use callers::{Caller, Callers, Came};
pub use certificate::Leaf;
pub use rights::Rights;
pub use tokens::Tokens;

/// `--xds-identity`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityMode {
    /// Proxies are who they say they are
    #[default]
    None,
    /// A ServiceAccount's token of the audience of --xds-audience, bound to a Pod
    Token,
    /// A client certificate with spiffe://TRUST/ns/NS/sa/SA; needs --tls-client-ca
    Certificate,
}

impl IdentityMode {
    /// The word on the command line and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            IdentityMode::None => "none",
            IdentityMode::Token => "token",
            IdentityMode::Certificate => "certificate",
        }
    }
}

/// `--api-identity`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerMode {
    /// Whoever reaches the port is told everything
    #[default]
    None,
    /// A ServiceAccount's token of the audience of --xds-audience, over TLS; what it is told is what RBAC lets it read
    Token,
}

impl CallerMode {
    /// The word on the command line and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            CallerMode::None => "none",
            CallerMode::Token => "token",
        }
    }
}

/// What a proxy has proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proven {
    /// Its namespace.
    pub namespace: String,
    /// Its ServiceAccount.
    pub account: String,
    /// Its Pod; a certificate names none.
    pub pod: Option<String>,
    /// When the proof is worth nothing any more.
    pub until: Timestamp,
}

/// Why a stream is not served; the words are for the proxy's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has proven nothing.
    Unproven(String),
    /// It says that it is somebody else.
    Foreign(String),
    /// It is known, and may not.
    Forbidden(String),
    /// Nobody can say now; it may try again.
    Later(String),
}

impl Refusal {
    /// Why, in words.
    pub fn why(&self) -> &str {
        let (Refusal::Unproven(why) | Refusal::Foreign(why) | Refusal::Forbidden(why) | Refusal::Later(why)) =
            self;
        why
    }

    /// What a client over gRPC is told.
    pub fn status(&self) -> Status {
        let why = self.why().to_owned();
        match self {
            Refusal::Unproven(_) => Status::unauthenticated(why),
            Refusal::Foreign(_) | Refusal::Forbidden(_) => Status::permission_denied(why),
            Refusal::Later(_) => Status::unavailable(why),
        }
    }
}

/// What a port asks of whoever connects.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Nothing. Where other ports ask, those who come this way count in no status and no gate.
    Open {
        /// Whether they count.
        counts: bool,
    },
    /// A token.
    Token(Tokens),
    /// A certificate.
    Certificate,
}

/// Leave to open a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// What was proven; `None` where nothing was asked.
    pub proven: Option<Proven>,
    /// Whether the proxy counts in statuses and gates.
    pub counts: bool,
}

impl Gate {
    /// Judges what a stream brings: the value of its `authorization`, and its connection's certificate; `from` is whose
    /// connection that is.
    ///
    /// # Errors
    /// Why it is not served.
    pub async fn admit(
        &self,
        authorization: Option<&[u8]>,
        leaf: Option<&Leaf>,
        from: IpAddr,
    ) -> Result<Admission, Refusal> {
        let proven = match self {
            // Who shows an identity unasked has no other.
            Gate::Open { counts } => {
                let proven = leaf.and_then(|leaf| leaf.proven().ok());
                return Ok(Admission { counts: *counts || proven.is_some(), proven });
            }
            Gate::Token(tokens) => in_a_pod(tokens.check(authorization, from).await?)?,
            Gate::Certificate => {
                let none = || Refusal::Unproven("no client certificate: this port asks for one".to_owned());
                let proven = leaf.ok_or_else(none)?.proven().map_err(Refusal::Unproven)?;
                if proven.until <= Timestamp::now() {
                    return Err(Refusal::Unproven("the client's certificate has expired".to_owned()));
                }
                proven
            }
        };
        Ok(Admission { proven: Some(proven), counts: true })
    }
}

impl Admission {
    /// Whoever proved nothing, where nothing is asked.
    pub fn unasked() -> Self {
        Admission { proven: None, counts: true }
    }

    /// Understands a node: what was proven counts, and what contradicts it is refused.
    ///
    /// # Errors
    /// It cannot be understood (`Ok` of the outer result with the inner error), or is somebody else's.
    pub fn name(&self, id: &str, metadata: Value) -> Result<Result<ProxyNode, NodeError>, Refusal> {
        let Some(proven) = &self.proven else { return Ok(parse_node(id, &metadata)) };
        let node = match parse_node(id, &metadata) {
            Err(NodeError::NoNamespace(_)) => parse_node(id, &placed(metadata, &proven.namespace)),
            other => other,
        };
        let Ok(mut node) = node else { return Ok(node) };
        if *node.namespace != *proven.namespace {
            let (said, is) = (&node.namespace, &proven.namespace);
            let text = format!("the node says namespace {said:?}, and its proof is of namespace {is:?}");
            return Err(Refusal::Foreign(text));
        }
        if let Some(pod) = &proven.pod {
            node.pod = Some(pod.as_str().into());
        }
        // Its Pod's count.
        node.labels = None;
        Ok(Ok(node))
    }

    /// How long a stream that opens now may stay; `None`: as long as it likes. At most a tenth of the time that is left is
    /// taken away at random, so that not everybody who came together leaves together; the kubelet renews a token when a
    /// fifth of its time is left.
    pub fn lifetime(&self, now: Timestamp, random: f64) -> Option<Duration> {
        let left = self.proven.as_ref()?.until.duration_since(now);
        let left = Duration::try_from(left).unwrap_or_default();
        Some(left.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0)))
    }
}

/// A proxy is a Pod's: its labels are that Pod's.
fn in_a_pod(proven: Proven) -> Result<Proven, Refusal> {
    const FREE: &str =
        "the token is bound to no Pod: a projected volume has one that is (serviceAccountToken)";
    if proven.pod.is_none() { Err(Refusal::Unproven(FREE.to_owned())) } else { Ok(proven) }
}

/// Metadata with a namespace.
fn placed(mut metadata: Value, namespace: &str) -> Value {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("NAMESPACE".to_owned(), namespace.into());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admission(pod: Option<&str>) -> Admission {
        let proven = Proven {
            namespace: "shop".to_owned(),
            account: "web".to_owned(),
            pod: pod.map(str::to_owned),
            until: Timestamp::from_second(2000).unwrap(),
        };
        Admission { proven: Some(proven), counts: true }
    }

    #[test]
    fn a_token_that_is_bound_to_no_pod_is_no_proxy() {
        for (pod, good) in [(Some("web-1"), true), (None, false)] {
            let proven = admission(pod).proven.unwrap();
            assert_eq!(in_a_pod(proven).is_ok(), good, "{pod:?}");
        }
    }

    #[test]
    fn what_a_node_says_of_itself_does_not_count() {
        for (title, id, metadata, want) in [
            ("as it is", "sidecar~10.0.0.1~web-1.shop~shop.svc", json!({}), Ok("web-1")),
            ("another Pod", "sidecar~10.0.0.1~pay-1.shop~shop.svc", json!({}), Ok("web-1")),
            ("nothing", "n", json!({}), Ok("web-1")),
            ("labels", "n", json!({"NAMESPACE": "shop", "LABELS": {"app": "pay"}}), Ok("web-1")),
            ("another namespace", "n", json!({"NAMESPACE": "bank"}), Err(())),
            ("another namespace's id", "sidecar~10.0.0.1~web-1.bank~bank.svc", json!({}), Err(())),
        ] {
            let got = admission(Some("web-1")).name(id, metadata);
            match (got, want) {
                (Ok(Ok(node)), Ok(pod)) => {
                    assert_eq!((&*node.namespace, node.pod.as_deref()), ("shop", Some(pod)), "{title}");
                    assert_eq!(node.labels, None, "{title}");
                }
                (Err(Refusal::Foreign(_)), Err(())) => {}
                (got, _) => panic!("{title}: {got:?}"),
            }
        }
        // Where nothing is asked everything is believed.
        let node = Admission::unasked().name("n", json!({"NAMESPACE": "bank", "LABELS": {"a": "b"}}));
        assert!(node.unwrap().unwrap().labels.is_some());
        assert!(matches!(Admission::unasked().name("n", json!({})), Ok(Err(NodeError::NoNamespace(_)))));
    }

    #[test]
    fn a_stream_ends_before_its_proof_does() {
        let now = Timestamp::from_second(1000).unwrap();
        for (random, want) in [(0.0, 1000), (1.0, 900), (7.0, 900)] {
            assert_eq!(admission(None).lifetime(now, random), Some(Duration::from_secs(want)), "{random}");
        }
        let late = Timestamp::from_second(3000).unwrap();
        assert_eq!(admission(None).lifetime(late, 0.5), Some(Duration::ZERO));
        assert_eq!(Admission::unasked().lifetime(now, 0.5), None);
    }
}
