//! From a specification to a child that listens, and what its end means for its function.

use std::sync::Arc;

use capsule_faas_model::record::Status;

use super::{Arguments, Child, Spawner, Start, module_file, path, runner};
use crate::runtime::Inner;
use crate::runtime::error::{FaasError, FaasErrorKind};
use crate::runtime::lives::{digest, not_stored};
use crate::runtime::process::{Process, Transport};

impl Inner {
    /// Starts the child process of a function.
    pub(in crate::runtime) async fn make_child(
        self: &Arc<Self>,
        process: &Process,
        path: &str,
    ) -> Result<Child, FaasError> {
        let digest = digest(process)?;
        let (inner, path) = (Arc::clone(self), path.to_owned());
        let files = tokio::task::spawn_blocking(move || {
            let children = inner.config.children.as_ref();
            let executable = path::executable(children, &path)?;
            let own = children.and_then(|children| std::fs::canonicalize(&children.executable).ok());
            let is_own = own.is_some_and(|own| own == executable);
            let stored = inner.config.modules.get(&digest).ok_or_else(|| not_stored(&digest))?;
            let (module, kept) = module_file(&stored).map_err(|error| runner("no file for the module", &error))?;
            Ok::<_, FaasError>((executable, is_own, module, kept))
        });
        let lost = |_| FaasError::new(FaasErrorKind::Runner, "the start was lost");
        let (executable, is_own, module, kept) = files.await.map_err(lost)??;
        // The path was allowed a moment ago, so this is there.
        let children = self.config.children.as_ref().ok_or_else(FaasError::stopping)?;
        let platform = &*self.config.platform;
        let arguments = Arguments::of(&process.spec, platform);
        let words = arguments.words(is_own);
        let inherited = if is_own { platform.inherited(&process.spec) } else { Vec::new() };
        let config = platform.configure(&arguments.inside(&process.spec), &self.shared(process))?;
        let start = Start {
            children,
            spawner: self.spawner()?,
            key: &process.key,
            is_own,
            executable: &executable,
            module: &module,
            words,
            inherited,
            redis_prefix: process.spec.redis_prefix.as_deref(),
            sleep_after: process.habits.sleep.after,
            config,
            output: self.output(process),
        };
        Child::start(start, kept).await
    }

    fn spawner(&self) -> Result<&Spawner, FaasError> {
        if let Some(spawner) = self.spawner.get() {
            return Ok(spawner);
        }
        let made = Spawner::start(self.runtime.clone()).map_err(|error| runner("cannot start a thread", &error))?;
        Ok(self.spawner.get_or_init(|| made))
    }

    /// Sees to it that the end of a child is noticed.
    pub(in crate::runtime) fn mourn(self: &Arc<Self>, process: &Arc<Process>, transport: &Arc<Transport>) {
        let Transport::Child(child) = &**transport else { return };
        let ended = child.ended();
        // Neither server nor child live longer because of it.
        let (inner, process) = (Arc::downgrade(self), Arc::downgrade(process));
        let transport = Arc::downgrade(transport);
        self.runtime.spawn(async move {
            let exit = ended.await;
            let (Some(inner), Some(process)) = (inner.upgrade(), process.upgrade()) else { return };
            let Some(transport) = transport.upgrade() else { return };
            let why = format!("the child process {exit}");
            let effect = process.died(inner.now(), &transport, exit.is_good(), &why);
            if process.lock().life.status() == Status::Killed {
                tracing::warn!(function = &*process.label, "{why}");
            }
            inner.carry_out(&process, effect);
        });
    }
}
