//! The interface for host functions: what Capsule's own are made of, and what the author of a runner adds.
//!
//! A host function of the usual kind takes byte strings and answers one ([`HostFunction::new`], or
//! [`HostFunction::waiting`] when it waits for something); the engine reads the inputs from the guest's memory, and places
//! the answer in a buffer that it gets from the guest's `allocateBuffer`. One that does not fit this convention sees numbers
//! and the memory ([`HostFunction::raw`]).
//!
//! ```
//! use capsule_hdk::{HostFunction, HostFunctions, Reply};
//!
//! let mut host = HostFunctions::new();
//! host.add(HostFunction::new("hostReverse", Reply::Framed, |_, [text]: [&[u8]; 1]| {
//!     Ok(text.iter().rev().copied().collect())
//! }));
//! ```

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use capsule_abi::names;
use futures_util::future::BoxFuture;
use smol_str::SmolStr;
use tokio::time::Instant;

use crate::capabilities::Capabilities;
use crate::files::{Blocking, CountedFile, Disk};
use crate::held::{Held, HostMemory};
use crate::limits::{Limit, Limits};
use crate::output::{OutputBuffer, Stream};
use crate::share::Share;
use crate::stats::Counters;
use crate::ticker::Pace;

/// How the answer of a host function reaches the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// There is none: the function has only inputs. A failure is logged.
    Nothing,
    /// The bytes alone. A failure becomes an empty answer and is logged.
    Raw,
    /// A frame: `S` and the bytes, or `F` and the error's text.
    Framed,
}

/// The answer of a host function: bytes, or the text of a failure.
pub type HostResult = Result<Vec<u8>, String>;

type Immediate = dyn Fn(&HostContext, &[&[u8]]) -> HostResult + Send + Sync;
type Waiting = dyn Fn(HostContext, Vec<Vec<u8>>) -> BoxFuture<'static, HostResult> + Send + Sync;
type Raw = dyn Fn(&HostContext, &mut GuestMemory<'_>, &[Value]) -> Result<Vec<Value>, String> + Send + Sync;

#[derive(Clone)]
pub(crate) enum Handler {
    Immediate { inputs: usize, reply: Reply, call: Arc<Immediate> },
    Waiting { inputs: usize, reply: Reply, call: Arc<Waiting> },
    Raw { params: Vec<ValueType>, results: Vec<ValueType>, call: Arc<Raw> },
}

/// A function that modules import.
#[derive(Clone)]
pub struct HostFunction {
    pub(crate) module: Cow<'static, str>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) handler: Handler,
}

impl HostFunction {
    /// A function that answers at once: `N` inputs, each a pointer and a length in the guest, and a reply. The inputs
    /// are the guest's own memory, valid during the call. The import's result is an `i32` 0.
    ///
    /// `call` runs on the thread that runs the guest: it must not block. Inputs outside of the guest's memory are a trap
    /// of the guest; `call` is not run then.
    pub fn new<const N: usize>(
        name: impl Into<Cow<'static, str>>,
        reply: Reply,
        call: impl Fn(&HostContext, [&[u8]; N]) -> HostResult + Send + Sync + 'static,
    ) -> HostFunction {
        let call = move |context: &HostContext, inputs: &[&[u8]]| {
            call(context, std::array::from_fn(|index| inputs.get(index).copied().unwrap_or_default()))
        };
        HostFunction {
            module: names::HOST_MODULE.into(),
            name: name.into(),
            handler: Handler::Immediate { inputs: N, reply, call: Arc::new(call) },
        }
    }

    /// As [`HostFunction::new`] for a function that waits. The inputs are copies. While it waits no thread is held, and the
    /// call's deadline goes on: past it the future is dropped.
    pub fn waiting<const N: usize, F>(
        name: impl Into<Cow<'static, str>>,
        reply: Reply,
        call: impl Fn(HostContext, [Vec<u8>; N]) -> F + Send + Sync + 'static,
    ) -> HostFunction
    where
        F: Future<Output = HostResult> + Send + 'static,
    {
        let call = move |context: HostContext, inputs: Vec<Vec<u8>>| -> BoxFuture<'static, HostResult> {
            let mut inputs = inputs.into_iter();
            Box::pin(call(context, std::array::from_fn(|_| inputs.next().unwrap_or_default())))
        };
        HostFunction {
            module: names::HOST_MODULE.into(),
            name: name.into(),
            handler: Handler::Waiting { inputs: N, reply, call: Arc::new(call) },
        }
    }

    /// A function of any signature that sees the guest's memory. An `Err` traps the guest with that text; so do results
    /// that do not fit `results`.
    pub fn raw(
        name: impl Into<Cow<'static, str>>,
        params: &[ValueType],
        results: &[ValueType],
        call: impl Fn(&HostContext, &mut GuestMemory<'_>, &[Value]) -> Result<Vec<Value>, String> + Send + Sync + 'static,
    ) -> HostFunction {
        HostFunction {
            module: names::HOST_MODULE.into(),
            name: name.into(),
            handler: Handler::Raw { params: params.to_vec(), results: results.to_vec(), call: Arc::new(call) },
        }
    }

    /// The same function in another import module than `env`.
    #[must_use]
    pub fn in_module(mut self, module: impl Into<Cow<'static, str>>) -> HostFunction {
        self.module = module.into();
        self
    }

    /// The name that modules import.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The host functions that a runner offers. A later function replaces an earlier one of the same name.
#[derive(Clone, Default)]
pub struct HostFunctions {
    functions: BTreeMap<(Cow<'static, str>, Cow<'static, str>), HostFunction>,
}

impl HostFunctions {
    /// None yet. WASI preview 1 is always there beside them.
    pub fn new() -> HostFunctions {
        HostFunctions::default()
    }

    /// Adds a function.
    pub fn add(&mut self, function: HostFunction) -> &mut HostFunctions {
        self.functions.insert((function.module.clone(), function.name.clone()), function);
        self
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &HostFunction> {
        self.functions.values()
    }
}

/// A number of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `i32`
    I32(i32),
    /// `i64`
    I64(i64),
    /// `f32`
    F32(f32),
    /// `f64`
    F64(f64),
}

/// The type of a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// `f32`
    F32,
    /// `f64`
    F64,
}

/// The linear memory of a guest, for the time of one host call.
pub struct GuestMemory<'a> {
    pub(crate) bytes: &'a mut [u8],
}

