//! Who owns which bytes between module and host.
//!
//! - The argument of a call lies in a buffer that the host got from `malloc` and frees itself, or from `allocateBuffer`: that one
//!   is the module's, and is freed at the end of the call.
//! - What a host function answers lies in a buffer from `allocateBuffer`: the function that asked takes it.
//! - The result of a call is the module's; it stays until the next call.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capsule_abi::exchange::{self, RECORD};
use capsule_abi::frame::Packed;

/// Buffers that the host allocated and nobody has taken yet: seldom more than one.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The result of the last call. Its buffer serves the next one too.
static RESULT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The answer of the last call, when it has a head and a body.
static ANSWER: Mutex<Answer> =
    Mutex::new(Answer { record: [0; RECORD], head: Cow::Borrowed(&[]), body: Cow::Borrowed(&[]) });

/// An answer in two parts, and the record that says where they lie.
struct Answer {
    record: [u8; RECORD],
    head: Cow<'static, [u8]>,
    body: Cow<'static, [u8]>,
}

/// A buffer of `size` bytes for the host; the module owns it.
#[cfg(any(target_arch = "wasm32", test))]
fn allocate(size: usize) -> *mut u8 {
    let mut buffer = vec![0; size];
    let address = buffer.as_mut_ptr();
    if size > 0 {
        lock(&BUFFERS).push(buffer);
    }
    address
}

/// Takes what the host placed in a buffer of [`allocate`]. Length 0 is the empty value, whatever the address is.
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn take(address: usize, length: usize) -> Vec<u8> {
    if length == 0 {
        return Vec::new();
    }
    let mut bytes = reclaim(address).expect("the host answers in a buffer that it got from `allocateBuffer`");
    bytes.truncate(length);
    bytes
}

/// Takes the buffer at an address off the list, if it is there.
pub(crate) fn reclaim(address: usize) -> Option<Vec<u8>> {
    let mut buffers = lock(&BUFFERS);
    let index = buffers.iter().rposition(|buffer| buffer.as_ptr() as usize == address)?;
    Some(buffers.swap_remove(index))
}

/// Larger buffers are given back instead of used again.
const LARGEST_KEPT: usize = 64 * 1024;

/// An empty buffer for the frame of a result: that of the last one, which nobody reads any more.
pub(crate) fn frame() -> Vec<u8> {
    let mut buffer = std::mem::take(&mut *lock(&RESULT));
    if buffer.capacity() > LARGEST_KEPT {
        return Vec::new();
    }
    buffer.clear();
    buffer
}

/// Keeps the frame of a result until the next call and says where it lies.
pub(crate) fn keep(frame: Vec<u8>) -> u64 {
    let packed = Packed { pointer: frame.as_ptr() as usize as u32, length: frame.len() as u32 };
    *lock(&RESULT) = frame;
    packed.to_u64()
}

/// An empty buffer for the head of an answer: that of the last one, which nobody reads any more.
pub(crate) fn head() -> Vec<u8> {
    match std::mem::take(&mut lock(&ANSWER).head) {
        Cow::Owned(mut head) if head.capacity() <= LARGEST_KEPT => {
            head.clear();
            head
        }
        _ => Vec::new(),
    }
}

/// Keeps head and body of an answer until the next call, and says where the record of both lies.
pub(crate) fn keep_answer(head: Cow<'static, [u8]>, body: Cow<'static, [u8]>) -> u64 {
    let place = |bytes: &[u8]| Packed { pointer: bytes.as_ptr() as usize as u32, length: bytes.len() as u32 };
    let mut answer = lock(&ANSWER);
    answer.record = exchange::write_record([place(&head), place(&body)]);
    (answer.head, answer.body) = (head, body);
    place(&answer.record).to_u64()
}

/// Runs the constructors of the C library and of Rust, once. What `_initialize` does first.
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the linker makes this function")]
pub fn initialize() {
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    // SAFETY: only `_initialize` comes here, and a runner calls that once.
    unsafe { __wasm_call_ctors() };
}

/// Outside wasm there is nothing to initialize.
#[cfg(not(target_arch = "wasm32"))]
pub fn initialize() {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The export that the host allocates its answers with.
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "an export has its name as it is")]
#[unsafe(export_name = "allocateBuffer")]
extern "C" fn allocate_buffer(size: usize) -> *mut u8 {
    allocate(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_taken_once_and_cut_to_its_content() {
        let first = allocate(4) as usize;
        let second = allocate(8) as usize;
        assert_eq!(take(first, 3), [0, 0, 0]);
        assert_eq!(reclaim(first), None);
        assert_eq!(take(second, 8), [0; 8]);
        assert!(take(0, 0).is_empty());
        allocate(0);
        assert_eq!(reclaim(1), None);
    }

    #[test]
    fn an_answer_stays_as_a_whole() {
        let packed = Packed::from_u64(keep_answer(b"the head"[..].into(), b"body".to_vec().into()));
        assert_eq!(packed.length as usize, RECORD);
        let answer = lock(&ANSWER);
        let [head, body] = exchange::read_record(&answer.record);
        assert_eq!((head.length, body.length), (8, 4));
        assert_eq!(body.pointer, answer.body.as_ptr() as usize as u32);
        assert_eq!(packed.pointer, answer.record.as_ptr() as usize as u32);
    }

    #[test]
    fn the_result_stays_until_the_next_and_lends_it_its_buffer() {
        let packed = Packed::from_u64(keep(b"Shello".to_vec()));
        assert_eq!(packed.length, 6);
        assert_eq!(*lock(&RESULT), b"Shello");
        let next = frame();
        assert_eq!((next.len(), next.as_ptr() as usize as u32), (0, packed.pointer));
        keep(vec![0; LARGEST_KEPT + 1]);
        assert_eq!(frame().capacity(), 0);
    }
}
