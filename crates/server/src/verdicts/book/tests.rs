use umbra_api::Change;
use umbra_engine::{Engine, Options};
use umbra_judge::{Answer, Key, Primary};

use super::*;

const RULE: &str = "default/web/r";

/// The mirrors of the rule `r` of `web`, by subset and share in percent.
fn mirrors(shares: &[(&str, &str)]) -> AllMirrors {
    mirrors_with(shares, "")
}

/// As [`mirrors`], with further objects.
fn mirrors_with(shares: &[(&str, &str)], further: &str) -> AllMirrors {
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
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, annotations: {umbra.io/verdicts: \"50\"}}
spec:
  hosts: [web]
  http:
  - name: r
    route: [{destination: {host: web}}]
    mirrors:
"
    .to_owned();
    for (subset, share) in shares {
        text += &format!(
            "    - {{destination: {{host: web, subset: {subset}}}, percentage: {{value: {share}}}}}\n"
        );
    }
    text += further;
    let mut engine = Engine::new(Options { pods_as_endpoints: true, ..Options::default() });
    for object in umbra_api::parse_documents(&text, "a.yaml").objects {
        engine.apply(Change::Upsert(Arc::new(object.value)));
    }
    engine.settle();
    engine.mirrors()
}

/// A book, its stream, and a clock that goes as it is told.
struct Stage {
    book: Book,
    stream: StreamId,
    now: Instant,
}

impl Stage {
    fn new(shares: &[(&str, &str)]) -> Self {
        let now = Instant::now();
        let mut book = Book::new(now);
        book.know(&mirrors(shares), Duration::from_secs(60), 1);
        let stream = book.open();
        Stage { book, stream, now }
    }

    fn key(&self, nth: usize) -> RuntimeKey {
        self.book.mirrors.keys().nth(nth).expect("a mirror").clone()
    }

    fn line(&mut self, start: u64, side: Side, code: u16) {
        let answer = Answer { code: Some(code), whole: true, ..Answer::default() };
        let line = Line { key: Key { start, request: "id".into() }, side, answer };
        self.book.take(self.stream, line, self.now);
    }

    fn primary(&mut self, start: u64, method: &str) {
        let primary = Primary { rule: RULE.into(), method: method.into(), attempts: 1, ..Primary::default() };
        self.line(start, Side::Primary(primary), 200);
    }

    fn copy(&mut self, start: u64, mark: &str, code: u16) {
        self.line(start, Side::Copy { mark: mark.into() }, code);
    }
}

#[test]
fn pairs_are_counted_for_each_mirror() {
    let mut stage = Stage::new(&[("v2", "10"), ("v3", "20")]);
    let keys = [stage.key(0), stage.key(1)];
    let control = keys[0].control_mark();
    for start in 0..30 {
        stage.copy(start, &keys[0].mark(), 500);
        stage.primary(start, "GET");
        stage.copy(start, &control, 200);
        stage.copy(start, &keys[1].mark(), 200);
    }
    // A method that is not safe has no control, and is waited for no longer than for the others.
    stage.primary(100, "POST");
    stage.copy(100, &keys[0].mark(), 200);
    stage.copy(100, &keys[1].mark(), 200);
    // Nothing of what is not known here is kept.
    stage.copy(101, "mirror/default/other/r/|v2|web", 200);
    let [v2, v3] = keys.map(|key| stage.book.of(&key).expect("it is judged"));
    assert_eq!((v2.lines, v2.tally.judged, v2.tally.paired), (31, 31, 31));
    let status = |known: &Known| {
        let (with, without) = (known.tally.controlled[0], known.tally.alone[0]);
        (with.pairs, with.candidate, without.pairs, known.examples.len())
    };
    assert_eq!((status(&v2), status(&v3)), ((30, 30, 1, EXAMPLES), (30, 0, 1, 0)));
    assert_eq!((stage.book.joins.waiting(), stage.book.counts().1), (0, 1));
}

#[test]
fn less_is_judged_where_lines_are_lost() {
    let mut stage = Stage::new(&[("v2", "100")]);
    let key = stage.key(0);
    let control = key.control_mark();
    let (mut requests, mut start) = (0, 0);
    // Twenty seconds of a hundred requests a second, of which so many of 400 have no copy; each part of a pair may be the one.
    let mut play = |stage: &mut Stage, lost: u64| {
        for nth in 0..400 {
            start += 1;
            stage.primary(start, "GET");
            stage.copy(start, &control, 200);
            if nth >= lost {
                stage.copy(start, &key.mark(), 200);
            }
        }
        stage.now += Duration::from_secs(67);
        stage.book.turn(|_| None, stage.now);
        requests += 6700;
        let shares = stage.book.pace(|_| Some(requests), 1, stage.now);
        let known = stage.book.of(&key).expect("it is judged");
        assert_eq!(shares.get(&key.judging()).map(|it| it.millionths()), Some(known.share));
        (known.share, known.judged_part)
    };
    for (lost, want) in [
        (0, (1000, 1_000_000)),
        (0, (4000, 1_000_000)),
        (0, (16_000, 1_000_000)),
        (5, (32_000, 500_000)),
        (5, (64_000, 250_000)),
    ] {
        // What is lost is known when it has been waited for, and what came meanwhile is looked at with it.
        assert_eq!(play(&mut stage, lost), want, "{lost} of 400 lost");
    }
}

/// Four hundred requests of which not all lines come, and nobody judges less for it.
#[test]
fn what_is_no_loss() {
    type Play = fn(&mut Stage, u64, &[RuntimeKey; 2]);
    let cases: [(&str, Play, u32); 4] = [
        (
            "one of two mirrors has nobody to answer",
            |stage, start, keys| {
                stage.primary(start, "GET");
                stage.copy(start, &keys[0].mark(), 200);
            },
            1_000_000,
        ),
        (
            "answered for longer than lines are waited for",
            |stage, start, keys| {
                keys.iter().for_each(|key| stage.copy(start, &key.mark(), 200));
            },
            1_000_000,
        ),
        (
            "the log stream ends",
            |stage, start, _| {
                stage.primary(start, "GET");
                let stream = std::mem::replace(&mut stage.stream, stage.book.open());
                stage.book.close(stream);
            },
            1_000_000,
        ),
        ("no copy at all", |stage, start, _| stage.primary(start, "GET"), 500_000),
    ];
    for (what, play, want) in cases {
        let mut stage = Stage::new(&[("v2", "100"), ("v3", "100")]);
        let keys = [stage.key(0), stage.key(1)];
        (1..=400).for_each(|start| play(&mut stage, start, &keys));
        stage.now += Duration::from_secs(67);
        stage.book.turn(|_| None, stage.now);
        stage.book.pace(|_| Some(1), 1, stage.now);
        assert_eq!(stage.book.judged_part(&keys[0]), Some(want), "{what}");
    }
}

#[test]
fn a_mirror_that_is_off_is_not_missed() {
    let mut stage = Stage::new(&[("v2", "10"), ("v3", "0")]);
    let keys = [stage.key(0), stage.key(1)];
    stage.primary(1, "POST");
    stage.copy(1, &keys[0].mark(), 200);
    let [v2, v3] = keys.map(|key| stage.book.of(&key).expect("it is judged").tally);
    assert_eq!((v2.paired, v3.judged, v3.copy_missing), (1, 0, 0));
}

#[test]
fn what_a_mirror_does_not_copy_is_not_missed() {
    let policy = "---
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {name: v2}
spec: {targetRef: {name: web, mirror: {host: web, subset: v2}}, methods: [GET], verdicts: {rate: 50}}
";
    let mut stage = Stage::new(&[("v2", "10"), ("v3", "20")]);
    stage.book.know(&mirrors_with(&[("v2", "10"), ("v3", "20")], policy), Duration::from_secs(60), 1);
    let keys = [stage.key(0), stage.key(1)];
    stage.primary(1, "POST");
    stage.copy(1, &keys[1].mark(), 200);
    assert_eq!(stage.book.joins.waiting(), 0, "nobody waits for a copy that is not made");
    stage.primary(2, "GET");
    stage.copy(2, &keys[1].mark(), 200);
    stage.copy(2, &keys[0].mark(), 200);
    stage.copy(2, &keys[0].control_mark(), 200);
    let [v2, v3] = keys.map(|key| stage.book.of(&key).expect("it is judged").tally);
    assert_eq!((v2.judged, v2.paired, v2.copy_missing), (1, 1, 0));
    assert_eq!((v3.judged, v3.paired, v3.copy_missing), (2, 2, 0));
}

#[test]
fn lines_and_what_they_are_a_part_of_are_of_the_same_time() {
    let mut stage = Stage::new(&[("v2", "10")]);
    let key = stage.key(0);
    // How many were judged and came, since somebody began to count; what is said of the last ten minutes.
    let mut counted = 1000;
    let minutes = |stage: &mut Stage, counted: &mut u64, judged: u64, lines: u64| {
        for nth in 0..lines {
            stage.primary(*counted + nth, "POST");
            stage.copy(*counted + nth, &stage.key(0).mark(), 200);
        }
        *counted += judged;
        stage.now += HALF;
        stage.book.turn(|_| Some(*counted), stage.now);
        let known = stage.book.of(&key).expect("it is judged");
        (known.lines, known.begun.map(|begun| *counted - begun))
    };
    stage.book.turn(|_| Some(1000), stage.now);
    assert_eq!(minutes(&mut stage, &mut counted, 100, 100), (100, Some(100)));
    assert_eq!(minutes(&mut stage, &mut counted, 100, 100), (100, Some(100)));
    // Half of the lines are lost from now on.
    assert_eq!(minutes(&mut stage, &mut counted, 100, 50), (50, Some(100)));
    // Who counts has begun anew.
    counted = 7;
    stage.book.turn(|_| Some(counted), stage.now);
    assert_eq!(stage.book.of(&stage.key(0)).and_then(|known| known.begun), Some(7));
}

#[test]
fn what_does_not_come_is_missing_and_old_pairs_are_let_go() {
    let mut stage = Stage::new(&[("v2", "10")]);
    let key = stage.key(0);
    stage.primary(1, "POST");
    stage.now += Duration::from_secs(70);
    stage.book.turn(|_| None, stage.now);
    let missing = |stage: &Stage| stage.book.of(&key).map(|known| known.tally.copy_missing);
    assert_eq!(missing(&stage), Some(1));
    for want in [1, 0] {
        stage.now += HALF;
        stage.book.turn(|_| None, stage.now);
        assert_eq!(missing(&stage), Some(want));
    }
}

#[test]
fn as_many_are_judged_as_somebody_wants() {
    let mut stage = Stage::new(&[("v2", "10"), ("v3", "20")]);
    let mut requests = 0;
    // 1000 requests a second, of which 50 are wanted; here half of that, since there are two replicas.
    let mut pace = |stage: &mut Stage, told: bool| {
        let shares = stage.book.pace(|_| told.then_some(requests), 2, stage.now);
        stage.now += Duration::from_secs(5);
        requests += 5000;
        let [(key, share)] = &shares.into_iter().collect::<Vec<_>>()[..] else { panic!("one rule") };
        assert_eq!(key.as_str(), "judge/default/web/r");
        share.millionths()
    };
    let seen: Vec<u32> = (0..5).map(|_| pace(&mut stage, true)).collect();
    assert_eq!(seen, [1000, 4000, 16_000, 25_000, 25_000]);
    // Nobody counts any more.
    assert_eq!(pace(&mut stage, false), 25_000);
    // Never more than is copied, and nothing where nothing is.
    for (shares, want) in [(&[("v2", "1")][..], 10_000), (&[("v2", "0")], 0)] {
        stage.book.know(&mirrors(shares), Duration::from_secs(60), 1);
        assert_eq!(pace(&mut stage, true), want);
    }
    stage.book.know(&AllMirrors::new(), Duration::from_secs(60), 1);
    assert!(stage.book.pace(|_| None, 1, stage.now).is_empty());
}

#[test]
fn judges_are_told_since_when_a_mirror_goes_on() {
    let mut stage = Stage::new(&[("v2", "50"), ("v3", "50")]);
    let mut know = |stopped, now| {
        let mut all = mirrors(&[("v2", "50"), ("v3", "50")]);
        for states in all.values_mut() {
            let mut changed = states.to_vec();
            changed[0].stopped = stopped;
            *states = Arc::new(changed);
        }
        stage.book.know(&all, Duration::from_secs(60), now);
        stage.book.since().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(know(true, 10), []);
    let of = |now| [("default/web/r/|v2|web.default.svc.cluster.local".to_owned(), now)];
    assert_eq!(know(false, 20), of(20));
    assert_eq!(know(false, 30), of(20));
    assert_eq!(know(true, 40), of(20));
    assert_eq!(know(false, 50), of(50));
}

#[test]
fn a_query_is_shown_as_long_as_it_may_be() {
    let policy = |queries: bool| {
        format!(
            "---
apiVersion: umbra.io/v1alpha1
kind: MirrorPolicy
metadata: {{name: v2}}
spec: {{targetRef: {{name: web, mirror: {{host: web, subset: v2}}}}, methods: [GET], verdicts: {{queries: {queries}}}}}
"
        )
    };
    let shares = [("v2", "10"), ("v3", "20")];
    let mut stage = Stage::new(&shares);
    stage.book.know(&mirrors_with(&shares, &policy(true)), Duration::from_secs(60), 1);
    let keys = [stage.key(0), stage.key(1)];
    assert!(stage.book.queries().contains(RULE));
    let primary = Primary {
        rule: RULE.into(),
        method: "GET".into(),
        query: "a=1".into(),
        attempts: 1,
        ..Primary::default()
    };
    stage.line(1, Side::Primary(primary), 200);
    stage.copy(1, &keys[0].control_mark(), 200);
    keys.iter().for_each(|key| stage.copy(1, &key.mark(), 500));
    let shown = |stage: &Stage| {
        let queries = |key| stage.book.of(key).expect("it is judged").examples.remove(0).query.to_string();
        keys.each_ref().map(queries)
    };
    // A neighbour whose author says nothing shows nothing of the same request.
    assert_eq!(shown(&stage), ["a=1", ""]);
    stage.book.know(&mirrors_with(&shares, &policy(false)), Duration::from_secs(60), 1);
    assert!(stage.book.queries().is_empty());
    assert_eq!(shown(&stage), ["", ""]);
}
