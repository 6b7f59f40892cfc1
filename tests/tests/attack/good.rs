//! A good proxy beside an attack: how long a changed percentage takes to reach it.

use std::time::{Duration, Instant};

use umbra_proto::type_url;
use umbra_testkit::wait::PATIENCE;
use umbra_tests::manifests::rules;

use crate::HERE;
use crate::client::{Ads, Peer, ask};
use crate::victim::Victim;

/// A proxy that takes the runtime, beside a rule with a mirror between services `web-0` and `web-1` of its own.
pub(crate) struct Good {
    _peer: Peer,
    stream: Ads,
    percent: u32,
}

impl Good {
    pub(crate) async fn new(victim: &Victim) -> Self {
        let peer = Peer::connect(HERE, victim.ports.xds.local(), None).await.unwrap();
        let mut stream = peer.open().await.unwrap();
        let mut request = ask("good", type_url::RUNTIME);
        request.resource_names_subscribe = vec!["umbra".to_owned()];
        stream.say(&request).await.unwrap();
        let mut good = Good { _peer: peer, stream, percent: 1 };
        good.read().await;
        good.update(victim).await;
        good
    }

    async fn read(&mut self) {
        let response = self.stream.response().await.unwrap().expect("it stays");
        let mut ack = ask("", type_url::RUNTIME);
        (ack.node, ack.response_nonce) = (None, response.nonce);
        self.stream.say(&ack).await.unwrap();
    }

    /// Changes the percentage; how long it takes to arrive.
    pub(crate) async fn update(&mut self, victim: &Victim) -> Duration {
        self.percent = self.percent % 99 + 1;
        let http = format!(
            "- route: [{{destination: {{host: web-0}}}}]\n  mirror: {{host: web-1}}\n  mirrorPercentage: {{value: {}}}\n",
            self.percent
        );
        let text = rules("good", "web-0", &http);
        let start = Instant::now();
        victim.write("good.yaml", &text);
        let read = tokio::time::timeout(PATIENCE, self.read()).await;
        assert!(read.is_ok(), "{}", victim.process.tail());
        start.elapsed()
    }

    /// Updates for so long: how many, and the slowest.
    pub(crate) async fn updates(&mut self, victim: &Victim, time: Duration) -> (usize, Duration) {
        let (begun, mut slowest, mut count) = (Instant::now(), Duration::ZERO, 0);
        while begun.elapsed() < time {
            slowest = slowest.max(self.update(victim).await);
            count += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (count, slowest)
    }
}
