//! A client that comes back and says what it has.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

/// A client that has everything.
const FULL: &str = "
    > everything
    > away";

#[test]
fn nothing_that_it_has_comes_again() {
    check(
        Delta,
        &format!(
            "> mesh +a +b
             {FULL}
             > bring cds
             < cds
             > ack cds
             > bring eds a b
             < eds
             > ack eds
             > bring lds
             < lds
             > ack lds
             > bring rds a b
             < rds
             > ack rds
             > live
             < live yes
             > mesh a:2
             < eds ~a
             > ack eds"
        ),
    );
}

#[test]
fn what_changed_meanwhile_comes_and_what_is_gone_goes_last() {
    check(
        Delta,
        &format!(
            "> mesh +a +b
             {FULL}
             > mesh a~3 b:2 -b +c a>c
             > bring eds a b
             < eds =a -b
             > ack eds
             > bring lds
             < lds +c -b
             > ack lds
             > bring cds
             < cds +mirror:c ~a +c
             < eds =a
             > ack eds
             > sub eds c
             < eds +c
             > ack eds
             > ack cds
             > bring rds a b c
             < rds ~a +c -b
             > ack rds
             < cds -b
             > ack cds
             > live
             < live yes"
        ),
    );
}

#[test]
fn state_of_the_world_says_everything_again() {
    check(
        Sotw,
        "> mesh +a +b
         > names cds
         < cds +a +b
         > names eds a b
         < eds +a +b
         > ack eds
         > ack cds
         > names rds a
         < rds +a
         > ack rds
         > away
         > mesh b~3 -a
         > names cds
         < cds ~b -a
         > ack cds
         > names eds b
         < eds =b
         > ack eds
         > live
         < live no",
    );
}
