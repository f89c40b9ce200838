//! Bodies in documents: base64, and text as bytes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::DocumentError;

/// The standard alphabet; written with padding, read with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Appends the base64 of `bytes`.
pub(crate) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(bytes, &mut out[start..]).expect("the space is that of padded base64");
    out.truncate(start + written);
}

/// Decodes base64; `field` names it in the error.
pub(crate) fn read_base64(field: &str, text: &str) -> Result<Vec<u8>, DocumentError> {
    BASE64.decode(text).map_err(|error| DocumentError::new(format!("`{field}` is not base64: {error}")))
}

/// The bytes of a text, without a copy.
pub(crate) fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
