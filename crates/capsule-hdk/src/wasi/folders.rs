//! What is done with an open folder or file, and the paths below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_primitives::ambient_authority;
use cap_primitives::fs::{self, FollowSymlinks};
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::{Descriptor, Folder};
use super::interface::types::{self, Errno, Fd, Lookupflags};
use super::{Wasi, errno};

type Result<T> = std::result::Result<T, types::Error>;

/// The longest path in bytes.
const MAX_PATH: u32 = 4096;

impl Wasi {
    /// An open folder.
    pub(super) async fn folder(&mut self, fd: Fd) -> Result<Folder> {
        let number = match self.descriptors.get(fd)? {
            Descriptor::Folder(folder) => return Ok(folder.clone()),
            Descriptor::Given(number, Some(handle)) => return Ok(self.given(*number, handle.clone())),
            Descriptor::Given(number, None) => *number,
            Descriptor::File(_) => return Err(Errno::Notdir.into()),
            Descriptor::Stdin | Descriptor::Output(_) => return Err(Errno::Badf.into()),
        };
        let host = self.surroundings.capabilities.folders[number].host.clone();
        let opened = self.on_a_thread(move || fs::open_ambient_dir(&host, ambient_authority())).await?;
        let handle = Arc::new(opened.map_err(|error| errno::of(&error))?);
        *self.descriptors.get_mut(fd)? = Descriptor::Given(number, Some(handle.clone()));
        Ok(self.given(number, handle))
    }

    fn given(&self, number: usize, handle: Arc<std::fs::File>) -> Folder {
        Folder { handle, read_only: self.surroundings.capabilities.folders[number].read_only, _counted: None }
    }

    /// An open folder in which something is to be changed.
    pub(super) async fn changing(&mut self, fd: Fd) -> Result<Folder> {
        let folder = self.folder(fd).await?;
        if folder.read_only { Err(Errno::Perm.into()) } else { Ok(folder) }
    }

    /// The name of a folder that the function was given.
    pub(super) fn name_of_given(&self, fd: Fd) -> Option<&str> {
        match self.descriptors.get(fd) {
            Ok(Descriptor::Given(number, _)) => Some(&self.surroundings.capabilities.folders[*number].guest),
            _ => None,
        }
    }

    /// Does something with a file's handle on a thread for it.
    pub(super) async fn with_file<T: Send + 'static>(
        &mut self,
        fd: Fd,
        work: impl FnOnce(&std::fs::File) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.descriptors.file(fd)?.file.clone();
        let done = self.on_a_thread(move || work(file.file())).await?;
        Ok(done.map_err(|error| errno::of(&error))?)
    }

    /// Does something in a folder on a thread for it.
    pub(super) async fn in_folder<T: Send + 'static>(
        &mut self,
        folder: Folder,
        path: PathBuf,
        work: impl FnOnce(&std::fs::File, &Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.on_a_thread(move || work(&folder.handle, &path)).await?;
        Ok(done.map_err(|error| errno::of(&error))?)
    }
}

/// A path from the guest's memory.
pub(super) fn path(memory: &GuestMemory<'_>, text: GuestPtr<str>) -> Result<PathBuf> {
    if text.len() > MAX_PATH {
        return Err(Errno::Nametoolong.into());
    }
    Ok(memory.as_cow_str(text)?.into_owned().into())
}

pub(super) fn follow(flags: Lookupflags) -> FollowSymlinks {
    if flags.contains(Lookupflags::SYMLINK_FOLLOW) { FollowSymlinks::Yes } else { FollowSymlinks::No }
}
