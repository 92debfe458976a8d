//! What to change, in words that name what this study has.

use super::explain::Context;

/// One piece of advice: the sentence when the study's values are known, and
/// the sentence when they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    /// With `{batch_size}`, `{half_batch}`, `{model}`, `{quantization}`,
    /// `{smaller_quantization}`, `{top_k}`, `{half_top_k}`, `{dataset}`,
    /// `{retriever}`.
    pub specific: &'static str,
    /// Without any.
    pub general: &'static str,
}

const fn tip(specific: &'static str, general: &'static str) -> Tip {
    Tip { specific, general }
}

const fn plain(general: &'static str) -> Tip {
    Tip {
        specific: general,
        general,
    }
}

pub(super) const HALVE_BATCH: Tip = tip(
    "Lower batch_size from {batch_size} to {half_batch}.",
    "Lower the batch size (halve it until it fits).",
);
pub(super) const QUANTIZE: Tip = tip(
    "Load {model} with quantization {smaller_quantization} instead of {quantization}.",
    "Load the model with a smaller quantization (8bit or 4bit).",
);
pub(super) const SMALLER_MODEL: Tip = tip(
    "Use a smaller model than {model}.",
    "Use a smaller model, or spread it over more devices.",
);
pub(super) const FEWER_PASSAGES: Tip = tip(
    "Put fewer passages into the prompt: lower top_k from {top_k} to {half_top_k}.",
    "Shorten the prompt: fewer passages, fewer examples, or a lower max_new_tokens.",
);
pub(super) const OTHER_PROCESSES: Tip =
    plain("Look for other processes on the device with nvidia-smi and end those that are yours.");
pub(super) const LESS_HOST_MEMORY: Tip = plain(
    "Ask for more host memory (Slurm: --mem), or use fewer data loader workers and smaller caches.",
);
pub(super) const KV_CACHE: Tip = plain(
    "Lower the server's maximum context length or its number of sequences, or raise its memory share.",
);
pub(super) const SHM: Tip = plain(
    "Give the container more shared memory (--ipc=host or --shm-size=8g), or set num_workers to 0.",
);
pub(super) const RESTART_PROCESS: Tip =
    plain("Start a fresh process: after this error the CUDA context of the old one is unusable.");
pub(super) const LAUNCH_BLOCKING: Tip =
    plain("Run once with CUDA_LAUNCH_BLOCKING=1 to see the call that really failed.");
pub(super) const CHECK_IDS: Tip = tip(
    "Check that the tokenizer belongs to {model}: a token or position id lies outside of its table.",
    "Check that token, label and position ids lie inside the model's tables (tokenizer of another model, prompt longer than the context).",
);
pub(super) const LOWER_LAUNCH: Tip = tip(
    "Lower batch_size from {batch_size} to {half_batch}: the kernel's launch grid became too large.",
    "Lower the batch size or the sequence length: the kernel's launch grid became too large.",
);
pub(super) const OTHER_QUANTIZATION: Tip = tip(
    "Try {model} without quantization {quantization} to see whether the quantised kernels are to blame.",
    "Try the model without quantisation to see whether the quantised kernels are to blame.",
);
pub(super) const UPDATE_DRIVER: Tip = plain(
    "Compare the driver (nvidia-smi) with the CUDA version the program was built for, and update the older one.",
);
pub(super) const BUILD_FOR_GPU: Tip =
    plain("Install a build that supports this GPU's compute capability.");
pub(super) const VISIBLE_DEVICES: Tip =
    plain("Check CUDA_VISIBLE_DEVICES and that the job was given a GPU (nvidia-smi -L).");
pub(super) const REPLACE_HARDWARE: Tip = plain(
    "Report the device to the machine's administrator and take another one; retrying does not help.",
);
pub(super) const NCCL_DEBUG: Tip = plain(
    "Run once with NCCL_DEBUG=INFO and look for the first rank that failed; the others only wait.",
);
pub(super) const NCCL_NETWORK: Tip =
    plain("Check the network between the nodes (NCCL_SOCKET_IFNAME, firewalls, InfiniBand state).");
