//! ACK, NACK, and answers to what is no longer the newest.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn refused_content_is_reported_and_not_repeated() {
    check(
        Delta,
        "> mesh +a +b
         > sub cds
         < cds +a +b
         > ack cds
         > shown cds
         < client synced [] \"\" [] 0
         > mesh a~3
         < cds ~a
         > nack cds a is not to my taste
         > shown cds
         < client rejected [a] \"a is not to my taste\" [a] 1
         > mesh b:2
         > mesh b~3
         < cds ~b
         > ack cds
         > mesh a~4
         < cds ~a
         > ack cds
         > shown cds
         < client synced [] \"a is not to my taste\" [a] 1
         > mesh a~3
         < cds ~a
         > nack cds still not
         > shown cds
         < client rejected [a] \"still not\" [a] 2
         > mesh a:2",
    );
    check(
        Sotw,
        "> mesh +a +b
         > names cds
         < cds +a +b
         > ack cds
         > mesh a~3
         < cds ~a =b
         > nack cds a is not to my taste
         > shown cds
         < client rejected [a] \"a is not to my taste\" [a] 1
         > mesh b:2
         > mesh b~3
         < cds =a ~b
         > nack cds still not
         > shown cds
         < client rejected [a b] \"still not\" [a b] 2
         > mesh a~4
         < cds ~a =b
         > ack cds
         > shown cds
         < client synced [] \"still not\" [a b] 2",
    );
}

#[test]
fn a_refusal_holds_up_nothing_else() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "> mesh +a +b
                 > {ask} eds a b
                 < eds +a +b
                 > ack eds
                 > {ask} rds a b
                 < rds +a +b
                 > ack rds
                 > mesh a>b@10
                 < rds ~a
                 < rtds a>b=100000
                 > nack rds no
                 > mesh a:2
                 < eds ~a
                 > ack eds
                 > mesh a>b@20
                 < rtds a>b=200000
                 > mesh b>a
                 < rds ~b
                 < rtds b>a=1000000
                 > ack rds
                 > live
                 < live no
                 > mesh a>
                 < rds ~a
                 < rtds -a>b
                 > ack rds
                 > live
                 < live yes"
            ),
        );
    }
}

#[test]
fn while_a_response_is_unanswered_changes_wait_and_merge() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "> mesh +a +b
                 > {ask} eds a b
                 < eds +a +b
                 > mesh a:2
                 > mesh a:3
                 > mesh b:2
                 > mesh b:1
                 > ack eds^9
                 > ack eds
                 < eds ~a
                 > mesh a:4
                 > ack eds^1
                 > ack eds
                 < eds ~a
                 > ack eds
                 > ack eds"
            ),
        );
    }
}

#[test]
fn a_list_that_crossed_a_response_is_not_taken_for_its_answer() {
    check(
        Sotw,
        "> mesh +a +b +c
         > names eds a
         < eds +a
         > ack eds
         > mesh a:2
         < eds ~a
         > names eds^1 a b
         > mesh a:3
         > ack eds
         < eds ~a +b
         > ack eds
         > mesh b:2
         < eds ~b",
    );
}
