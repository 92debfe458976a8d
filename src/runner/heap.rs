//! The C library's heap, for a supervisor.

/// Lets the lanes of a run allocate from one heap that grows in large steps.
/// To be called before the first thread is started.
///
/// glibc gives each thread a heap of its own, which grows by a page and a
/// system call at a time: for a lane, which keeps what it is told, that was a
/// sixth of its processor time. Lanes hardly ever allocate at one moment.
pub fn grow_in_large_steps() {
    #[cfg(target_env = "gnu")]
    {
        const STEP: libc::c_int = 4 << 20;
        // SAFETY: both only change numbers of the allocator, and it takes any.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_TOP_PAD, STEP);
        }
    }
}
