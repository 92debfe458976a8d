//! Processes: how they end, and what the operating system refuses them.

use super::{
    Rule,
    RuleClass::{Config, Timeout, Unknown},
};
use crate::errortrace::advice::{
    CERTIFICATES, CHECK_PATH, CORE_DUMP, CREDIT, FEWER_THREADS, FREE_DISK, IMAGE, LESS_HOST_MEMORY,
    LOGIN, LONGER_TIMEOUT, MOUNT, NUM_WORKERS_ZERO, OFFLINE, ONE_OPENMP, OPEN_FILES, OTHER_BINARY,
    PERMISSIONS, QUOTA, RESUME, RETRY_LATER, TRACKER_OFFLINE,
};

/// A signal's name where it says that the signal came, and not where it is
/// the value of a setting or a handler's.
macro_rules! came {
    ($name:literal) => {
        concat!(
            r"(?:signal |received |got |by |with |code |killed[:,]? |terminated[:,]? |Signals\.|^|\(|\d: ?|\*\*\* )",
            $name,
            r"(?:$|[^\w'])"
        )
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule::new("disk_full", Config, r"(?i)No space left on device|\[Errno 28\]|os error 28\b|disk (?:is )?full|not enough (?:free )?(?:disk )?space|ENOSPC|There is not enough space on the disk|database or disk is full|PytorchStreamWriter failed writing file|unexpected pos \d+ vs \d+|Not enough free disk space")
        .alone()
        .says("The disk is full.")
        .advice(&[FREE_DISK, RESUME])
        .like(&[
            "OSError: [Errno 28] No space left on device",
            "RuntimeError: [enforce fail at inline_container.cc:603] . unexpected pos 1024 vs 918",
            "Error: No space left on device (os error 28)",
        ]),
    Rule::new("disk_full", Config, r"(?i)Disk quota exceeded|\[Errno 122\]|os error 122\b|EDQUOT")
        .alone()
        .says("The disk quota is used up.")
        .advice(&[QUOTA, FREE_DISK])
        .like(&["OSError: [Errno 122] Disk quota exceeded: '/home/u/.cache/x'"]),
    Rule::new("stale_mount", Config, r"(?i)Stale (?:NFS )?file handle|Input/output error|Transport endpoint is not connected|\[Errno (?:5|107|116)\]|os error (?:5|107|116)\b")
        .says("The file system does not answer: its mount went stale, or the disk is failing.")
        .advice(&[MOUNT, RESUME])
        .like(&[
            "OSError: [Errno 116] Stale file handle: '/mnt/x'",
            "Error: Input/output error (os error 5)",
        ]),
    Rule::new("evicted", Unknown, r"Reason: +Evicted|low on resource: |\bPod .*[Ee]victed")
        .alone()
        .says("The cluster ended the pod because its machine ran short of something.")
        .advice(&[FREE_DISK, RESUME])
        .like(&["Reason:              Evicted", "Message: The pod was evicted; the node was low on resource: ephemeral-storage."]),
    Rule::new("image", Config, r"ErrImagePull|ImagePullBackOff|Failed to pull image|pull access denied|manifest unknown")
        .alone()
        .says("The container's image can not be fetched.")
        .advice(&[IMAGE])
        .like(&["Failed to pull image \"registry/train:v3\": rpc error: code = NotFound"]),
    Rule::new("quota", Config, r"(?i)insufficient_quota|exceeded your current quota|billing (?:hard )?limit|credit balance is too low|Insufficient (?:Balance|credits)")
        .says("The account's credit with a service is used up.")
        .advice(&[CREDIT])
        .like(&["openai.RateLimitError: Error code: 429 - {'error': {'code': 'insufficient_quota'}}"]),
    Rule::new("tracker", Timeout, r"(?i)wandb\S*(?:CommError|\.Error).*timed? ?out")
        .medium()
        .says("The experiment tracker's server did not answer.")
        .advice(&[TRACKER_OFFLINE])
        .like(&["wandb.errors.CommError: Run initialization has timed out after 90.0 sec."]),
    Rule::new("rate_limit", Unknown, r"(?i)\b429\b.{0,60}(?:Too Many Requests|rate|Client Error)|Too Many Requests|RateLimitError|rate limit(?:ed| reached| exceeded)|quota exceeded|ResourceExhausted: 429|status code:? 429\b|overloaded_error|\b529\b.{0,20}overloaded")
        .says("A service refused requests because there were too many.")
        .advice(&[RETRY_LATER])
        .like(&[
            "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models",
            "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached'}}",
        ]),
    Rule::new("auth", Config, r"(?i)\b(?:401|403)\b.{0,40}(?:Client Error|Unauthorized|Forbidden)|(?:Error|status) code:? 40[13]\b|GatedRepoError|gated repo|is a gated|Invalid (?:username or password|token|api[ _-]?key|credentials)|AuthenticationError|Incorrect API key|PermissionDeniedError|access to .{0,80}is restricted|You must be authenticated|must have access to it|api_key client option must be set|Access Denied|NoCredentialsError|ExpiredToken|LocalTokenNotFoundError|wandb\.errors.{0,40}(?:auth|login|api_key)|No API key configured")
        .says("A service refused access: the login is missing, wrong or without the right.")
        .advice(&[LOGIN])
        .like(&[
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6)",
            "OSError: You are trying to access a gated repo.",
            "openai.AuthenticationError: Error code: 401 - {'error': {'message': 'Incorrect API key provided'}}",
            "openai.OpenAIError: The api_key client option must be set either by passing api_key to the client or by setting the OPENAI_API_KEY environment variable",
            "wandb.errors.errors.UsageError: api_key not configured (no-tty). call wandb.login(key=[your_api_key])",
        ]),
    Rule::new("timeout", Timeout, r"(?i)(?:^|\b)(?:[\w.]+\.)?(?:TimeoutError|ReadTimeout|ConnectTimeout|ConnectionTimeout|WriteTimeout|PoolTimeout|Timeout|TimeoutExpired|APITimeoutError|GetTimeoutError|ReadTimeoutError|ConnectTimeoutError|DeadlineExceeded|FileLockTimeout|LockTimeout|socket\.timeout|ServerTimeoutError|FunctionTimedOut)\b(?:$|:|\()|\btimed out\b|DEADLINE_EXCEEDED|\[Errno 110\]|os error 110\b|Execution timed out|exceeded (?:the )?timeout|Timeout was reached|time limit exceeded|timeout (?:after|of|exceeded|expired|waiting)|Gateway Time-?out|operation timed-out")
        .medium()
        .says("Something did not answer in time.")
        .advice(&[LONGER_TIMEOUT, OFFLINE])
        .like(&[
            "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out. (read timeout=10)",
            "subprocess.TimeoutExpired: Command 'x' timed out after 10 seconds",
            "TimeoutError",
            "socket.timeout: timed out",
            "asyncio.exceptions.TimeoutError",
            "httpx.ReadTimeout",
            "ray.exceptions.GetTimeoutError: Get timed out: some object(s) not ready.",
        ]),
    Rule::new("certificate", Config, r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSLCertVerificationError|invalid peer certificate|self[- ]signed certificate|unable to get local issuer certificate")
        .says("The server's certificate is not one that this machine trusts; a proxy that opens connections does that.")
        .advice(&[CERTIFICATES, OFFLINE])
        .like(&["ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed certificate in certificate chain"]),
    Rule::new("network", Unknown, r"(?i)ConnectionError|ConnectionRefused|ConnectionReset|Connection (?:refused|reset|aborted)|Connection broken|MaxRetryError|NewConnectionError|Name or service not known|Temporary failure in name resolution|getaddrinfo failed|gaierror|SSLError|status code:? 5\d\d\b|RemoteDisconnected|RemoteProtocolError|ProtocolError|IncompleteRead|ChunkedEncodingError|ClientConnectorError|ServerDisconnectedError|APIConnectionError|ConnectError|URLError|urlopen error|Network is unreachable|No route to host|Cannot assign requested address|dns error|error sending request|\b50[0234]\b.{0,40}(?:Server Error|Bad Gateway|Service Unavailable|Internal Server Error)|couldn't connect to|We couldn't connect|error trying to connect|tcp connect error|BrokenPipeError|Broken pipe|StatusCode\.UNAVAILABLE|Could not resolve host|InternalServerError|CommError")
        .medium()
        .says("The network or a server did not answer.")
        .advice(&[OFFLINE, RETRY_LATER])
        .like(&[
            "requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded\"))",
            "ConnectionRefusedError: [Errno 111] Connection refused",
            "socket.gaierror: [Errno -3] Temporary failure in name resolution",
            "OSError: We couldn't connect to 'https://huggingface.co' to load this file",
            "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: https://x",
        ]),
    Rule::new("permission", Config, r"^\S+: .*: Permission denied$")
        .alone()
        .says("The operating system refused access to a file or device.")
        .advice(&[PERMISSIONS])
        .like(&["mkdir: cannot create directory '/scratch/u': Permission denied", "bash: ./run.sh: Permission denied"]),
    Rule::new("permission", Config, r"(?i)PermissionError|Permission denied|Operation not permitted|\[Errno 13\]|os error 13\b|Read-only file system|\[Errno 30\]|EACCES|os error 30\b")
        .says("The operating system refused access to a file or device.")
        .advice(&[PERMISSIONS])
        .like(&[
            "PermissionError: [Errno 13] Permission denied: '/data/out'",
            "OSError: [Errno 30] Read-only file system: '/mnt/x'",
        ]),
    Rule::new("thread_limit", Config, r"(?:fork|thread|process|clone)\b.*Resource temporarily unavailable|pthread_create failed|Thread creation failed|can't start new thread|failed to spawn thread")
        .alone()
        .says("The machine allows no more threads or processes.")
        .advice(&[FEWER_THREADS])
        .like(&[
            "OpenBLAS blas_thread_init: pthread_create failed for thread 17 of 64: Resource temporarily unavailable",
            "libgomp: Thread creation failed: Resource temporarily unavailable",
        ]),
    Rule::new("two_openmp", Config, r"OMP: Error #15")
        .alone()
        .says("Two OpenMP runtimes were loaded into one process.")
        .advice(&[ONE_OPENMP])
        .like(&["OMP: Error #15: Initializing libiomp5.so, but found libomp.so already initialized."]),
    Rule::new("open_files", Config, r"(?i)Too many open files|\[Errno 24\]|os error 24\b|received 0 items of ancdata")
        .alone()
        .says("The process has too many files open.")
        .advice(&[OPEN_FILES])
        .like(&["OSError: [Errno 24] Too many open files", "RuntimeError: received 0 items of ancdata"]),
    Rule::new("missing_file", Config, r"(?i)can't open file '|^(?:\S+: )?(?:line \d+: )?\S+: (?:command )?not found$|No such file or directory$|can't cd to")
        .alone()
        .medium()
        .says("A file or a command does not exist.")
        .advice(&[CHECK_PATH])
        .like(&[
            "python: can't open file '/srv/train.py': [Errno 2] No such file or directory",
            "bash: nvidia-smi: command not found",
        "/bin/bash: line 1: torchrun: command not found",
            "cat: /data/list.txt: No such file or directory",
        ]),
    Rule::new("segfault", Unknown, concat!(r"(?i)Segmentation fault|segfault at|Signal 11\b|exit(?:ed with)?(?: code|code|)[ :=]*-11\b|exitcode\s*: -11|return code = -11\b|!!!!!!! Segfault encountered|", came!("SIGSEGV")))
        .alone()
        .says("A native library crashed (segmentation fault).")
        .advice(&[CORE_DUMP])
        .like(&["Segmentation fault (core dumped)", "Fatal Python error: Segmentation fault", "exitcode  : -11 (pid: 12)", "['python', 'x.py'] exits with return code = -11", "process 3 terminated with signal SIGSEGV"]),
    Rule::new("illegal_instruction", Unknown, concat!(r"(?i)^Illegal instruction|Signal 4\b|exit code 132\b|return code = -4\b|exitcode\s*: -4\b|", came!("SIGILL")))
        .alone()
        .says("The program used an instruction that this processor does not have.")
        .advice(&[OTHER_BINARY])
        .like(&["Illegal instruction (core dumped)", "traceback : Signal 4 (SIGILL) received by PID 7"]),
    Rule::new("wrong_binary", Config, r"Exec format error|os error 8\b")
        .alone()
        .says("The program was built for another kind of machine.")
        .advice(&[OTHER_BINARY])
        .like(&["bash: ./llama-cli: cannot execute binary file: Exec format error"]),
    Rule::new("dataloader_worker", Unknown, r"DataLoader worker.{0,60}killed by signal")
        .medium()
        .says("A data loader worker was killed.")
        .advice(&[NUM_WORKERS_ZERO])
        .like(&["RuntimeError: DataLoader worker (pid 5) is killed by signal: Aborted."]),
    Rule::new("bus_error", Unknown, concat!(r"(?i)\bBus error\b|Signal 7\b|", came!("SIGBUS")))
        .alone()
        .says("A process touched memory whose backing was gone: a full /dev/shm, or a file that shrank.")
        .advice(&[FREE_DISK, CORE_DUMP])
        .like(&["Bus error (core dumped)"]),
    Rule::new("abort", Unknown, concat!(r"(?i)^Aborted\b|Signal 6\b|return code = -6\b|Fatal Python error: Aborted|exit code -?(?:6|134)\b|exitcode\s*: -6\b|double free or corruption|free\(\): invalid|corrupted size vs|malloc\(\): |stack smashing detected|terminate called|core dumped|", came!("SIGABRT")))
        .alone()
        .low()
        .says("A native library gave up and aborted the process.")
        .advice(&[CORE_DUMP])
        .like(&["Aborted (core dumped)", "Signal 6 (SIGABRT) received by PID 1134", "double free or corruption (!prev)"]),
    Rule::new("killed", Unknown, concat!(r"(?i)^Killed$|: line \d+:\s+\d+ Killed\b|Signal 9\b|\btask \d+: Killed|exit(?:ed with)?(?: code|code| status)[ :=]*(?:-9|137)\b|exitcode\s*: -9\b|returned -9\b|died with <Signals\.SIGKILL|Exits? with return code = -9|non-zero exit status -9|", came!("SIGKILL")))
        .alone()
        .low()
        .says("The process was killed from outside; the kernel's OOM killer is the usual one.")
        .advice(&[LESS_HOST_MEMORY])
        .like(&[
            "Killed",
            "run.sh: line 3:  4242 Killed                  python train.py",
            "subprocess.CalledProcessError: Command '['python', 'x.py']' died with <Signals.SIGKILL: 9>.",
            "exit code 137",
            "['python', 'x.py'] exits with return code = -9",
            "Process finished with exit code 1 (interrupted by signal 9:SIGKILL)",
        ]),
    Rule::new("interrupted", Unknown, r"(?i)KeyboardInterrupt|SIGTERM|Signal 15\b|SIGINT|SignalException|^Terminated$|exitcode\s*: -15\b|^\^C|Received (?:\d+ death signal|signal)|SIGHUP|CancelledError")
        .echo()
        .medium()
        .says("The process was told to stop.")
        .advice(&[RESUME])
        .like(&["KeyboardInterrupt", "torch.distributed.elastic.multiprocessing.api.SignalException: Process 12 got signal: 15", "Terminated"]),
    Rule::new("child_failed", Unknown, r"(?i:(?:look at|see) the errors? above)|^EOFError$|^\S*WorkflowError\b|root error\(s\) found|Pin memory thread exited|CalledProcessError|returned (?:a )?non-zero exit (?:status|code)|[Ee]xits? with return code|exited with (?:error )?code|failed with exit code|\(See above for error\)|Process \S+ (?:failed|exited)|Main process exited|command failed with|make: \*\*\*|Killing subprocess|exitcode\s*: 1\b|srun: error: \S+ task|Error executing job with overrides")
        .echo()
        .low()
        .says("Another process failed; this is the report of the one that started it.")
        .advice(&[])
        .like(&[
            "subprocess.CalledProcessError: Command '['python', 'x.py']' returned non-zero exit status 1.",
            "RuntimeError: Pin memory thread exited unexpectedly",
            "EOFError",
            "InternalError: 2 root error(s) found.",
            "`conda run python plot.py` failed. (See above for error)",
            "srun: error: node1: task 0: Exited with exit code 1",
        ]),
];
