//! A plain WASI command: a module that runs once, from `_start`, and ends.

use std::sync::Arc;

use capsule_abi::names;
use tokio::time::Instant;

use crate::error::{CallError, LoadError};
use crate::function::FunctionConfig;
use crate::instance::Started;
use crate::link::Host;
use crate::module::Module;
use crate::slices::{HangUp, Lane, Lost, Running};
use crate::template::Template;

/// A plain WASI command: a module without handlers that runs once from `_start`.
pub struct Command {
    template: Template,
    lane: Arc<Lane>,
}

impl Command {
    /// Links `module`. Contract and queue of the settings have no meaning here.
    ///
    /// # Errors
    /// [`LoadError`] when the module has no `_start`, or imports something unknown.
    pub fn new(host: &Host, module: &Module, config: FunctionConfig) -> Result<Command, LoadError> {
        let mut problems = host.check_imports(module);
        if !module.exports(names::START) {
            problems.push("export `_start` is missing".into());
        }
        let template = Template::new(host, module, config, 1, true, problems)?;
        let lane = Arc::new(Lane::new(template.engine.long()));
        Ok(Command { template, lane })
    }

    /// Runs it to its end and answers its exit code.
    ///
    /// # Errors
    /// [`CallError`] for traps and limits.
    pub async fn run(self) -> Result<i32, CallError> {
        let place = self.template.place(self.template.surroundings.limits.queue_timeout).await?;
        let timeout = self.template.surroundings.limits.call_timeout;
        let deadline = timeout.map(|limit| Instant::now() + limit);
        let lane = Arc::clone(&self.lane);
        let future = Box::pin(async move {
            let _active = self.template.engine.ticker().activate();
            match self.template.start(deadline, place).await? {
                Started::Finished(code) => Ok(code),
                Started::Serving(_) => Ok(0),
            }
        });
        match Running::new(&lane, HangUp::Cancel, deadline, future).await {
            Ok(result) => result,
            Err(Lost::Deadline) => Err(CallError::Deadline(timeout.unwrap_or_default())),
            Err(Lost::Ended) => Err(CallError::Runner("the command was lost".into())),
        }
    }
}
