use crate::{domain::Quantization, worker::Gpus};

/// Bytes that weights of `file_bytes` (16 bits each, as a rule) take when
/// loaded: f32 on a CPU, as they are on a GPU, blocks when quantised.
pub fn weights_in_memory(file_bytes: u64, quantization: Quantization) -> u64 {
    let on_gpu = cfg!(feature = "cuda");
    match quantization {
        Quantization::None if on_gpu => file_bytes,
        Quantization::None => file_bytes * 2,
        // Q8_0 has 8.5 bits a weight and Q4_K 4.5; on a CPU a copy in the
        // order of the kernels stands beside them.
        Quantization::Int8 if on_gpu => file_bytes * 17 / 32,
        Quantization::Int8 => file_bytes * 17 / 16,
        Quantization::Int4 if on_gpu => file_bytes * 9 / 32,
        Quantization::Int4 => file_bytes * 21 / 32,
    }
}

/// Bytes that a GGUF file's weights take when loaded: blocks as they are, on
/// a CPU with a copy in the order of the kernels.
pub fn gguf_in_memory(file_bytes: u64) -> u64 {
    if cfg!(feature = "cuda") {
        file_bytes
    } else {
        file_bytes * 9 / 4
    }
}

/// Bytes that the device has for a model: the first GPU's memory in a CUDA
/// build, else what the kernel says is available.
pub fn device_memory() -> Option<u64> {
    if cfg!(feature = "cuda") {
        return Gpus::of_this_machine().total(0);
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
