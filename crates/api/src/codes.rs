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
    INVALID_HOST = "InvalidHost": "A host that cannot be served; it is left out.",
    INVALID_TEXT = "InvalidText": "A text with a line break or NUL where Envoy takes none.",
    INVALID_STATUS = "InvalidStatus": "A status code that is none; the rule is left out.",
    INVALID_REDIRECT = "InvalidRedirect": "A redirect that cannot be served; the rule is left out.",
    BODY_TOO_LARGE = "BodyTooLarge": "The body of a fixed answer is beyond the limit, or near it.",
    INVALID_PORT = "InvalidPort": "A number that is no port.",
    INVALID_DESTINATION = "InvalidDestination": "A destination that names no service; requests for it get 503, a mirror is left out.",
    INVALID_PERCENTAGE = "InvalidPercentage": "A share that is no percentage or below one in a million; the mirror is left out.",
    INVALID_DURATION = "InvalidDuration": "A time limit that is negative or below a millisecond; it counts as absent.",
    INVALID_REGEX = "InvalidRegex": "A regular expression that Envoy would refuse; the condition or rewrite that holds it is left out.",
    NOT_ACTED_ON = "NotActedOn": "A field that is understood and kept but has no effect yet.",
}
