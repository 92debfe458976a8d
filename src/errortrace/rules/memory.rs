//! Memory that ran out.

use super::RuleClass::Unknown;
use super::{Rule, RuleClass::Oom};
use crate::errortrace::advice::{
    FEWER_PASSAGES, HALVE_BATCH, KV_CACHE, LESS_HOST_MEMORY, OTHER_PROCESSES, QUANTIZE, SHM,
    SMALLER_MODEL,
};

pub(super) const RULES: &[Rule] = &[
    // Ray and Java name the host's memory as PyTorch names the GPU's.
    Rule::new(
        "oom_host",
        Oom,
        r"(?i)ray\.exceptions\.OutOfMemoryError|java\.lang\.OutOfMemoryError|Workers? \(tasks / actors\) killed due to memory pressure|(?:node|machine|pod) (?:was )?(?:running )?low on (?:memory|resource: memory)",
    )
    .alone()
    .says("The machine's memory ran out, and the process was ended for it.")
    .advice(&[LESS_HOST_MEMORY, HALVE_BATCH, SMALLER_MODEL])
    .like(&[
        "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
        "(raylet) 3 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed",
    ]),
    Rule::new(
        "dataloader_shm",
        Unknown,
        r"(?i)insufficient shared memory|dataloader's workers are out of shared memory|unable to (?:open|allocate|resize|mmap).{0,40}shared memory|No space left on device.{0,60}/dev/shm|/dev/shm.{0,60}No space left|</torch_\d\S*>.*No space left",
    )
    .alone()
    .says("A data loader worker ran out of shared memory (/dev/shm).")
    .advice(&[SHM])
    .like(&[
        "RuntimeError: DataLoader worker (pid 30801) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
        "RuntimeError: unable to write to file </torch_31_220_6>: No space left on device (28)",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    ]),
    Rule::new(
        "oom_kv_cache",
        Oom,
        r"(?i)(?:no available memory for the cache blocks|larger than the (?:maximum number of tokens|available KV cache)|KV cache (?:is )?(?:too small|size.{0,60}(?:larger|exceed))|not enough (?:memory|space).{0,40}KV[ _-]?cache|KV[ _-]?cache.{0,60}(?:out of memory|not enough|is needed, which is larger)|failed to (?:allocate|initialize|init).{0,30}kv[ _-]?cache|KV cache pool is full|out of KV[ _-]?cache)",
    )
    .alone()
    .says("The server has no memory left for its key-value cache.")
    .advice(&[KV_CACHE, QUANTIZE, SMALLER_MODEL])
    .like(&[
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored in KV cache (56080). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`",
        "ValueError: To serve at least one request with the models's max seq len (262144), (24.00 GiB KV cache is needed, which is larger than the available KV cache memory (10.2 GiB)).",
        "llama_init_from_model: failed to initialize kv cache",
    ]),
    Rule::new(
        "oom_gpu",
        Oom,
        r"(?i)(?:CUDA|HIP|ROCm|XPU|NPU|MPS)(?: backend)? out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|cudaMalloc(?:Async|Managed|Host)? failed|hipErrorOutOfMemory|cudaErrorOutOfMemory|torch\.(?:cuda\.)?OutOfMemoryError|^\S*OutOfMemoryError\b|failed to allocate (?:CUDA|Vulkan|Metal|ROCm|HIP|SYCL)\S* buffer|OOM when allocating tensor|Free memory on device .{0,80}is less than desired GPU memory|failed to allocate compute buffers|unable to allocate (?:CUDA|Vulkan|Metal|ROCm|HIP|SYCL)\S* buffer|ErrorOutOfDeviceMemory|Device memory allocation of size \d+ failed",
    )
    .alone()
    .says("The GPU's memory ran out.")
    .advice(&[HALVE_BATCH, QUANTIZE, FEWER_PASSAGES, OTHER_PROCESSES, SMALLER_MODEL])
    .like(&[
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 86.00 MiB. GPU 0 has a total capacity of 44.40 GiB",
        "RuntimeError: CUDA error: out of memory",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 167771.94 MiB on device 0: cudaMalloc failed: out of memory",
        "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
        "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[32,512,1024]",
        "RuntimeError: MPS backend out of memory (MPS allocated: 17.5 GB)",
        "ValueError: Free memory on device (10.2/23.6 GiB) on startup is less than desired GPU memory utilization (0.9, 21.3 GiB).",
        "ggml_vulkan: Device memory allocation of size 1073741824 failed.",
        "RuntimeError: NPU out of memory. Tried to allocate 64.00 MiB",
    ]),
    Rule::new(
        "cublas",
        Oom,
        r"CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|CUSPARSE_STATUS_ALLOC_FAILED|CUBLAS_STATUS_NOT_INITIALIZED.{0,40}cublasCreate|CUSOLVER_STATUS_ALLOC_FAILED",
    )
    .alone()
    .medium()
    .says("A GPU library could not allocate its workspace: the GPU's memory is all but full.")
    .advice(&[HALVE_BATCH, QUANTIZE, OTHER_PROCESSES])
    .like(&[
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ]),
    Rule::new(
        "oom_gpu",
        Oom,
        r"RESOURCE_EXHAUSTED|ResourceExhaustedError|(?i:Attempting to allocate .{0,40}That was not possible)",
    )
    .alone()
    .medium()
    .says("The device's memory ran out.")
    .advice(&[HALVE_BATCH, QUANTIZE, SMALLER_MODEL])
    .like(&[
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
    ]),
    Rule::new(
        "oom_host",
        Oom,
        r"(?i)Detected \d+ oom[-_ ]?kill event|oom[-_]kill(?:er)?[:= ]|Out of memory: Killed process|Memory cgroup out of memory|(?-i:\bOUT_OF_ME(?:MORY\b|\b|\+))|TERM_MEMLIMIT|killed by the OOM killer|Failed with result 'oom-kill'|task \d+: Out Of Memory|OOM Killed|OOMKilled|invoked oom-killer|Exceeded (?:job|step) memory limit|memory usage.{0,60}exceeded the (?:memory )?(?:limit|threshold)|exceeded memory limit.{0,40}(?:killed|terminated)|running low on memory.{0,80}killed",
    )
    .alone()
    .says("The machine's memory ran out, and the kernel or the scheduler killed the process.")
    .advice(&[LESS_HOST_MEMORY, HALVE_BATCH, SMALLER_MODEL])
    .like(&[
        "slurmstepd: error: Detected 1 oom_kill event in StepId=66733646.batch. Some of the step tasks have been OOM Killed.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=123.0 cgroup.",
        "Out of memory: Killed process 4242 (python) total-vm:104857600kB",
        "srun: error: node12: task 0: Out Of Memory",
        "Memory cgroup out of memory: Killed process 99 (python3)",
        "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.",
        "app.service: A process of this unit has been killed by the OOM killer.",
        "State: OUT_OF_MEMORY (exit code 0)",
    ]),
    Rule::new(
        "oom_host",
        Oom,
        r"(?i)^\S*MemoryError\b|Cannot allocate memory|DefaultCPUAllocator|std::bad_alloc|not enough memory: you tried to allocate|memory allocation of \d+ bytes failed|Unable to allocate \d[\d.]* [KMGT]i?B for an array|fatal: out of memory|failed to map segment from shared object: Cannot allocate|ArrayMemoryError|\[Errno 12\]|realloc of size \d+ failed|malloc of size \d+ failed|malloc\(\) failed|The paging file is too small",
    )
    .alone()
    .says("The machine's memory ran out.")
    .advice(&[LESS_HOST_MEMORY, HALVE_BATCH, SMALLER_MODEL])
    .like(&[
        "MemoryError",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes. Error code 12 (Cannot allocate memory)",
        "std::bad_alloc",
        "memory allocation of 34359738368 bytes failed",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100000, 100000) and data type float64",
    ]),
    Rule::new("oom_host", Oom, r"(?i)DataLoader worker.{0,40}killed by signal: Killed")
        .medium()
        .says("A data loader worker was killed, most likely by the kernel because memory ran out.")
        .advice(&[LESS_HOST_MEMORY])
        .like(&["RuntimeError: DataLoader worker (pid 933394) is killed by signal: Killed."]),
    Rule::new("oom_gpu", Oom, r"(?i)\bout of memory\b|\bOOM\b.{0,20}(?:error|fail|occurred)|insufficient (?:GPU |device |video )?memory|not enough (?:GPU |device |video |VRAM )?memory|modules are dispatched on the CPU or the disk")
        .medium()
        .says("Memory ran out.")
        .advice(&[HALVE_BATCH, QUANTIZE, SMALLER_MODEL])
        .like(&["RuntimeError: out of memory", "error: not enough GPU memory to load the model", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM"]),
];
