//! The codes of the diagnostics that this crate gives: stable words for tools, one meaning each.

/// Declares the codes as constants and as the table [`CODES`].
macro_rules! codes {
    ($($constant:ident = $code:literal: $meaning:literal,)*) => {
        $(#[doc = $meaning] pub const $constant: &str = $code;)*

        /// Every code with its meaning in one line, for the documentation.
        pub const CODES: &[(&str, &str)] = &[$(($code, $meaning),)*];
    };
}

codes! {
    SYNTAX_ERROR = "SyntaxError": "The file is neither YAML nor JSON; what it held before stays.",
    NOT_AN_OBJECT = "NotAnObject": "A document has no kind; it is passed over.",
    UNKNOWN_KIND = "UnknownKind": "Istio's networking group has no such kind; the document is passed over.",
    UNKNOWN_VERSION = "UnknownVersion": "A kind that umbra reads, in an API version that it doesn't know; the object is not accepted.",
    NO_IDENTITY = "NoIdentity": "The object's name or namespace is missing or not text; the object is not accepted.",
    WRONG_TYPE = "WrongType": "A value does not fit its field; the object is not accepted, its last good version stays.",
    DUPLICATE_KEY = "DuplicateKey": "A key is given twice; the object is not accepted, its last good version stays.",
    UNKNOWN_FIELD = "UnknownField": "No field has that name; it is ignored.",
    NO_ACTION = "NoAction": "A rule has neither route nor redirect nor directResponse; it is left out.",
    NO_WEIGHT = "NoWeight": "The weights of a rule add up to 0; it is left out.",
    INVALID_MATCH = "InvalidMatch": "A condition that Envoy would refuse; its match is left out, and the rule when no match remains.",
    INVALID_HEADER = "InvalidHeader": "A header name or value that Envoy would refuse; the operation is left out.",
    INVALID_HOST = "InvalidHost": "A host that cannot be served, it is left out; or one with a port, which no request is for.",
    INVALID_TEXT = "InvalidText": "A text with a line break or NUL where Envoy takes none.",
    INVALID_STATUS = "InvalidStatus": "A status code that is none; the rule is left out.",
    INVALID_REDIRECT = "InvalidRedirect": "A redirect that cannot be served; the rule is left out.",
    BODY_TOO_LARGE = "BodyTooLarge": "The body of a fixed answer is beyond the limit, or near it.",
    INVALID_PORT = "InvalidPort": "A number that is no port.",
    INVALID_DESTINATION = "InvalidDestination": "A destination that names no service; requests for it get 503, a mirror is left out.",
    INVALID_PERCENTAGE = "InvalidPercentage": "A share that is no percentage or below one in a million; the mirror is left out.",
    INVALID_DURATION = "InvalidDuration": "A time limit that is negative or below a millisecond; it counts as absent.",
    INVALID_REGEX = "InvalidRegex": "A regular expression that Envoy would refuse; the condition or rewrite that holds it is left out.",
    LARGE_REGEX = "LargeRegex": "A regular expression that Envoy takes only with a setting in its bootstrap, which umbra's has.",
    NO_RULES = "NoRules": "A VirtualService without any rule; it has no effect.",
    WILDCARD_IN_MESH = "WildcardInMesh": "A VirtualService for every host of the mesh; Istio refuses it.",
    DUPLICATE_HOST = "DuplicateHost": "A host that another one of the same object repeats or overlaps.",
    INVALID_GATEWAY_NAME = "InvalidGatewayName": "A text that names no gateway; the rules are not served there.",
    LEGACY_GATEWAY_NAME = "LegacyGatewayName": "A gateway in the old spelling name.namespace.",
    INVALID_EXPORT_TO = "InvalidExportTo": "An entry of exportTo that means nothing, or too much.",
    EMPTY_CONDITION = "EmptyCondition": "A condition on the path that asks nothing; every path matches.",
    EMPTY_BLOCK = "EmptyBlock": "A block without content; it has no effect.",
    CONFLICTING_FIELDS = "ConflictingFields": "Fields that exclude each other or have no effect beside each other; the message says which counts.",
    INVALID_WEIGHT = "InvalidWeight": "A negative weight; it counts as 0.",
    WEIGHT_IGNORED = "WeightIgnored": "A single destination gets every request, whatever its weight.",
    MIRROR_IGNORED = "MirrorIgnored": "A mirror on a rule that sends nothing; it is ignored.",
    MIRROR_AND_MIRRORS = "MirrorAndMirrors": "Both fields are served here; Istio's admission check refuses the combination.",
    PERCENTAGE_WITHOUT_MIRROR = "PercentageWithoutMirror": "A mirror's share without a mirror; it has no effect.",
    INVALID_RETRIES = "InvalidRetries": "A retry policy that retries nothing, or a condition that Envoy doesn't know.",
    UNREACHABLE_RULE = "UnreachableRule": "Earlier rules take every request that this one would.",
    INEFFECTIVE_MATCH = "IneffectiveMatch": "An earlier match takes every request that this one would.",
    INVALID_SUBSET = "InvalidSubset": "A subset without a name, or with one that cannot be part of a cluster's.",
    DUPLICATE_NAME = "DuplicateName": "A name or number that is given twice; the message says which counts.",
    NEGATIVE_NUMBER = "NegativeNumber": "A negative limit; it counts as not set.",
    INSECURE = "Insecure": "A setting that gives up protection.",
    NO_ENDPOINTS_WRITTEN = "NoEndpointsWritten": "A STATIC ServiceEntry without endpoints; requests get 503.",
    INVALID_ADDRESS = "InvalidAddress": "An address that cannot be used; what has it is left out.",
    UNKNOWN_PORT = "UnknownPort": "A port name that the object doesn't define; it has no effect.",
    UNKNOWN_PROTOCOL = "UnknownProtocol": "A word that is no protocol; it is detected.",
    MISSING_NAME = "MissingName": "A port without a name; Istio refuses it.",
    NO_SERVERS = "NoServers": "A Gateway without servers; it has no effect.",
    SHORT_HOST = "ShortHost": "A short name as a Gateway's host; Istio refuses it.",
    DEPRECATED = "Deprecated": "A field that has a better successor.",
    MORE_DIAGNOSTICS = "MoreDiagnostics": "An object with so many problems that not all are shown.",
    NOT_ACTED_ON = "NotActedOn": "A field that is understood and kept but has no effect yet.",
}
