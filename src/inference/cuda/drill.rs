//! Real faults of a GPU on purpose, for the checks on a machine that has one.

use super::super::{classify, device::Device};
use crate::domain::{Failure, FailureClass};
use candle_core::{
    DType, Result, Tensor,
    cuda_backend::{
        WrapErr,
        cudarc::{
            driver::{LaunchConfig, PushKernelArg},
            nvrtc::compile_ptx,
        },
    },
};

const SCRATCH: &str = "extern \"C\" __global__ void scratch(float *at) { at[threadIdx.x] = 1; }";

/// Does something to the first GPU that it can not do, and gives the failure
/// as a batch would have met it: `out_of_memory`, `invalid_launch` or
/// `illegal_address`.
pub fn drill(kind: &str) -> Failure {
    match attempt(kind) {
        Ok(()) => Failure::new(FailureClass::Permanent, format!("{kind} did no harm")),
        Err(error) => classify::in_batch(&error),
    }
}

fn attempt(kind: &str) -> Result<()> {
    let opened = Device::Cuda(0).open();
    let device = opened.map_err(|failure| candle_core::Error::msg(failure.message))?;
    let candle_core::Device::Cuda(cuda) = &device else {
        candle_core::bail!("there is no GPU");
    };
    if kind == "out_of_memory" {
        // More than any GPU has, piece by piece, as batches take it.
        let mut held = Vec::new();
        for _ in 0..1024 {
            held.push(Tensor::zeros(1 << 30, DType::F32, &device)?);
        }
        return Ok(());
    }
    let stream = cuda.cuda_stream();
    let module = stream
        .context()
        .load_module(compile_ptx(SCRATCH).w()?)
        .w()?;
    let function = module.load_function("scratch").w()?;
    let threads = if kind == "invalid_launch" { 4096 } else { 32 };
    let config = LaunchConfig {
        grid_dim: (1, 1, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    };
    // An address that nobody was given.
    let nowhere = 0x10_u64;
    // SAFETY: it is not safe, and that is the point: nothing of this process's
    // GPU context is used after it.
    unsafe {
        stream
            .launch_builder(&function)
            .arg(&nowhere)
            .launch(config)
    }
    .w()?;
    stream.synchronize().w()
}
