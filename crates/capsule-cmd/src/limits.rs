//! The flags that bound a function: time, memory, sizes, instances.
//!
//! All limits are on by default; `0` or `none` switches one off, which is `None` here. Sizes are bytes.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::flags::{Flag, Scope, Type};
use crate::parse::Parsed;

const GROUP: &str = "Limits";

/// A record of this group.
const fn limit(name: &'static str, metavar: &'static str, of: Type, default: &'static str, help: &'static str) -> Flag {
    Flag::value(name, metavar, of, help).default(default).scope(Scope::Function).group(GROUP)
}

/// `--callTimeout`. A program that runs a module once sets the default to `none`.
pub const CALL_TIMEOUT: Flag = limit(
    "callTimeout",
    "DURATION",
    Type::Duration,
    "30s",
    "The longest time of one call, and of the module's start. A call past it is ended and its instance replaced.",
);
/// `--startTimeout`. A program that runs a module once sets the default to `none`.
pub const START_TIMEOUT: Flag = limit(
    "startTimeout",
    "DURATION",
    Type::Duration,
    "30s",
    "The longest time of the start of an instance, also where --callTimeout is none. With --faas: no function may have a \
     longer one.",
);
/// `--maxMemory`.
pub const MAX_MEMORY: Flag = limit(
    "maxMemory",
    "SIZE",
    Type::Size,
    "256MiB",
    "The most memory that one instance of the module may have. The module is refused more.",
);
/// `--instances`.
pub const INSTANCES: Flag = limit(
    "instances",
    "N",
    Type::Checked(check_instances),
    "1",
    "Instances of the module: 1 takes calls in order and keeps the module's state; a number or `auto` (one for each \
     core) takes calls side by side, each with a state of its own; `fresh` makes a new one for every call.",
);
/// `--maxBody`.
pub const MAX_BODY: Flag =
    limit("maxBody", "SIZE", Type::Size, "10MiB", "The largest request body or argument. A larger one is refused.");
/// `--maxResult`.
pub const MAX_RESULT: Flag =
    limit("maxResult", "SIZE", Type::Size, "16MiB", "The largest result of a call. A larger one fails the call.");
/// `--maxQueue`.
pub const MAX_QUEUE: Flag =
    limit("maxQueue", "N", Type::Count, "1024", "Calls that may wait for a free instance. More are refused as busy.");
/// `--queueTimeout`.
pub const QUEUE_TIMEOUT: Flag =
    limit("queueTimeout", "DURATION", Type::Duration, "10s", "How long a call may wait for a free instance.");
/// `--maxInstances`.
pub const MAX_INSTANCES: Flag =
    limit("maxInstances", "N", Type::Count, "256", "Instances of all modules together in this process. A server of many functions (`--faas`) has 4096 when this is not given, and none of them has more than are left for the others.")
        .scope(Scope::Runner);
