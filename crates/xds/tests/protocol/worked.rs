//! What both variants do alike, each conversation in both notations.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn a_cold_start_is_answered_type_by_type_and_counts_as_live_at_the_end() {
    check(
        Delta,
        "cold start",
        "> sub rtds umbra
         > sub cds
         > put cds/a=a1:e eds/e=e1 lds/l=l1 rds/r=r1:a rtds/umbra=m1
         < cds#1 +a=a1
         < rtds#2 +umbra=m1
         > sub eds e
         < eds#3 +e=e1
         > ack eds
         > ack cds
         > ack rtds
         > acked
         < acked 0
         > sub lds
         < lds#4 +l=l1
         > sub rds r
         < rds#5 +r=r1
         > ack lds
         > acked
         < acked 0
         > ack rds
         > acked
         < acked 1
         > due
         < never",
    );
    check(
        Sotw,
        "cold start",
        "> names rtds umbra
         > names cds
         > put cds/a=a1:e eds/e=e1 lds/l=l1 rds/r=r1:a rtds/umbra=m1
         < cds#1 a1
         < rtds#2 m1
         > names eds e
         < eds#3 e1
         > ack eds
         > ack cds
         > ack rtds
         > names lds
         < lds#4 l1
         > names rds r
         < rds#5 r1
         > ack lds
         > ack rds
         > acked
         < acked 1",
    );
}

#[test]
fn a_change_is_sent_only_to_a_stream_that_watches_it() {
    check(
        Delta,
        "unwatched",
        "> put eds/e=1 eds/f=1 lds/l=1
         > sub eds e
         < eds#1 +e=1
         > ack eds
         > put eds/f=2 lds/l=2
         > put eds/e=2
         < eds#2 +e=2
         > ack eds
         > put eds/e=2",
    );
    check(
        Sotw,
        "unwatched",
        "> put eds/e=e1 eds/f=f1 lds/l=l1
         > names eds e
         < eds#1 e1
         > ack eds
         > put eds/f=f2 lds/l=l2
         > put eds/e=e2
         < eds#2 e2
         > ack eds",
    );
}

#[test]
fn a_slow_proxy_skips_generations() {
    for variant in [Delta, Sotw] {
        let (ask, sign) = if variant == Delta { ("sub", "+e=") } else { ("names", "") };
        check(
            variant,
            "conflation",
            &format!(
                "> put eds/e=1 lds/l=1
                 > {ask} lds
                 < lds#1 {}
                 > ack lds
                 > {ask} eds e
                 < eds#2 {sign}1
                 > put eds/e=2
                 > put eds/e=3
                 > put eds/e=4
                 > acked
                 < acked 0
                 > ack eds
                 < eds#3 {sign}4
                 > acked
                 < acked 1
                 > ack eds
                 > acked
                 < acked 4
                 > put eds/e=5
                 < eds#4 {sign}5
                 > put eds/e=6
                 > put eds/e=5
                 > ack eds
                 > acked
                 < acked 7",
                if variant == Delta { "+l=1" } else { "1" },
            ),
        );
    }
}

#[test]
fn a_refused_version_is_not_repeated_and_the_next_one_is_sent() {
    check(
        Delta,
        "nack",
        "> put rds/r=1 rds/s=1
         > sub rds r s
         < rds#1 +r=1 +s=1
         > ack rds
         > put rds/r=bad
         < rds#2 +r=bad
         > nack rds no such thing
         < nack rds r: no such thing
         > acked
         < acked 1
         > put rds/s=2
         < rds#3 +s=2
         > ack rds
         > put rds/r=3
         < rds#4 +r=3
         > ack rds
         > acked
         < acked 4
         > put rds/r=bad
         < rds#5 +r=bad
         > nack rds again
         < nack rds r: again
         > put rds/r=3
         < rds#6 +r=3
         > ack rds
         > acked
         < acked 6",
    );
    check(
        Sotw,
        "nack",
        "> put cds/a=a1 cds/b=b1
         > names cds
         < cds#1 a1 b1
         > ack cds
         > put cds/a=bad
         < cds#2 bad b1
         > nack cds why
         < nack cds a: why
         > put eds/e=1
         > put cds/b=b2
         < cds#3 bad b2
         > nack cds why
         < nack cds a b: why
         > put cds/a=a3
         < cds#4 a3 b2
         > ack cds
         > put cds/a=bad
         < cds#5 bad b2
         > nack cds why
         < nack cds a: why
         > put cds/a=a3
         < cds#6 a3 b2
         > ack cds",
    );
}

#[test]
fn another_class_is_a_full_comparison() {
    check(
        Delta,
        "lineage",
        "> put cds/a=1 cds/b=1 cds/c=1
         > sub cds
         < cds#1 +a=1 +b=1 +c=1
         > ack cds
         > other cds/a=1 cds/b=2
         < cds#2 +b=2
         > ack cds
         < cds#3 -c
         > ack cds
         > put cds/d=1
         < cds#4 +d=1",
    );
    check(
        Sotw,
        "lineage",
        "> put cds/a=a1 cds/b=b1 cds/c=c1
         > names cds
         < cds#1 a1 b1 c1
         > ack cds
         > other cds/a=a1 cds/b=b1 cds/c=c1
         > other cds/a=a1 cds/b=b2
         < cds#2 a1 b2 c1
         > ack cds
         < cds#3 a1 b2
         > ack cds",
    );
}

#[test]
fn an_empty_world_is_an_answer_once_there_is_one() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            "empty",
            &format!(
                "> {ask} cds
                 > {ask} lds
                 > acked
                 < acked 0
                 > put
                 < cds#1
                 < lds#2
                 > ack cds
                 > ack lds
                 > acked
                 < acked 1"
            ),
        );
    }
}
