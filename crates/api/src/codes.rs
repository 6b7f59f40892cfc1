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
    INVALID_REGEX = "InvalidRegex": "A regular expression that Envoy would refuse; the condition or rewrite that holds it is left out.",
    NOT_ACTED_ON = "NotActedOn": "A field that is understood and kept but has no effect yet.",
}
