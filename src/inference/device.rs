use crate::domain::{Failure, FailureClass};
use std::{fmt, str::FromStr};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number, among those that are visible.
    Cuda(usize),
    /// The first GPU where this build and this machine have one, else the
    /// processor.
    #[default]
    Auto,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    format!("the device {text} is not known: write cpu, cuda, cuda:N or auto")
                }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Auto => f.pad("auto"),
        }
    }
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// One sentence when there is no such device or this build can not use
    /// it (class `permanent`), or when it does not answer (`environment`).
    pub(super) fn open(self) -> Result<candle_core::Device, Failure> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => Err(Failure::new(
                FailureClass::Permanent,
                format!(
                    "this build has no CUDA, so the device {self} can not be used: build with --features cuda, or use --device cpu"
                ),
            )),
            Self::Cuda(number) => opened(number).map_err(|error| {
                // No model would fare better on it.
                let among = std::env::var("CUDA_VISIBLE_DEVICES").map_or_else(
                    |_| String::new(),
                    |visible| {
                        format!(
                            " of CUDA_VISIBLE_DEVICES={visible} (nvidia-smi -L lists what there is)"
                        )
                    },
                );
                Failure::new(
                    FailureClass::Environment,
                    format!("the device {self}{among} can not be opened: {error}"),
                )
            }),
            Self::Auto if cfg!(feature = "cuda") => {
                Ok(opened(0).unwrap_or(candle_core::Device::Cpu))
            }
            Self::Auto => Ok(candle_core::Device::Cpu),
        }
    }
}

fn opened(number: usize) -> candle_core::Result<candle_core::Device> {
    let device = candle_core::Device::new_cuda(number)?;
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(cuda) = &device {
        // SAFETY: all work runs on one stream, but for what several threads
        // load, and that is waited for before anything uses it (`settle`).
        // Events for each tensor would cost more than small kernels do.
        unsafe { cuda.disable_event_tracking() };
        keep_pool(cuda)?;
    }
    Ok(device)
}

/// Lets the device's pool keep what tensors give back until it is trimmed:
/// else every wait for the device would give it all to the system, and the
/// next step would have to ask for it again.
#[cfg(feature = "cuda")]
fn keep_pool(cuda: &candle_core::CudaDevice) -> candle_core::Result<()> {
    use candle_core::cuda_backend::WrapErr;
    use cudarc::driver::{result, sys};
    let context = cuda.cuda_stream().context().clone();
    let mut threshold = u64::MAX;
    // SAFETY: the pool is the device's own, and the attribute takes a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold).cast(),
        )
        .result()
        .w()?;
    }
    Ok(())
}

/// Bytes that a device can still give; `None` when it does not tell.
pub(super) fn available_bytes(device: &candle_core::Device) -> Option<u64> {
    match device {
        candle_core::Device::Cpu => {
            let read = |path: &str| std::fs::read_to_string(path).ok();
            super::memory::available_host_bytes(
                &read("/proc/meminfo")?,
                read("/sys/fs/cgroup/memory.max").as_deref(),
                read("/sys/fs/cgroup/memory.current").as_deref(),
            )
        }
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(cuda) => {
            cuda.cuda_stream().context().bind_to_thread().ok()?;
            let (free, _) = cudarc::driver::result::mem_get_info().ok()?;
            Some(free as u64)
        }
        _ => None,
    }
}

/// Waits for the device and gives its pooled memory back to the system.
///
/// # Errors
/// When the device no longer answers.
#[cfg(feature = "cuda")]
pub(super) fn trim(device: &candle_core::Device) -> candle_core::Result<()> {
    use candle_core::cuda_backend::WrapErr;
    if let candle_core::Device::Cuda(cuda) = device {
        let context = cuda.cuda_stream().context().clone();
        // Errors of drops are kept by the context and told once, by whatever
        // call comes next. Here they are old news (mostly the memory that ran
        // out): a device that is really lost fails the next line again.
        let _ = context.check_err();
        cuda.cuda_stream().synchronize().w()?;
        // SAFETY: the pool is the device's own default pool, which lives as
        // long as the device; trimming frees only what nobody uses.
        unsafe {
            let pool =
                cudarc::driver::result::device::get_default_mem_pool(context.cu_device()).w()?;
            cudarc::driver::result::mem_pool::trim_to(pool, 0).w()?;
        }
    }
    Ok(())
}

/// Waits for everything that any thread has queued: each thread has a stream
/// of its own, and nothing orders these but this.
///
/// # Errors
/// When the device no longer answers.
#[cfg(feature = "cuda")]
pub(super) fn settle(device: &candle_core::Device) -> candle_core::Result<()> {
    use candle_core::cuda_backend::WrapErr;
    if let candle_core::Device::Cuda(cuda) = device {
        cuda.cuda_stream().context().synchronize().w()?;
    }
    Ok(())
}
