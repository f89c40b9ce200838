//! Frames and packed results: how a byte string and its success travel between module and runner.
//!
//! A framed value is one byte, `S` or `F`, followed by the payload: the result, or the error message. A packed result is an
//! `i64` with the address of the frame in its upper and the length (frame byte included) in its lower 32 bits.

/// The frame byte of a success.
pub const SUCCESS: u8 = b'S';
/// The frame byte of a failure.
pub const FAILURE: u8 = b'F';

/// Why bytes are not a frame. Always the fault of the side that wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// There is not even a frame byte.
    Empty,
    /// The first byte is neither `S` nor `F`.
    UnknownByte(u8),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Empty => f.write_str("the result is empty, expected a frame that starts with `S` or `F`"),
            FrameError::UnknownByte(byte) => {
                write!(f, "the result starts with byte 0x{byte:02x}, expected a frame that starts with `S` or `F`")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Splits a frame: `Ok(Ok(payload))` is a success, `Ok(Err(payload))` a failure with its message.
///
/// # Errors
/// [`FrameError`] when there is no frame byte or an unknown one.
pub fn decode(frame: &[u8]) -> Result<Result<&[u8], &[u8]>, FrameError> {
    match frame.split_first() {
        None => Err(FrameError::Empty),
        Some((&SUCCESS, payload)) => Ok(Ok(payload)),
        Some((&FAILURE, payload)) => Ok(Err(payload)),
        Some((&byte, _)) => Err(FrameError::UnknownByte(byte)),
    }
}

/// Writes a frame: `Ok` becomes `S` and the payload, `Err` becomes `F` and the message.
#[must_use]
pub fn encode(result: Result<&[u8], &[u8]>) -> Vec<u8> {
    let (byte, payload) = match result {
        Ok(payload) => (SUCCESS, payload),
        Err(message) => (FAILURE, message),
    };
    let mut frame = Vec::with_capacity(1 + payload.len());
    frame.push(byte);
    frame.extend_from_slice(payload);
    frame
}

/// Where a value lies in the module's memory: an address and a length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Address of the first byte. May be anything when `length` is 0: never dereference it then.
    pub pointer: u32,
    /// Length in bytes, the frame byte included.
    pub length: u32,
}

impl Packed {
    /// Reads an `i64` that a module returned.
    #[must_use]
    pub fn from_u64(raw: u64) -> Packed {
        Packed { pointer: (raw >> 32) as u32, length: raw as u32 }
    }

    /// The `i64` that a module returns.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.pointer) << 32 | u64::from(self.length)
    }

    /// The range in a memory of `size` bytes, or `None` when it reaches past the end. The addition cannot overflow: it is
    /// done in 64 bits.
    #[must_use]
    pub fn range(self, size: usize) -> Option<std::ops::Range<usize>> {
        let end = u64::from(self.pointer) + u64::from(self.length);
        (end <= size as u64).then_some(self.pointer as usize..end as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_the_unknown_byte() {
        assert_eq!(decode(b""), Err(FrameError::Empty));
        assert_eq!(decode(b"X"), Err(FrameError::UnknownByte(b'X')));
        assert_eq!(decode(b"S"), Ok(Ok(&b""[..])));
    }

    #[test]
    fn range_ends_at_the_end_of_memory() {
        assert_eq!(Packed { pointer: 65_535, length: 1 }.range(65_536), Some(65_535..65_536));
        assert_eq!(Packed { pointer: 65_536, length: 1 }.range(65_536), None);
        assert_eq!(Packed { pointer: u32::MAX, length: u32::MAX }.range(65_536), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(payload: Vec<u8>, success: bool) {
            let result = if success { Ok(&payload[..]) } else { Err(&payload[..]) };
            let frame = encode(result);
            prop_assert_eq!(decode(&frame), Ok(result));
        }

        #[test]
        fn packed_survives_the_round_trip(raw: u64, size in 0usize..1 << 33) {
            let packed = Packed::from_u64(raw);
            prop_assert_eq!(packed.to_u64(), raw);
            if let Some(range) = packed.range(size) {
                prop_assert!(range.end <= size && range.len() == packed.length as usize);
            }
        }
    }
}
