//! Types that umbra does not serve.

use std::time::Duration;

use umbra_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use umbra_xds::{Decoded, MAX_UNSERVED_TYPES, Session, SessionError, Variant};

const ECDS: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn delta_says_that_the_names_do_not_exist() {
    let mut session = Session::new(Variant::Delta);
    type Case = (&'static [&'static str], &'static str, Option<&'static [&'static str]>);
    let cases: &[Case] = &[
        (&["a", "b"], "", Some(&["a", "b"])),
        (&[], "1", None),
        (&["c"], "", Some(&["c"])),
        (&["*"], "", None),
    ];
    for (names, nonce, expected) in cases {
        let request = DeltaDiscoveryRequest {
            type_url: ECDS.to_owned(),
            resource_names_subscribe: strings(names),
            response_nonce: (*nonce).to_owned(),
            ..Default::default()
        };
        // Before any snapshot: there is nothing to wait for.
        let output = session.on_request(request, Duration::ZERO).unwrap();
        let answer = output.responses.into_iter().next().map(|response| match response.decode().unwrap() {
            Decoded::Delta(response) => response.removed_resources,
            Decoded::Sotw(_) => panic!("wrong variant"),
        });
        assert_eq!(answer, expected.map(strings), "{names:?}");
    }
}

#[test]
fn state_of_the_world_answers_each_list_of_names_once() {
    let mut session = Session::new(Variant::Sotw);
    let cases: &[(&[&str], &str, bool)] =
        &[(&["a"], "", true), (&["a"], "1", false), (&["a", "b"], "1", true), (&["a", "b"], "3", false)];
    for (names, nonce, answered) in cases {
        let request = DiscoveryRequest {
            type_url: ECDS.to_owned(),
            resource_names: strings(names),
            response_nonce: (*nonce).to_owned(),
            ..Default::default()
        };
        let output = session.on_request(request, Duration::ZERO).unwrap();
        assert_eq!(output.responses.len(), usize::from(*answered), "{names:?}");
    }
}

#[test]
fn only_so_many_types_are_remembered() {
    let mut session = Session::new(Variant::Sotw);
    let mut ask = |i: usize| {
        let request = DiscoveryRequest { type_url: format!("type/{i}"), ..Default::default() };
        session.on_request(request, Duration::ZERO)
    };
    assert!((0..MAX_UNSERVED_TYPES).all(|i| ask(i).is_ok()));
    assert_eq!(ask(MAX_UNSERVED_TYPES), Err(SessionError::TooManyTypes { max: MAX_UNSERVED_TYPES }));
}
