//! Make before break, the assignment behind every CDS response, and deadlines.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn the_assignment_of_every_cluster_added_or_changed_follows_at_once() {
    check(
        Delta,
        "B is added beside A: no EDS request comes, and no CDS ACK before the assignment",
        "> put cds/a=1:e eds/e=1
         > sub cds
         < cds#1 +a=1
         > sub eds e
         < eds#2 +e=1
         > ack eds
         > ack cds
         > put cds/b=1:e
         < cds#3 +b=1
         < eds#4 +e=1
         > ack eds
         > ack cds
         > put cds/a=2:e
         < cds#5 +a=2
         < eds#6 +e=1
         > ack eds
         > ack cds
         > put lds/l=1",
    );
    check(
        Sotw,
        "B is added beside A",
        "> put cds/a=a1:e cds/x=x1:f eds/e=e1 eds/f=f1
         > names cds
         < cds#1 a1 x1
         > names eds e f
         < eds#2 e1 f1
         > ack eds
         > ack cds
         > put cds/b=b1:e
         < cds#3 a1 b1 x1
         < eds#4 e1
         > ack eds
         > ack cds",
    );
    check(
        Delta,
        "it does not wait for the answer to the assignment before it, and counts only behind the response",
        "> put cds/a=1:e eds/e=1
         > sub cds
         < cds#1 +a=1
         > sub eds e
         < eds#2 +e=1
         > ack cds
         > put cds/b=1:e eds/e=2
         < cds#3 +b=1
         < eds#4 +e=2
         > put eds/e=3
         > ack #2 eds
         > ack #4 eds
         < eds#5 +e=3",
    );
    check(
        Delta,
        "a name that the stream does not watch it will ask for itself",
        "> put cds/a=1:e eds/e=1
         > sub cds
         < cds#1 +a=1
         > sub eds e
         < eds#2 +e=1
         > ack eds
         > ack cds
         > put cds/b=1:f eds/f=1
         < cds#3 +b=1
         > sub eds f
         < eds#4 +f=1",
    );
    check(
        Delta,
        "an assignment that does not exist is told to be gone, so that the cluster is done warming",
        "> put cds/a=1:e eds/e=1
         > sub cds
         < cds#1 +a=1
         > sub eds e
         < eds#2 +e=1
         > ack eds
         > ack cds
         > put -eds/e
         < eds#3 -e
         > ack eds
         > put cds/b=1:e
         < cds#4 +b=1
         < eds#5 -e",
    );
}

/// All types asked for and acknowledged: cluster a with assignment e, route r that names a.
fn warm(rest: &str) -> String {
    let start = "> put cds/a=1:e eds/e=1 lds/l=1 rds/r=1:a
         > sub cds
         < cds#1 +a=1
         > sub eds e
         < eds#2 +e=1
         > ack eds
         > ack cds
         > sub lds
         < lds#3 +l=1
         > ack lds
         > sub rds r
         < rds#4 +r=1
         > ack rds";
    format!("{start}\n{rest}")
}

fn warm_sotw(rest: &str) -> String {
    let start = "> put cds/a=a1:e eds/e=e1 lds/l=l1 rds/r=r1:a
         > names cds
         < cds#1 a1
         > names eds e
         < eds#2 e1
         > ack eds
         > ack cds
         > names lds
         < lds#3 l1
         > ack lds
         > names rds r
         < rds#4 r1
         > ack rds";
    format!("{start}\n{rest}")
}

#[test]
fn a_route_waits_for_its_clusters_and_their_assignments() {
    check(
        Delta,
        "until both were acknowledged",
        &warm(
            "> put cds/b=1:f eds/f=1 rds/r=2:b
             < cds#5 +b=1
             > sub eds f
             < eds#6 +f=1
             > ack cds
             > ack eds
             < rds#7 +r=2
             > ack rds
             > acked
             < acked 2",
        ),
    );
    check(
        Delta,
        "a refused cluster does not hold its route",
        &warm(
            "> put cds/b=bad rds/r=2:b
             < cds#5 +b=bad
             > nack cds no
             < rds#6 +r=2
             < nack cds b: no",
        ),
    );
    check(
        Delta,
        "a cluster that does not exist, or is not watched, does not either",
        &warm(
            "> put rds/r=2:none
             < rds#5 +r=2
             > ack rds
             > unsub cds *
             > put cds/b=1 rds/r=3:b
             < rds#6 +r=3",
        ),
    );
    check(
        Delta,
        "no route without a question",
        "> put cds/a=1 rds/r=1:a
         > sub rds r
         < rds#1 +r=1",
    );
    check(
        Delta,
        "of several routes those that can go do, and a percentage waits for nothing",
        &warm(
            "> sub rds s
             < rds#5 -s
             > ack rds
             > sub rtds m
             < rtds#6 -m
             > ack rtds
             > put cds/b=1 rds/r=2:b rds/s=1:a rtds/m=1
             < cds#7 +b=1
             < rds#8 +s=1
             < rtds#9 +m=1
             > ack cds
             > ack rds
             < rds#10 +r=2",
        ),
    );
    check(
        Sotw,
        "state of the world",
        &warm_sotw(
            "> put cds/b=b1:f eds/f=f1 rds/r=r2:b
             < cds#5 a1 b1
             > names eds e f
             < eds#6 f1
             > ack eds
             > ack cds
             < rds#7 r2",
        ),
    );
    check(
        Sotw,
        "a listener that names clusters keeps its old form meanwhile, or stays away",
        &warm_sotw(
            "> put cds/b=b1 lds/l=l2:b lds/m=m1:b lds/n=n1
             < cds#5 a1 b1
             < lds#6 l1 n1
             > ack lds
             > ack cds
             < lds#7 l2 m1 n1",
        ),
    );
}

