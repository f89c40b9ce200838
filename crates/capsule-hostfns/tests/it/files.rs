//! `hostReadFile` and `hostWriteFile`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use capsule_hdk::{Folder, FunctionConfig};
use capsule_hostfns::Services;
use tempfile::TempDir;

use crate::guest::Guest;

fn lend(config: &mut FunctionConfig, host: &Path, guest: &str, read_only: bool) -> Services {
    config.capabilities.folders.push(Folder { host: host.into(), guest: guest.into(), read_only });
    Services::default()
}

fn guests(folder: &Path) -> (Guest, Guest) {
    let lend = |config: &mut FunctionConfig| lend(config, folder, ".", false);
    (Guest::with("hostReadFile", 1, lend), Guest::with("hostWriteFile", 2, lend))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn what_is_written_is_read() {
    let folder = folder();
    let (read, write) = guests(folder.path());
    assert_eq!(write.framed(&["./hello.txt", "a longer text"]).await, Ok("./hello.txt".into()));
    assert_eq!(write.framed(&["hello.txt", "text"]).await, Ok("hello.txt".into()));
    assert_eq!(read.framed(&["hello.txt"]).await, Ok("text".into()));
    assert_eq!(write.framed(&["empty", ""]).await, Ok("empty".into()));
    assert_eq!(read.framed(&["empty"]).await, Ok(String::new()));
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|index| index as u8).collect();
    write.bytes(&[b"bytes", &bytes]).await.framed().unwrap();
    assert!(read.bytes(&[b"bytes"]).await.bytes[1..] == bytes);
    assert_eq!(fs::metadata(folder.path().join("bytes")).unwrap().mode() & 0o7133, 0, "nobody else may write");
}

#[tokio::test]
async fn a_failure_names_the_path_and_the_flag() {
    let folder = folder();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let (read, write) = guests(folder.path());
    let check = |verb: &str, path: &str, answer: Result<String, String>, reason: &str| {
        let error = answer.unwrap_err();
        assert!(error.starts_with(&format!("cannot {verb} `{path}`: ")), "{error}");
        assert!(error.contains(reason) && error.contains("`--dir`"), "{error}");
    };
    check("read", "none", read.framed(&["none"]).await, "No such file");
    check("read", "sub", read.framed(&["sub"]).await, "not a regular file");
    check("read", ".", read.framed(&["."]).await, "not a regular file");
    check("read", "/etc/passwd", read.framed(&["/etc/passwd"]).await, "none of the module's folders");
    check("write", "none/file", write.framed(&["none/file", ""]).await, "No such file");
    check("write", "sub", write.framed(&["sub", "x"]).await, "not a regular file");
    check("write", "/tmp/file", write.framed(&["/tmp/file", "x"]).await, "none of the module's folders");
    assert_eq!(read.framed(&[""]).await, Err("the path is empty".into()));
    assert_eq!(read.bytes(&[b"\xff"]).await.framed(), Err("the path is not UTF-8".into()));
    check("read", "a\0b", read.framed(&["a\0b"]).await, "");
}

#[tokio::test]
async fn without_folders_there_are_no_files() {
    let error = Guest::new("hostReadFile", 1).framed(&["Cargo.toml"]).await.unwrap_err();
    assert!(error.contains("none of the module's folders (flag `--dir`)"), "{error}");
}

#[tokio::test]
async fn no_path_leads_out_of_a_folder() {
    let outer = folder();
    let inner = outer.path().join("inner");
    fs::create_dir_all(inner.join("sub")).unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    fs::write(inner.join("own"), "own").unwrap();
    symlink(outer.path().join("secret"), inner.join("absolute")).unwrap();
    symlink("../secret", inner.join("relative")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    symlink("own", inner.join("within")).unwrap();
    let (read, write) = guests(&inner);
    let paths =
        ["../secret", "./../secret", "sub/../../secret", "absolute", "relative", "up/secret", "sub/../up/secret"];
    for path in paths {
        read.framed(&[path]).await.unwrap_err();
        write.framed(&[path, "overwritten"]).await.unwrap_err();
    }
    assert_eq!(fs::read_to_string(outer.path().join("secret")).unwrap(), "secret");
    for path in ["own", "sub/../own", "within"] {
        assert_eq!(read.framed(&[path]).await, Ok("own".into()), "{path}");
    }
}

#[tokio::test]
async fn folders_have_names_of_their_own() {
    let (here, data) = (folder(), folder());
    fs::write(here.path().join("file"), "here").unwrap();
    fs::write(data.path().join("file"), "data").unwrap();
    let setup = |config: &mut FunctionConfig| {
        lend(config, here.path(), ".", false);
        lend(config, data.path(), "/srv/data", true)
    };
    let (read, write) = (Guest::with("hostReadFile", 1, setup), Guest::with("hostWriteFile", 2, setup));
    assert_eq!(read.framed(&["file"]).await, Ok("here".into()));
    assert_eq!(read.framed(&["/srv/data/file"]).await, Ok("data".into()));
    let error = write.framed(&["/srv/data/new", "x"]).await.unwrap_err();
    assert_eq!(error, "cannot write `/srv/data/new`: folder `/srv/data` is for reading only (flag `--dir`)");
    assert!(!data.path().join("new").exists());
}

#[tokio::test]
async fn a_replaced_folder_is_seen_by_the_next_call() {
    let outer = folder();
    let (current, next) = (outer.path().join("current"), outer.path().join("next"));
    for (folder, text) in [(&current, "old"), (&next, "new")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), text).unwrap();
    }
    let read = Guest::with("hostReadFile", 1, |config| lend(config, &current, "data", false));
    assert_eq!(read.framed(&["data/file"]).await, Ok("old".into()));
    fs::rename(&current, outer.path().join("old")).unwrap();
    fs::rename(&next, &current).unwrap();
    assert_eq!(read.framed(&["data/file"]).await, Ok("new".into()));
}

#[tokio::test]
async fn a_pipe_holds_no_call() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (read, write) = guests(folder.path());
    let error = read.framed(&["pipe"]).await.unwrap_err();
    assert!(error.contains("it is not a regular file"), "{error}");
    let error = write.framed(&["pipe", "x"]).await.unwrap_err();
    assert!(error.contains("it is not a regular file"), "{error}");
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("at"), vec![b'x'; 1_000]).unwrap();
    fs::write(folder.path().join("over"), vec![b'x'; 1_001]).unwrap();
    let read = Guest::with("hostReadFile", 1, |config| {
        config.limits.host_memory = 1_000;
        lend(config, folder.path(), ".", false)
    });
    assert_eq!(read.framed(&["at"]).await.map(|text| text.len()), Ok(1_000));
    let error = read.framed(&["over"]).await.unwrap_err();
    assert_eq!(error, "cannot read `over`: the file exceeds the limit of 1000 bytes (flag `--maxHostMemory`)");
}
