//! The functions of preview 1.
//!
//! Long because it is a table: one short function for each of the forty-five.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_primitives::ambient_authority;
use cap_primitives::fs::{self, FollowSymlinks, Metadata, SystemTimeSpec};
use wasmtime_wasi::p1::types::{
    self, Advice, CiovecArray, Clockid, Dircookie, Errno, Event, Exitcode, Fd, Fdflags, Fdstat, Filedelta, Filesize,
    Filestat, Filetype, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, PrestatDir, Riflags, Rights, Roflags,
    Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::{Descriptor, Folder, OpenFile};
use super::streams::{At, length};
use super::{Wasi, attributes, errno, listing};
use crate::files::{self, How, Opened};
use crate::limits::Limit;

type Result<T> = std::result::Result<T, types::Error>;

/// The longest path in bytes.
const MAX_PATH: u32 = 4096;

impl Wasi {
    /// An open folder.
    async fn folder(&mut self, fd: Fd) -> Result<Folder> {
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
    async fn changing(&mut self, fd: Fd) -> Result<Folder> {
        let folder = self.folder(fd).await?;
        if folder.read_only { Err(Errno::Perm.into()) } else { Ok(folder) }
    }

    /// The name of a folder that the function was given.
    fn name_of_given(&self, fd: Fd) -> Option<&str> {
        match self.descriptors.get(fd) {
            Ok(Descriptor::Given(number, _)) => Some(&self.surroundings.capabilities.folders[*number].guest),
            _ => None,
        }
    }

    /// Does something with a file's handle on a thread for it.
    async fn with_file<T: Send + 'static>(
        &mut self,
        fd: Fd,
        work: impl FnOnce(&std::fs::File) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.descriptors.file(fd)?.file.clone();
        let done = self.on_a_thread(move || work(file.file())).await?;
        Ok(done.map_err(|error| errno::of(&error))?)
    }

    /// Does something in a folder on a thread for it.
    async fn in_folder<T: Send + 'static>(
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
fn path(memory: &GuestMemory<'_>, text: GuestPtr<str>) -> Result<PathBuf> {
    if text.len() > MAX_PATH {
        return Err(Errno::Nametoolong.into());
    }
    Ok(memory.as_cow_str(text)?.into_owned().into())
}

fn follow(flags: Lookupflags) -> FollowSymlinks {
    if flags.contains(Lookupflags::SYMLINK_FOLLOW) { FollowSymlinks::Yes } else { FollowSymlinks::No }
}

/// Writes texts one after the other, each with a zero byte behind it, and where each begins.
fn write_texts<'t>(
    memory: &mut GuestMemory<'_>,
    texts: impl Iterator<Item = [&'t str; 3]>,
    mut pointers: GuestPtr<GuestPtr<u8>>,
    mut buffer: GuestPtr<u8>,
) -> Result<()> {
    for text in texts {
        memory.write(pointers, buffer)?;
        pointers = pointers.add(1)?;
        for bytes in text.iter().map(|part| part.as_bytes()).chain([&[0][..]]) {
            let length = Size::try_from(bytes.len())?;
            memory.copy_from_slice(bytes, buffer.as_array(length))?;
            buffer = buffer.add(length)?;
        }
    }
    Ok(())
}

fn sizes<'t>(texts: impl Iterator<Item = [&'t str; 3]>) -> Result<(Size, Size)> {
    let (mut count, mut bytes) = (0_usize, 0_usize);
    for text in texts {
        count += 1;
        bytes += text.iter().map(|part| part.len()).sum::<usize>() + 1;
    }
    Ok((Size::try_from(count)?, Size::try_from(bytes)?))
}

