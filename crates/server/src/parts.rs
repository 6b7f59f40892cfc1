//! The parts of a protobuf message, one after the other. What a message comes to in memory is not bounded by its length: a part of
//! two bytes may be a structure of a thousand. So what strangers send and may hold many parts is looked through here first, or
//! read part by part.

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// A part with a length of its own: a message, a text, or packed numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part<'a> {
    /// The field's number.
    pub(crate) field: u32,
    /// What is in it.
    pub(crate) bytes: &'a [u8],
}

/// These bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMessage;

impl From<DecodeError> for NoMessage {
    fn from(_: DecodeError) -> Self {
        NoMessage
    }
}

/// The parts of a message in their order; what has no length of its own is passed over. Nothing comes after an error.
pub(crate) fn of(message: &[u8]) -> impl Iterator<Item = Result<Part<'_>, NoMessage>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let part = next(&mut rest);
        if part.is_err() {
            rest = &[];
        }
        part.transpose()
    })
}

/// Calls `take` with each part that stands in the last of these fields, which is in the one before it.
pub(crate) fn each<'a>(
    message: &'a [u8],
    fields: &[u32],
    take: &mut dyn FnMut(&'a [u8]),
) -> Result<(), NoMessage> {
    let Some((field, inner)) = fields.split_first() else {
        take(message);
        return Ok(());
    };
    for part in of(message) {
        let part = part?;
        if part.field == *field {
            each(part.bytes, inner, take)?;
        }
    }
    Ok(())
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Part<'a>>, NoMessage> {
    while !rest.is_empty() {
        let (field, kind) = decode_key(rest)?;
        if kind != WireType::LengthDelimited {
            skip_field(kind, field, rest, DecodeContext::default())?;
            continue;
        }
        let len = usize::try_from(decode_varint(rest)?).unwrap_or(usize::MAX);
        let bytes;
        (bytes, *rest) = rest.split_at_checked(len).ok_or(NoMessage)?;
        return Ok(Some(Part { field, bytes }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_their_order() {
        for (message, want, good) in [
            (&[][..], &[][..], true),
            // A number, a text, four bytes, eight, a text of nothing.
            (
                &[8, 150, 1, 18, 2, 7, 7, 29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8, 18, 0],
                &[(2, &[7, 7][..]), (2, &[])],
                true,
            ),
            (&[18, 1, 9, 18, 2, 9], &[(2, &[9])], false),
            (&[18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], &[], false),
            (&[255; 20], &[], false),
            (&[0], &[], false),
        ] {
            let found: Vec<_> = of(message).collect();
            let parts: Vec<_> = found.iter().flatten().map(|part| (part.field, part.bytes)).collect();
            let errors = found.iter().filter(|part| part.is_err()).count();
            assert_eq!((&parts[..], errors), (want, usize::from(!good)), "{message:?}");
        }
        let (mut inner, message) = (Vec::new(), [18, 4, 10, 2, 7, 7, 26, 3, 10, 1, 9, 18, 3, 10, 1, 8]);
        assert_eq!(each(&message, &[2, 1], &mut |bytes| inner.push(bytes)), Ok(()));
        assert_eq!(inner, [&[7, 7][..], &[8]]);
    }
}
