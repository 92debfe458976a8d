//! What a candle error means for what to do next.

use crate::domain::{Failure, FailureClass};
use candle_core::Error;

/// A failure while a model is loaded.
pub fn at_load(what: &str, error: &Error) -> Failure {
    let class = device_class(error).unwrap_or(FailureClass::Permanent);
    Failure::new(
        class,
        format!("{what} can not be loaded: {}", innermost(error)),
    )
    .with_detail(error.to_string())
}

/// A failure while a batch runs.
pub fn in_batch(error: &Error) -> Failure {
    let class = device_class(error).unwrap_or(FailureClass::Transient);
    Failure::new(class, innermost(error).to_string()).with_detail(error.to_string())
}

/// One sentence: the file, where the error tells it, and the error below
/// context and backtrace.
pub fn in_short(error: &Error) -> String {
    let mut outer = error;
    loop {
        match outer {
            Error::WithPath { path, inner } => {
                return format!("{}: {}", path.display(), innermost(inner));
            }
            Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } => outer = inner,
            other => return other.to_string(),
        }
    }
}

/// The error below context, path and backtrace.
fn innermost(error: &Error) -> &Error {
    match error {
        Error::WithBacktrace { inner, .. }
        | Error::Context { inner, .. }
        | Error::WithPath { inner, .. } => innermost(inner),
        other => other,
    }
}

/// The class of an error that the device reported, by its code.
#[cfg(not(feature = "cuda"))]
fn device_class(error: &Error) -> Option<FailureClass> {
    match innermost(error) {
        Error::Io(io) if io.kind() == std::io::ErrorKind::OutOfMemory => Some(FailureClass::Oom),
        _ => None,
    }
}

/// The class of an error that the device reported, by its code.
#[cfg(feature = "cuda")]
fn device_class(error: &Error) -> Option<FailureClass> {
    use candle_core::cuda_backend::CudaError;
    match innermost(error) {
        Error::Cuda(cuda) => Some(match cuda.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(code) | CudaError::Load { cuda: code, .. }) => {
                driver_class(code.0)
            }
            Some(CudaError::Cublas(status)) => cublas_class(status.0),
            Some(CudaError::Curand(_)) => FailureClass::Transient,
            Some(_) => FailureClass::Permanent,
            // cudarc's own error, where candle passed it on as it was.
            None => match cuda.downcast_ref::<cudarc::driver::DriverError>() {
                Some(code) => driver_class(code.0),
                None => FailureClass::Transient,
            },
        }),
        Error::Io(io) if io.kind() == std::io::ErrorKind::OutOfMemory => Some(FailureClass::Oom),
        _ => None,
    }
}

/// What a driver code means. Sticky codes poison the context: the process has
/// to go.
#[cfg(feature = "cuda")]
fn driver_class(code: cudarc::driver::sys::CUresult) -> FailureClass {
    match code as u32 {
        2 | 701 => FailureClass::Oom,
        // ECC, illegal address, launch timeout, assert, hardware stack,
        // illegal instruction, misaligned, address space, program counter,
        // launch failed.
        214 | 700 | 702 | 710 | 714..=719 => FailureClass::DeviceLost,
        // Not initialised, deinitialised, no device, context destroyed.
        3 | 4 | 100 | 101 | 201 | 709 => FailureClass::DeviceLost,
        // Invalid value: this shape fails each time, a smaller batch may not.
        _ => FailureClass::Transient,
    }
}

/// What a cuBLAS status means.
#[cfg(feature = "cuda")]
fn cublas_class(status: cudarc::cublas::sys::cublasStatus_t) -> FailureClass {
    match status as u32 {
        // Not initialised is mostly a failed allocation of the workspace.
        1 | 3 => FailureClass::Oom,
        // Execution failed, internal error: sticky more often than not.
        13 | 14 => FailureClass::DeviceLost,
        _ => FailureClass::Transient,
    }
}
