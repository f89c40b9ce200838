//! What the runtime asks of the program around it ([`Platform`]): the meaning of flags, capabilities, downloads.

use std::borrow::Cow;
use std::path::PathBuf;

use bytes::Bytes;
use capsule_faas_model::Refusal;
use capsule_faas_model::args::{FlagInfo, FlagTable};
use capsule_faas_model::lifecycle::Sleep;
use capsule_faas_model::spec::{ModuleHash, Spec};
use capsule_hdk::{Extensions, FunctionConfig};
use futures_util::future::BoxFuture;

use super::child::Arguments;
use super::error::FaasError;
use crate::modules::Digest;

/// Where the bytes of a module come from at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of the server's machine, copied once.
    File(PathBuf),
    /// Bytes that were uploaded before.
    Stored(Digest),
    /// To be fetched, once, with [`Platform::fetch`].
    Remote,
}

impl Source {
    /// The source that the values of `-wasm` and `-url` name; an empty one is none. A URL wins over a path, which in the
    /// reference is only where it is saved.
    ///
    /// # Errors
    /// Neither is there, or `sha256:` is followed by something else than a digest.
    pub fn of(wasm: Option<&str>, url: Option<&str>) -> Result<Source, Refusal> {
        let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        match (given(wasm), given(url)) {
            (_, Some(_)) => Ok(Source::Remote),
            (Some(wasm), None) if wasm.starts_with(ModuleHash::PREFIX) => {
                let digest = wasm.parse().map_err(|error| Refusal::invalid(format!("`-wasm`: {error}")))?;
                Ok(Source::Stored(digest))
            }
            (Some(wasm), None) => Ok(Source::File(wasm.into())),
            (None, None) => {
                Err(Refusal::invalid("`args`: expected `-wasm=FILE`, `-wasm=sha256:...` or `-url=URL`, found none"))
            }
        }
    }
}

/// What the arguments of a function ask of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands {
    /// Where its module is.
    pub source: Source,
    /// When it may sleep.
    pub sleep: Sleep,
    /// How many calls it serves at the same time; none when there is no bound of its own.
    pub instances: Option<usize>,
    /// The largest body of a request in bytes.
    pub body: usize,
}

/// The program around the runtime: it knows its flags, the operator's settings and clients; the runtime knows none.
pub trait Platform: FlagTable + Send + Sync + 'static {
    /// Reads the arguments of a specification. Called before a start, and for each function when the server starts.
    ///
    /// # Errors
    /// What is wrong with which argument.
    fn demands(&self, spec: &Spec) -> Result<Demands, Refusal>;

    /// What all processes of a revision have in common as long as one of them runs: its cache.
    fn shared(&self, spec: &Spec) -> Extensions;

    /// The settings of one process: contract, limits, capabilities, extensions, those of `shared` among them. The runtime
    /// sets name and output itself.
    ///
    /// # Errors
    /// What cannot be granted.
    fn configure(&self, spec: &Spec, shared: &Extensions) -> Result<FunctionConfig, Refusal>;

    /// Words for a child process of the server's own program: the limits of its function that the operator has set for all,
    /// where it says nothing itself.
    fn inherited(&self, spec: &Spec) -> Vec<String>;

    /// Fetches the module of a specification with [`Source::Remote`].
    fn fetch(&self, spec: &Spec) -> BoxFuture<'static, Result<Bytes, FaasError>>;
}

/// The flags of a platform, where a type of known size is wanted.
pub(crate) struct Flags<'a>(pub(crate) &'a dyn Platform);

impl FlagTable for Flags<'_> {
    fn find(&self, typed: &str) -> Option<FlagInfo> {
        self.0.find(typed)
    }

    fn mask(&self, secret: bool, value: &str) -> String {
        self.0.mask(secret, value)
    }
}

/// A specification as the platform reads it: that of a child process without the words that are the child's alone.
pub(crate) fn readable<'a>(platform: &dyn Platform, spec: &'a Spec) -> Cow<'a, Spec> {
    match spec.path {
        None => Cow::Borrowed(spec),
        Some(_) => Cow::Owned(Arguments::of(spec, platform).inside(spec)),
    }
}

/// What a process keeps in mind of its demands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) sleep: Sleep,
    /// The largest body of a request in bytes.
    pub(crate) body: usize,
}

/// A specification that could be read once and cannot now is no reason not to start the server.
pub(crate) fn habits_of(platform: &dyn Platform, spec: &Spec) -> Habits {
    match platform.demands(&readable(platform, spec)) {
        Ok(Demands { sleep, body, .. }) => Habits { sleep, body },
        Err(_) => Habits { sleep: Sleep::default(), body: usize::MAX },
    }
}
