//! What a client watches is what it gets.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn one_several_all_and_unknown_names() {
    check(
        Delta,
        "> mesh +a +b +c
         > sub eds a
         < eds +a
         > ack eds
         > sub eds b c ?nobody
         < eds +b +c -?nobody
         > ack eds
         > sub lds a
         < lds +a
         > ack lds
         > sub rds a ?nothing
         < rds +a -?nothing
         > ack rds
         > sub cds *
         < cds +a +b +c
         < eds =a =b =c
         > ack eds
         > ack cds
         > live
         < live yes",
    );
    check(
        Sotw,
        "> mesh +a +b +c
         > names eds a
         < eds +a
         > ack eds
         > names eds a b c ?nobody
         < eds +b +c
         > ack eds
         > names lds a
         < lds +a
         > ack lds
         > names rds a ?nothing
         < rds +a
         > ack rds
         > names cds *
         < cds +a +b +c
         < eds =a =b =c
         > ack eds
         > ack cds
         > live
         < live yes",
    );
}

#[test]
fn an_unknown_name_that_comes_to_be_is_sent() {
    check(
        Delta,
        "> mesh +a
         > sub eds b
         < eds -b
         > ack eds
         > mesh +b
         < eds +b
         > ack eds
         > mesh -b
         < eds -b
         > ack eds
         > mesh +b
         < eds +b",
    );
    check(
        Sotw,
        "> mesh +a
         > names eds b
         < eds
         > ack eds
         > mesh +b
         < eds +b
         > ack eds
         > mesh b:2
         < eds ~b",
    );
}

#[test]
fn names_come_and_go_on_a_stream() {
    check(
        Delta,
        "> mesh +a +b
         > sub eds a b
         < eds +a +b
         > ack eds
         > unsub eds a
         > mesh a:2
         > mesh b:2
         < eds ~b
         > ack eds
         > sub eds a
         < eds +a
         > ack eds
         > mesh a:3 b:3
         < eds ~a ~b
         > ack eds
         > mesh +c
         > live
         < live no",
    );
    check(
        Sotw,
        "> mesh +a +b
         > names eds a b
         < eds +a +b
         > ack eds
         > names eds b
         > mesh a:2
         > mesh b:2
         < eds ~b
         > ack eds
         > names eds a b
         < eds +a
         > ack eds
         > mesh a:3 b:3
         < eds ~a ~b
         > ack eds
         > mesh +c",
    );
}

#[test]
fn a_client_without_names_gets_nothing_and_an_empty_name_is_no_wildcard() {
    check(
        Delta,
        "> mesh +a +b
         > sub lds a b
         < lds +a +b
         > ack lds
         > unsub lds a b
         > mesh -a +c
         > sub lds EMPTY
         < lds -?
         > ack lds
         > mesh +a
         > sub cds EMPTY
         < cds -?
         > ack cds
         > mesh +d",
    );
    check(
        Sotw,
        "> mesh +a +b
         > names lds a b
         < lds +a +b
         > ack lds
         > names lds
         > mesh -a +c
         > names lds EMPTY
         < lds
         > ack lds
         > mesh +a
         > names cds EMPTY
         < cds
         > ack cds
         > mesh +d
         > names eds
         < eds
         > ack eds
         > mesh a:2",
    );
}

#[test]
fn wildcard_and_names_beside_it() {
    // An empty first request means everything too.
    for all in ["", " *"] {
        check(
            Delta,
            &format!(
                "> mesh +a +b
                 > sub cds{all}
                 < cds +a +b
                 > ack cds
                 > sub cds a
                 < cds =a
                 > ack cds
                 > mesh +c
                 < cds +c
                 > ack cds
                 > unsub cds *
                 > mesh b~3 +d
                 > mesh a~3
                 < cds ~a
                 > ack cds
                 > unsub cds a
                 > mesh a~4
                 > sub cds *
                 < cds +a +b +c +d
                 > ack cds
                 > mesh -c
                 < cds -c"
            ),
        );
    }
    check(
        Sotw,
        "> mesh +a +b
         > names lds
         < lds +a +b
         > ack lds
         > mesh +c
         < lds =a =b +c
         > ack lds
         > names lds a
         < lds =a
         > ack lds
         > mesh -b
         > mesh -a
         < lds -a
         > ack lds
         > names lds *
         < lds +c",
    );
}

#[test]
fn nothing_comes_for_what_is_not_watched() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "> mesh +a +b
                 > {ask} eds a
                 < eds +a
                 > ack eds
                 > mesh b:2
                 > mesh b~3 +c b>c
                 < rtds b>c=1000000
                 > mesh -c
                 < rtds -b>c
                 > mesh a:2
                 < eds ~a
                 > ack eds
                 > mesh b:3"
            ),
        );
    }
}
