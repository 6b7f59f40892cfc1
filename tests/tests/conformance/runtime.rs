//! Percentages: one resource of the runtime layer, and no other push.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

/// Whether the client takes the runtime in one layer, as older bootstraps declare it, or in many.
fn check_percentages(layers: &str) {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "{layers}
                 > mesh +a +b a>b@50
                 > {ask} cds
                 < cds +mirror:b +a +b
                 > {ask} eds a b
                 < eds +a +b
                 > ack eds
                 > ack cds
                 > {ask} lds
                 < lds +a +b
                 > ack lds
                 > {ask} rds a b
                 < rds +a +b
                 > ack rds
                 > mesh a>b@25
                 < rtds a>b=250000
                 > mesh a>b@0
                 < rtds a>b=0
                 > mesh a>b@0.0001
                 < rtds a>b=1
                 > mesh a>b
                 < rtds a>b=1000000
                 > live
                 < live yes"
            ),
        );
    }
}

#[test]
fn a_percentage_is_one_runtime_resource_and_nothing_else() {
    check_percentages("");
}

#[test]
fn a_percentage_is_the_one_layer_of_many_that_its_key_is_in() {
    check_percentages("> many");
}

/// How a client comes to have its routes that has not asked for the layer.
fn plain(ask: &str) -> String {
    format!(
        "> plain
         > mesh +a +b a>b@50
         > {ask} rds a b
         > await rds
         < rds +a +b
         > ack rds"
    )
}

#[test]
fn a_client_without_the_layer_gets_the_share_in_its_route() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "{}
                 > mesh a>b@25
                 > await rds
                 < rds ~a
                 > ack rds
                 > mesh a>b@0
                 > await rds
                 < rds ~a
                 > ack rds",
                plain(ask)
            ),
        );
    }
}

#[test]
fn a_client_that_asks_late_for_the_layer_gets_it_at_once() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "names")] {
        check(
            variant,
            &format!(
                "{}
                 > {ask} rtds umbra
                 < rds ~a
                 < rtds a>b=500000
                 > ack rds
                 > mesh a>b@25
                 < rtds a>b=250000",
                plain(ask)
            ),
        );
    }
}
