//! How much memory the machine gives to this process: what it has, or the limits of the control groups that the process is in,
//! whichever is least.
//!
//! Both versions of control groups are looked at, each group and those above it. In a container that sees a part of the
//! hierarchy only, its own group is the root of what it sees.

use std::fs;
use std::path::{Path, PathBuf};

/// Where groups are mounted, of version 2 and of version 1 with the name of their limit.
const MOUNTS: [(&str, &str); 3] = [
    ("sys/fs/cgroup", "memory.max"),
    ("sys/fs/cgroup/unified", "memory.max"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
];

/// Bytes that there are for this process; none where that cannot be found out.
pub(crate) fn memory() -> Option<u64> {
    memory_in(Path::new("/"))
}

fn memory_in(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    machine.into_iter().chain(groups(root)).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of all groups.
fn groups(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    // `ID:CONTROLLERS:PATH`; without controllers it is version 2.
    let paths = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let of_memory = controllers.is_empty() || controllers.split(',').any(|controller| controller == "memory");
        of_memory.then(|| PathBuf::from(path.trim_start_matches('/')))
    });
    let limits = paths.flat_map(|path| {
        let groups: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        groups.into_iter().flat_map(|group| MOUNTS.map(|(mount, file)| root.join(mount).join(&group).join(file)))
    });
    // `max` is no number, and no limit.
    limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(memory_in(root.path()), expected, "{files:?}");
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       24106424 kB\nMemFree:        18923932 kB\n");
    const TOTAL: u64 = 24_106_424 << 10;

    #[test]
    fn the_least_of_machine_and_groups() {
        check(&[], None);
        check(&[MACHINE], Some(TOTAL));
        let group = ("proc/self/cgroup", "0::/a/b\n");
        check(&[MACHINE, group], Some(TOTAL));
        check(&[MACHINE, group, ("sys/fs/cgroup/a/b/memory.max", "max\n")], Some(TOTAL));
        check(&[MACHINE, group, ("sys/fs/cgroup/a/b/memory.max", "268435456\n")], Some(256 << 20));
        let above = ("sys/fs/cgroup/a/memory.max", "134217728\n");
        check(&[MACHINE, group, ("sys/fs/cgroup/a/b/memory.max", "268435456\n"), above], Some(128 << 20));
        // A container that sees its own group as the root, and the path of the host.
        check(&[MACHINE, group, ("sys/fs/cgroup/memory.max", "1048576\n")], Some(1 << 20));
        check(&[group, ("sys/fs/cgroup/memory.max", "1048576\n")], Some(1 << 20));
    }

    #[test]
    fn the_first_version_of_groups() {
        let mixed = ("proc/self/cgroup", "4:memory:/docker/1f\n1:cpu,cpuacct:/docker/1f\n0::/\n");
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        check(&[MACHINE, mixed, unlimited], Some(TOTAL));
        let own = ("sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes", "67108864\n");
        check(&[MACHINE, mixed, unlimited, own], Some(64 << 20));
        let other = ("sys/fs/cgroup/memory/docker/other/memory.limit_in_bytes", "4096\n");
        check(&[MACHINE, mixed, unlimited, other], Some(TOTAL));
        check(&[MACHINE, ("proc/self/cgroup", "nonsense\n:\n\n7:x\n"), own], Some(TOTAL));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory().is_none_or(|bytes| bytes > 1 << 20));
    }
}
