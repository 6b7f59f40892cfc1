//! Rules of the incremental variant.

use umbra_xds::Variant::Delta;

use crate::script::check;

#[test]
fn names_and_wildcards() {
    check(
        Delta,
        "an unknown name is told to be gone, and sent when it comes",
        "> put eds/a=1
         > sub eds a none
         < eds#1 +a=1 -none
         > ack eds
         > put eds/none=1
         < eds#2 +none=1
         > ack eds
         > put -eds/a
         < eds#3 -a",
    );
    check(
        Delta,
        "names are added and taken away mid-stream; asking again is answered again",
        "> put eds/a=1 eds/b=1
         > sub eds a
         < eds#1 +a=1
         > ack eds
         > sub eds b
         < eds#2 +b=1
         > ack eds
         > unsub eds a
         > put eds/a=2
         > sub eds a
         < eds#3 +a=2
         > ack eds
         > sub eds a
         < eds#4 +a=2",
    );
    check(
        Delta,
        "unsubscribed from everything is not everything",
        "> put cds/a=1 cds/b=1
         > sub cds a
         < cds#1 +a=1
         > ack cds
         > unsub cds a
         > put cds/a=2
         > sub cds
         > put cds/b=2",
    );
    check(
        Delta,
        "an empty name is a name",
        "> put cds/a=1 eds/e=1
         > sub cds EMPTY
         < cds#1 -
         > put cds/a=2",
    );
    check(
        Delta,
        "an explicit wildcard beside names, and its end",
        "> put cds/a=1 cds/b=1
         > sub cds a
         < cds#1 +a=1
         > ack cds
         > sub cds *
         < cds#2 +b=1
         > ack cds
         > unsub cds *
         > put cds/a=2 cds/b=2
         < cds#3 +a=2
         > ack cds
         > sub cds *
         < cds#4 +b=2",
    );
    check(
        Delta,
        "the end of a legacy wildcard",
        "> put lds/a=1
         > sub lds
         < lds#1 +a=1
         > ack lds
         > unsub lds *
         > put lds/a=2 lds/b=1",
    );
    check(
        Delta,
        "a name given up under a wildcard is told once more",
        "> put cds/a=1
         > sub cds * a
         < cds#1 +a=1
         > ack cds
         > unsub cds a
         < cds#2 +a=1
         > ack cds
         > put cds/a=2
         < cds#3 +a=2",
    );
    check(
        Delta,
        "only clusters and listeners have a legacy wildcard",
        "> put eds/a=1 rds/r=1 rtds/x=1
         > sub eds
         < eds#1
         > sub rds
         < rds#2
         > sub rtds
         < rtds#3
         > sub rds *
         > ack rds
         < rds#4 +r=1",
    );
}

#[test]
fn reconnects() {
    check(
        Delta,
        "what the proxy has is not sent again, but for what a changed cluster reads; what is gone goes after the routes",
        "> put cds/a=1:e cds/b=2:f eds/e=1 eds/f=1 lds/l=1 rds/r=2:a
         > sub cds init a=1 b=1 old=1
         < cds#1 +b=2
         > sub eds e f init e=1 f=1
         < eds#2 +f=1
         > sub lds init l=1
         < lds#3
         > sub rds r init r=1
         < rds#4 +r=2
         > ack eds
         > ack cds
         > ack lds
         > ack rds
         < cds#5 -old
         > ack cds
         > acked
         < acked 1
         > due
         < never",
    );
    check(
        Delta,
        "when the proxy never asks for routes the removal has a deadline",
        "> put cds/a=1
         > sub cds init a=1 old=1
         < cds#1
         > ack cds
         > due
         < due 5s
         > wait 4s
         > wait 1s
         < cds#2 -old
         > ack cds
         > due
         < never",
    );
    check(
        Delta,
        "what waits and goes back to what the proxy has is not sent",
        "> put cds/a=1 rds/r=2:a
         > sub cds
         < cds#1 +a=1
         > sub rds r s init r=1
         < rds#2 -s
         > ack rds
         > put rds/r=1
         > ack cds",
    );
    check(
        Delta,
        "versions are kept until there is a snapshot",
        "> sub cds init a=1 b=1
         > sub rds r init r=1
         > put cds/a=1 cds/b=2 rds/r=1:a
         < cds#1 +b=2
         < rds#2
         > ack rds
         > ack cds",
    );
    check(
        Delta,
        "a stream that was lost while a cluster warmed asks for assignments before clusters",
        "> put cds/a=1:e eds/e=1 rds/r=1:a
         > sub eds e init e=1
         < eds#1 +e=1
         > sub rds r init r=0
         < rds#2 +r=1
         > ack eds
         > ack rds
         > sub cds init a=0
         < cds#3 +a=1
         < eds#4 +e=1",
    );
}