#[test]
fn a_wait_has_a_deadline() {
    check(
        Delta,
        "a cluster that does not warm holds its route for five seconds, and later changes not at all",
        &warm(
            "> put cds/dns=1 rds/r=2:dns
             < cds#5 +dns=1
             > due
             < due 5s
             > wait 4s
             > due
             < due 1s
             > wait 1s
             < rds#6 +r=2
             < lag cds dns
             > due
             < never
             > ack rds
             > put rds/r=3:dns
             < rds#7 +r=3
             > ack rds
             > put cds/b=1 rds/r=4:dns,b
             < cds#8 +b=1
             > ack #8 cds
             < rds#9 +r=4
             > ack rds
             > acked
             < acked 1
             > ack #5 cds
             > acked
             < acked 4",
        ),
    );
    check(
        Delta,
        "nothing more is sent behind a CDS response before its ACK or the deadline",
        &warm(
            "> put cds/b=1
             < cds#5 +b=1
             > put cds/c=1
             > put cds/c=2 cds/d=1
             > wait 5s
             < cds#6 +c=2 +d=1
             < lag cds b
             > ack #5 cds
             > ack #6 cds
             > acked
             < acked 4",
        ),
    );
    check(
        Delta,
        "a route whose clusters change again and again goes after five seconds all the same",
        &warm(
            "> put cds/b=1 rds/r=2:b
             < cds#5 +b=1
             > wait 3s
             > put cds/b=2
             > ack #5 cds
             < cds#6 +b=2
             > wait 2s
             < rds#7 +r=2
             < lag rds r for b",
        ),
    );
    check(
        Sotw,
        "state of the world acknowledges only the newest",
        &warm_sotw(
            "> put cds/dns=d1 rds/r=r2:dns
             < cds#5 a1 d1
             > wait 5s
             < rds#6 r2
             < lag cds dns
             > ack rds
             > put cds/b=b1
             < cds#7 a1 b1 d1
             > ack cds
             > acked
             < acked 3",
        ),
    );
}

#[test]
fn a_cluster_leaves_after_what_used_it() {
    check(
        Delta,
        "the routes go over first; the assignment goes when its cluster has gone",
        &warm(
            "> put -cds/a -eds/e cds/b=1:f eds/f=1 rds/r=2:b
             < cds#5 +b=1
             > sub eds f
             < eds#6 +f=1
             > ack eds
             > ack cds
             < rds#7 +r=2
             > ack rds
             < cds#8 -a
             > unsub eds e
             > ack cds
             > acked
             < acked 2",
        ),
    );
    check(
        Delta,
        "a proxy that keeps watching the assignment is told that it is gone, after its cluster",
        &warm(
            "> put -cds/a -eds/e rds/r=2
             < rds#5 +r=2
             > ack rds
             < cds#6 -a
             > ack cds
             < eds#7 -e",
        ),
    );
    check(
        Delta,
        "a refused route still uses its cluster",
        &warm(
            "> put -cds/a rds/r=bad
             < rds#5 +r=bad
             > nack rds no
             < nack rds r: no
             > put rds/r=3
             < rds#6 +r=3
             > ack rds
             < cds#7 -a",
        ),
    );
    check(
        Delta,
        "a route that names it still, or that nobody watches any more, does not hold it",
        &warm(
            "> put -cds/a rds/r=2:a
             < cds#5 -a
             < rds#6 +r=2
             > ack rds
             > ack cds
             > put cds/a=1
             < cds#7 +a=1
             > ack cds
             > put rds/r=3:a
             < rds#8 +r=3
             > ack rds
             > put -cds/a rds/r=4
             < rds#9 +r=4
             > unsub rds r
             < cds#10 -a
             > ack #9 rds",
        ),
    );
    check(
        Delta,
        "back before it left: nothing to do",
        &warm(
            "> put -cds/a rds/r=2
             < rds#5 +r=2
             > put cds/a=1:e
             > ack rds
             > acked
             < acked 3",
        ),
    );
    check(
        Delta,
        "its old version leaves what it required only when the new one is taken",
        &warm(
            "> put cds/a=2:f eds/f=1 -eds/e
             < cds#5 +a=2
             > sub eds f
             < eds#6 +f=1
             > ack eds
             > ack cds
             < eds#7 -e",
        ),
    );
    check(
        Delta,
        "added and removed with no route in sight: add, ACK, remove",
        "> put cds/a=1
         > sub cds
         < cds#1 +a=1
         > ack cds
         > put -cds/a cds/b=1
         < cds#2 +b=1
         > ack cds
         < cds#3 -a",
    );
    check(
        Sotw,
        "the body stays in the response till then",
        &warm_sotw(
            "> put -cds/a cds/b=b1 rds/r=r2:b
             < cds#5 a1 b1
             > ack cds
             < rds#6 r2
             > put cds/c=c1
             < cds#7 a1 b1 c1
             > ack cds
             > ack rds
             < cds#8 b1 c1
             > ack cds
             > acked
             < acked 3",
        ),
    );
}
