//! The codes of all diagnostics: stable words for tools, one meaning each. docs/diagnostics.md lists them.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Severity;

/// What is to be known of a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeFacts {
    /// How bad it is, unless the diagnostic says otherwise.
    pub severity: Severity,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// The code of the same finding in Istio's analyzers; <https://istio.io/latest/docs/reference/config/analysis/>.
    pub istio: Option<&'static str>,
    /// A mirror that it is said about copies nothing, though it may have a cluster. Other warnings are about how it is
    /// written.
    pub stops_copies: bool,
}

const fn with(severity: Severity, meaning: &'static str) -> CodeFacts {
    CodeFacts { severity, meaning, istio: None, stops_copies: false }
}

const fn error(meaning: &'static str) -> CodeFacts {
    with(Severity::Error, meaning)
}

const fn warning(meaning: &'static str) -> CodeFacts {
    with(Severity::Warning, meaning)
}

const fn info(meaning: &'static str) -> CodeFacts {
    with(Severity::Info, meaning)
}

impl CodeFacts {
    const fn istio(self, code: &'static str) -> Self {
        CodeFacts { istio: Some(code), ..self }
    }

    const fn stops_copies(self) -> Self {
        CodeFacts { stops_copies: true, ..self }
    }
}

/// Declares the codes and what is to be known of each.
macro_rules! codes {
    ($($name:ident = $facts:expr;)*) => {
        /// What a diagnostic is about: a stable CamelCase word.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "the meaning stands in the table")]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => stringify!($name),)*
                }
            }

            /// What is to be known of it.
            pub const fn facts(self) -> &'static CodeFacts {
                match self {
                    $(Code::$name => const { &$facts },)*
                }
            }
        }
    };
}