pub(super) const LONGER_TIMEOUT: Tip = plain("Raise the timeout if the work is only slow.");
pub(super) const LONGER_JOB: Tip = plain(
    "Ask for a longer time limit (Slurm: --time), or split the work; `resume` goes on where it stopped.",
);
pub(super) const RESUME: Tip =
    plain("Run `ragicamp resume` on the study: what was answered is kept.");
pub(super) const FREE_DISK: Tip = plain(
    "Free space on the full file system, or move the outputs and caches (HF_HOME, TMPDIR) elsewhere.",
);
pub(super) const QUOTA: Tip = plain("Check your quota; the disk itself may have space.");
pub(super) const PERMISSIONS: Tip =
    plain("Check the owner and the permissions of the path in the message.");
pub(super) const CHECK_PATH: Tip = plain(
    "Check the path in the message: spelling, working directory, and whether it is mounted on this node.",
);
pub(super) const CHECK_MODEL: Tip = tip(
    "Check that {model} exists and is spelled as on the hub.",
    "Check that the model exists and is spelled as on the hub.",
);
pub(super) const DOWNLOAD_AGAIN: Tip = tip(
    "Delete the cached files of {model} and download them again; a download was cut off.",
    "Delete the cached files and download them again; a download was cut off.",
);
pub(super) const LOGIN: Tip =
    plain("Log in (HF_TOKEN, `hf auth login`) and accept the model's licence on its page.");
pub(super) const OFFLINE: Tip =
    plain("Check the network, or download first and work with HF_HUB_OFFLINE=1.");
pub(super) const RETRY_LATER: Tip = plain("Try again later, with fewer requests at a time.");
pub(super) const INSTALL: Tip =
    plain("Install the missing package into the environment that runs the program.");
pub(super) const PIN_VERSIONS: Tip =
    plain("Two packages do not fit together: install the versions that the code was written for.");
pub(super) const FIX_CONFIG: Tip =
    plain("Correct the setting that the message names; see the study's YAML.");
pub(super) const FIX_CODE: Tip =
    plain("Look at the last frame of the traceback that is in your own code.");
pub(super) const CHECK_DATA: Tip = tip(
    "Check the fields of {dataset} against what the code reads.",
    "Check the data's fields and shapes against what the code reads.",
);
pub(super) const CHAT_TEMPLATE: Tip = tip(
    "Choose the instruct variant of {model}, or a prompt without a system message.",
    "Choose an instruct model with a chat template, or a prompt without a system message.",
);
pub(super) const FREE_PORT: Tip =
    plain("End the process that holds the port, or choose another port.");
pub(super) const LOWER_LR: Tip =
    plain("Lower the learning rate, clip gradients, or compute in bfloat16 or float32.");
pub(super) const FULL_PRECISION: Tip = tip(
    "Load {model} with another dtype or without quantization {quantization}: its numbers overflow.",
    "Compute in bfloat16 or float32 and without quantisation: the numbers overflow.",
);
pub(super) const FIRST_RANK: Tip =
    plain("Look at the rank that failed first; this message only says that a child ended.");
pub(super) const WORKER_LOG: Tip =
    plain("Look at the dead worker's own log, and at dmesg for the kernel's OOM killer.");
pub(super) const CORE_DUMP: Tip =
    plain("Run once with PYTHONFAULTHANDLER=1 (or RUST_BACKTRACE=1) to see where it crashed.");
pub(super) const NUM_WORKERS_ZERO: Tip =
    plain("Set num_workers to 0 to see the worker's own error.");
