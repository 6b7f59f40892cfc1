use std::sync::Arc;
use std::time::Duration;

use umbra_api::Change;
use umbra_engine::{Engine, Options};

use super::*;

/// A mesh with one mirror at 50 %, held down as its policy says, and a clock that goes five seconds a look.
struct Stage {
    engine: Engine,
    pacer: Pacer,
    now: Instant,
    seconds: i64,
    requests: u64,
    /// No proxy tells anything, as those do that have no requests.
    silent: bool,
    /// Of how many proxies that one is of which requests are counted.
    uncounted: f64,
    /// `None`: a replica is silent.
    verdict: Option<Option<&'static str>>,
    written: BTreeMap<RuntimeKey, RampState>,
    annotations: String,
    policy: String,
}

impl Stage {
    fn new(policy: &str) -> Self {
        let mut stage = Stage {
            engine: Engine::new(Options { pods_as_endpoints: true, ..Options::default() }),
            pacer: Pacer::default(),
            now: Instant::now(),
            seconds: 1000,
            requests: 0,
            silent: false,
            uncounted: 1.0,
            verdict: Some(None),
            written: BTreeMap::new(),
            annotations: String::new(),
            policy: policy.to_owned(),
        };
        stage.write();
        stage
    }

    fn write(&mut self) {
        let text = format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, annotations: {{{}}}}}
spec:
  hosts: [web]
  http:
  - name: r
    route: [{{destination: {{host: web}}}}]
    mirror: {{host: web}}
    mirrorPercentage: {{value: 50}}
---
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {{name: web}}
spec: {{targetRef: {{name: web}}, {}}}
",
            self.annotations, self.policy
        );
        for object in umbra_api::parse_documents(&text, "a.yaml").objects {
            self.engine.apply(Change::Upsert(Arc::new(object.value)));
        }
        self.engine.settle();
    }

    /// Five seconds with so many requests; what the mirror is told then, in millionths.
    fn look(&mut self, requests: u64) -> u32 {
        self.now += Duration::from_secs(5);
        self.seconds += 5;
        self.requests += requests;
        let all = self.engine.mirrors();
        let verdicts = self.verdict.map(|verdict| {
            let key = all.values().flat_map(|all| all.iter()).map(|mirror| mirror.key.as_str().to_owned());
            key.zip(verdict.map(str::to_owned)).collect()
        });
        let world = World {
            requests: &|_| (!self.silent).then_some(self.requests),
            uncounted: &|_| self.uncounted,
            verdicts: verdicts.as_ref(),
            replicas: 1,
            now: self.now,
            seconds: self.seconds,
        };
        let (shares, steps) = self.pacer.step(&all, &world);
        self.engine.set_judged(&shares);
        for Step { key, ramp, state, .. } in steps {
            let before = self.written.insert(key.clone(), state);
            assert!(before.is_none_or(|before| before.step < state.step));
            let record = umbra_istio::record_ramp(None, &key, &ramp, state).expect("a later step");
            self.annotations = format!("umbra.io/ramp: {record:?}");
            self.write();
        }
        self.engine.settle();
        self.told()
    }

    fn told(&self) -> u32 {
        let all = self.engine.mirrors();
        let mirror = all.values().flat_map(|all| all.iter()).next().expect("a mirror");
        assert_eq!(mirror.written, RuntimeFraction::from_percent(50.0));
        mirror.share.expect("a share").millionths()
    }
}

#[test]
fn never_more_copies_a_second_than_allowed() {
    let mut stage = Stage::new("maxRequestsPerSecond: 50");
    assert_eq!(stage.told(), 0, "nothing before somebody has looked");
    assert_eq!(stage.look(0), 1000);
    // Of a thousand requests a second 5 % are 50; aimed at are 4 %.
    for want in [4000, 16_000, 40_000, 40_000] {
        assert_eq!(stage.look(5000), want);
    }
    // Ten times as many: down as soon as that is counted.
    let shares: Vec<u32> = (0..4).map(|_| stage.look(50_000)).collect();
    assert_eq!(shares, [7272, 4000, 4000, 4000]);
    // Few: never above what is written.
    let shares: Vec<u32> = (0..20).map(|_| stage.look(10)).collect();
    assert_eq!(shares[19], 500_000);
}

#[test]
fn proxies_that_do_not_count_have_their_part_of_what_is_allowed() {
    let mut stage = Stage::new("maxRequestsPerSecond: 50");
    // Of five proxies two count a thousand requests a second; the others have half as many again.
    stage.uncounted = 2.5;
    let shares: Vec<u32> = (0..6).map(|_| stage.look(5000)).collect();
    assert_eq!(shares, [1000, 4000, 16_000, 16_000, 16_000, 16_000]);
}

#[test]
fn a_quiet_service_loses_no_count() {
    let mut stage = Stage::new("ramp: {steps: [{percent: 1, time: 10s, requests: 100}]}");
    stage.look(0);
    for _ in 0..9 {
        assert_eq!(stage.look(11), 10_000, "{} requests are too few", stage.requests);
        stage.silent = true;
        stage.look(0);
        stage.silent = false;
    }
    stage.look(11);
    assert_eq!(stage.look(0), 500_000, "a hundred were counted, with pauses between");
    // Whoever forgets what it had counted begins anew.
    let mut stage = Stage::new("ramp: {steps: [{percent: 1, time: 10s, requests: 100}]}");
    for nth in 0..8 {
        if nth == 4 {
            stage.requests = 0;
        }
        assert_eq!(stage.look(20), 10_000);
    }
}

#[test]
fn a_ramp_goes_step_by_step_to_what_is_written() {
    let mut stage = Stage::new(
        "ramp: {steps: [{percent: 1, time: 10s, requests: 100}, {percent: 10, time: 5s, requests: 0}]}",
    );
    assert_eq!(stage.told(), 0);
    let shares: Vec<u32> = (0..4).map(|_| stage.look(20)).collect();
    assert_eq!(shares, [10_000; 4], "too few requests");
    // Held by a verdict.
    stage.verdict = Some(Some("different"));
    assert_eq!((stage.look(1000), stage.look(1000)), (10_000, 10_000));
    // Who says nothing may have seen what is different.
    stage.verdict = None;
    assert_eq!((stage.look(1000), stage.look(1000)), (10_000, 10_000));
    stage.verdict = Some(None);
    let shares: Vec<u32> = (0..5).map(|_| stage.look(0)).collect();
    assert!(shares.is_sorted() && shares.contains(&100_000) && shares[4] == 500_000, "{shares:?}");
    // Somebody else begins where it was.
    stage.pacer = Pacer::default();
    stage.engine.set_judged(&BTreeMap::new());
    stage.engine.settle();
    assert_eq!(stage.look(0), 500_000);
    assert_eq!(stage.written.values().map(|state| state.step).collect::<Vec<_>>(), [2]);
}
