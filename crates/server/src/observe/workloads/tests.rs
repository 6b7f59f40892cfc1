use umbra_ir::{Hostname, ObjectId, PortNumber, ServiceId, Workload};
use umbra_proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, Sum, metric::Data, number_data_point::Value,
};

use super::*;

/// `SERVICE ROLE WORKLOAD`; the last is `-` where nobody answers, `*` where several do.
fn destinations(all: &[&str]) -> Destinations {
    let one = |words: &&str| {
        let [service, role, workload] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
        let host = format!("{service}.shop.svc.cluster.local");
        let cluster = ClusterRef {
            service: ServiceId {
                object: ObjectId::new(Kind::Service, "shop", service),
                host: Hostname::new(&host),
                also: Arc::default(),
            },
            spelling: host.into(),
            port: PortNumber::new(80).expect("a port"),
            subset: None,
            policy: None,
            limits: None,
            contents: false,
            role: if role == "mirror" { Role::Mirror } else { Role::Primary },
        };
        let answerer = match workload {
            "-" => Answerer::Nobody,
            "*" => Answerer::Several,
            name => Answerer::One(Arc::new(Workload { namespace: "shop".into(), name: name.into() })),
        };
        (cluster, answerer)
    };
    all.iter().map(one).collect()
}

struct Stage {
    workloads: Workloads,
    now: Instant,
}

impl Stage {
    fn new(all: &[&str]) -> Self {
        let mut stage = Stage { workloads: Workloads::default(), now: Instant::now() };
        stage.know(all);
        stage
    }

    fn know(&mut self, all: &[&str]) {
        self.workloads.know(&destinations(all), self.now);
    }

    /// Statistics of a cluster as `NAME=COUNT`.
    fn take(&mut self, cluster: &str, statistics: &[(&str, i64)]) {
        for (name, count) in statistics {
            let sum = Sum {
                data_points: vec![NumberDataPoint { value: Some(Value::AsInt(*count)) }],
                aggregation_temporality: AggregationTemporality::Delta.into(),
            };
            let name = format!("cluster.{cluster}.shop.svc.cluster.local.{name}");
            let metric = Metric { name, data: Some(Data::Sum(sum)) };
            let told = Told::read(&metric).expect("it is read");
            self.workloads.take(&told, self.now);
        }
    }

    /// Every series as `SERVICE/WORKLOAD CODE=COUNT…`, copies with `shadow`; zeros are left out.
    #[track_caller]
    fn check(&self, want: &[&str]) {
        let said = self.workloads.counted().into_iter().map(|(labels, series)| {
            let counted = series.codes.iter().filter(|(_, count)| **count > 0);
            let codes: String = counted.map(|(code, count)| format!(" {code}={count}")).collect();
            let shadow = if labels.shadow { " shadow" } else { "" };
            format!("{}/{}{shadow}{codes}", labels.service_name, labels.workload)
        });
        assert_eq!(said.collect::<Vec<_>>(), want);
    }
}

#[test]
fn requests_are_counted_by_who_answers_them() {
    let mut stage =
        Stage::new(&["web primary web-v1", "web mirror web-v2", "all primary *", "new primary -"]);
    stage.take("outbound|80||web", &[("upstream_rq_200", 7), ("upstream_rq_503", 1)]);
    stage.take("mirror|80||web", &[("upstream_rq_total", 5), ("upstream_rq_200", 4), ("upstream_rq_5xx", 1)]);
    stage.take("mirror|80||web", &[("upstream_rq_500", 1)]);
    stage.take("outbound|80||all", &[("upstream_rq_201", 2)]);
    stage.take("outbound|80||none", &[("upstream_rq_200", 9)]);
    stage.check(&[
        "all/unknown 201=2",
        "new/unknown",
        "web/web-v1 200=7 503=1",
        "web/web-v2 shadow 200=4 500=1",
    ]);
}

/// What was counted before stays with who answered then, as long as queries look back.
#[test]
fn another_workload_begins_at_zero() {
    let mut stage = Stage::new(&["web primary web"]);
    stage.take("outbound|80||web", &[("upstream_rq_200", 7)]);
    stage.know(&["web primary web-primary"]);
    stage.take("outbound|80||web", &[("upstream_rq_200", 3)]);
    stage.check(&["web/web 200=7", "web/web-primary 200=3"]);
    // Nobody answers any longer: whoever was the last is meant.
    stage.know(&["web primary -"]);
    stage.take("outbound|80||web", &[("upstream_rq_503", 2)]);
    stage.now += KEPT;
    stage.know(&["web primary -"]);
    stage.check(&["web/web-primary 200=3 503=2"]);
    stage.know(&[]);
    stage.take("outbound|80||web", &[("upstream_rq_503", 2)]);
    stage.check(&["web/web-primary 200=3 503=2"]);
    stage.now += KEPT;
    stage.know(&[]);
    stage.check(&[]);
}

/// A copy that nobody answers in time has no code at Envoy; one whose answer breaks off has.
#[test]
fn a_copy_that_hangs_counts_once() {
    let mut stage = Stage::new(&["web mirror web"]);
    let hung = [("upstream_rq_total", 10), ("upstream_rq_200", 4), ("upstream_rq_max_duration_reached", 5)];
    stage.take("mirror|80||web", &hung);
    stage.check(&["web/web shadow 200=4 504=5"]);
    // The last of them is answered, and then two are cut off within their answers.
    stage.take("mirror|80||web", &[("upstream_rq_200", 1)]);
    stage.take("mirror|80||web", &[("upstream_rq_200", 2), ("upstream_rq_total", 2)]);
    stage.take("mirror|80||web", &[("upstream_rq_max_duration_reached", 2)]);
    stage.check(&["web/web shadow 200=7 504=5"]);
    // Production's are answered by Envoy, with a code.
    let mut stage = Stage::new(&["web primary web"]);
    stage.take("outbound|80||web", &[("upstream_rq_504", 5), ("upstream_rq_max_duration_reached", 5)]);
    stage.check(&["web/web 504=5"]);
}

#[test]
fn what_is_kept_is_bounded() {
    let names: Vec<_> = (0..MAX_SERIES + 20).map(|n| format!("s{n:04} primary w")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(&names);
    assert_eq!(stage.workloads.series.len(), MAX_SERIES);
    for round in 0..3 {
        stage.now += Duration::from_secs(1);
        let names: Vec<_> = names.iter().map(|it| it.replace(" w", &format!(" w{round}"))).collect();
        stage.know(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(stage.workloads.series.len() <= 2 * MAX_SERIES);
    }
    for code in 400..450 {
        stage.take("outbound|80||s0000", &[(&format!("upstream_rq_{code}"), 1)]);
    }
    let (_, first) = &stage.workloads.counted()[1];
    assert!(first.codes.len() <= MAX_CODES + 1, "{:?}", first.codes);
}
