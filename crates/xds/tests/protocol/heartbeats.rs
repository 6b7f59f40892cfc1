//! Layers that live only as long as somebody repeats them.

use umbra_xds::Variant::{Delta, Sotw};

use crate::script::check;

#[test]
fn what_lives_for_some_time_is_repeated() {
    check(
        Delta,
        "without a body, at a third of its time, and nothing of it is a change",
        "> put rtds/l=1~300s rtds/k=1~300s
         > sub rtds l k
         < rtds#1 +k=1 +l=1
         > due
         < never
         > ack rtds
         > due
         < due 77s
         > wait 87s
         < rtds#2 ^k ^l
         > ack rtds
         > due
         < due 77s
         > put rtds/l=2~300s
         < rtds#3 +l=2
         > ack rtds
         > wait 100s
         < rtds#4 ^k ^l",
    );
    check(
        Sotw,
        "never there, where it would end Envoy",
        "> put rtds/l=1~300s
         > names rtds l
         < rtds#1 1
         > ack rtds
         > due
         < never
         > wait 300s",
    );
    check(
        Delta,
        "what lives for ever is not repeated, and the other way around once somebody says so",
        "> put rtds/l=1
         > sub rtds l
         < rtds#1 +l=1
         > ack rtds
         > due
         < never
         > put rtds/l=1~300s
         < rtds#2 +l=1
         > ack rtds
         > wait 100s
         < rtds#3 ^l
         > ack rtds
         > put rtds/l=1
         < rtds#4 +l=1
         > ack rtds
         > wait 100s
         > due
         < never",
    );
}

#[test]
fn what_was_brought_is_repeated_at_once_and_what_was_dropped_is_sent_anew() {
    check(
        Delta,
        "a stream that brings what it has",
        "> put rtds/l=1~300s
         > sub rtds l
         < rtds#1 +l=1
         > ack rtds
         > lose
         > sub rtds l init l=@
         < rtds#1
         > ack rtds
         < rtds#2 ^l
         > ack rtds",
    );
    check(
        Delta,
        "a proxy that has dropped it refuses what has no body",
        "> put rtds/l=1~300s lds/x=1
         > sub lds
         < lds#1 +x=1
         > ack lds
         > sub rtds l
         < rtds#2 +l=1
         > ack rtds
         > wait 100s
         < rtds#3 ^l
         > acked
         < acked 1
         > nack rtds no body
         < rtds#4 +l=1
         > acked
         < acked 0
         > ack rtds
         > acked
         < acked 1",
    );
}
