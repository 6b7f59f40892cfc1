//! What a proxy's behaviour does to statuses, gates and logs (A9).

use umbra_proto::google::rpc::Status;
use umbra_proto::type_url;
use umbra_testkit::wait::{self, PATIENCE};

use crate::ELSEWHERE;
use crate::client::{Ads, Peer, ask};
use crate::victim::Victim;

/// A proxy that has its clusters, and the nonce that they came with.
async fn proxy(victim: &Victim) -> (Peer, Ads, String) {
    let peer = Peer::connect(ELSEWHERE, victim.ports.xds.local(), None).await.unwrap();
    let mut stream = peer.open().await.unwrap();
    stream.say(&ask("liar", type_url::CLUSTER)).await.unwrap();
    let nonce = stream.response().await.unwrap().unwrap().nonce;
    (peer, stream, nonce)
}

#[tokio::test]
async fn what_a_proxy_says_is_one_short_line() {
    let victim = Victim::start(1, 4096, &[]).await;
    let (_peer, mut stream, nonce) = proxy(&victim).await;
    let mut refusal = ask("", type_url::CLUSTER);
    let message = format!("so\nlive on 3 of 3 proxies\r\n\u{1b}[2J{}", "x".repeat(1_000_000));
    (refusal.node, refusal.response_nonce) = (None, nonce);
    refusal.error_detail = Some(Status { message, ..Status::default() });
    stream.say(&refusal).await.unwrap();
    let told = || async { victim.get("/debug/proxies").await.filter(|all| all.contains("so live on 3")) };
    let told = wait::until(PATIENCE, told).await.unwrap_or_else(|| panic!("{}", victim.process.tail()));
    assert!(told.len() < 10_000 && !told.contains("\\n") && told.contains("(truncated)"), "{}", told.len());
    let logged =
        || async { victim.process.log().lines().find(|line| line.contains("NACK")).map(str::to_owned) };
    let line = wait::until(PATIENCE, logged).await.expect("a line");
    assert!(line.len() < 2_000 && line.contains("so live on 3"), "{}", line.len());
}

#[tokio::test]
async fn who_comes_and_goes_is_named_once() {
    let victim = Victim::start(1, 4096, &[]).await;
    for _ in 0..12 {
        drop(proxy(&victim).await);
    }
    let said = || async { victim.process.log().contains("comes and goes").then_some(()) };
    assert!(wait::until(PATIENCE, said).await.is_some(), "{}", victim.process.tail());
    assert_eq!(victim.process.log().matches("comes and goes").count(), 1);
}

/// Patience with who answers nothing ends where a setting says so, and the log names it.
#[tokio::test]
async fn who_does_not_answer_is_named() {
    let victim = Victim::start(1, 4096, &["--laggard-patience", "1s"]).await;
    let _silent = proxy(&victim).await;
    let said = || async { victim.process.log().contains("no longer holds gates").then_some(()) };
    assert!(wait::until(PATIENCE, said).await.is_some(), "{}", victim.process.tail());
}
