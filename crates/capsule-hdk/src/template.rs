//! Everything that instances of a function are made from, and how one is made.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ceiling::Ceiling;
use crate::engine::Engine;
use crate::error::{CallError, LoadError, LoadErrorKind};
use crate::exports::Exports;
use crate::files::{Blocking, Disk, open_lent};
use crate::function::FunctionConfig;
use crate::held::HostMemory;
use crate::host::Surroundings;
use crate::instance::{Instance, Started, State};
use crate::limits::Limit;
use crate::link::Host;
use crate::module::Module;
use crate::output::{Buffering, Output, OutputBuffer};
use crate::place::{Needs, Place};
use crate::share::Share;
use crate::slices::within;
use crate::stats::Counters;

/// Everything that an instance is made from.
pub(crate) struct Template {
    pub(crate) engine: Engine,
    /// The function's part of it.
    ceiling: Ceiling,
    pre: wasmtime::InstancePre<State>,
    exports: Exports,
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) needs: Needs,
    output: Arc<dyn Output>,
    buffering: Buffering,
    /// Printed bytes that one instance may have waiting.
    output_room: usize,
}

impl Template {
    /// Checks and links; `problems` are those that are known already.
    pub(crate) fn new(
        host: &Host,
        module: &Module,
        config: FunctionConfig,
        slots: usize,
        command: bool,
        problems: Vec<String>,
    ) -> Result<Template, LoadError> {
        if !problems.is_empty() {
            let message = format!("module `{}` does not fit: {}", module.name(), problems.join("; "));
            return Err(LoadError::new(LoadErrorKind::Interface, message).with_hint(
                "the ABI is described in docs/abi.md; the module may need a newer runner, or to be built anew",
            ));
        }
        let needs = Needs::of(host.engine(), module);
        let too_much = |needed: u64, limit: usize, flag: &str| {
            let text = format!("module `{}` needs {needed} bytes of memory, the limit is {limit}", module.name());
            Err(LoadError::new(LoadErrorKind::Limit, text).with_hint(format!("raise it with `{flag}`")))
        };
        if needs.memory > config.limits.memory as u64 {
            return too_much(needs.memory, config.limits.memory, "--maxMemory");
        }
        if let Some(limit) = host.engine().ceiling().limit().filter(|limit| needs.sum() > *limit) {
            return too_much(needs.sum() as u64, limit, "--maxTotalMemory");
        }
        for folder in &config.capabilities.folders {
            let path = folder.host.display();
            open_lent(&folder.host).map_err(|error| {
                LoadError::new(LoadErrorKind::Read, format!("cannot open folder `{path}`: {error} (flag `--dir`)"))
            })?;
        }
        let pre = host.link(module).map_err(|error| {
            LoadError::new(LoadErrorKind::Interface, format!("module `{}`: {error:#}", module.name()))
        })?;
        let counters: Arc<Counters> = Arc::default();
        let io = tokio::runtime::Handle::current();
        let output_room = OutputBuffer::room_for(slots, config.limits.host_memory);
        let surroundings = Surroundings {
            name: config.name,
            host_memory: HostMemory::new(config.limits.host_memory, &counters),
            blocking: Blocking::new(io.clone()),
            disk: Disk::new(config.disk_use, config.limits.written),
            files: Share::new(host.engine().open_files()),
            stacks: Share::new(host.engine().spare_stacks()),
            pace: host.engine().ticker().pace(),
            limits: config.limits,
            capabilities: config.capabilities.without_repeated_variables(),
            extensions: config.extensions,
            command,
            io,
            counters,
        };
        Ok(Template {
            engine: host.engine().clone(),
            ceiling: host.engine().part_of_ceiling(),
            pre,
            exports: Exports::of(module.wasm()),
            surroundings: Arc::new(surroundings),
            needs,
            output: config.output,
            buffering: config.buffering,
            output_room,
        })
    }

    pub(crate) fn deadline_error(&self) -> CallError {
        CallError::Deadline(self.surroundings.limits.call_timeout.unwrap_or_default())
    }

    /// A place for an instance, if there is one.
    pub(crate) fn place_now(&self) -> Option<Place> {
        Place::now(&self.engine, &self.ceiling, &self.needs)
    }

    /// A place for an instance.
    pub(crate) async fn place(&self, patience: Duration) -> Result<Place, CallError> {
        Place::find(&self.engine, &self.ceiling, &self.needs, patience).await.map_err(CallError::Busy)
    }

    /// An instance, or the end of a command.
    pub(crate) async fn start(&self, deadline: Option<Instant>, place: Place) -> Result<Started, CallError> {
        let output = Arc::new(OutputBuffer::new(Arc::clone(&self.output), self.buffering, self.output_room));
        let (pre, exports, surroundings) = (&self.pre, &self.exports, &self.surroundings);
        let started =
            pin!(Instance::start(pre, exports, surroundings, Arc::clone(&output), deadline, place, &self.needs));
        let started = within(deadline, started).await.unwrap_or_else(|| Err(self.deadline_error()));
        output.finish_now();
        started
    }

    /// A new instance by the call's deadline, and within the time that a start may take.
    pub(crate) async fn make_in_time(
        &self,
        deadline: Option<Instant>,
        place: Place,
    ) -> Result<Box<Instance>, CallError> {
        let Some(limit) = self.surroundings.limits.start_timeout else { return self.make(deadline, place).await };
        let latest = Instant::now() + limit;
        if deadline.is_some_and(|deadline| deadline <= latest) {
            return self.make(deadline, place).await;
        }
        let made = self.make(Some(latest), place).await;
        made.map_err(|error| match error {
            CallError::Deadline(_) => {
                self.surroundings.counters.hit(Limit::StartTimeout);
                CallError::StartDeadline(limit)
            }
            error => error,
        })
    }

    async fn make(&self, deadline: Option<Instant>, place: Place) -> Result<Box<Instance>, CallError> {
        match self.start(deadline, place).await? {
            Started::Serving(instance) => Ok(instance),
            Started::Finished(code) => Err(CallError::Exit(code)),
        }
    }
}