/// `--maxFiles`.
pub const MAX_FILES: Flag = limit(
    "maxFiles",
    "N",
    Type::Count,
    "64",
    "Files and folders that one instance may have open. Only regular files are opened, no pipes and devices.",
);
/// `--maxWritten`.
pub const MAX_WRITTEN: Flag = limit(
    "maxWritten",
    "SIZE",
    Type::Size,
    "1GiB",
    "How much a function may make its folders grow while the process lives. What it overwrites, shortens or removes does \
     not count; a file or folder counts 4 KiB beside its bytes.",
);
/// `--maxTotalMemory`.
pub const MAX_TOTAL_MEMORY: Flag = limit(
    "maxTotalMemory",
    "SIZE",
    Type::Size,
    "",
    "The most memory of the whole process that is for modules: their instances, their compiled code, their caches. A new \
     instance waits for memory to come free and is refused when none does; everything else is refused at once.",
)
.default_note("75 % of the machine's memory, or of the limit of its cgroup when that is less")
.scope(Scope::Runner);
/// `--maxModule`.
pub const MAX_MODULE: Flag = limit(
    "maxModule",
    "SIZE",
    Type::Size,
    "64MiB",
    "The largest module that is read, downloaded or uploaded; one may have 100,000 functions. `none` lifts both.",
)
.scope(Scope::Runner);
/// `--compileTimeout`.
pub const COMPILE_TIMEOUT: Flag = limit(
    "compileTimeout",
    "DURATION",
    Type::Duration,
    "60s",
    "How long compiling one module may take. Modules are compiled one after the other, each in a process of its own.",
)
.scope(Scope::Runner);
/// `--maxCompileMemory`.
pub const MAX_COMPILE_MEMORY: Flag = limit(
    "maxCompileMemory",
    "SIZE",
    Type::Size,
    "1GiB",
    "The most memory that compiling one module may take. It is part of --maxTotalMemory for that time.",
)
.scope(Scope::Runner);
/// `--maxCalls`.
pub const MAX_CALLS: Flag = limit(
    "maxCalls",
    "N",
    Type::Count,
    "none",
    "Calls that an instance serves before a new one takes its place, for modules whose memory leaks; also when its memory \
     has grown past 80 % of --maxMemory. What the module keeps in its globals is lost then; `OnStop` runs before.",
);
/// `--outboundTimeout`.
pub const OUTBOUND_TIMEOUT: Flag =
    limit("outboundTimeout", "DURATION", Type::Duration, "10s", "The longest time of one outbound HTTP request.");
/// `--maxOutboundBody`.
pub const MAX_OUTBOUND_BODY: Flag = limit(
    "maxOutboundBody",
    "SIZE",
    Type::Size,
    "10MiB",
    "The largest answer to an outbound HTTP request. A larger one is refused to the module.",
);
/// `--maxOutboundCalls`.
pub const MAX_OUTBOUND_CALLS: Flag = limit(
    "maxOutboundCalls",
    "N",
    Type::Count,
    "64",
    "Outbound requests of one function at the same time. More wait within the time of their call.",
);
/// `--maxHostMemory`.
pub const MAX_HOST_MEMORY: Flag = limit(
    "maxHostMemory",
    "SIZE",
    Type::Size,
    "64MiB",
    "What the host may hold at once for all instances of a function: files, answers and values on their way to the \
     module, printed lines that wait.",
);
/// `--maxCache`.
pub const MAX_CACHE: Flag =
    limit("maxCache", "SIZE", Type::Size, "64MiB", "Keys and values together in the function's in-memory cache.");

/// All flags of this file, for a program's table.
pub const FLAGS: &[Flag] = &[
    CALL_TIMEOUT,
    START_TIMEOUT,
    MAX_MEMORY,
    INSTANCES,
    MAX_INSTANCES,
    MAX_CALLS,
    MAX_TOTAL_MEMORY,
    MAX_MODULE,
    COMPILE_TIMEOUT,
    MAX_COMPILE_MEMORY,
    MAX_QUEUE,
    QUEUE_TIMEOUT,
    MAX_BODY,
    MAX_RESULT,
    MAX_HOST_MEMORY,
    MAX_CACHE,
    MAX_FILES,
    MAX_WRITTEN,
    OUTBOUND_TIMEOUT,
    MAX_OUTBOUND_BODY,
    MAX_OUTBOUND_CALLS,
];

/// How many instances serve a function, and what becomes of their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// This many, each with a state of its own; one instance takes calls in order.
    Count(NonZeroU64),
    /// One for each core.
    Auto,
    /// A new one for every call.
    Fresh,
}

impl Instances {
    /// Reads a number, `auto` or `fresh`.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "fresh" => Ok(Self::Fresh),
            _ => match text.parse() {
                Ok(count) if !text.starts_with('+') => Ok(Self::Count(count)),
                _ => Err(format!("expected a number from 1, `auto` or `fresh`, found `{text}`")),
            },
        }
    }
}

