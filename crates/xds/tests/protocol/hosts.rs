//! Virtual hosts as resources of their own, rule by rule (`docs/decisions/0018-virtual-hosts-as-resources.md`).

use umbra_xds::Variant::Delta;

use crate::script::check;

/// A proxy that has the table t with the hosts a and b.
const SERVED: &str = "
    > put rds/t=1:@ vhds/t/a=1!a vhds/t/b=1!b
    > sub rds t
    < rds#1 +t=1
    > sub vhds
    < vhds#2 +t/a=1!a +t/b=1!b +t/~
    > ack rds
    > ack vhds
";

fn after(title: &str, script: &str) {
    check(Delta, title, &format!("{SERVED}{script}"));
}

#[test]
fn deliveries() {
    check(
        Delta,
        "hosts go behind their table, all in one response, when they are asked for",
        "
        > put rds/t=1:@ rds/u=1:@ vhds/t/a=1!a vhds/t/b=1!b vhds/u/a=1!a
        > sub rds t
        < rds#1 +t=1
        > ack rds
        > acked
        < acked 0
        > sub vhds
        < vhds#2 +t/a=1!a +t/b=1!b +t/~
        > sub rds u
        < rds#3 +u=1
        < vhds#4 +u/a=1!a +u/~
        > ack rds
        > acked
        < acked 0
        > ack #4 vhds
        > acked
        < acked 0
        > ack #2 vhds
        > acked
        < acked 1
        ",
    );
    check(
        Delta,
        "a table without hosts has its marker",
        "
        > put rds/t=1:@ rds/p=1
        > sub rds t p
        < rds#1 +p=1 +t=1
        > sub vhds a b *
        < vhds#2 +t/~
        ",
    );
    check(
        Delta,
        "all hosts wait for the clusters of one of them, and no longer than the deadline",
        "
        > put cds/c=1 rds/t=1:@ vhds/t/a=1!a:c vhds/t/b=1!b
        > sub cds
        < cds#1 +c=1
        > sub rds t
        < rds#2 +t=1
        > sub vhds
        > due
        < due 5s
        > ack cds
        < vhds#3 +t/a=1!a +t/b=1!b +t/~
        ",
    );
}

#[test]
fn changes() {
    after(
        "an edit is one host, an addition another, a removal a name",
        "
        > put vhds/t/a=2!a
        < vhds#3 +t/a=2!a
        > ack vhds
        > put vhds/t/c=1!c
        < vhds#4 +t/c=1!c
        > ack vhds
        > put -vhds/t/b
        < vhds#5 -t/b
        > ack vhds
        > acked
        < acked 4
        ",
    );
    after(
        "the settings of the table go alone, with the marker behind them",
        "
        > put rds/t=2:@
        < rds#3 +t=2
        < vhds#4 +t/~
        > ack rds
        > ack vhds
        > acked
        < acked 2
        ",
    );
    after(
        "one response for a table at a time, and the rest in one",
        "
        > put vhds/t/a=2!a
        < vhds#3 +t/a=2!a
        > put vhds/t/a=3!a
        > put vhds/t/b=2!b
        > ack vhds
        < vhds#4 +t/a=3!a +t/b=2!b
        ",
    );
    after(
        "who answers late is left alone for as long, but not for longer than a tenth of a second",
        "
        > put vhds/t/a=2!a
        < vhds#3 +t/a=2!a
        > wait 1s
        > put vhds/t/a=3!a
        > ack vhds
        > due
        < due 0s
        > wait 1s
        < vhds#4 +t/a=3!a
        ",
    );
}

#[test]
fn order() {
    after(
        "a host waits for its cluster, and others do not; the cluster leaves behind the host",
        "
        > sub cds
        < cds#3
        > ack cds
        > put cds/c=1 vhds/t/a=2!a:c vhds/t/b=2!b
        < cds#4 +c=1
        < vhds#5 +t/b=2!b
        > ack vhds
        > ack cds
        < vhds#6 +t/a=2!a
        > ack vhds
        > put -cds/c vhds/t/a=3!a
        < vhds#7 +t/a=3!a
        > ack vhds
        < cds#8 -c
        ",
    );
    after(
        "hosts whose domains change go together",
        "
        > sub cds
        < cds#3
        > ack cds
        > put cds/c=1 vhds/t/a=2!ab:c vhds/t/b=2! vhds/t/c=1!c -vhds/t/b
        < cds#4 +c=1
        > due
        < due 5s
        > ack cds
        < vhds#5 +t/a=2!ab +t/c=1!c -t/b
        ",
    );
}

