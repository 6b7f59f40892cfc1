//! What helps: the other half of the catalogue of diagnostics, beside [`codes`](crate::codes). docs/diagnostics.md lists it.

use crate::Code;

impl Code {
    /// What its author can do about it, in one line. A test holds that every code has one.
    pub const fn remedy(self) -> &'static str {
        match self {
            Code::SyntaxError => {
                "Correct the text where the message points; what stood there before is served meanwhile."
            }
            Code::NotAnObject => {
                "Give the document `apiVersion`, `kind` and `metadata.name`, or take it out."
            }
            Code::UnknownKind => "Correct the kind; the message says which one is meant.",
            Code::UnknownVersion => "Write `networking.istio.io/v1`, `v1beta1` or `v1alpha3`.",
            Code::NoIdentity => "Give the object `metadata.name`, and a namespace that is text.",
            Code::WrongType => {
                "Write a value of the type that the message names; quotes make text of a number."
            }
            Code::DuplicateKey => "Take one of the two out.",
            Code::UnknownField => {
                "Correct the name, or its place: the indentation decides to what a field belongs."
            }
            Code::NoAction => "Give the rule `route`, `redirect` or `directResponse`.",
            Code::NoWeight => "Give one destination at least a weight above 0.",
            Code::InvalidMatch => "Correct the condition; for presence alone write `{}`.",
            Code::InvalidHeader => "Correct name or value; a plain % is written %%.",
            Code::InvalidHost => {
                "Write a whole name (`web.default.svc.cluster.local`), `*`, or `*.` and a domain, without port."
            }
            Code::InvalidText => "Take the line break out.",
            Code::InvalidStatus => "Write a status that HTTP or gRPC has.",
            Code::InvalidRedirect => {
                "Say what changes (`uri`, `prefixRewrite`, `authority`, `scheme`, `port`), with the scheme http or https."
            }
            Code::BodyTooLarge => {
                "Serve long answers from a service; a fixed one is part of every proxy's configuration."
            }
            Code::InvalidPort => "Write a number from 1 to 65535.",
            Code::InvalidDestination => "Name a service: `destination: {host: …}`.",
            Code::InvalidPercentage => {
                "Write a number from 0 to 100; the smallest share is 0.0001 (one in a million), and 0 is off."
            }
            Code::InvalidDuration => "Write a time such as `1.5s` or `200ms`, at least 1ms.",
            Code::InvalidRegex => {
                "Write an expression of RE2's syntax, or `prefix` and `exact` instead of one."
            }
            Code::LargeRegex => "Use a shorter expression, or `umbra bootstrap` for the Envoys' bootstrap.",
            Code::NoRules => "Give it `http` rules, or delete it.",
            Code::WildcardInMesh => {
                "Name the hosts that are meant; for every host of a gateway leave `mesh` out of `gateways`."
            }
            Code::DuplicateHost => "Take one of the two out.",
            Code::InvalidGatewayName => "Write `name`, `namespace/name` or `mesh`.",
            Code::LegacyGatewayName => "Write `namespace/name`.",
            Code::InvalidExportTo => "Write `*` alone, `.`, or names of namespaces, each once.",
            Code::EmptyCondition => "Write `exact`, `prefix` or `regex`, or leave the condition out.",
            Code::EmptyBlock => "Fill the block, or take it out.",
            Code::ConflictingFields => "Keep the field that is meant.",
            Code::InvalidWeight => "Write 0 or more.",
            Code::WeightIgnored => "Leave the weight out, or add the destination that gets the rest.",
            Code::MirrorIgnored => "Put the mirror on a rule with `route`.",
            Code::MirrorAndMirrors => {
                "Move `mirror` into the list `mirrors`, if Istio should take the object too."
            }
            Code::PercentageWithoutMirror => {
                "Write `mirror` beside it; entries of `mirrors` have `percentage` of their own."
            }
            Code::InvalidFault => "Correct the fault, or take it out; until then the rule stays closed.",
            Code::FaultWithoutPercentage => "Write `percentage: {value: 100}` for always.",
            Code::InvalidCors => "Correct the origin, method, header or age that is named.",
            Code::NestedDelegate => "Name the last VirtualService of the chain in the first.",
            Code::InvalidRetries => {
                "Write `attempts` above 0, and conditions that Envoy knows (`5xx`, `connect-failure`, …) or status codes."
            }
            Code::UnreachableRule => "Move the rule before those that take its requests, or delete it.",
            Code::IneffectiveMatch => "Move the match before the one that takes its requests, or delete it.",
            Code::MirrorOfItself => "Aim the mirror at another subset or service.",
            Code::InvalidSubset => "Give the subset a name of letters, digits and `-`.",
            Code::DuplicateName => "Give each a name, or number, of its own.",
            Code::NegativeNumber => "Write a limit above 0, or leave the field out for the default.",
            Code::OutOfRange => "Write a number in the range that the message names.",
            Code::Insecure => "Take the setting out where the other side can be verified.",
            Code::NoEndpointsWritten => "Write `endpoints`, a `workloadSelector`, or another `resolution`.",
            Code::InvalidAddress => "Write an IP address; names go with resolution DNS.",
            Code::CapturedOnly => {
                "Write resolution DNS or STATIC, if gateways or proxies without capture call it, or copies should go there."
            }
            Code::HostLookedUp => {
                "Write whole hosts with resolution DNS, if gateways call them, or copies should go there."
            }
            Code::UnknownPort => "Write the `name` of one of the object's ports.",
            Code::UnknownProtocol => "Write HTTP, HTTP2, GRPC, HTTPS, TLS or TCP.",
            Code::MissingName => "Name the port.",
            Code::NoServers => "Give it `servers`, or delete it.",
            Code::ShortHost => "Write the whole host name.",
            Code::SystemRoots => {
                "Write `caCertificates`, the file with the certificates of whom is believed, if that is not everybody whom the system believes."
            }
            Code::Deprecated => "Use the field that the message names.",
            Code::MoreDiagnostics => "Correct what is shown, and look again.",
            Code::InvalidMethod => "Write methods as requests have them (`GET`, `POST`), or `*` for any.",
            Code::InvalidTarget => {
                "Name a VirtualService of the policy's own namespace: `targetRef: {name: …}`."
            }
            Code::OverBudget => "Divide the object into several, or take hosts, matches or mirrors out.",
            Code::NotActedOn => "Take the field out, or live with what the message says happens instead.",
            Code::HostNotFound => {
                "Correct the name (with its namespace, `web.prod.svc.cluster.local`), or add the Service or ServiceEntry, exported to this namespace."
            }
            Code::PortNotFound => "Write one of the service's ports: `port: {number: …}`.",
            Code::PortAmbiguous => "Say which port is meant: `port: {number: …}`.",
            Code::SubsetNotFound => {
                "Define the subset in a DestinationRule that the caller sees, or correct its name."
            }
            Code::UnsupportedDestination => {
                "Send to a ClusterIP Service, or to a ServiceEntry with resolution STATIC or DNS."
            }
            Code::CopiesNotHashed => "Hash by a header, a query parameter or a cookie that clients bring.",
            Code::PlaintextToTls => {
                "Set `trafficPolicy.tls.mode: SIMPLE` in a DestinationRule for the host, or aim at a plaintext port."
            }
            Code::CopiesAsHttp1 => "Name the port `grpc-…` or `http2-…`, or set its `appProtocol`.",
            Code::UnknownStop => {
                "Write `all`, the name of a rule with mirrors, or a mirror's runtime key as `umbra mirrors -o wide` shows it."
            }
            Code::InvalidAbort => {
                "Write `LIMIT=PERCENT%/WINDOW/SAMPLE`, such as `shadowErrors=5%/30s/100`, with commas between; before those of one rule its name and a colon, and `;` between rules."
            }
            Code::NotJudged => {
                "Start them with a bootstrap of `umbra bootstrap --verdicts` (`injection.verdicts` of injected Pods), on Envoy 1.40 or later."
            }
            Code::InvalidVerdicts => {
                "Write `on`, `off`, or how many requests a second are to be judged, up to 1000."
            }
            Code::InvalidContents => "Write `on` or `off`, beside `umbra.io/verdicts`.",
            Code::InvalidExamples => {
                "Write `queries`, `values` or both with a comma, beside `umbra.io/verdicts`; for values contents must be compared, too."
            }
            Code::NoEndpoints => {
                "Start Pods that the Service (and subset) selects, and see that they are ready."
            }
            Code::HostConflict => "Merge the objects, or give each hosts or `exportTo` of its own.",
            Code::SidecarConflict => "Merge the Sidecars, or narrow the `workloadSelector` of one.",
            Code::UnboundRule => {
                "Correct `port` and `gateways` of the matches, or add the gateway to `spec.gateways`."
            }
            Code::BytesOnly => {
                "If the port speaks HTTP, say so (a port name such as `http-web`, or `appProtocol`); else write `tcp` or `tls` rules."
            }
            Code::ShadowNotRouted => {
                "Add a rule at the gateway for the host with the suffix, or set `mirror.shadowSuffix: false`."
            }
            Code::MoreSpecificHost => {
                "Nothing, if that is meant; else write the rules for that host into the VirtualService that has it."
            }
            Code::SharedServer => "Nothing, if that is meant; else give each Gateway hosts of its own.",
            Code::PortNotOnService => {
                "Add the port to the Service before the gateway, or give the server one that the Service has."
            }
            Code::SelectsNoPod => "Correct the labels, or start Pods that carry them.",
            Code::ProtocolNotNamed => {
                "Name the port by its protocol (`http-…`, `grpc-…`, `tcp-…`), or set `appProtocol`."
            }
            Code::EmptySubset => "Correct the labels, or start Pods that carry them.",
            Code::AddressConflict => "Give each service an address, or a port, of its own.",
            Code::ServerConflict => "Give the server a port or hosts of its own.",
            Code::SecretNotFound => {
                "Create the Secret in the Gateway's namespace with what is missing, or correct the name; in a cluster set `--gateway-secrets`."
            }
            Code::SecretBroken => {
                "Put a certificate, its key and, for an authority, `ca.crt` into the Secret, all in PEM."
            }
            Code::SecretGone => "Create the Secret again, or take its name out of the Gateway.",
            Code::CertificateExpired => "Renew the certificate; proxies take the new one without a restart.",
            Code::GatewayNotFound => {
                "Correct the name (`namespace/name` for another namespace's), or create the Gateway."
            }
            Code::DelegateNotFound => {
                "Correct name and namespace, take the delegate's `hosts` out, or export it to this namespace."
            }
            Code::DelegateConflict => "Narrow the delegate's match to what the rule that delegates admits.",
            Code::DelegateUnused => "Name it in a rule's `delegate`, or give it hosts.",
            Code::DiffersFromIstio => "Write out what is meant, as the message says, and both agree.",
            Code::HostNotAdmitted => "Add the host to an HTTP server of the Gateway, or correct it.",
            Code::DuplicateSubset => "Rename one of the subsets, or merge the rules.",
            Code::DuplicatePolicy => "Merge the rules into one.",
            Code::TlsUnsupported => "Use mode SIMPLE, or MUTUAL with files on the proxy's machine.",
            Code::PodNotFound => "Wait; if it stays, the slice outlived its Pod.",
            Code::NoSidecar => "Start the Pods anew, so that the injector sees them.",
            Code::NotHttp => "Name the port `http-…`, if it does speak HTTP.",
            Code::ForeignHost => {
                "Agree with the service's owner, who admits rules by the annotation `umbra.io/rules-from`."
            }
            Code::ForeignRules => {
                "Admit the namespaces by the annotation `umbra.io/rules-from`, or set `hostOwnership`."
            }
            Code::PolicyTargetNotFound => {
                "Correct the name of the VirtualService, of its rule or of the mirror; the policy must be of the same namespace."
            }
            Code::PolicyConflict => {
                "Merge the policies, or have each name other mirrors; take the annotation away."
            }
            Code::SamplesNested => "Leave `sample` out.",
            Code::InvalidRamp => {
                "Write steps as `{percent: 5, time: 10m, requests: 1000}`, each with a larger share than the one before."
            }
            Code::RampRefused => "Have the canary tool take the steps, or take the ramp away.",
            Code::CopiesNotEdited => {
                "Use an Envoy of 1.36 or later, or a policy that changes nothing: `headers: {remove: []}`."
            }
            Code::NotAdmitted => {
                "Ask the target's owner to admit this namespace by the annotation `umbra.io/rules-from`."
            }
            Code::FileUnreadable => "Make the file readable, or repair the link.",
            Code::FileNotUtf8 => "Save the file as UTF-8.",
            Code::FileTooLarge => "Divide the file.",
            Code::FolderUnreadable => "Make the folder readable.",
            Code::FolderTwice => "Remove one of the links.",
            Code::FolderNotEntered => "Put the files into the folder itself.",
            Code::FileEmpty => "Delete the file if its objects should go.",
            Code::KeptLastGood => "Correct what the other diagnostics of this file or object say.",
            Code::DuplicateObject => "Delete one of the two.",
        }
    }
}