fn check_instances(text: &str) -> Result<(), String> {
    Instances::parse(text).map(drop)
}

/// How much memory there is for all modules of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotalMemory {
    /// A share of what the machine has.
    OfTheMachine,
    /// This much.
    Bytes(u64),
    /// As much as they take.
    Unlimited,
}

/// The limits of a function. A flag that a program does not offer has the default of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Time of a call and of the start.
    pub call_timeout: Option<Duration>,
    /// Time of the start alone.
    pub start_timeout: Option<Duration>,
    /// Bytes of one instance's memory.
    pub max_memory: Option<u64>,
    /// Instance contract.
    pub instances: Instances,
    /// Instances of all modules in the process.
    pub max_instances: Option<u64>,
    /// Bytes of all modules in the process.
    pub max_total_memory: TotalMemory,
    /// Bytes of a module.
    pub max_module: Option<u64>,
    /// Time for compiling a module.
    pub compile_timeout: Option<Duration>,
    /// Bytes for compiling a module.
    pub max_compile_memory: Option<u64>,
    /// Calls of an instance.
    pub max_calls: Option<u64>,
    /// Calls that may wait.
    pub max_queue: Option<u64>,
    /// How long a call may wait.
    pub queue_timeout: Option<Duration>,
    /// Bytes of an argument.
    pub max_body: Option<u64>,
    /// Bytes of a result.
    pub max_result: Option<u64>,
    /// Bytes that the host holds for a function.
    pub max_host_memory: Option<u64>,
    /// Bytes of the in-memory cache.
    pub max_cache: Option<u64>,
    /// Files that one instance may have open.
    pub max_files: Option<u64>,
    /// Bytes by which a function's folders may grow.
    pub max_written: Option<u64>,
    /// Time of an outbound request.
    pub outbound_timeout: Option<Duration>,
    /// Bytes of an outbound request's answer.
    pub max_outbound_body: Option<u64>,
    /// Outbound requests at the same time.
    pub max_outbound_calls: Option<u64>,
}

impl Limits {
    /// Reads all limits.
    pub fn read(parsed: &Parsed) -> Self {
        let instances = parsed.text(&INSTANCES).map(Instances::parse);
        Self {
            call_timeout: parsed.duration(&CALL_TIMEOUT),
            start_timeout: parsed.duration(&START_TIMEOUT),
            max_memory: parsed.size(&MAX_MEMORY),
            instances: instances.and_then(Result::ok).unwrap_or(Instances::Count(NonZeroU64::MIN)),
            max_instances: parsed.count(&MAX_INSTANCES),
            max_total_memory: match parsed.size(&MAX_TOTAL_MEMORY) {
                Some(bytes) => TotalMemory::Bytes(bytes),
                None if parsed.is_given(&MAX_TOTAL_MEMORY) => TotalMemory::Unlimited,
                None => TotalMemory::OfTheMachine,
            },
            max_module: parsed.size(&MAX_MODULE),
            compile_timeout: parsed.duration(&COMPILE_TIMEOUT),
            max_compile_memory: parsed.size(&MAX_COMPILE_MEMORY),
            max_calls: parsed.count(&MAX_CALLS),
            max_queue: parsed.count(&MAX_QUEUE),
            queue_timeout: parsed.duration(&QUEUE_TIMEOUT),
            max_body: parsed.size(&MAX_BODY),
            max_result: parsed.size(&MAX_RESULT),
            max_host_memory: parsed.size(&MAX_HOST_MEMORY),
            max_cache: parsed.size(&MAX_CACHE),
            max_files: parsed.count(&MAX_FILES),
            max_written: parsed.size(&MAX_WRITTEN),
            outbound_timeout: parsed.duration(&OUTBOUND_TIMEOUT),
            max_outbound_body: parsed.size(&MAX_OUTBOUND_BODY),
            max_outbound_calls: parsed.count(&MAX_OUTBOUND_CALLS),
        }
    }
}