impl WasiSnapshotPreview1 for Wasi {
    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.fuel = fuel;
    }

    fn args_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        pointers: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        let arguments = &self.surroundings.capabilities.arguments;
        write_texts(memory, arguments.iter().map(|argument| [argument.as_str(), "", ""]), pointers, buffer)
    }

    fn args_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        sizes(self.surroundings.capabilities.arguments.iter().map(|argument| [argument.as_str(), "", ""]))
    }

    fn environ_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        pointers: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        let environment = &self.surroundings.capabilities.environment;
        write_texts(memory, environment.iter().map(|(name, value)| [name.as_str(), "=", value]), pointers, buffer)
    }

    fn environ_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        let environment = &self.surroundings.capabilities.environment;
        sizes(environment.iter().map(|(name, value)| [name.as_str(), "=", value]))
    }

    fn clock_res_get(&mut self, memory: &mut GuestMemory<'_>, id: Clockid) -> Result<Timestamp> {
        self.engine().clock_res_get(memory, id)
    }

    fn clock_time_get(&mut self, memory: &mut GuestMemory<'_>, id: Clockid, precision: Timestamp) -> Result<Timestamp> {
        self.engine().clock_time_get(memory, id, precision)
    }

    async fn fd_advise(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Filesize, _: Filesize, _: Advice) -> Result<()> {
        // The host's own habits are not the guest's to change.
        self.descriptors.file(fd)?;
        Ok(())
    }

    fn fd_allocate(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Filesize, _: Filesize) -> Result<()> {
        self.descriptors.file(fd)?;
        Err(Errno::Notsup.into())
    }

    async fn fd_close(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.descriptors.remove(fd)?;
        Ok(())
    }

    async fn fd_datasync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.with_file(fd, std::fs::File::sync_data).await
    }

    async fn fd_fdstat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Fdstat> {
        let stat = |fs_filetype, fs_flags, fs_rights_base| Fdstat {
            fs_filetype,
            fs_flags,
            fs_rights_base,
            fs_rights_inheriting: fs_rights_base,
        };
        Ok(match self.descriptors.get(fd)? {
            Descriptor::Stdin => stat(Filetype::Unknown, Fdflags::empty(), Rights::FD_READ),
            Descriptor::Output(_) => stat(Filetype::Unknown, Fdflags::empty(), Rights::FD_WRITE),
            Descriptor::Given(..) => Fdstat {
                fs_rights_inheriting: OF_A_GIVEN_FOLDER | OF_A_FILE,
                ..stat(Filetype::Directory, Fdflags::empty(), OF_A_GIVEN_FOLDER)
            },
            Descriptor::Folder(folder) => {
                let mut rights = Rights::all();
                rights.remove(Rights::FD_SEEK | Rights::FD_FILESTAT_SET_SIZE | Rights::PATH_FILESTAT_SET_SIZE);
                rights.set(Rights::FD_WRITE, !folder.read_only);
                stat(Filetype::Directory, Fdflags::empty(), rights)
            }
            Descriptor::File(file) => {
                let mut rights = Rights::all();
                rights.set(Rights::FD_READ | Rights::FD_READDIR, file.read);
                rights.set(Rights::FD_WRITE, file.write);
                let mut flags = Fdflags::empty();
                flags.set(Fdflags::APPEND, file.append);
                flags.set(Fdflags::NONBLOCK, file.nonblocking);
                stat(Filetype::RegularFile, flags, rights)
            }
        })
    }

    fn fd_fdstat_set_flags(&mut self, _: &mut GuestMemory<'_>, fd: Fd, flags: Fdflags) -> Result<()> {
        let file = self.descriptors.file_mut(fd)?;
        if flags.intersects(Fdflags::DSYNC | Fdflags::SYNC | Fdflags::RSYNC) {
            return Err(Errno::Inval.into());
        }
        file.append = flags.contains(Fdflags::APPEND);
        file.nonblocking = flags.contains(Fdflags::NONBLOCK);
        Ok(())
    }

    fn fd_fdstat_set_rights(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Rights, _: Rights) -> Result<()> {
        self.descriptors.get(fd)?;
        Err(Errno::Notsup.into())
    }

    async fn fd_filestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filestat> {
        let found = match self.descriptors.get(fd)? {
            Descriptor::Stdin | Descriptor::Output(_) => return Ok(attributes::of_stream()),
            Descriptor::File(_) => self.with_file(fd, Metadata::from_file).await?,
            Descriptor::Given(..) | Descriptor::Folder(_) => {
                let folder = self.folder(fd).await?;
                self.in_folder(folder, PathBuf::new(), |handle, _| Metadata::from_file(handle)).await?
            }
        };
        Ok(attributes::of(&found))
    }

    async fn fd_filestat_set_size(&mut self, _: &mut GuestMemory<'_>, fd: Fd, size: Filesize) -> Result<()> {
        let file = self.descriptors.file(fd)?;
        if file.read_only {
            return Err(Errno::Perm.into());
        }
        let file = file.file.clone();
        Ok(self.on_a_thread(move || file.set_len(size)).await?.map_err(|error| self.failed(&error))?)
    }

    async fn fd_filestat_set_times(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        accessed: Timestamp,
        modified: Timestamp,
        flags: Fstflags,
    ) -> Result<()> {
        let [accessed, modified] = attributes::times(accessed, modified, flags)?;
        if let Descriptor::File(file) = self.descriptors.get(fd)? {
            if file.read_only {
                return Err(Errno::Perm.into());
            }
            let mut times = std::fs::FileTimes::new();
            if let Some(time) = accessed.map(absolute) {
                times = times.set_accessed(time);
            }
            if let Some(time) = modified.map(absolute) {
                times = times.set_modified(time);
            }
            return self.with_file(fd, move |file| file.set_times(times)).await;
        }
        let folder = self.changing(fd).await?;
        let work = move |handle: &std::fs::File, path: &Path| fs::set_times(handle, path, accessed, modified);
        self.in_folder(folder, ".".into(), work).await
    }

    async fn fd_read(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, buffers: IovecArray) -> Result<Size> {
        self.read(memory, fd, buffers, At::Cursor).await
    }

    async fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: IovecArray,
        position: Filesize,
    ) -> Result<Size> {
        self.read(memory, fd, buffers, At::Position(position)).await
    }

    async fn fd_write(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, buffers: CiovecArray) -> Result<Size> {
        self.write(memory, fd, buffers, At::Cursor).await
    }

    async fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffers: CiovecArray,
        position: Filesize,
    ) -> Result<Size> {
        self.write(memory, fd, buffers, At::Position(position)).await
    }

    fn fd_prestat_get(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Prestat> {
        let name = self.name_of_given(fd).ok_or(Errno::Badf)?;
        Ok(Prestat::Dir(PrestatDir { pr_name_len: Size::try_from(name.len())? }))
    }

    fn fd_prestat_dir_name(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        room: Size,
    ) -> Result<()> {
        let name = self.name_of_given(fd).ok_or(Errno::Notdir)?;
        let length = Size::try_from(name.len())?;
        if length > room {
            return Err(Errno::Nametoolong.into());
        }
        memory.copy_from_slice(name.as_bytes(), buffer.as_array(length))?;
        Ok(())
    }

    async fn fd_renumber(&mut self, _: &mut GuestMemory<'_>, from: Fd, to: Fd) -> Result<()> {
        self.descriptors.renumber(from, to)?;
        Ok(())
    }

    async fn fd_seek(
        &mut self,
        _: &mut GuestMemory<'_>,
        fd: Fd,
        offset: Filedelta,
        whence: Whence,
    ) -> Result<Filesize> {
        let file = self.descriptors.seekable(fd)?;
        let from = match whence {
            Whence::Set => 0,
            Whence::Cur => file.position,
            Whence::End => {
                let file = file.file.clone();
                self.on_a_thread(move || length(&file)).await??
            }
        };
        let position = from.checked_add_signed(offset).ok_or(Errno::Inval)?;
        self.descriptors.seekable(fd)?.position = position;
        Ok(position)
    }

    async fn fd_sync(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<()> {
        self.with_file(fd, std::fs::File::sync_all).await
    }

    fn fd_tell(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<Filesize> {
        Ok(self.descriptors.seekable(fd)?.position)
    }

    async fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        buffer: GuestPtr<u8>,
        room: Size,
        cookie: Dircookie,
    ) -> Result<Size> {
        if room as usize > self.surroundings.limits.host_memory {
            return Err(Errno::Nomem.into());
        }
        let folder = self.folder(fd).await?;
        let work = move |handle: &std::fs::File, _: &Path| listing::read(handle, cookie, room as usize);
        let listed = self.in_folder(folder, PathBuf::new(), work).await?;
        let length = Size::try_from(listed.len())?;
        memory.copy_from_slice(&listed, buffer.as_array(length))?;
        Ok(length)
    }

    async fn path_create_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, name: GuestPtr<str>) -> Result<()> {
        let path = path(memory, name)?;
        let folder = self.changing(fd).await?;
        let disk = Arc::clone(&self.surroundings.disk);
        let made = self.on_a_thread(move || files::create_folder(&disk, &folder.handle, &path)).await?;
        Ok(made.map_err(|error| self.failed(&error))?)
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        name: GuestPtr<str>,
    ) -> Result<Filestat> {
        let path = path(memory, name)?;
        let folder = self.folder(fd).await?;
        let found = self.in_folder(folder, path, move |handle, path| fs::stat(handle, path, follow(flags))).await?;
        Ok(attributes::of(&found))
    }

    async fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        name: GuestPtr<str>,
        accessed: Timestamp,
        modified: Timestamp,
        times: Fstflags,
    ) -> Result<()> {
        let [accessed, modified] = attributes::times(accessed, modified, times)?;
        let path = path(memory, name)?;
        let folder = self.changing(fd).await?;
        let work = move |handle: &std::fs::File, path: &Path| match follow(flags) {
            FollowSymlinks::Yes => fs::set_times(handle, path, accessed, modified),
            FollowSymlinks::No => fs::set_times_nofollow(handle, path, accessed, modified),
        };
        self.in_folder(folder, path, work).await
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        flags: Lookupflags,
        name: GuestPtr<str>,
        to: Fd,
        new_name: GuestPtr<str>,
    ) -> Result<()> {
        let (name, new_name) = (path(memory, name)?, path(memory, new_name)?);
        let (from, to) = (self.changing(from).await?, self.changing(to).await?);
        if flags.contains(Lookupflags::SYMLINK_FOLLOW) {
            return Err(Errno::Inval.into());
        }
        let disk = Arc::clone(&self.surroundings.disk);
        let work = move || files::hard_link(&disk, (&from.handle, &name), (&to.handle, &new_name));
        Ok(self.on_a_thread(work).await?.map_err(|error| self.failed(&error))?)
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Lookupflags,
        name: GuestPtr<str>,
        oflags: Oflags,
        rights: Rights,
        _: Rights,
        fdflags: Fdflags,
    ) -> Result<Fd> {
        let path = path(memory, name)?;
        let (create, exclusive) = (oflags.contains(Oflags::CREAT), oflags.contains(Oflags::EXCL));
        let truncate = oflags.contains(Oflags::TRUNC);
        let write = rights.contains(Rights::FD_WRITE);
        let how = How {
            // Who asks for neither reads.
            read: rights.contains(Rights::FD_READ) || !write,
            write,
            create,
            exclusive: create && exclusive,
            truncate,
            follow: flags.contains(Lookupflags::SYMLINK_FOLLOW),
            folder: oflags.contains(Oflags::DIRECTORY),
        };
        if fdflags.intersects(Fdflags::DSYNC | Fdflags::SYNC | Fdflags::RSYNC) {
            return Err(Errno::Notsup.into());
        }
        if how.folder && (create || exclusive || truncate) {
            return Err(Errno::Inval.into());
        }
        let folder = self.folder(fd).await?;
        let changes = write || create || truncate;
        if folder.read_only && changes {
            return Err(Errno::Perm.into());
        }
        let Some(counted) = self.descriptors.count() else {
            self.surroundings.counters.hit(Limit::Files);
            self.tell(|surroundings| format!("{} files are open (flag `--maxFiles`)", surroundings.limits.files));
            return Err(Errno::Mfile.into());
        };
        let (disk, handle) = (Arc::clone(&self.surroundings.disk), folder.handle);
        let opened = self.on_a_thread(move || files::open(&disk, &handle, &path, how)).await?;
        let descriptor = match opened.map_err(|error| self.failed(&error))? {
            Opened::Folder(handle) => Descriptor::Folder(Folder {
                handle: Arc::new(handle),
                read_only: folder.read_only,
                _counted: Some(Arc::new(counted)),
            }),
            Opened::File(file) => Descriptor::File(OpenFile {
                file: Arc::new(file),
                position: 0,
                read: how.read,
                write: changes,
                append: fdflags.contains(Fdflags::APPEND),
                nonblocking: fdflags.contains(Fdflags::NONBLOCK),
                read_only: folder.read_only,
                _counted: counted,
            }),
        };
        Ok(self.descriptors.push(descriptor)?)
    }

    async fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        name: GuestPtr<str>,
        buffer: GuestPtr<u8>,
        room: Size,
    ) -> Result<Size> {
        let path = path(memory, name)?;
        let folder = self.folder(fd).await?;
        let target = self.in_folder(folder, path, fs::read_link).await?;
        let target = target.into_os_string().into_string().map_err(|_| Errno::Ilseq)?;
        let target = &target.as_bytes()[..target.len().min(room as usize)];
        let length = Size::try_from(target.len())?;
        memory.copy_from_slice(target, buffer.as_array(length))?;
        Ok(length)
    }

    async fn path_remove_directory(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, name: GuestPtr<str>) -> Result<()> {
        let path = path(memory, name)?;
        let folder = self.changing(fd).await?;
        let disk = Arc::clone(&self.surroundings.disk);
        self.in_folder(folder, path, move |handle, path| files::remove_folder(&disk, handle, path)).await
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        name: GuestPtr<str>,
        to: Fd,
        new_name: GuestPtr<str>,
    ) -> Result<()> {
        let (name, new_name) = (path(memory, name)?, path(memory, new_name)?);
        let (from, to) = (self.changing(from).await?, self.changing(to).await?);
        let disk = Arc::clone(&self.surroundings.disk);
        let work = move |from: &std::fs::File, name: &Path| files::rename(&disk, (from, name), (&to.handle, &new_name));
        self.in_folder(from, name, work).await
    }

    async fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        target: GuestPtr<str>,
        fd: Fd,
        name: GuestPtr<str>,
    ) -> Result<()> {
        let (target, path) = (path(memory, target)?, path(memory, name)?);
        let folder = self.changing(fd).await?;
        let disk = Arc::clone(&self.surroundings.disk);
        let made = self.on_a_thread(move || files::create_link(&disk, &target, &folder.handle, &path)).await?;
        Ok(made.map_err(|error| self.failed(&error))?)
    }

    async fn path_unlink_file(&mut self, memory: &mut GuestMemory<'_>, fd: Fd, name: GuestPtr<str>) -> Result<()> {
        let path = path(memory, name)?;
        let folder = self.changing(fd).await?;
        let disk = Arc::clone(&self.surroundings.disk);
        self.in_folder(folder, path, move |handle, path| files::remove_file(&disk, handle, path)).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size> {
        self.wait(memory, subscriptions, events, count).await
    }

    fn proc_exit(&mut self, memory: &mut GuestMemory<'_>, code: Exitcode) -> wasmtime::Error {
        self.engine().proc_exit(memory, code)
    }

    fn proc_raise(&mut self, _: &mut GuestMemory<'_>, _: Signal) -> Result<()> {
        Err(Errno::Notsup.into())
    }

    fn sched_yield(&mut self, _: &mut GuestMemory<'_>) -> Result<()> {
        Ok(())
    }

    /// See `random.rs`.
    fn random_get(&mut self, _: &mut GuestMemory<'_>, _: GuestPtr<u8>, _: Size) -> Result<()> {
        Err(Errno::Notsup.into())
    }

    fn sock_accept(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Fdflags) -> Result<Fd> {
        self.descriptors.get(fd)?;
        Err(Errno::Notsock.into())
    }

    fn sock_recv(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: IovecArray, _: Riflags) -> Result<(Size, Roflags)> {
        self.descriptors.get(fd)?;
        Err(Errno::Notsock.into())
    }

    fn sock_send(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: CiovecArray, _: Siflags) -> Result<Size> {
        self.descriptors.get(fd)?;
        Err(Errno::Notsock.into())
    }

    fn sock_shutdown(&mut self, _: &mut GuestMemory<'_>, fd: Fd, _: Sdflags) -> Result<()> {
        self.descriptors.get(fd)?;
        Err(Errno::Notsock.into())
    }
}

