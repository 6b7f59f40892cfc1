//! Rules of the state-of-the-world variant.

use umbra_xds::Variant::Sotw;

use crate::script::check;

#[test]
fn names_and_wildcards() {
    check(
        Sotw,
        "unknown names are left out, the first request is answered, a name is sent when it comes",
        "> put eds/a=a1
         > names eds none
         < eds#1
         > ack eds
         > names eds none a
         < eds#2 a1
         > ack eds
         > put eds/none=n1
         < eds#3 n1
         > ack eds
         > put -eds/a
         > acked
         < acked 0",
    );
    check(
        Sotw,
        "a list replaces the last; an empty one means nothing, and then a name is a new question",
        "> put eds/a=a1 eds/b=b1
         > names eds a b
         < eds#1 a1 b1
         > ack eds
         > names eds b
         > put eds/a=a2
         > names eds
         > put eds/b=b2
         > names eds a b
         < eds#2 a2 b2",
    );
    check(
        Sotw,
        "an empty list is everything only for clusters and listeners, and only until a name is given",
        "> put cds/a=a1 cds/b=b1 eds/e=e1 rds/r=r1 rtds/x=x1
         > names eds
         < eds#1
         > names rds
         < rds#2
         > names rtds
         < rtds#3
         > names cds
         < cds#4 a1 b1
         > ack cds
         > names cds a
         < cds#5 a1
         > ack cds
         > names cds
         > put cds/a=a2
         > names cds *
         < cds#6 a2 b1",
    );
    check(
        Sotw,
        "an empty name is a name",
        "> put cds/a=a1
         > names cds EMPTY
         < cds#1
         > ack cds
         > put cds/a=a2",
    );
    check(
        Sotw,
        "clusters and listeners come all together, whatever changed",
        "> put lds/a=a1 lds/b=b1 lds/c=c1
         > names lds
         < lds#1 a1 b1 c1
         > ack lds
         > put lds/b=b2
         < lds#2 a1 b2 c1
         > ack lds
         > put -lds/a
         < lds#3 b2 c1",
    );
}

#[test]
fn nonces() {
    check(
        Sotw,
        "a request that crossed a newer response counts for nothing but its ACK",
        "> put cds/a=a1:e eds/e=e1 eds/f=f1
         > names eds e
         < eds#1 e1
         > names cds
         < cds#2 a1
         < eds#3 e1
         > names #1 eds f
         > names #3 eds f
         < eds#4 f1",
    );
    check(
        Sotw,
        "a name that was let go and taken again while a response was on its way is sent again",
        "> put rds/r=r1 rds/s=s1
         > names rds r s
         < rds#1 r1 s1
         > ack rds
         > put rds/s=s2
         < rds#2 s2
         > names #1 rds s
         > names #1 rds r s
         > names #2 rds r s
         < rds#3 r1",
    );
    check(
        Sotw,
        "an ACK of the newest stands for those before it, an invented nonce for none",
        "> put cds/a=a1:e eds/e=e1
         > names eds e
         < eds#1 e1
         > names cds
         < cds#2 a1
         < eds#3 e1
         > put eds/e=e2
         > ack #99 eds
         > ack #x eds
         > ack #1 eds
         > ack #3 eds
         < eds#4 e2",
    );
    check(
        Sotw,
        "a first request with an old nonce is a first request",
        "> put cds/a=a1
         > names #17 cds
         < cds#1 a1",
    );
    check(
        Sotw,
        "names may change before the first snapshot and before the first answer",
        "> names eds a
         > names eds a b
         > put eds/b=b1
         < eds#1 b1",
    );
}

#[test]
fn equal_content_has_an_equal_version_on_every_stream() {
    use std::{sync::Arc, time::Duration};
    use umbra_proto::envoy::service::discovery::v3::DiscoveryRequest;
    use umbra_xds::{Change, Decoded, Resource, ResourceType, Session, Snapshot};

    let version = |bodies: &[(&'static str, &'static str)]| {
        let puts = bodies.iter().map(|(name, body)| {
            Change::put(
                ResourceType::Cluster,
                Resource::new(ResourceType::Cluster, *name, body.as_bytes(), []),
            )
        });
        let mut session = Session::new(Sotw);
        session.on_snapshot(Arc::new(Snapshot::empty(1, 0).next(1, puts)), Duration::ZERO);
        let type_url = ResourceType::Cluster.type_url().to_owned();
        let request = DiscoveryRequest { type_url, ..Default::default() };
        let output = session.on_request(request, Duration::ZERO).unwrap();
        let Decoded::Sotw(response) = output.responses[0].decode().unwrap() else { panic!("wrong variant") };
        response.version_info
    };
    assert_eq!(version(&[("a", "1"), ("b", "2")]), version(&[("b", "2"), ("a", "1")]));
    assert_ne!(version(&[("a", "1"), ("b", "2")]), version(&[("a", "2"), ("b", "1")]));
    assert_ne!(version(&[("a", "1")]), version(&[("b", "1")]));
}

#[test]
fn an_ack_takes_what_was_refused_before_and_said_again() {
    check(
        Sotw,
        "refused, unchanged, taken",
        "> put lds/a=a1 lds/b=b1 lds/c=c1
         > names lds
         < lds#1 a1 b1 c1
         > ack lds
         > put lds/b=b2 -lds/c
         < lds#2 a1 b2
         > nack lds why
         < nack lds b c: why
         > acked
         < acked 1
         > put lds/a=a2
         < lds#3 a2 b2
         > ack lds
         > acked
         < acked 3",
    );
}

#[test]
fn good_ones_beside_a_bad_one() {
    check(
        Sotw,
        "where the words name the bad one, the others come once more, without it",
        "> put rds/r=bad rds/s=s1
         > names rds r s
         < rds#1 bad s1
         > nack rds name: \"r\"
         < rds#2 s1
         < nack rds r s: name: \"r\"
         > ack rds
         > put lds/l=1
         > put rds/r=r2
         < rds#3 r2
         > ack rds
         > acked
         < acked 3",
    );
    check(
        Sotw,
        "a complete response says all or nothing",
        "> put cds/a=bad cds/b=b1
         > names cds
         < cds#1 bad b1
         > nack cds a: bad
         < nack cds a b: a: bad",
    );
}