codes! {
    // Reading and judging one object.
    SyntaxError = error("The file is neither YAML nor JSON; what it held before stays.");
    NotAnObject = warning("A document has no kind; it is passed over.");
    UnknownKind = warning("The API group (Istio's networking group, or umbra's own) has no such kind; the document is passed over.");
    UnknownVersion = error("A kind that umbra reads, in an API version that it doesn't know; the object is not accepted.");
    NoIdentity = error("The object's name or namespace is missing or not text; the object is not accepted.");
    WrongType = error("A value does not fit its field; the object is not accepted, its last good version stays.");
    DuplicateKey = error("A key is given twice; the object is not accepted, its last good version stays.");
    UnknownField = warning("No field has that name; it is ignored.");
    NoAction = error("A rule has neither route nor redirect nor directResponse; it is left out.");
    NoWeight = error("The weights of a rule add up to 0; it is left out.");
    InvalidMatch = error("A condition that Envoy would refuse; its match is left out, and the rule when no match remains.");
    InvalidHeader = error("A header name or value that Envoy would refuse; the operation is left out.");
    InvalidHost = error("A host that cannot be served, it is left out; or one with a port, which no request is for.");
    InvalidText = error("A text with a line break or NUL where Envoy takes none.");
    InvalidStatus = error("A status code that is none; the rule is left out.");
    InvalidRedirect = error("A redirect that cannot be served; the rule is left out.");
    BodyTooLarge = warning("The body of a fixed answer is beyond the limit, or near it.");
    InvalidPort = error("A number that is no port.");
    InvalidDestination = error("A destination that names no service; requests for it get 503, a mirror is left out.");
    InvalidPercentage = error("A share that is no percentage or below one in a million; the mirror is left out.");
    InvalidDuration = error("A time limit that is negative or below a millisecond; it counts as absent.");
    InvalidRegex = error("A regular expression that Envoy would refuse; the condition or rewrite that holds it is left out.");
    LargeRegex = info("A regular expression that Envoy takes only with a setting in its bootstrap, which umbra's has.");
    NoRules = error("A VirtualService without any rule; it has no effect.");
    WildcardInMesh = warning("A VirtualService for every host of the mesh; Istio refuses it.");
    DuplicateHost = warning("A host that another one of the same object repeats or overlaps.");
    InvalidGatewayName = error("A text that names no gateway; the rules are not served there.");
    LegacyGatewayName = info("A gateway in the old spelling name.namespace.");
    InvalidExportTo = error("An entry of exportTo that means nothing, or too much.");
    EmptyCondition = warning("A condition on the path that asks nothing; every path matches.");
    EmptyBlock = error("A block without content; it has no effect.");
    ConflictingFields = error("Fields that exclude each other or have no effect beside each other; the message says which counts.");
    InvalidWeight = error("A negative weight; it counts as 0.");
    WeightIgnored = warning("A single destination gets every request, whatever its weight.");
    MirrorIgnored = warning("A mirror on a rule that sends nothing; it is ignored.").stops_copies();
    MirrorAndMirrors = info("Both fields are served here; Istio's admission check refuses the combination.");
    PercentageWithoutMirror = warning("A mirror's share without a mirror; it has no effect.");
    InvalidFault = error("A fault that cannot be built; the rule answers 503, since an abort may be somebody's lock.").stops_copies();
    FaultWithoutPercentage = warning("A delay or an abort without a percentage; as in Istio it never happens.");
    InvalidCors = error("A part of a CORS policy that allows nothing or that Envoy would refuse; it is left out.");
    NestedDelegate = error("A delegate's rule that delegates, too: one level is all there is, so it is left out.");
    InvalidRetries = error("A retry policy that retries nothing, or a condition that Envoy doesn't know.");
    UnreachableRule = warning("Earlier rules take every request that this one would.").istio("IST0130");
    IneffectiveMatch = info("An earlier match takes every request that this one would.").istio("IST0131");
    MirrorOfItself = info("A mirror's target is where the rule sends its requests: who serves one serves its copy, too.");
    InvalidSubset = error("A subset without a name, or with one that cannot be part of a cluster's.");
    DuplicateName = error("A name or number that is given twice; the message says which counts.");
    NegativeNumber = error("A negative limit; it counts as not set.");
    OutOfRange = error("A number outside of what its field takes; the message says what counts instead.");
    Insecure = info("A setting that gives up protection.");
    NoEndpointsWritten = warning("A STATIC ServiceEntry without endpoints; requests get 503.");
    InvalidAddress = error("An address that cannot be used; what has it is left out.");
    CapturedOnly = info("A ServiceEntry with resolution NONE, or a load balancer PASSTHROUGH: only sidecars whose traffic is captured know the address that was called; others and gateways answer 503.");
    HostLookedUp = info("A ServiceEntry with resolution DYNAMIC_DNS: sidecars look up the Host of each request, or the name that is asked for in TLS; gateways answer 503, and there are no copies.");
    UnknownPort = error("A port name that the object doesn't define; it has no effect.");
    UnknownProtocol = error("A word that is no protocol; it is detected.");
    MissingName = warning("A port without a name; Istio refuses it.");
    NoServers = error("A Gateway without servers; it has no effect.");
    ShortHost = warning("A short name as a host of a Gateway or Sidecar; Istio refuses it.");
    SystemRoots = info("Client TLS that says by no certificates of its own whom it believes: servers are verified by the system's roots.").istio("IST0128");
    Deprecated = info("A field that has a better successor.").istio("IST0002");
    MoreDiagnostics = error("An object with so many problems that not all are shown.");
    InvalidMethod = error("A text in a MirrorPolicy that is no method, or one that no copy has.");
    InvalidTarget = error("A MirrorPolicy that names no VirtualService; it has no effect.");
    OverBudget = error("Parts of the object multiply beyond what one object may come to, or the objects of its namespace beyond what one namespace may; what is left out is named.");
    NotActedOn = warning("A field that is understood and kept but has no effect yet.");
    // Objects together.
    HostNotFound = warning("No visible service is called that: a mirror is left out, a destination gets 503, a rule has no effect until there is one.").istio("IST0101").stops_copies();
    PortNotFound = warning("The service does not have the port: a mirror is left out, a destination gets 503.").stops_copies();
    PortAmbiguous = warning("The service has several ports, none is named and none is the called one: a mirror is left out, a destination gets 503.").istio("IST0112").stops_copies();
    SubsetNotFound = warning("No DestinationRule defines the subset: a mirror is left out, a destination gets 503.").istio("IST0101").stops_copies();
    UnsupportedDestination = warning("The destination is of a sort that cannot be sent to yet: a mirror is left out, a destination gets 503.").stops_copies();
    CopiesNotHashed = info("A mirror's target is chosen by what is not known of a copy; copies are spread over its endpoints.");
    PlaintextToTls = warning("A destination's or mirror's port speaks TLS (HTTPS, TLS), and no DestinationRule sets `trafficPolicy.tls`; plain HTTP is sent there and fails.").stops_copies();
    CopiesAsHttp1 = warning("Copies of HTTP/2 requests leave as HTTP/1.1, since the mirror's port does not say that it speaks HTTP/2.");
    UnknownStop = warning("The annotation `umbra.io/stop` names a mirror that there is not: it stops none, or, where it is the runtime key of a mirror whose rule was edited, those with the same target.");
    InvalidAbort = warning("A part of the annotation `umbra.io/abort`, or of `abort` of a MirrorPolicy, that is no limit or can never be crossed, or is for a mirror that there is not: it stops none.");
    InvalidVerdicts = warning("The annotation `umbra.io/verdicts`, or `verdicts` of a MirrorPolicy, is not understood: nothing is judged.");
    NotJudged = warning("Verdicts are wanted, and some of the proxies cannot tell of single requests: those copy, and are not judged.");
    InvalidContents = warning("The annotation `umbra.io/contents` is not understood, or there is no `umbra.io/verdicts`: no body is compared.");
    InvalidExamples = warning("The annotation `umbra.io/examples` is not understood, or it or `verdicts` of a MirrorPolicy allows to show what is not there: that is not shown.");
    NoEndpoints = warning("A mirror's target has no ready endpoints right now; policy and cluster stay, copies are dropped meanwhile.").stops_copies();
    HostConflict = warning("Another object already defines the host or has rules for it; the message says where that one counts.").istio("IST0109");
    SidecarConflict = warning("An older Sidecar is for the same proxies; this one has no effect.").istio("IST0111");
    UnboundRule = warning("No proxy takes the rule: its matches are for other gateways or ports than those by which its hosts are called.");
    BytesOnly = warning("The services that a rule's hosts mean have no port with HTTP: connections are passed on as bytes, no request follows the rule, and its mirrors copy nothing.").stops_copies();
    ShadowNotRouted = warning("Copies arrive at a gateway under a host with the suffix `-shadow` for which it has no rule: it answers them 404.").stops_copies();
    MoreSpecificHost = info("Another VirtualService has a host beneath a wildcard of this one: requests for it follow that one alone.");
    SharedServer = info("Gateways for the same proxies admit the same hosts on one port: rules for either are put together there.").istio("IST0145");
    PortNotOnService = warning("No Service before a Gateway's Pods has the port of a server: clients reach it at the Pods' own addresses only.").istio("IST0162");
    SelectsNoPod = warning("No Pod has the labels by which the object selects: it has no effect until one has.").istio("IST0101");
    ProtocolNotNamed = info("A Service's port does not say what it speaks: it is found out for each connection, and copies of HTTP/2 may leave as HTTP/1.1.").istio("IST0118");
    EmptySubset = warning("A subset selects none of its host's ready endpoints; requests for it get 503.").istio("IST0173");
    AddressConflict = warning("Another service has the same address and port, and no HTTP tells the two apart: sidecars send connections to the one that the message names.");
    GatewayNotFound = warning("The Gateway does not exist; the rules are not served there.").istio("IST0101");
    ServerConflict = error("Another Gateway's server, or an earlier one of the same, has the port, and no connection could be told from that one's; the server is not opened.").istio("IST0145");
    SecretNotFound = error("A Secret that a Gateway names does not exist in the Gateway's namespace, cannot be read, or lacks what is named; a server without any certificate is not opened.");
    SecretBroken = error("A Secret holds no certificate that could be served; what it held before stays in force.");
    SecretGone = warning("A Secret that a Gateway names was deleted; what it held stays in force.");
    CertificateExpired = error("A certificate is served on a day for which it is not good; clients will refuse it.");
    DelegateNotFound = warning("A rule delegates to a VirtualService that does not exist, has hosts, or is not exported to it: the rule is left out.");
    DelegateConflict = warning("A delegate's rule asks for requests that the rule which delegates to it does not admit: it is left out there.");
    DelegateUnused = warning("A VirtualService without hosts to which no rule delegates; it has no effect.");
    DiffersFromIstio = info("Istio does otherwise here, and requests get something else; the message says what (setting `istioCompatible`).");
    HostNotAdmitted = warning("No server of the Gateway that the rules are for (HTTP, TLS, TCP) admits any of the hosts; they are not served there.").istio("IST0132");
    DuplicateSubset = warning("An older DestinationRule already defines the subset; this definition is not used.");
    DuplicatePolicy = warning("An older DestinationRule already sets the policy of the host; this one is not used.");
    TlsUnsupported = error("Client TLS that cannot be given yet; the clusters stay without endpoints, so that nothing travels in plaintext.").stops_copies();
    PodNotFound = warning("An EndpointSlice names a Pod that is not known; its endpoint is left out until it is.");
    NoSidecar = warning("Pods that should have a sidecar (by the label of their namespace, or their own) have none: their calls go past the rules.");
    NotHttp = info("A port that speaks no HTTP: sidecars pass its connections on as they are, or as `tcp` and `tls` rules say, and nothing of them can be copied.");
    ForeignHost = warning("A rule about another namespace's service that did not ask for it; the message says for whose calls it counts (`hostOwnership`).");
    ForeignRules = warning("Rules of other namespaces say what becomes of calls to this Service, and it did not ask for them (`hostOwnership`).");
    NotAdmitted = warning("A mirror's target belongs to a namespace that does not admit copies by rules of this one (`hostOwnership`); the mirror is left out.").stops_copies();
    PolicyTargetNotFound = warning("A MirrorPolicy is for a VirtualService, a rule or a mirror that there is not; it has no effect.");
    PolicyConflict = warning("A MirrorPolicy counts for a mirror instead of another, since it names more of it or is older, or instead of an annotation; the message says which.");
    SamplesNested = error("Independent samples are asked for, which Envoy cannot take: they are nested.");
    InvalidRamp = error("A step of a ramp that is none is left out; a ramp without steps copies nothing.");
    RampRefused = warning("A ramp for a rule whose shares Flagger or Argo Rollouts moves: the ramp has no effect.");
    CopiesNotEdited = warning("A MirrorPolicy changes copies, which Envoys before 1.36 cannot do: the mirror is left out there.");
    // Files and folders.
    FileUnreadable = error("A file cannot be read, is no regular file, or a link leads nowhere; what it held before stays.");
    FileNotUtf8 = error("A file is not UTF-8 text; what it held before stays.");
    FileTooLarge = error("A file is larger than 64 MiB; what it held before stays.");
    FolderUnreadable = error("A folder cannot be listed; everything below it stays as it was.");
    FolderTwice = warning("Two paths lead to the same folder (a loop of links, for example); it is read once.");
    FolderNotEntered = warning("A link leads out of the folder to where it is not followed, or too deep; what was read there before stays.");
    FileEmpty = warning("A file has become empty, comments aside, which looks like an unfinished write; its objects stay until it is deleted.");
    KeptLastGood = warning("What stays in force instead of a version that cannot be understood, or is out of reach.");
    DuplicateObject = warning("The same object stands in two places; the message says which counts.");
}

impl Code {
    /// The code with this word.
    pub fn find(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

/// By their words, as listings are sorted.
impl Ord for Code {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