#[test]
fn tables_that_go_and_come() {
    after(
        "a table that leaves keeps its hosts, and returns with all that it has then",
        "
        > put -rds/t -vhds/t/a -vhds/t/b
        < rds#3 -t
        > ack rds
        > acked
        < acked 2
        > put rds/t=1:@ vhds/t/a=2!a
        < rds#4 +t=1
        < vhds#5 +t/a=2!a +t/~ -t/b
        > ack rds
        > ack vhds
        > acked
        < acked 3
        ",
    );
    after(
        "also with what has not changed: the proxy may have let it go meanwhile, and its new listener is live with what comes first",
        "
        > put -rds/t -vhds/t/a -vhds/t/b
        < rds#3 -t
        > ack rds
        > put rds/t=1:@ vhds/t/a=1!a vhds/t/b=1!b
        < rds#4 +t=1
        < vhds#5 +t/a=1!a +t/b=1!b +t/~
        > unsub rds t
        > sub rds t
        > ack #4 rds
        < rds#6 +t=1
        < vhds#7 +t/a=1!a +t/b=1!b +t/~
        > ack #5 vhds
        > ack rds
        > ack vhds
        > put vhds/t/a=2!a
        < vhds#8 +t/a=2!a
        ",
    );
    after(
        "a table that is asked for anew is delivered anew, without what was there before",
        "
        > unsub rds t
        > put -vhds/t/b
        > sub rds t
        < rds#3 +t=1
        < vhds#4 +t/a=1!a +t/~ -t/b
        > ack rds
        > ack vhds
        > sub rds t
        < rds#5 +t=1
        < vhds#6 +t/a=1!a +t/~
        ",
    );
}

#[test]
fn streams_that_are_lost() {
    after(
        "who brings the marker of the table is told what differs",
        "
        > lose
        > sub rds t init t=@
        < rds#1
        > sub vhds init t/a=@ t/b=@ t/~=@
        > ack rds
        > acked
        < acked 1
        > put vhds/t/a=2!a
        < vhds#2 +t/a=2!a
        > lose
        > put -vhds/t/b
        > sub rds t init t=@
        < rds#1
        > sub vhds init t/a=@ t/b=@ t/~=@
        < vhds#2 -t/b
        ",
    );
    after(
        "who brings none, or another, is told all, and what it has besides is removed",
        "
        > lose
        > put -vhds/t/b
        > sub rds t init t=@
        < rds#1
        > sub vhds init t/a=@ t/b=@ u/x=1
        < vhds#2 +t/a=1!a +t/~ -t/b
        > lose
        > sub rds t init t=@
        < rds#1
        > sub vhds init t/a=@ t/~=1
        < vhds#2 +t/a=1!a +t/~
        ",
    );
    after(
        "who has no table builds it anew, whatever it says of hosts",
        "
        > lose
        > sub rds t
        < rds#1 +t=1
        > sub vhds init t/a=@ t/b=@ t/~=@ t/c=1
        < vhds#2 +t/a=1!a +t/b=1!b +t/~ -t/c
        ",
    );
    after(
        "the settings of the table have changed meanwhile, and the hosts are known",
        "
        > lose
        > put rds/t=2:@ vhds/t/b=2!b
        > sub rds t init t=@
        < rds#1 +t=2
        > sub vhds init t/a=@ t/b=@ t/~=1
        < vhds#2 +t/a=1!a +t/b=2!b +t/~
        ",
    );
}

#[test]
fn refusals() {
    after(
        "one host that is refused is refused; others go on living",
        "
        > put vhds/t/a=2!a
        < vhds#3 +t/a=2!a
        > nack vhds no
        < nack vhds t/a: no
        > put vhds/t/b=2!b
        < vhds#4 +t/b=2!b
        > ack vhds
        > put vhds/t/a=3!a
        < vhds#5 +t/a=3!a
        > ack vhds
        > acked
        < acked 4
        ",
    );
    after(
        "of several the one at fault is found: removals, then halves, and it alone once more",
        "
        > put -vhds/t/b vhds/t/a=2!a vhds/t/c=1!c vhds/t/d=1!d vhds/t/e=1!e
        < vhds#3 +t/a=2!a +t/c=1!c +t/d=1!d +t/e=1!e -t/b
        > nack vhds no
        < vhds#4 -t/b
        < nack vhds t/a t/b t/c t/d t/e: no
        > ack vhds
        < vhds#5 +t/a=2!a +t/c=1!c
        > nack vhds no
        < vhds#6 +t/a=2!a
        < nack vhds t/a t/c: no
        > ack vhds
        < vhds#7 +t/c=1!c
        > nack vhds no
        < vhds#8 +t/d=1!d +t/e=1!e
        < nack vhds t/c: no
        > ack vhds
        < vhds#9 +t/c=1!c
        > nack vhds no
        < nack vhds t/c: no
        > acked
        < acked 1
        ",
    );
    after(
        "a delivery that was refused ends with its marker, and the next has what was refused by itself and last",
        "
        > put vhds/t/a=2!a
        < vhds#3 +t/a=2!a
        > nack vhds no
        < nack vhds t/a: no
        > sub rds t
        < rds#4 +t=1
        < vhds#5 +t/b=1!b
        > ack vhds
        < vhds#6 +t/a=2!a
        > nack vhds no
        < vhds#7 +t/~
        < nack vhds t/a: no
        ",
    );
    check(
        Delta,
        "a table that is refused has no hosts, and all of them when it is mended",
        "
        > put rds/t=1:@ vhds/t/a=1!a
        > sub rds t
        < rds#1 +t=1
        > nack rds no
        < nack rds t: no
        > sub vhds
        > put rds/t=2:@
        < rds#2 +t=2
        < vhds#3 +t/a=1!a +t/~
        ",
    );
}
