//! The C library's heap, under a model on the processor.

/// Lets what one forward pass frees serve the next one, instead of going back
/// to the system to be mapped, cleared and paged in again: at the sizes of
/// intermediate results glibc would do that for every one of them.
pub fn keep_what_is_freed() {
    #[cfg(target_env = "gnu")]
    {
        const LARGEST: libc::c_int = 64 << 20;
        const KEPT: libc::c_int = 512 << 20;
        // SAFETY: both only change numbers of the allocator, and it takes any.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    }
}

/// Gives back to the system what is kept.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it only looks for free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}
