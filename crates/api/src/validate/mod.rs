//! One object judged on its own (istio-semantics "Validation, status, analysis").
//!
//! Istio's admission webhook refuses an object with any error. umbra serves the rest of it, so every
//! message says what happens instead. What Istio refuses and umbra serves all the same is a warning.

mod balancers;
mod connection;
mod destination_rule;
mod filters;
mod gateway;
mod http_route;
mod mirror_policy;
mod outliers;
mod service_entry;
mod sidecar;
mod traffic_policy;
mod unreachable;
mod virtual_service;

use std::collections::HashSet;
use std::fmt::Display;

use umbra_ir::{Code, Diagnostic, MirrorPlace, ObjectId, PortNumber, Severity};

use crate::check::headers::quote;
use crate::check::{Problem, check_duration, host_before_port};
use crate::types::object::Object;
use crate::types::scalar::Duration;

/// Everything that is wrong with one object, that has no effect in it, or that its author should know.
///
/// Looks at nothing but the object: that a host or a subset exists is for `istio` to say.
pub fn validate(object: &Object) -> Vec<Diagnostic> {
    let mut report = Report { object: object.id(), mirror: None, found: Vec::new(), more: 0 };
    match object {
        Object::VirtualService(o) => virtual_service::validate(&mut report, &o.spec),
        Object::DestinationRule(o) => destination_rule::validate(&mut report, &o.spec),
        Object::ServiceEntry(o) => service_entry::validate(&mut report, &o.spec),
        Object::Gateway(o) => gateway::validate(&mut report, &o.spec),
        Object::WorkloadEntry(o) => service_entry::validate_workload(&mut report, &o.meta.labels, &o.spec),
        Object::Sidecar(o) => sidecar::validate(&mut report, &o.spec),
        Object::MirrorPolicy(o) => mirror_policy::validate(&mut report, &o.spec),
        // Kubernetes validates its own kinds.
        Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::Pod(_)
        | Object::Secret(_)
        | Object::Namespace(_)
        | Object::Node(_) => {}
    }
    report.finish()
}

/// The most diagnostics about one object: beyond them the point is made, and a hostile object stays small.
const MAX_DIAGNOSTICS: usize = 1000;

/// Collects diagnostics about one object.
struct Report {
    object: ObjectId,
    /// What is said now is about this mirror.
    mirror: Option<MirrorPlace>,
    found: Vec<Diagnostic>,
    /// How many were not kept.
    more: usize,
}

impl Report {
    fn add(&mut self, code: Code, field: impl Into<String>, message: impl Into<String>) {
        self.push(Diagnostic::new(code, &self.object, field, message));
    }

    /// The same, worse or less bad than the code usually is.
    fn add_as(
        &mut self,
        severity: Severity,
        code: Code,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.push(Diagnostic::new(code, &self.object, field, message).with_severity(severity));
    }

    /// All that is said meanwhile is about a mirror.
    fn about_mirror(&mut self, place: MirrorPlace, say: impl FnOnce(&mut Self)) {
        self.mirror = Some(place);
        say(self);
        self.mirror = None;
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        let diagnostic = Diagnostic { mirror: self.mirror, ..diagnostic };
        if self.found.len() < MAX_DIAGNOSTICS {
            self.found.push(diagnostic);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.more > 0 {
            let message = format!("{} more diagnostics about this object are not shown", self.more);
            self.found.push(Diagnostic::new(Code::MoreDiagnostics, &self.object, "", message));
        }
        self.found
    }

    fn not_acted_on(&mut self, field: impl Into<String>, consequence: &str) {
        self.push(Diagnostic::not_acted_on(&self.object, field, consequence));
    }

    /// A problem that a shared check found, with what happens instead.
    fn problem(&mut self, field: impl Into<String>, problem: Problem, instead: impl Display) {
        let message = format!("{}; {instead}", problem.message);
        self.add_as(problem.severity, problem.code, field, message);
    }

    /// Reports what `verdict` found wrong.
    fn check(&mut self, field: impl Into<String>, verdict: Result<(), Problem>, instead: impl Display) {
        if let Err(problem) = verdict {
            self.problem(field, problem, instead);
        }
    }

    /// A time limit that counts as absent when it is none.
    fn duration(&mut self, field: impl Into<String>, duration: Option<Duration>, zero: bool, instead: &str) {
        if let Some(duration) = duration {
            self.check(field, check_duration(duration, zero), instead);
        }
    }

    /// A port number of a listener or a service.
    fn port(&mut self, field: impl Into<String>, number: u32, instead: &str) -> bool {
        let good = PortNumber::new(number.into()).is_some();
        if !good {
            self.problem(field, crate::check::bad_port(number), instead);
        }
        good
    }

    /// At most one of the fields that are there may be.
    fn one_of(&mut self, path: &str, fields: &[(&str, bool)], instead: &str) {
        let present: Vec<&str> =
            fields.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
        if present.len() > 1 {
            let message = format!("only one of {} may be set; {instead}", present.join(", "));
            self.add(Code::ConflictingFields, path, message);
        }
    }

    /// A host that requests are compared with.
    fn host_with_port(&mut self, field: &str, host: &str) {
        if let Some(name) = host_before_port(host) {
            let message =
                format!("no request is for it, since hosts are compared without ports; write {name}");
            self.add_as(Severity::Warning, Code::InvalidHost, field, message);
        } else if host.len() > 1 && host[1..].contains('*') {
            let message = format!("a * counts at the beginning alone; no request is for {}", quote(host));
            self.add_as(Severity::Warning, Code::InvalidHost, field, message);
        }
    }

    /// `exportTo`: namespaces, `.`, `*` and, where `none` is allowed, `~`.
    fn export_to(&mut self, entries: &[String], none: bool) {
        let mut seen = HashSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let field = format!("spec.exportTo[{index}]");
            let repeated = !seen.insert(entry);
            if entry.is_empty() {
                self.add(Code::InvalidExportTo, field, "an empty entry means no namespace; it has no effect");
            } else if repeated {
                self.add_as(
                    Severity::Warning,
                    Code::InvalidExportTo,
                    field,
                    format!("{entry} is given twice; once is enough"),
                );
            } else if entry == "~" && !none {
                let message = if entries.iter().any(|other| other == "*") {
                    "~ (visible to nobody) is not for this kind, Istio refuses it; * counts"
                } else {
                    "~ (visible to nobody) is not for this kind, Istio refuses it; the object has no effect"
                };
                self.add(Code::InvalidExportTo, field, message);
            } else if (entry == "*" || entry == "~") && entries.len() > 1 {
                let counts =
                    if entries.iter().any(|other| other == "*") { "*" } else { "~ (visible to nobody)" };
                let message =
                    format!("{entry} stands alone, Istio refuses it beside others; {counts} counts");
                self.add_as(Severity::Warning, Code::InvalidExportTo, field, message);
            }
        }
    }
}
