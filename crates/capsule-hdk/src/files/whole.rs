//! Whole files, as host functions read and write them: on a thread for work that blocks, with a text for each failure.

use std::io::Read as _;

use super::{FileError, How, Opened, Place, Tracked, open, open_lent};
use crate::capabilities::Folder;
use crate::host::HostContext;
use crate::limits::Limit;

impl HostContext {
    /// The content of a file in one of the function's folders. Only regular files are read.
    ///
    /// # Errors
    /// A text for the guest that names the path, the reason and the flag.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn read_file(&self, path: String) -> Result<Vec<u8>, String> {
        let context = self.clone();
        self.blocking().run(move || read(&context, &path)).await?
    }

    /// Puts `content` in place of a file in one of the function's folders; made when it is missing. Only regular files are
    /// written.
    ///
    /// # Errors
    /// A text for the guest that names the path, the reason and the flag.
    ///
    /// # Cancel safety
    /// A write that has begun is not undone.
    pub async fn write_file(&self, path: String, content: Vec<u8>) -> Result<(), String> {
        let context = self.clone();
        self.blocking().run(move || write(&context, &path, &content)).await?
    }
}

fn read(context: &HostContext, path: &str) -> Result<Vec<u8>, String> {
    let failed = |folder, error| text("read", path, folder, &error, context);
    let how = How { read: true, follow: true, ..How::default() };
    let (folder, file) = file(context, path, how, "read")?;
    let limit = context.limits().host_memory;
    let too_large = || {
        context.hit(Limit::HostMemory);
        format!("cannot read `{path}`: the file exceeds the limit of {limit} bytes (flag `--maxHostMemory`)")
    };
    let size = file.len().map_err(|error| failed(folder, error.into()))?;
    if size > limit as u64 {
        return Err(too_large());
    }
    let mut held = context.hold(size as usize).map_err(|full| format!("cannot read `{path}`: {full}"))?;
    let mut content = Vec::with_capacity(size as usize);
    // The size is a hint: the file may grow, and those of the kernel have none.
    let read = file.file().take(limit as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| failed(folder, error.into()))?;
    if content.len() > limit {
        return Err(too_large());
    }
    held.grow(content.len().saturating_sub(size as usize)).map_err(|full| format!("cannot read `{path}`: {full}"))?;
    Ok(content)
}

fn write(context: &HostContext, path: &str, content: &[u8]) -> Result<(), String> {
    let how = How { write: true, create: true, follow: true, ..How::default() };
    let (folder, file) = file(context, path, how, "write")?;
    file.replace(content).map_err(|error| text("write", path, folder, &error, context))
}

/// Opens a regular file, which counts among those that the instance has open.
fn file<'a>(context: &'a HostContext, path: &str, how: How, verb: &str) -> Result<(&'a Folder, Tracked), String> {
    let folders = &context.capabilities().folders;
    let Some(place) = Place::find(folders, path) else {
        let reason = match &context.capabilities().withheld {
            Some(reason) => reason.as_str(),
            None => "it is in none of the module's folders",
        };
        return Err(format!("cannot {verb} `{path}`: {reason} (flag `--dir`)"));
    };
    let folder = place.folder;
    if how.write && folder.read_only {
        let name = &folder.guest;
        return Err(format!("cannot {verb} `{path}`: folder `{name}` is for reading only (flag `--dir`)"));
    }
    let counted = context.count_file().map_err(|full| format!("cannot {verb} `{path}`: {full}"))?;
    let opened =
        open_lent(&folder.host).map_err(FileError::Io).and_then(|dir| open(context.disk(), &dir, &place.rest, how));
    match opened {
        Ok(Opened::File(file)) => Ok((folder, file.counted(counted))),
        Ok(Opened::Folder(_)) => Err(text(verb, path, folder, &FileError::Special, context)),
        Err(error) => Err(text(verb, path, folder, &error, context)),
    }
}

fn text(verb: &str, path: &str, folder: &Folder, error: &FileError, context: &HostContext) -> String {
    let why = match error {
        FileError::Special => "it is not a regular file".to_owned(),
        FileError::Io(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            "it is not a regular file".to_owned()
        }
        FileError::Full => {
            context.hit(Limit::Written);
            let limit = context.disk().limit();
            return format!(
                "cannot {verb} `{path}`: the function's files would grow beyond the limit of {limit} bytes (flag \
                 `--maxWritten`)"
            );
        }
        FileError::Io(error) => error.to_string(),
    };
    format!("cannot {verb} `{path}`: {why} (folder `{}` of `--dir`)", folder.guest)
}