pub(super) const REPORT_BUG: Tip = plain("Report it with `ragicamp errors --copy-report`.");
pub(super) const OPEN_FILES: Tip = plain("Raise the limit of open files (ulimit -n).");
pub(super) const OWN_KERNEL: Tip = plain(
    "The device is well: look for the program's own wild access or early end, with CUDA_LAUNCH_BLOCKING=1.",
);
pub(super) const MOUNT: Tip = plain(
    "Check the mount or the disk (df, dmesg) and write elsewhere meanwhile; what was answered is kept.",
);
pub(super) const OTHER_BINARY: Tip = plain(
    "Use a build for this machine: its processor lacks what the program was compiled for (AVX2, AVX-512, another architecture).",
);
pub(super) const COMPILER: Tip = plain(
    "Install a C compiler and Python's headers (gcc, python3-dev); for -lcuda, put libcuda.so on the linker's path.",
);
pub(super) const FEWER_THREADS: Tip = plain(
    "Start fewer threads and processes (OMP_NUM_THREADS, num_workers), or raise their limit (ulimit -u).",
);
pub(super) const ONE_OPENMP: Tip = plain(
    "Two packages bring an OpenMP runtime each: install them from one source, so that they share it.",
);
pub(super) const CONTAINER_GPU: Tip = plain(
    "Install NVIDIA's container toolkit and load the driver on the host, and start the container with --gpus all.",
);
pub(super) const CLUSTER_GPU: Tip =
    plain("Wait for a GPU to become free in the cluster, or ask for fewer or other ones.");
pub(super) const IMAGE: Tip =
    plain("Check the image's name and tag, and the credentials of its registry.");
pub(super) const CERTIFICATES: Tip = plain(
    "Point SSL_CERT_FILE and REQUESTS_CA_BUNDLE at the certificates of your proxy, or bypass it.",
);
pub(super) const CREDIT: Tip =
    plain("Add credit or raise the spending limit of the account; trying again does not help.");
pub(super) const TRUST_CODE: Tip = tip(
    "Read the code that {model} brings along, and then set trust_remote_code.",
    "Read the code that the repository brings along, and then set trust_remote_code.",
);
pub(super) const UPDATE_LIBRARY: Tip = plain(
    "Update the library that the message names; its own check failed, so a broken file or a bug of it is behind this.",
);
pub(super) const ONE_WRITER: Tip = plain(
    "End the other process that holds the database, and keep it on a local disk: network file systems do not lock well.",
);
pub(super) const TRACKER_OFFLINE: Tip =
    plain("Run with WANDB_MODE=offline and upload later with `wandb sync`.");
pub(super) const SERVER_KEY: Tip =
    plain("Set OPENAI_API_KEY to a key that the server accepts and that may use this model.");
pub(super) const SERVER_URL: Tip = plain(
    "Check that the server at base_url (or OPENAI_BASE_URL) runs and can be reached from this machine.",
);
pub(super) const SERVER_MODEL: Tip =
    plain("Check that the server has a model of this name, and that base_url is its address.");
pub(super) const SERVER_LOAD: Tip = tip(
    "Send fewer requests at once: lower batch_size from {batch_size} to {half_batch}, or try again later.",
    "Send fewer requests at once (a lower batch_size), or try again later.",
);
pub(super) const SERVER_LOG: Tip =
    plain("Look at the server's own log: it may know more than it answered.");

/// The sentence for `context`.
pub(super) fn render(tip: &Tip, context: &Context) -> String {
    fill(tip.specific, context).unwrap_or_else(|| tip.general.to_owned())
}

/// Puts values into `template`; `None` when one is unknown or helps nothing.
pub(super) fn fill(template: &str, context: &Context) -> Option<String> {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let end = rest[at..].find('}')? + at;
        out.push_str(&rest[..at]);
        out.push_str(&value(&rest[at + 1..end], context)?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

fn value(name: &str, context: &Context) -> Option<String> {
    let half = |number: Option<usize>| {
        number
            .filter(|number| *number > 1)
            .map(|number| (number / 2).to_string())
    };
    match name {
        "batch_size" => context.batch_size.map(|size| size.to_string()),
        "half_batch" => half(context.batch_size),
        "top_k" => context.top_k.map(|top_k| top_k.to_string()),
        "half_top_k" => half(context.top_k),
        "model" => context.model.clone(),
        "dataset" => context.dataset.clone(),
        "retriever" => context.retriever.clone(),
        "quantization" => context.quantization.clone(),
        "smaller_quantization" => match context.quantization.as_deref()? {
            "none" => Some("8bit".to_owned()),
            "8bit" => Some("4bit".to_owned()),
            _ => None,
        },
        _ => None,
    }
}
