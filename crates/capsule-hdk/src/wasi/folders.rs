//! What is done with an open folder or file, and the paths below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_primitives::fs::FollowSymlinks;
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::{Descriptor, Folder};
use super::interface::types::{self, Errno, Fd, Lookupflags};
use super::{Wasi, errno};
use crate::files::{self, TooMany};
use crate::limits::Limit;

type Result<T> = std::result::Result<T, types::Error>;

/// The longest path in bytes.
const MAX_PATH: u32 = 4096;

impl Wasi {
    /// An open folder.
    pub(super) async fn folder(&mut self, fd: Fd) -> Result<Folder> {
        let number = match self.descriptors.get(fd)? {
            Descriptor::Folder(folder) | Descriptor::Given(_, Some(folder)) => return Ok(folder.clone()),
            Descriptor::Given(number, None) => *number,
            Descriptor::File(_) => return Err(Errno::Notdir.into()),
            Descriptor::Stdin | Descriptor::Output(_) => return Err(Errno::Badf.into()),
        };
        let counted = self.descriptors.count_given();
        let counted = Arc::new(counted.map_err(|full| self.too_many(full))?);
        let given = &self.surroundings.capabilities.folders[number];
        let (host, read_only) = (given.host.clone(), given.read_only);
        let opened = self.on_a_thread(move || files::open_lent(&host)).await?;
        let handle = Arc::new(opened.map_err(|error| errno::of(&error))?);
        let folder = Folder { handle, read_only, _counted: counted };
        *self.descriptors.get_mut(fd)? = Descriptor::Given(number, Some(folder.clone()));
        Ok(folder)
    }

    /// Too many files are open.
    pub(super) fn too_many(&mut self, full: TooMany) -> Errno {
        self.surroundings.counters.hit(Limit::Files);
        self.tell(|_| full.to_string());
        Errno::Mfile
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
