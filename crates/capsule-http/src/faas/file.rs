//! The file of functions: applied when the server starts, and again on SIGHUP. What has not changed is not touched.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use capsule_faas::modules::Digest;
use capsule_faas::runtime::{Faas, Platform as _, Source};
use capsule_faas_model::functions_toml::{FunctionsFile, Step, plan};
use capsule_faas_model::spec::{ModuleHash, Origin};
use capsule_faas_model::start::StartBody;

use super::hosting::Hosting;

/// The largest file of functions in bytes.
const MAX_FILE: u64 = 4 << 20;

/// What became of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) done: usize,
    /// Steps that failed, each with its reason in the log.
    pub(super) failed: usize,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Applied { done: 0, failed: 0 } => f.write_str("nothing has changed"),
            Applied { done, failed: 0 } => write!(f, "{done} done"),
            Applied { done, failed } => write!(f, "{done} done, {failed} failed"),
        }
    }
}

/// Carries out what the file asks for. A step that fails is logged, the others are done.
///
/// # Errors
/// The file cannot be read, or has mistakes, each at its line; nothing is changed then.
pub(super) async fn apply(faas: &Faas, hosting: &Hosting, path: &Path, max_module: u64) -> anyhow::Result<Applied> {
    let shown = path.display();
    let file = read(path, hosting).await?;
    let registry = faas.registry();
    let hashes = hashes(&file, hosting, max_module).await?;
    let of_body = |body: &StartBody| {
        let place = file.functions.iter().position(|function| function.body == *body)?;
        hashes[place].clone()
    };
    let steps = plan(&file, &registry, of_body).map_err(|problems| mistakes(path, &problems))?;
    let line_of = |body: &StartBody| {
        let found = file.functions.iter().find(|function| function.body == *body);
        found.map_or_else(String::new, |function| format!(" (line {} of `{shown}`)", function.line))
    };
    let mut applied = Applied::default();
    for step in steps {
        let (what, result) = carry_out(faas, &step, &line_of).await;
        match result {
            Ok(()) => {
                applied.done += 1;
                tracing::info!("{what}");
            }
            Err(error) => {
                applied.failed += 1;
                tracing::error!("{what}: {error}");
            }
        }
    }
    Ok(applied)
}

async fn carry_out(
    faas: &Faas,
    step: &Step,
    line_of: &impl Fn(&StartBody) -> String,
) -> (String, Result<(), capsule_faas::runtime::FaasError>) {
    match step {
        Step::Start(body) => {
            let what = format!("start `{}/{}`{}", body.name, body.revision, line_of(body));
            (what, faas.start(body.clone(), Origin::File).await.map(drop))
        }
        Step::Restart(key, body) => {
            let what = format!("restart `{key}`{}", line_of(body));
            (what, faas.restart(key.clone(), body.clone()).await.map(drop))
        }
        Step::Route(name, weights) => {
            (format!("route `{name}`"), faas.set_route_by_file(name.clone(), weights.clone()).await)
        }
        Step::Drop(selector) => (format!("drop `{selector}`"), faas.drop(selector.clone()).await),
    }
}

async fn read(path: &Path, hosting: &Hosting) -> anyhow::Result<FunctionsFile> {
    let shown = path.display();
    let unreadable = || format!("cannot read the functions in `{shown}`");
    let metadata = tokio::fs::metadata(path).await.with_context(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        bail!("{}: expected a file of at most {MAX_FILE} bytes", unreadable());
    }
    let text = tokio::fs::read_to_string(path).await.with_context(unreadable)?;
    FunctionsFile::parse(&text, hosting).map_err(|problems| mistakes(path, &problems))
}

fn mistakes(path: &Path, problems: &[impl fmt::Display]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("`{}` cannot be used: {}", path.display(), lines.join("; "))
}

/// The bytes that each function of the file stands for now; none where that is not known, and nothing is compared then.
async fn hashes(file: &FunctionsFile, hosting: &Hosting, max_module: u64) -> anyhow::Result<Vec<Option<ModuleHash>>> {
    let source = |body: &StartBody| hosting.demands(&body.spec).ok().map(|demands| demands.source);
    let sources: Vec<Option<Source>> = file.functions.iter().map(|function| source(&function.body)).collect();
    let read = move || {
        let hash = |source: Option<Source>| match source? {
            Source::Stored(digest) => digest.to_string().parse().ok(),
            Source::File(path) => of_file(path, max_module),
            Source::Remote => None,
        };
        sources.into_iter().map(hash).collect()
    };
    tokio::task::spawn_blocking(read).await.context("the modules could not be read")
}

fn of_file(path: PathBuf, max_module: u64) -> Option<ModuleHash> {
    let metadata = std::fs::metadata(&path).ok()?;
    if !metadata.is_file() || metadata.len() > max_module {
        return None;
    }
    Digest::of(&std::fs::read(path).ok()?).to_string().parse().ok()
}
