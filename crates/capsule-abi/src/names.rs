//! Exports and imports of a Capsule module by name (docs/abi.md, sections 1 and 2).

/// The import module of the host functions.
pub const HOST_MODULE: &str = "env";
/// The import module of WASI preview 1.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The linear memory that a module exports.
pub const MEMORY: &str = "memory";
/// Command-style start.
pub const START: &str = "_start";
/// Reactor-style start; wins over [`START`].
pub const INITIALIZE: &str = "_initialize";
/// Allocates the argument of a call.
pub const MALLOC: &str = "malloc";
/// Frees what came from [`MALLOC`].
pub const FREE: &str = "free";
/// Allocates what a host function returns; the module owns it from then on.
pub const ALLOCATE_BUFFER: &str = "allocateBuffer";
/// The text or bytes handler.
pub const CALL_HANDLE: &str = "callHandle";
/// The JSON handler.
pub const CALL_HANDLE_JSON: &str = "callHandleJSON";
/// The HTTP handler.
pub const CALL_HANDLE_HTTP: &str = "callHandleHTTP";
/// The HTTP handler that takes and answers bytes instead of documents.
pub const CALL_HANDLE_REQUEST: &str = "callHandleRequest";
/// The message handler.
pub const CALL_HANDLE_MESSAGE: &str = "callHandleMessage";
/// Lifecycle: after the start, in every instance.
pub const ON_START: &str = "OnStart";
/// Lifecycle: in every instance that ends in good order.
pub const ON_STOP: &str = "OnStop";
/// Health of the module, a response document.
pub const ON_HEALTH_CHECK: &str = "OnHealthCheck";
/// Metrics of the module, a response document.
pub const ON_METRICS: &str = "OnMetrics";

/// The handler's name in modules of 2022, which speak another ABI and are refused.
pub const CALL_HANDLE_HTTP_2022: &str = "callHandleHttp";