impl GuestMemory<'_> {
    /// The `length` bytes at `pointer`. Length 0 is empty wherever it points.
    ///
    /// # Errors
    /// A text for a trap when the range is not inside the memory.
    pub fn read(&self, pointer: u32, length: u32) -> Result<&[u8], String> {
        let range = range(pointer, length, self.bytes.len())?;
        Ok(&self.bytes[range])
    }

    /// Writes `bytes` at `pointer`.
    ///
    /// # Errors
    /// A text for a trap when the range is not inside the memory.
    pub fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), String> {
        let length = u32::try_from(bytes.len()).map_err(|_| "a value of more than 4 GiB".to_owned())?;
        let range = range(pointer, length, self.bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }
}

/// The range of a guest's pointer and length, checked: the one place where guest addresses become host ranges.
pub(crate) fn range(pointer: u32, length: u32, size: usize) -> Result<Range<usize>, String> {
    if length == 0 {
        return Ok(0..0);
    }
    capsule_abi::frame::Packed { pointer, length }
        .range(size)
        .ok_or_else(|| format!("address {pointer:#x} with length {length} is outside of the memory of {size} bytes"))
}

/// Values that a runner attaches to a function for its host functions: caches, clients, policies; one for each type.
#[derive(Clone, Default)]
pub struct Extensions {
    values: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Extensions {
    /// Attaches `value`; an earlier one of the same type is replaced.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: Arc<T>) -> &mut Extensions {
        self.values.insert(TypeId::of::<T>(), value);
        self
    }

    /// The attached value of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.values.get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }
}

/// What the instances of one function share with its host functions.
pub(crate) struct Surroundings {
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
    pub(crate) extensions: Extensions,
    /// True for a plain WASI command, which runs once and exits.
    pub(crate) command: bool,
    /// Where host functions wait when the guest runs in the pool for long calls.
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) counters: Arc<Counters>,
    pub(crate) host_memory: Arc<HostMemory>,
    /// The function's share of the threads for work that blocks.
    pub(crate) blocking: Blocking,
    pub(crate) disk: Arc<Disk>,
    /// The function's share of the files that may be open.
    pub(crate) files: Arc<Share>,
    pub(crate) stacks: Arc<Share>,
    /// Told what guests do when they are interrupted.
    pub(crate) pace: Pace,
}

/// On whose behalf a host function runs. Cheap to clone.
#[derive(Clone)]
pub struct HostContext {
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) output: Arc<OutputBuffer>,
    pub(crate) request_id: Option<SmolStr>,
    /// Not kept alive by an instance that waits for its next call.
    pub(crate) companion: Option<Weak<dyn Any + Send + Sync>>,
    pub(crate) deadline: Option<Instant>,
    /// Files that the instance has open.
    pub(crate) open_files: Arc<AtomicUsize>,
}

impl HostContext {
    /// The function's name.
    pub fn function(&self) -> &str {
        &self.surroundings.name
    }

    /// The function's limits.
    pub fn limits(&self) -> &Limits {
        &self.surroundings.limits
    }

    /// What the guest may see and reach.
    pub fn capabilities(&self) -> &Capabilities {
        &self.surroundings.capabilities
    }

    /// What the runner attached to the function for host functions of this kind.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.surroundings.extensions.get()
    }

    /// The id of the request that the call serves, when it has one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// What the runner gave this call along, when it is of this type; none outside of a call.
    pub fn companion<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.companion.as_ref()?.upgrade()?.downcast().ok()
    }

    /// When the call ends at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Threads for work that blocks, such as files and names: the function's share.
    pub fn blocking(&self) -> &Blocking {
        &self.surroundings.blocking
    }

    /// Counts bytes that a host function holds for the guest, until the answer is dropped. What it answers in the end is
    /// counted without this.
    ///
    /// # Errors
    /// A text for the guest when the host would hold more than [`Limits::host_memory`] for the function.
    pub fn hold(&self, bytes: usize) -> Result<Held, String> {
        self.surroundings.host_memory.hold(bytes)
    }

    /// Counts that a limit was met, for [`Stats::hits`](crate::Stats::hits).
    pub fn hit(&self, limit: Limit) {
        self.surroundings.counters.hit(limit);
    }

    /// Counts a file that a host function opens, until the answer is dropped.
    pub(crate) fn count_file(&self) -> Result<CountedFile, String> {
        CountedFile::new(&self.open_files, self.limits().files, &self.surroundings.files).map_err(|full| {
            self.hit(Limit::Files);
            full.to_string()
        })
    }

    pub(crate) fn disk(&self) -> &Arc<Disk> {
        &self.surroundings.disk
    }

    /// Prints on behalf of the guest: `parts` one after the other, with the guest's own lines and in their order.
    pub fn print(&self, stream: Stream, parts: &[&[u8]]) {
        self.output.write(stream, parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_inside_the_memory_or_refused() {
        assert_eq!(range(u32::MAX, 0, 10), Ok(0..0));
        assert_eq!(range(8, 2, 10), Ok(8..10));
        assert!(range(9, 2, 10).is_err());
        assert!(range(u32::MAX, u32::MAX, 10).is_err());
    }
}
