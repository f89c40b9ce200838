//! How large the pages of this process's memory are.

/// Has memory come in pages of the usual size. The allocator would ask for huge ones, of 2 MiB, of which all counts that is
/// allocated and little is touched: buffers of idle connections, functions that are registered and asleep. Where the system hands
/// out huge pages without being asked, each small instance would take one.
pub(crate) fn small() {
    huge(false);
}

/// Has memory come in huge pages again, for work that soon touches all that it allocates.
pub(crate) fn large() {
    huge(true);
}

#[cfg(target_os = "linux")]
fn huge(allowed: bool) {
    // What the system does not know it does not do either.
    let _ = rustix::thread::disable_transparent_huge_pages(!allowed);
}

#[cfg(not(target_os = "linux"))]
fn huge(_allowed: bool) {}