#[test]
fn nonces() {
    check(
        Delta,
        "an unknown nonce answers nothing, its subscriptions count",
        "> put eds/a=1 eds/b=1
         > sub eds a
         < eds#1 +a=1
         > ack #7 eds
         > nack #0 eds what
         > put eds/a=2
         > ack #1 eds
         < eds#2 +a=2
         > ack #1 eds
         > put eds/a=3
         > ack #2 eds
         < eds#3 +a=3",
    );
    check(
        Delta,
        "each type has its own answers",
        "> put eds/a=1 lds/l=1
         > sub eds a
         < eds#1 +a=1
         > sub lds
         < lds#2 +l=1
         > ack #1 lds
         > put eds/a=2 lds/l=2
         > ack #2 lds
         < lds#3 +l=2
         > ack #1 eds
         < eds#4 +a=2",
    );
}

#[test]
fn refusals() {
    check(
        Delta,
        "asking again for a refused resource is answered; a refused one that goes is removed",
        "> put rds/r=bad
         > sub rds r
         < rds#1 +r=bad
         > nack rds no
         < nack rds r: no
         > sub rds r
         < rds#2 +r=bad
         > nack rds no
         < nack rds r: no
         > put -rds/r
         < rds#3 -r
         > ack rds
         > acked
         < acked 2",
    );
    check(
        Delta,
        "a refused removal is not repeated",
        "> put rtds/a=1
         > sub rtds a
         < rtds#1 +a=1
         > ack rtds
         > put -rtds/a
         < rtds#2 -a
         > nack rtds no
         < nack rtds a: no
         > put lds/l=1
         > put rtds/a=2
         < rtds#3 +a=2",
    );
    check(
        Delta,
        "a name given up takes its refusal along",
        "> put rds/r=bad lds/l=1
         > sub lds
         < lds#1 +l=1
         > ack lds
         > sub rds r
         < rds#2 +r=bad
         > nack rds no
         < nack rds r: no
         > acked
         < acked 0
         > unsub rds r
         > acked
         < acked 1",
    );
}

#[test]
fn good_ones_beside_a_bad_one() {
    check(
        Delta,
        "where the words name the bad one, the others come once more, without it",
        "> put rds/r=1 rds/s=1 rds/t=1
         > sub rds r s t
         < rds#1 +r=1 +s=1 +t=1
         > ack rds
         > put rds/r=bad rds/s=2 -rds/t
         < rds#2 +r=bad +s=2 -t
         > nack rds Only a single wildcard domain is permitted in route r
         < rds#3 +s=2 -t
         < nack rds r s t: Only a single wildcard domain is permitted in route r
         > ack rds
         > acked
         < acked 1
         > put rds/r=3
         < rds#4 +r=3
         > ack rds
         > acked
         < acked 3",
    );
    check(
        Delta,
        "each version once more and not again, whatever is said",
        "> put eds/a=1 eds/b=1 eds/c=1
         > sub eds a b c
         < eds#1 +a=1 +b=1 +c=1
         > nack eds a
         < eds#2 +b=1 +c=1
         < nack eds a b c: a
         > nack eds b
         < nack eds b c: b
         > put lds/l=1
         > put eds/c=2
         < eds#3 +c=2
         > ack eds",
    );
    check(
        Delta,
        "words that name nothing, or everything, are about all",
        "> put rds/r=1 rds/s=1
         > sub rds r s
         < rds#1 +r=1 +s=1
         > nack rds no
         < nack rds r s: no
         > put rds/r=2 rds/s=2
         < rds#2 +r=2 +s=2
         > nack rds r, s
         < nack rds r s: r, s",
    );
    check(
        Delta,
        "what has changed meanwhile comes as it is now",
        "> put rds/r=bad rds/s=1
         > sub rds r s
         < rds#1 +r=bad +s=1
         > put rds/s=2
         > nack rds r
         < rds#2 +s=2
         < nack rds r s: r
         > ack rds",
    );
}

/// What is new goes to all streams that are in step in one piece, unless there is more to say.
#[test]
fn steps() {
    check(
        Delta,
        "what changes together comes together, whatever it is",
        "> put eds/a=1 eds/b=1 eds/c=1
         > sub eds a b c
         < eds#1 +a=1 +b=1 +c=1
         > ack eds
         > put eds/a=2 eds/c=2
         < eds#2 +a=2 +c=2
         > ack eds
         > put eds/a=3 -eds/b
         < eds#3 +a=3 -b
         > ack eds
         > put eds/a=3",
    );
    check(
        Delta,
        "of what changes while an answer is due, only what it comes to",
        "> put eds/a=1 eds/b=1
         > sub eds a b
         < eds#1 +a=1 +b=1
         > ack eds
         > put eds/a=2
         < eds#2 +a=2
         > put eds/b=2
         > put eds/b=1
         > ack eds
         > put eds/b=3
         < eds#3 +b=3
         > put eds/b=4
         > ack eds
         < eds#4 +b=4",
    );
    check(
        Delta,
        "what was refused is sent again when it changes, and what is beside it too",
        "> put eds/a=1 eds/b=1
         > sub eds a b
         < eds#1 +a=1 +b=1
         > ack eds
         > put eds/a=bad eds/b=2
         < eds#2 +a=bad +b=2
         > nack eds a
         < eds#3 +b=2
         < nack eds a b: a
         > ack eds
         > put eds/a=3 eds/b=3
         < eds#4 +a=3 +b=3",
    );
}
