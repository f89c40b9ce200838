//! `hostReadFile` and `hostWriteFile`: files below the folders that the function was given, and no others.
//!
//! What a path may lead to, and what is refused, is the host SDK's: the same for WASI. Only regular files are read and
//! written, on threads for work that blocks. A call that ends at its deadline does not undo a write that has begun.

use capsule_hdk::{HostFunction, HostFunctions, Reply};

/// Adds the functions of this file.
pub fn add(host: &mut HostFunctions) {
    host.add(HostFunction::waiting("hostReadFile", Reply::Framed, |context, [path]| async move {
        context.read_file(text(path)?).await
    }));
    host.add(HostFunction::waiting("hostWriteFile", Reply::Framed, |context, [path, content]| async move {
        let path = text(path)?;
        context.write_file(path.clone(), content).await?;
        Ok(path.into_bytes())
    }));
}

fn text(path: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(path).map_err(|_| "the path is not UTF-8".to_owned())?;
    if text.is_empty() { Err("the path is empty".into()) } else { Ok(text) }
}
