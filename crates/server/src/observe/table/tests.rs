use umbra_api::Change;
use umbra_engine::{Engine, Options};
use umbra_proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, Sum, metric::Data, number_data_point::Value,
};

use super::*;

/// The mirrors of rules as `NAME SUBSET PERCENT`, one VirtualService each.
fn mirrors(rules: &[&str]) -> AllMirrors {
    let mut text = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v2, labels: {v: v2}}, {name: v3, labels: {v: v3}}]}
"
    .to_owned();
    for rule in rules {
        let [name, subset, percent] = rule.split(' ').collect::<Vec<_>>()[..] else { panic!("{rule}") };
        text += &format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{name}.example]\n  http: [{{name: r, route: [{{destination: {{host: web}}}}], \
             mirror: {{host: web, port: {{number: 80}}, subset: {subset}}}, mirrorPercentage: {{value: {percent}}}}}]\n"
        );
    }
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    for object in umbra_api::parse_documents(&text, "a.yaml").objects {
        engine.apply(Change::Upsert(Arc::new(object.value)));
    }
    engine.settle();
    engine.mirrors()
}

fn counter(name: &str, count: i64, temporality: AggregationTemporality) -> Metric {
    let sum = Sum {
        data_points: vec![NumberDataPoint { value: Some(Value::AsInt(count)) }],
        aggregation_temporality: temporality.into(),
    };
    Metric { name: name.to_owned(), data: Some(Data::Sum(sum)) }
}

/// A table, and a clock that goes as it is told.
struct Stage {
    table: Table,
    now: Instant,
}

impl Stage {
    fn new(rules: &[&str]) -> Self {
        let now = Instant::now();
        let mut stage = Stage { table: Table::new(now, 1_000_000), now };
        stage.know(rules);
        stage
    }

    fn know(&mut self, rules: &[&str]) {
        self.table.know(&mirrors(rules), self.now);
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn told(&mut self, metric: &Metric) {
        if let Some(told) = Told::read(metric) {
            self.table.take(&told, self.now);
            self.table.end_message(self.now);
        }
    }

    /// Requests of a rule, and copies to a subset.
    fn take(&mut self, rule: &str, requests: i64, subset: &str, copies: i64) {
        let delta = AggregationTemporality::Delta;
        let rule = format!("vhost.x:80.route.default/{rule}/r.upstream_rq_completed");
        let cluster = format!("cluster.mirror|80|{subset}|web.default.svc.cluster.local.upstream_rq_total");
        self.told(&counter(&rule, requests, delta));
        self.told(&counter(&cluster, copies, delta));
    }

    /// `REQUESTS COPIES WANTED`, and whether others share the cluster.
    #[track_caller]
    fn check(&mut self, rule: &str, subset: &str, want: &str) {
        let key =
            RuntimeKey::new(format!("mirror/default/{rule}/r/80|{subset}|web.default.svc.cluster.local"));
        let it = self.table.observation(&key, self.now);
        let said = it.map_or("none".to_owned(), |it| {
            let shared = if it.shared { " shared" } else { "" };
            format!("{} {} {}{shared}", it.primaries.completed, it.copies.attempts(), it.wanted)
        });
        assert_eq!(said, want, "{rule} to {subset}");
    }
}

#[test]
fn only_mirrors_that_exist_are_counted() {
    let mut stage = Stage::new(&["a v2 10"]);
    stage.take("a", 100, "v2", 11);
    stage.take("b", 100, "v3", 11);
    stage.told(&counter("cluster.outbound|80||web.upstream_rq_total", 5, AggregationTemporality::Delta));
    stage.check("a", "v2", "100 11 10");
    stage.check("b", "v3", "none");
    assert_eq!((stage.table.clusters.len(), stage.table.rules.len()), (2, 1));
    // Numbers that are not what is asked for would count twice; those below zero are none.
    let name = "cluster.mirror|80|v2|web.default.svc.cluster.local.upstream_rq_total";
    stage.told(&counter(name, 7, AggregationTemporality::Cumulative));
    stage.told(&counter(name, -7, AggregationTemporality::Delta));
    stage.check("a", "v2", "100 11 10");
    stage.know(&[]);
    stage.check("a", "v2", "none");
    assert_eq!((stage.table.clusters.len(), stage.table.rules.len()), (0, 0));
}

#[test]
fn numbers_go_back_ten_minutes_at_most() {
    let mut stage = Stage::new(&["a v2 10"]);
    stage.take("a", 100, "v2", 11);
    stage.wait(200);
    stage.take("a", 10, "v2", 2);
    stage.wait(200);
    stage.take("a", 1, "v2", 0);
    stage.check("a", "v2", "111 13 11.1");
    stage.wait(300);
    stage.check("a", "v2", "1 0 0.1");
    stage.wait(3600);
    stage.check("a", "v2", "0 0 0");
    // But for Prometheus they only grow.
    let counted = stage.table.counted(1);
    let [(rule, primaries)] = &counted.rules[..] else { panic!("{counted:?}") };
    let [(shared, cluster, share)] = &counted.shares[..] else { panic!("{counted:?}") };
    assert_eq!((&**rule, primaries.completed, rule, *share), ("default/a/r", 111, shared, 0.1));
    assert_eq!((&counted.clusters[0].0, counted.clusters[0].1.begun), (cluster, 13));
    assert!(stage.table.counted(0).is_empty());
}

#[test]
fn a_changed_share_begins_anew_with_all_that_is_compared_with_it() {
    let mut stage = Stage::new(&["a v2 10", "b v2 50", "c v3 50"]);
    stage.take("a", 100, "v2", 60);
    stage.take("b", 100, "v3", 50);
    stage.take("c", 100, "v3", 0);
    stage.check("a", "v2", "100 60 60 shared");
    stage.check("b", "v2", "100 60 60 shared");
    stage.check("c", "v3", "100 50 50");
    // Another rule comes and nobody begins anew; a share changes, and those do whose copies go to the same cluster.
    stage.know(&["a v2 10", "b v2 50", "c v3 50", "d v3 1"]);
    stage.check("c", "v3", "100 50 50 shared");
    stage.know(&["a v2 20", "b v2 50", "c v3 50", "d v3 1"]);
    stage.take("a", 100, "v2", 60);
    stage.check("a", "v2", "0 0 0 shared");
    stage.check("b", "v2", "0 0 0 shared");
    stage.check("c", "v3", "100 50 50 shared");
    stage.wait(7);
    stage.take("a", 10, "v2", 2);
    stage.check("a", "v2", "10 2 2 shared");
}
