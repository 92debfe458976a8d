//! The GPU, its driver, and the libraries on it.

use super::{
    Rule,
    RuleClass::{Config, Cuda},
};
use crate::errortrace::advice::{
    BUILD_FOR_GPU, CHECK_IDS, CLUSTER_GPU, CONTAINER_GPU, HALVE_BATCH, INSTALL, LAUNCH_BLOCKING,
    LOWER_LAUNCH, OTHER_PROCESSES, OTHER_QUANTIZATION, OWN_KERNEL, REPLACE_HARDWARE,
    RESTART_PROCESS, UPDATE_DRIVER, VISIBLE_DEVICES,
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("xid_application", Cuda, r"(?i)\bXid\b(?: \(PCI:[0-9a-f:.]+\))?:? *(?:13|31|43|45)\b")
        .alone()
        .says("The driver stopped a program's work on the GPU because of the program's own fault.")
        .advice(&[OWN_KERNEL, RESTART_PROCESS])
        .like(&["NVRM: Xid (PCI:0000:07:00): 31, pid=12, name=python, Ch 00000008"]),
    Rule::new("ecc_xid", Cuda, r"(?i)\bXid\b.{0,40}\d|uncorrectable ECC|CUDA_ERROR_ECC_UNCORRECTABLE|fallen off the bus|GPU is lost|row remapping|NVLink error|CUDA_ERROR_NVLINK_UNCORRECTABLE|double[- ]bit ECC|unspecified launch failure.{0,20}ECC")
        .alone()
        .says("The GPU reported a hardware fault.")
        .advice(&[REPLACE_HARDWARE, RESTART_PROCESS])
        .like(&[
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        ]),
    Rule::new("device_assert", Cuda, r"(?i:device-side assert(?:\W|$)|CUDA_ERROR_ASSERT)|Assertion `.{0,200}` failed\.?$|block: \[\d+,\d+,\d+\], thread: \[\d+,\d+,\d+\] Assertion|index out of bounds: 0 <= .{0,60} < ")
        .alone()
        .says("A kernel's own check failed on the GPU, most often an index outside of a table.")
        .advice(&[CHECK_IDS, LAUNCH_BLOCKING, RESTART_PROCESS])
        .like(&[
            "RuntimeError: CUDA error: device-side assert triggered",
            "/pytorch/aten/src/ATen/native/cuda/Indexing.cu:699: indexSelectLargeIndex: block: [588,0,0], thread: [127,0,0] Assertion `srcIndex < srcSelectDimSize` failed.",
        ]),
    Rule::new("illegal_memory_access", Cuda, r"(?i)illegal memory access|CUDA_ERROR_ILLEGAL_ADDRESS|cudaErrorIllegalAddress|misaligned address|CUDA_ERROR_MISALIGNED_ADDRESS|illegal address|hipErrorIllegalAddress|Memory access fault by GPU|invalid program counter|illegal instruction was encountered|invalid address space")
        .alone()
        .says("A kernel touched memory that is not its own.")
        .advice(&[RESTART_PROCESS, LAUNCH_BLOCKING, OTHER_QUANTIZATION])
        .like(&[
            "CUDA error: an illegal memory access was encountered",
            "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "Memory access fault by GPU node-1 (Agent handle: 0x55d0) on address 0x7f0000000000. Reason: Unknown.",
        ]),
    Rule::new("launch_config", Cuda, r"(?i)invalid configuration argument|too many resources requested for launch|CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES|out of resource: shared memory|OutOfResources")
        .alone()
        .says("A kernel was started with a launch grid that the GPU refuses; large batches do that.")
        .advice(&[LOWER_LAUNCH, OTHER_QUANTIZATION])
        .like(&[
            "Error invalid configuration argument at line 380 in file /src/csrc/ops.cu",
            "RuntimeError: CUDA error: too many resources requested for launch",
            "n = 2**31           -> Error invalid configuration argument at line 54 in file /src/csrc/ops.cu",
            "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 147456, Hardware limit: 101376.",
        ]),
    Rule::new("cuda_kernel", Cuda, r"Error (?:invalid|named symbol|no kernel|an illegal|unspecified|unknown|operation not)[\w ,-]{0,60} at line \d+ in file \S+\.(?:cu|c|cpp|cuh|cc)\b")
        .alone()
        .says("A CUDA call in a native extension failed, and the extension ended the process.")
        .advice(&[LAUNCH_BLOCKING, OTHER_QUANTIZATION, UPDATE_DRIVER])
        .like(&[
            "Error invalid argument at line 393 in file /mmfs1/gscratch/bitsandbytes/csrc/pythonInterface.c",
            "Error named symbol not found at line 74 in file /src/csrc/ops.cu",
        ]),
    Rule::new("no_kernel_image", Cuda, r"(?i)no kernel image is available|CUDA_ERROR_NO_BINARY_FOR_GPU|is not compatible with the current PyTorch installation|unsupported gpu architecture|CUDA_ERROR_UNSUPPORTED_PTX_VERSION|provided PTX was compiled with an unsupported toolchain|CUDA_ERROR_INVALID_PTX|no binary for gpu|FlashAttention only supports Ampere|CUDA_ERROR_NOT_FOUND|cudaErrorSymbolNotFound|named symbol not found|invalid device function|requires (?:GPU|device)s? (?:with )?compute capability")
        .alone()
        .says("The program was not built for this GPU.")
        .advice(&[BUILD_FOR_GPU, UPDATE_DRIVER])
        .like(&[
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "RuntimeError: FlashAttention only supports Ampere GPUs or newer.",
            "DriverError(CUDA_ERROR_NOT_FOUND, \"named symbol not found\")",
            "RuntimeError: HIP error: invalid device function",
            "DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"the provided PTX was compiled with an unsupported toolchain.\")",
        ]),
    Rule::new("driver_mismatch", Cuda, r"(?i)driver version is insufficient|Driver/library version mismatch|Failed to initialize NVML|NVIDIA driver on your system is too old|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH|cudaErrorInsufficientDriver|forward compatibility was attempted|CUDA_ERROR_COMPAT_NOT_SUPPORTED|system not yet initialized|CUDA_ERROR_SYSTEM_NOT_READY|fabric manager")
        .alone()
        .says("The GPU's driver does not fit the program.")
        .advice(&[UPDATE_DRIVER])
        .like(&[
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
            "Failed to initialize NVML: Driver/library version mismatch",
            "CUDA error 35: CUDA driver version is insufficient for CUDA runtime version",
            "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
        ]),
    Rule::new("no_gpu", Cuda, r"(?i)no CUDA-capable device|No CUDA GPUs are available|Found no NVIDIA driver|CUDA_ERROR_NO_DEVICE|cudaErrorNoDevice|invalid device ordinal|CUDA_ERROR_INVALID_DEVICE|couldn't communicate with the NVIDIA driver|No HIP GPUs are available|Failed to infer device type|CUDA unknown error - this may be due to an incorrectly set up environment|failed call to cuInit|CUDA driver initialization failed|No GPU found|CUDA is required but not available|no GPUs? (?:were )?(?:found|detected|available)")
        .alone()
        .says("The program sees no GPU, or not the one it was told to use.")
        .advice(&[VISIBLE_DEVICES, UPDATE_DRIVER])
        .like(&[
            "RuntimeError: No CUDA GPUs are available",
            "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver",
            "RuntimeError: CUDA error: invalid device ordinal",
            "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`",
        ]),
    Rule::new("no_gpu", Cuda, r"could not select device driver|nvidia-container-cli: .*error|nvml error: driver not loaded")
        .alone()
        .says("The container was started without a GPU that works.")
        .advice(&[CONTAINER_GPU, UPDATE_DRIVER])
        .like(&["docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]]."]),
    Rule::new("no_gpu", Cuda, r"Insufficient (?:nvidia|amd)\.com/gpu")
        .alone()
        .says("No machine of the cluster has a free GPU.")
        .advice(&[CLUSTER_GPU])
        .like(&["0/1 nodes are available: 1 Insufficient nvidia.com/gpu."]),
    Rule::new("device_busy", Cuda, r"(?i)busy or unavailable|CUDA_ERROR_DEVICE_UNAVAILABLE|cudaErrorDevicesUnavailable")
        .alone()
        .says("Another process holds the GPU, or the GPU admits only one.")
        .advice(&[OTHER_PROCESSES, VISIBLE_DEVICES])
        .like(&["RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"]),
    Rule::new("no_cuda_build", Config, r"(?i)Torch not compiled with CUDA enabled|not compiled with (?:CUDA|GPU) support|compiled without (?:CUDA|GPU) support|Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False|CUDA is not available|bitsandbytes.{0,60}(?:without GPU support|requires? .{0,20}CUDA)|the bundle wasn't built with cuda|CUDA_HOME environment variable is not set|requires a GPU|no GPU support|CUDA Setup failed|Cannot re-initialize CUDA in forked subprocess|detected CUDA version .{0,20}mismatches")
        .says("The program was built or started without GPU support.")
        .advice(&[INSTALL, VISIBLE_DEVICES])
        .like(&[
            "AssertionError: Torch not compiled with CUDA enabled",
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start method",
        "RuntimeError: The detected CUDA version (11.4) mismatches the version that was used to compile PyTorch (12.1).",
            "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.",
        ]),
    Rule::new("wrong_device", Config, r"(?i)Expected all tensors to be on the same device|Input type \(\S+\) and weight type \(\S+\) should be the same|expected .{0,20}device.{0,20}but (?:got|found)")
        .says("Tensors of one operation lie on different devices.")
        .advice(&[VISIBLE_DEVICES])
        .like(&["RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"]),
    Rule::new("launch_timeout", Cuda, r"(?i)the launch timed out and was terminated|CUDA_ERROR_LAUNCH_TIMEOUT")
        .alone()
        .says("A kernel ran longer than the driver allows.")
        .advice(&[HALVE_BATCH, RESTART_PROCESS])
        .like(&["RuntimeError: CUDA error: the launch timed out and was terminated"]),
    Rule::new("launch_failure", Cuda, r"(?i)unspecified launch failure|CUDA_ERROR_LAUNCH_FAILED|cudaErrorLaunchFailure|CUDA_ERROR_CONTEXT_IS_DESTROYED|context is destroyed")
        .alone()
        .says("A kernel crashed on the GPU.")
        .advice(&[RESTART_PROCESS, LAUNCH_BLOCKING])
        .like(&["RuntimeError: CUDA error: unspecified launch failure"]),
    Rule::new("cublas", Cuda, r"CUBLAS_STATUS_\w+|cublas(?:Lt|Sgemm|Gemm)\w* (?:failed|error)|CublasError|Blas (?:\w+ )?launch failed")
        .alone()
        .says("The matrix library on the GPU failed; memory pressure and wrong ids are its usual causes.")
        .advice(&[HALVE_BATCH, LAUNCH_BLOCKING, CHECK_IDS])
        .like(&["RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`", "Internal: Blas GEMM launch failed : a.shape=(938, 256), b.shape=(256, 256)"]),
    Rule::new("cudnn", Cuda, r"(?i)CUDNN_STATUS_\w+|cuDNN error|Could not load library libcudnn|Unable to find a valid cuDNN algorithm|GET was unable to find an engine|FIND was unable to find an engine|DNN library initialization failed")
        .alone()
        .says("The neural network library on the GPU failed; memory pressure and mixed versions are its usual causes.")
        .advice(&[HALVE_BATCH, UPDATE_DRIVER])
        .like(&[
            "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
            "RuntimeError: Unable to find a valid cuDNN algorithm to run convolution",
        ]),
    Rule::new("triton", Cuda, r"(?i)Triton Error \[CUDA\]|triton\.compiler\S*Error|PassManager::run failed|ptxas fatal|NVRTC_ERROR|nvrtc: error|nvcc fatal")
        .says("Compiling or starting a GPU kernel failed.")
        .advice(&[BUILD_FOR_GPU, OTHER_QUANTIZATION])
        .like(&["RuntimeError: Triton Error [CUDA]: device kernel image is invalid", "ptxas fatal   : Value 'sm_120' is not defined for option 'gpu-name'"]),
    Rule::new("cuda", Cuda, r"(?i)\bCUDA (?:runtime |driver )?error\b|CUDA_ERROR_\w+|cudaError\w+|CUDA failure|Cuda(?:Runtime)?Error\b|c10::CUDAError|\bHIP error\b|hipError\w+|AcceleratorError|GPUassert|CUSPARSE_STATUS_\w+|CUFFT_\w+|CURAND_STATUS_\w+|CUSOLVER_STATUS_\w+|Xla.{0,20}CUDA.{0,40}(?:error|fail)|an error occurred on the GPU|\bNPU error\b|EZ9999|CUDA call failed|cuda (?:runtime|driver) (?:api )?error|cudaGetLastError|CUDA driver error")
        .alone()
        .medium()
        .says("A CUDA call failed.")
        .advice(&[RESTART_PROCESS, LAUNCH_BLOCKING, UPDATE_DRIVER])
        .like(&[
            "c10::CUDAError: CUDA error: unknown error",
            "GPUassert: unknown error kernel.cu 42",
            "RuntimeError: HIP error: invalid argument",
        ]),
];
