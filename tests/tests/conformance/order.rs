//! Make before break, on the wire.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn clusters_and_endpoints_before_routes_and_routes_before_removal() {
    check(
        Delta,
        "> mesh +a +b
         > everything
         > live
         < live yes
         > mesh a>b
         < cds +mirror:b
         < eds =b
         < rtds a>b=1000000
         > ack eds
         > ack cds
         < rds ~a
         > live
         < live no
         > ack rds
         > live
         < live yes
         > mesh a>
         < rds ~a
         < rtds -a>b
         > ack rds
         < cds -mirror:b
         > ack cds
         > live
         < live yes",
    );
    check(
        Sotw,
        "> mesh +a +b
         > everything
         > mesh a>b
         < cds +mirror:b =a =b
         < eds =b
         < rtds a>b=1000000
         > ack eds
         > ack cds
         < rds ~a
         > ack rds
         > mesh a>
         < rds ~a
         < rtds -a>b
         > ack rds
         < cds =a =b -mirror:b
         > ack cds
         > live
         < live yes",
    );
}

#[test]
fn a_mirror_that_moves_is_added_then_used_then_removed() {
    check(
        Delta,
        "> mesh +a +b +c a>b
         > sub cds
         < cds +mirror:b +a +b +c
         > sub eds a b c
         < eds +a +b +c
         > ack eds
         > ack cds
         > sub rds a
         < rds +a
         > ack rds
         > mesh a>c
         < cds +mirror:c
         < eds =c
         < rtds a>c=1000000 -a>b
         > ack eds
         > ack cds
         < rds ~a
         > ack rds
         < cds -mirror:b",
    );
    check(
        Sotw,
        "> mesh +a +b +c a>b
         > names cds
         < cds +mirror:b +a +b +c
         > names eds a b c
         < eds +a +b +c
         > ack eds
         > ack cds
         > names rds a
         < rds +a
         > ack rds
         > mesh a>c
         < cds =mirror:b +mirror:c =a =b =c
         < eds =c
         < rtds a>c=1000000 -a>b
         > ack eds
         > ack cds
         < rds ~a
         > ack rds
         < cds =mirror:c =a =b =c -mirror:b",
    );
}

#[test]
fn a_changed_cluster_gets_its_unchanged_endpoints_again() {
    check(
        Delta,
        "> mesh +a +b
         > sub cds
         < cds +a +b
         > sub eds a b
         < eds +a +b
         > ack eds
         > ack cds
         > mesh a~3
         < cds ~a
         < eds =a
         > ack eds
         > ack cds
         > mesh b:2
         < eds ~b
         > ack eds",
    );
    check(
        Sotw,
        "> mesh +a +b
         > names cds
         < cds +a +b
         > names eds a b
         < eds +a +b
         > ack eds
         > ack cds
         > mesh a~3
         < cds ~a =b
         < eds =a
         > ack eds
         > ack cds
         > mesh b:2
         < eds ~b
         > ack eds",
    );
}

#[test]
fn services_that_go_take_listeners_and_clusters_along() {
    check(
        Delta,
        "> mesh +a +b
         > everything
         > mesh -b
         < lds -b
         < rds -b
         > ack lds
         > ack rds
         < cds -b
         > ack cds
         < eds -b
         > ack eds
         > live
         < live yes",
    );
    check(
        Sotw,
        "> mesh +a +b
         > everything
         > mesh -b
         < lds =a -b
         > ack lds
         > names rds a
         < cds =a -b
         > ack cds
         > names eds a
         > live
         < live yes",
    );
}