/// What the C libraries of guests expect a folder to allow that they were given.
const OF_A_GIVEN_FOLDER: Rights = Rights::PATH_CREATE_DIRECTORY
    .union(Rights::PATH_CREATE_FILE)
    .union(Rights::PATH_LINK_SOURCE)
    .union(Rights::PATH_LINK_TARGET)
    .union(Rights::PATH_OPEN)
    .union(Rights::FD_READDIR)
    .union(Rights::PATH_READLINK)
    .union(Rights::PATH_RENAME_SOURCE)
    .union(Rights::PATH_RENAME_TARGET)
    .union(Rights::PATH_SYMLINK)
    .union(Rights::PATH_REMOVE_DIRECTORY)
    .union(Rights::PATH_UNLINK_FILE)
    .union(Rights::PATH_FILESTAT_GET)
    .union(Rights::PATH_FILESTAT_SET_TIMES)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::FD_FILESTAT_SET_TIMES);
/// And what is opened in it.
const OF_A_FILE: Rights = Rights::FD_DATASYNC
    .union(Rights::FD_READ)
    .union(Rights::FD_SEEK)
    .union(Rights::FD_FDSTAT_SET_FLAGS)
    .union(Rights::FD_SYNC)
    .union(Rights::FD_TELL)
    .union(Rights::FD_WRITE)
    .union(Rights::FD_ADVISE)
    .union(Rights::FD_ALLOCATE)
    .union(Rights::FD_FILESTAT_GET)
    .union(Rights::FD_FILESTAT_SET_SIZE)
    .union(Rights::FD_FILESTAT_SET_TIMES)
    .union(Rights::POLL_FD_READWRITE);

/// A time as the standard library takes it.
fn absolute(time: SystemTimeSpec) -> SystemTime {
    match time {
        SystemTimeSpec::Absolute(time) => time.into_std(),
        SystemTimeSpec::SymbolicNow => SystemTime::now(),
    }
}
