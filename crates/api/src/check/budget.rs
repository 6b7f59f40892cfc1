//! Which part of one object is served when its parts multiply beyond what one object may come to, and how much it comes to.

use std::fmt::{self, Debug, Write};

use umbra_ir::budget::{
    CLUSTER, DELEGATED, ENDPOINT, ENTRY_ENDPOINTS, ENTRY_PORTS, MIRRORS, ROUTES_ON_HOSTS, fits,
};

use crate::types::http_route::HttpRoute;
use crate::types::object::{Object, VirtualService};
use crate::types::service_entry::ServiceEntrySpec;

/// How many mirrors of each rule are served, the first ones: every match of a rule has all of its mirrors.
pub fn kept_mirrors<'a>(rules: impl IntoIterator<Item = &'a HttpRoute>) -> Vec<usize> {
    let mut left = MIRRORS;
    let mut keep = |rule: &HttpRoute| {
        let routes = rule.matches.len().max(1);
        let kept = written_mirrors(rule).min(left / routes);
        left -= kept * routes;
        kept
    };
    rules.into_iter().map(&mut keep).collect()
}

/// `mirror` and `mirrors` of a rule.
pub(crate) fn written_mirrors(rule: &HttpRoute) -> usize {
    usize::from(rule.mirror.is_some()) + rule.mirrors.len()
}

/// How much of a ServiceEntry is served: of each list the first ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryBudget {
    /// Of `hosts`.
    pub hosts: usize,
    /// Of `ports`, for each host.
    pub ports: usize,
    /// Of `endpoints`, of `addresses` and of `subjectAltNames`, for each port of each host.
    pub each: usize,
}

/// How many of those whom a ServiceEntry selects by labels are its endpoints, for each port of each host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selected {
    /// Of those that have the first of the labels.
    pub looked_at: usize,
    /// Of those that have all.
    pub taken: usize,
}

impl EntryBudget {
    /// What is selected, as if it were written.
    pub fn selected(self) -> Selected {
        /// Of several labels the first may be that of many others.
        const LOOK: usize = 16;
        Selected { looked_at: self.each.saturating_mul(LOOK), taken: self.each }
    }

    /// Of this entry. Ports come before hosts: a host is served whole or not at all.
    pub fn of(spec: &ServiceEntrySpec) -> Self {
        let ports = spec.ports.len().clamp(1, ENTRY_PORTS);
        let hosts = spec.hosts.len().clamp(1, fits(ENTRY_PORTS, ports));
        EntryBudget { hosts, ports, each: fits(ENTRY_ENDPOINTS, hosts * ports) }
    }
}

/// About how many bytes an object comes to, by what stands in it alone: what its namespace's budget counts. Objects that
/// machines write by the number of Pods and Services count nothing: what there is of these, Kubernetes' quotas say.
pub fn weight(object: &Object) -> usize {
    match object {
        Object::VirtualService(it) => RulesWeight::of(it).with(0),
        Object::DestinationRule(it) => size(&it.spec) + it.spec.subsets.len() * CLUSTER,
        Object::ServiceEntry(it) => {
            let EntryBudget { hosts, ports, each } = EntryBudget::of(&it.spec);
            size(&it.spec) + hosts * ports * (CLUSTER + it.spec.endpoints.len().min(each) * ENDPOINT)
        }
        Object::Gateway(it) => size(&it.spec),
        Object::WorkloadEntry(it) => size(&it.spec),
        _ => 0,
    }
}

/// What a VirtualService comes to, of which a part may stand in others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RulesWeight {
    /// All that is written.
    written: usize,
    /// Of that its `http` rules.
    rules: usize,
    hosts: usize,
}

impl RulesWeight {
    /// By what stands in it.
    pub fn of(vs: &VirtualService) -> Self {
        let spec = &vs.spec;
        RulesWeight { written: size(spec), rules: size(&spec.http), hosts: spec.hosts.len().max(1) }
    }

    /// How much its rules are for those that take them.
    pub fn rules(self) -> usize {
        self.rules
    }

    /// With rules of so much that it takes from others.
    pub fn with(self, taken: usize) -> usize {
        let taken = taken.min(DELEGATED);
        let routes = (self.rules + taken).saturating_mul(self.hosts);
        self.written + taken + routes.min(ROUTES_ON_HOSTS)
    }
}

/// How much stands in a value: in step with each of its fields, those of the future too.
pub fn size(value: &impl Debug) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // A count cannot fail.
    let _ = write!(count, "{value:?}");
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::service_entry::ServiceEntryPort;

    #[test]
    fn an_object_weighs_what_it_comes_to() {
        let weigh = |text: &str| {
            let parsed = crate::parse_documents(text, "t.yaml");
            weight(&parsed.objects[0].value)
        };
        let rule = |hosts: usize| {
            let hosts: Vec<_> = (0..hosts).map(|n| format!("h{n}.com")).collect();
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [{}], http: [{{route: [{{destination: {{host: b}}}}]}}]}}\n",
                hosts.join(", ")
            )
        };
        let entry = |ports: usize| {
            let ports: Vec<_> = (1..=ports).map(|n| format!("{{number: {n}, name: p{n}}}")).collect();
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec: {{hosts: [a.com], ports: [{}]}}\n",
                ports.join(", ")
            )
        };
        let (one, many) = (weigh(&rule(1)), weigh(&rule(100)));
        assert!(one < 8 << 10 && many > 50 * (one / 2), "{one}, {many}");
        let (one, many) = (weigh(&entry(1)), weigh(&entry(100)));
        assert!((CLUSTER..2 * CLUSTER).contains(&one) && many > 90 * CLUSTER, "{one}, {many}");
        assert_eq!(
            weigh("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"),
            0
        );
    }

    #[test]
    fn entries_multiply_up_to_a_point() {
        for (hosts, ports, want) in [
            (0, 0, (1, 1, 65_536)),
            (1, 1, (1, 1, 65_536)),
            (200, 10, (200, 10, 32)),
            (3000, 1, (2048, 1, 32)),
            (3000, 300, (6, 300, 36)),
            (2, 5000, (1, 2048, 32)),
        ] {
            let spec = ServiceEntrySpec {
                hosts: vec!["h".to_owned(); hosts],
                ports: vec![ServiceEntryPort::default(); ports],
                ..ServiceEntrySpec::default()
            };
            let EntryBudget { hosts: h, ports: p, each } = EntryBudget::of(&spec);
            assert_eq!((h, p, each), want, "{hosts} hosts, {ports} ports");
        }
    }
}
