//! The functions of preview 1: one short function for each of the forty-five.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_primitives::fs::{self, Metadata};
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::{Descriptor, Folder, OpenFile};
use super::folders::{follow, path};
use super::interface::types::{
    self, Advice, CiovecArray, Clockid, Dircookie, Errno, Event, Exitcode, Fd, Fdflags, Fdstat, Filedelta, Filesize,
    Filestat, Filetype, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, PrestatDir, Riflags, Rights, Roflags,
    Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use super::interface::wasi_snapshot_preview1::WasiSnapshotPreview1;
use super::streams::{At, length};
use super::{Wasi, attributes, clocks, errno, listing, rights, texts};
use crate::files::{self, Closing, How, Opened};
use crate::held::SMALL;
use crate::instance::Exit;

type Result<T> = std::result::Result<T, types::Error>;

/// Exit codes from here on belong to shells.
const FIRST_OF_SHELLS: i32 = 126;

impl WasiSnapshotPreview1 for Wasi {
    fn args_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        pointers: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        let arguments = &self.surroundings.capabilities.arguments;
        texts::write(memory, arguments.iter().map(|argument| [argument.as_str(), "", ""]), pointers, buffer)
    }

    fn args_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        texts::sizes(self.surroundings.capabilities.arguments.iter().map(|argument| [argument.as_str(), "", ""]))
    }

    fn environ_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        pointers: GuestPtr<GuestPtr<u8>>,
        buffer: GuestPtr<u8>,
    ) -> Result<()> {
        let environment = &self.surroundings.capabilities.environment;
        texts::write(memory, environment.iter().map(|(name, value)| [name.as_str(), "=", value]), pointers, buffer)
    }

    fn environ_sizes_get(&mut self, _: &mut GuestMemory<'_>) -> Result<(Size, Size)> {
        let environment = &self.surroundings.capabilities.environment;
        texts::sizes(environment.iter().map(|(name, value)| [name.as_str(), "=", value]))
    }

    fn clock_res_get(&mut self, _: &mut GuestMemory<'_>, id: Clockid) -> Result<Timestamp> {
        Ok(clocks::resolution(id)?)
    }

    fn clock_time_get(&mut self, _: &mut GuestMemory<'_>, id: Clockid, _: Timestamp) -> Result<Timestamp> {
        Ok(self.clocks.now(id)?)
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
        if let Descriptor::File(file) = self.descriptors.remove(fd)? {
            self.on_a_thread(move || file.file.now()).await?;
        }
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
                fs_rights_inheriting: rights::OF_A_GIVEN_FOLDER | rights::OF_A_FILE,
                ..stat(Filetype::Directory, Fdflags::empty(), rights::OF_A_GIVEN_FOLDER)
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
            let times = files::times(accessed, modified);
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
        // What is not the guest's memory is not filled.
        memory.as_slice(buffer.as_array(room))?.ok_or(Errno::Notsup)?;
        let folder = self.folder(fd).await?;
        // Up to the cookie the folder is walked through, each time.
        let blocking = self.surroundings.blocking.clone();
        let turn = blocking.turn_alone().await.map_err(|_| Errno::Canceled)?;
        let room = room as usize;
        let held = self.surroundings.host_memory.hold(if room > SMALL { room } else { 0 });
        let held = held.map_err(|_| Errno::Nomem)?;
        let work = move || Ok((listing::read(&folder.handle, cookie, room)?, held));
        let done = turn.run(work).await.map_err(|_| Errno::Canceled)?;
        let (listed, _held) = done.map_err(|error: std::io::Error| errno::of(&error))?;
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
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        let work = move || files::set_times(&folder.handle, &path, follow, accessed, modified);
        Ok(self.on_a_thread(work).await?.map_err(|error| self.failed(&error))?)
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
        let counted = self.descriptors.count();
        let counted = counted.map_err(|full| self.too_many(full))?;
        let (disk, handle) = (Arc::clone(&self.surroundings.disk), folder.handle);
        let opened = self.on_a_thread(move || files::open(&disk, &handle, &path, how)).await?;
        let descriptor = match opened.map_err(|error| self.failed(&error))? {
            Opened::Folder(handle) => Descriptor::Folder(Folder {
                handle: Arc::new(handle),
                read_only: folder.read_only,
                _counted: Arc::new(counted),
            }),
            Opened::File(file) => Descriptor::File(OpenFile {
                file: Closing::new(file.counted(counted), &self.surroundings.blocking),
                position: 0,
                read: how.read,
                write: changes,
                append: fdflags.contains(Fdflags::APPEND),
                nonblocking: fdflags.contains(Fdflags::NONBLOCK),
                read_only: folder.read_only,
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

    fn proc_exit(&mut self, _: &mut GuestMemory<'_>, code: Exitcode) -> wasmtime::Error {
        match i32::try_from(code) {
            Ok(code @ 0..FIRST_OF_SHELLS) => Exit(code).into(),
            _ => wasmtime::format_err!("exit with invalid exit status outside of [0..{FIRST_OF_SHELLS})"),
        }
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
