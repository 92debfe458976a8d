//! Faults on purpose: every write asks here first.
//!
//! Without the feature `failpoints` nothing of this is compiled in. With it,
//! a fail point named in `FAILPOINTS` returns the error its argument names.

use std::io;

/// Fails as the fail point `point` is told to.
///
/// `return` and `return(ENOSPC)` are a full disk; `EDQUOT`, `EROFS`, `EIO`,
/// `ENOENT` and `EACCES` what they say; `kill` ends the process on the spot,
/// as SIGKILL does.
#[cfg(feature = "failpoints")]
pub(super) fn check(point: &str) -> io::Result<()> {
    fail::fail_point!(point, |argument: Option<String>| Err(error(
        argument.as_deref()
    )));
    Ok(())
}

/// Does nothing in this build.
#[cfg(not(feature = "failpoints"))]
pub(super) fn check(_point: &str) -> io::Result<()> {
    Ok(())
}

/// How many of `length` bytes are written before the fail point `point`, told
/// `torn`, cuts the power; `None` when it lets them all pass.
#[cfg(feature = "failpoints")]
pub(super) fn torn(point: &str, length: usize) -> Option<usize> {
    fail::fail_point!(point, |argument: Option<String>| {
        let kept = argument.and_then(|text| text.parse().ok());
        Some(kept.unwrap_or(length / 2).min(length))
    });
    None
}

/// Lets everything pass in this build.
#[cfg(not(feature = "failpoints"))]
pub(super) fn torn(_point: &str, _length: usize) -> Option<usize> {
    None
}

#[cfg(feature = "failpoints")]
fn error(argument: Option<&str>) -> io::Error {
    use rustix::io::Errno;
    let errno = match argument.unwrap_or("ENOSPC") {
        "EDQUOT" => Errno::DQUOT,
        "EROFS" => Errno::ROFS,
        "EIO" => Errno::IO,
        "ENOENT" => Errno::NOENT,
        "EACCES" => Errno::ACCESS,
        "kill" => {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            Errno::IO
        }
        _ => Errno::NOSPC,
    };
    errno.into()
}
