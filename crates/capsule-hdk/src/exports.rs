//! Where a module has the exports that a host calls: looked up by name once for a module, not for each of its instances.

use capsule_abi::names;
use wasmtime::{AsContextMut, Extern, Func, Memory, Module, ModuleExport, TypedFunc, WasmParams, WasmResults};

/// The exports of a module that there are.
#[derive(Clone, Copy)]
pub(crate) struct Exports {
    memory: Option<ModuleExport>,
    pub(crate) malloc: Option<ModuleExport>,
    pub(crate) free: Option<ModuleExport>,
    /// In the order of [`Kind::handler`](crate::call::Kind::handler).
    pub(crate) handlers: [Option<ModuleExport>; 4],
    pub(crate) request: Option<ModuleExport>,
    /// `_initialize`, else `_start`.
    pub(crate) start: Option<ModuleExport>,
    pub(crate) others: Others,
}

/// Those that few calls need. An instance does not keep them: it looks for them each time.
#[derive(Clone, Copy)]
pub(crate) struct Others {
    pub(crate) allocate_buffer: Option<ModuleExport>,
    pub(crate) health: Option<ModuleExport>,
    pub(crate) metrics: Option<ModuleExport>,
    pub(crate) on_start: Option<ModuleExport>,
    pub(crate) on_stop: Option<ModuleExport>,
}

impl Exports {
    pub(crate) fn of(module: &Module) -> Exports {
        let find = |name: &str| module.get_export_index(name);
        Exports {
            memory: find(names::MEMORY),
            malloc: find(names::MALLOC),
            free: find(names::FREE),
            handlers: [
                names::CALL_HANDLE,
                names::CALL_HANDLE_JSON,
                names::CALL_HANDLE_HTTP,
                names::CALL_HANDLE_MESSAGE,
            ]
            .map(find),
            request: find(names::CALL_HANDLE_REQUEST),
            start: function(module, names::INITIALIZE).or_else(|| function(module, names::START)),
            others: Others {
                allocate_buffer: find(names::ALLOCATE_BUFFER),
                health: find(names::ON_HEALTH_CHECK),
                metrics: find(names::ON_METRICS),
                on_start: find(names::ON_START),
                on_stop: find(names::ON_STOP),
            },
        }
    }

    /// The memory of an instance.
    pub(crate) fn memory(&self, instance: &wasmtime::Instance, store: impl AsContextMut) -> Option<Memory> {
        instance.get_module_export(store, &self.memory?)?.into_memory()
    }
}

/// A function of an instance, which is looked for when it is first needed: one that serves a single call needs few of them.
#[derive(Clone)]
pub(crate) struct Entry<P, R> {
    export: Option<ModuleExport>,
    found: Option<TypedFunc<P, R>>,
}

impl<P: WasmParams, R: WasmResults> Entry<P, R> {
    pub(crate) fn new(export: Option<ModuleExport>) -> Entry<P, R> {
        Entry { export, found: None }
    }

    /// Whether the module has it.
    pub(crate) fn is_there(&self) -> bool {
        self.export.is_some()
    }

    /// The function; none of another signature. Those are checked when a module is linked, but a plain command may use the name
    /// for anything.
    #[inline]
    pub(crate) fn find(
        &mut self,
        instance: &wasmtime::Instance,
        mut store: impl AsContextMut,
    ) -> Option<&TypedFunc<P, R>> {
        if self.found.is_none() {
            self.found = typed(self.export, instance, &mut store);
        }
        self.found()
    }

    /// The function, when somebody has looked for it.
    pub(crate) fn found(&self) -> Option<&TypedFunc<P, R>> {
        self.found.as_ref()
    }
}

/// Takes the address and the length of an argument, answers those of its result.
type Handler = TypedFunc<(u32, u32), u64>;

/// The handlers that take one argument, of which an instance seldom sees more than one called.
pub(crate) struct Handlers {
    exports: [Option<ModuleExport>; 4],
    /// The one that was called last, and its number.
    found: Option<(usize, Handler)>,
}

impl Handlers {
    pub(crate) fn new(exports: [Option<ModuleExport>; 4]) -> Handlers {
        Handlers { exports, found: None }
    }

    /// The handler of this number.
    #[inline]
    pub(crate) fn find(
        &mut self,
        number: usize,
        instance: &wasmtime::Instance,
        store: impl AsContextMut,
    ) -> Option<&Handler> {
        if self.found.as_ref().is_none_or(|(found, _)| *found != number) {
            self.found = typed(self.exports[number], instance, store).map(|handler| (number, handler));
        }
        self.found()
    }

    /// The one that was looked for last, which who asks has just done.
    pub(crate) fn found(&self) -> Option<&Handler> {
        self.found.as_ref().map(|(_, handler)| handler)
    }
}

/// The function that an instance has at this place, none of another signature.
pub(crate) fn typed<P: WasmParams, R: WasmResults>(
    export: Option<ModuleExport>,
    instance: &wasmtime::Instance,
    mut store: impl AsContextMut,
) -> Option<TypedFunc<P, R>> {
    at(export, instance, &mut store)?.typed(&store).ok()
}

/// The function that an instance has at this place.
pub(crate) fn at(
    export: Option<ModuleExport>,
    instance: &wasmtime::Instance,
    store: impl AsContextMut,
) -> Option<Func> {
    instance.get_module_export(store, &export?).and_then(Extern::into_func)
}

/// Where the function of this name is, if it is one.
fn function(module: &Module, name: &str) -> Option<ModuleExport> {
    module.get_export(name).filter(|ty| ty.func().is_some())?;
    module.get_export_index(name)
}
