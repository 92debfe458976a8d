use nvml_wrapper::Nvml;
use serde_json::{Map, Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// Instruction sets that decide how fast inference is.
const SIMD: [&str; 9] = [
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "asimddp",
];

/// Values of variables that are secrets are not printed.
const SECRETS: [&str; 3] = ["TOKEN", "KEY", "PASSWORD"];

/// Model, cores, threads and vector instructions of the processor.
pub fn processor() -> Value {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |names: &[&str]| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names
                .contains(&name.trim())
                .then(|| value.trim().to_owned())
        })
    };
    let flags = field(&["flags", "Features"]).unwrap_or_default();
    let simd: Vec<&str> = flags
        .split_whitespace()
        .filter_map(|flag| SIMD.into_iter().find(|known| *known == flag))
        .collect();
    let mut found = json!({
        "model": field(&["model name", "Model", "CPU implementer"]),
        "cores": std::thread::available_parallelism().ok().map(usize::from),
        "simd": simd,
    });
    #[cfg(feature = "inference")]
    {
        found["threads"] = json!(crate::inference::threads());
        found["kernels"] = json!(crate::inference::instruction_sets().first());
    }
    if text.is_empty() {
        found["problem"] = json!("/proc/cpuinfo can not be read");
    }
    found
}

/// Total and available memory of the machine, in bytes.
pub fn memory() -> Value {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return json!({"problem": "/proc/meminfo can not be read"});
    };
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    json!({
        "total_bytes": bytes("MemTotal:"),
        "available_bytes": bytes("MemAvailable:"),
        "group_limit_bytes": limit,
    })
}

/// The GPUs that the driver tells of, and whether this build can use them.
pub fn gpus() -> Value {
    let usable = cfg!(feature = "cuda");
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => {
            return json!({
                "usable": usable,
                "devices": [],
                "problem": format!("no NVIDIA driver answers ({error})"),
            });
        }
    };
    let devices: Vec<Value> = (0..nvml.device_count().unwrap_or(0))
        .map(|index| {
            let Ok(device) = nvml.device_by_index(index) else {
                return json!({"index": index, "problem": "it does not answer"});
            };
            let memory = device.memory_info().ok();
            json!({
                "index": index,
                "name": device.name().ok(),
                "total_bytes": memory.as_ref().map(|memory| memory.total),
                "free_bytes": memory.as_ref().map(|memory| memory.free),
            })
        })
        .collect();
    let mut found = json!({
        "usable": usable,
        "driver": nvml.sys_driver_version().ok(),
        "devices": devices,
    });
    if !usable && !devices.is_empty() {
        found["problem"] =
            json!("this build is for the CPU only; build it with --features cuda to use them");
    }
    found
}

/// Free space where artifacts would go.
pub fn outputs(path: &Path) -> Value {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing: Option<PathBuf> = whole
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .map(Path::to_path_buf);
    let free = existing
        .as_ref()
        .and_then(|path| rustix::fs::statvfs(path).ok())
        .map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    let mut found = json!({
        "path": path,
        "exists": whole.is_dir(),
        "free_bytes": free,
    });
    if free.is_none() {
        found["problem"] = json!("the free space can not be found out");
    }
    found
}

/// The variables that change what this program does.
pub fn settings() -> Value {
    let starts = ["RAGICAMP_", "HF_", "HUGGINGFACE_"];
    let names = [
        "RAYON_NUM_THREADS",
        "CANDLE_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "XDG_CACHE_HOME",
        "RUST_LOG",
    ];
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let matters = starts.iter().any(|start| name.starts_with(start))
                || names.contains(&name.as_str());
            let is_secret = SECRETS.iter().any(|word| name.ends_with(word));
            let value = if is_secret {
                "(set)".to_owned()
            } else {
                value.to_string_lossy().into_owned()
            };
            matters.then_some((name, value))
        })
        .collect();
    found.sort();
    Value::Object(
        found
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect::<Map<_, _>>(),
    )
}

/// The report for people.
pub fn print(report: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: String| {
        // Writing into a text can not fail.
        let _ = writeln!(text, "{name:<15} {what}");
    };
    let word = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let number = |value: &Value| match value {
        Value::Null => "unknown".to_owned(),
        value => value.to_string(),
    };
    let problem = |value: &Value| value["problem"].as_str().map(str::to_owned);
    let processor = &report["processor"];
    line(
        "processor",
        format!(
            "{}, {} cores",
            word(&processor["model"]),
            number(&processor["cores"])
        ),
    );
    let simd: Vec<&str> = processor["simd"]
        .as_array()
        .map(|sets| sets.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    line("instructions", simd.join(" "));
    if !processor["threads"].is_null() {
        line(
            "threads",
            format!(
                "{} (RAYON_NUM_THREADS changes it), kernels for {}",
                processor["threads"],
                word(&processor["kernels"])
            ),
        );
    }
    let memory = &report["memory"];
    line(
        "memory",
        problem(memory).unwrap_or_else(|| {
            format!(
                "{} of {} available",
                size(&memory["available_bytes"]),
                size(&memory["total_bytes"])
            )
        }),
    );
    if !memory["group_limit_bytes"].is_null() {
        line("memory limit", size(&memory["group_limit_bytes"]));
    }
    let gpus = &report["gpus"];
    for gpu in gpus["devices"].as_array().into_iter().flatten() {
        line(
            &format!("gpu {}", gpu["index"]),
            problem(gpu).unwrap_or_else(|| {
                format!(
                    "{}, {} of {} free",
                    word(&gpu["name"]),
                    size(&gpu["free_bytes"]),
                    size(&gpu["total_bytes"])
                )
            }),
        );
    }
    if let Some(problem) = problem(gpus) {
        line("gpus", problem);
    }
    let speed = &report["speed"];
    line(
        "speed",
        problem(speed).unwrap_or_else(|| {
            format!(
                "memory {} GB/s, matrix product {} GFLOP/s in f32, {} GOP/s with 8 bits",
                speed["memory_gb_per_second"],
                speed["f32_gemm_gflop_per_second"],
                speed["q8_0_gemm_gop_per_second"]
            )
        }),
    );
    let outputs = &report["outputs"];
    line(
        "outputs",
        problem(outputs).unwrap_or_else(|| {
            format!(
                "{}, {} free",
                word(&outputs["path"]),
                size(&outputs["free_bytes"])
            )
        }),
    );
    let models = report["cached_models"].as_array();
    if models.is_none_or(Vec::is_empty) {
        line("cached models", "none in the hub's cache".to_owned());
    }
    for model in models.into_iter().flatten() {
        line(
            "cached model",
            format!("hf:{}, {}", word(&model["name"]), size(&model["bytes"])),
        );
    }
    for (name, value) in report["settings"].as_object().into_iter().flatten() {
        line("setting", format!("{name}={}", word(value)));
    }
    let model = &report["model"];
    if !model.is_null() {
        let name = format!(
            "{} ({})",
            word(&model["name"]),
            word(&model["quantization"])
        );
        match problem(model) {
            Some(problem) => line("model", format!("{name}: {problem}")),
            None => {
                line(
                    "model",
                    format!(
                        "{name}: {}, {} layers, context {}",
                        word(&model["architecture"]),
                        model["layers"],
                        model["context"]
                    ),
                );
                line(
                    "model memory",
                    format!(
                        "weights {}, keys and values {} per sequence of {} tokens",
                        size(&model["weights_bytes"]),
                        size(&model["cache_bytes_per_sequence"]),
                        model["tokens_per_sequence"]
                    ),
                );
                line(
                    "batch size",
                    match &model["batch_size"] {
                        Value::Null => format!(
                            "it does not fit: {} are free",
                            size(&model["available_bytes"])
                        ),
                        size => size.to_string(),
                    },
                );
            }
        }
    }
    text
}

/// Bytes, for people.
fn size(bytes: &Value) -> String {
    let Some(bytes) = bytes.as_f64() else {
        return "unknown".to_owned();
    };
    match bytes {
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.0} kB", bytes / 1e3),
    }
}
