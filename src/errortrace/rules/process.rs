//! Processes: how they end, and what the operating system refuses them.

use super::{
    Rule,
    RuleClass::{Config, Timeout, Unknown},
};
use crate::errortrace::advice::{
    CHECK_PATH, CORE_DUMP, FREE_DISK, LESS_HOST_MEMORY, LOGIN, LONGER_TIMEOUT, NUM_WORKERS_ZERO,
    OFFLINE, OPEN_FILES, PERMISSIONS, QUOTA, RESUME, RETRY_LATER,
};

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
    Rule::new("rate_limit", Unknown, r"(?i)\b429\b.{0,60}(?:Too Many Requests|rate|Client Error)|Too Many Requests|RateLimitError|rate limit(?:ed| reached| exceeded)|quota exceeded|ResourceExhausted: 429|insufficient_quota|overloaded_error|\b529\b.{0,20}overloaded")
        .says("A service refused requests because there were too many.")
        .advice(&[RETRY_LATER])
        .like(&[
            "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/api/models",
            "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached'}}",
        ]),
    Rule::new("auth", Config, r"(?i)\b(?:401|403)\b.{0,40}(?:Client Error|Unauthorized|Forbidden)|Error code: 40[13]\b|GatedRepoError|gated repo|is a gated|Invalid (?:username or password|token|api[ _-]?key|credentials)|AuthenticationError|Incorrect API key|PermissionDeniedError|access to .{0,80}is restricted|You must be authenticated|must have access to it|api_key client option must be set|Access Denied|NoCredentialsError|ExpiredToken|LocalTokenNotFoundError|wandb\.errors.{0,40}(?:auth|login|api_key)|No API key configured")
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
    Rule::new("network", Unknown, r"(?i)ConnectionError|ConnectionRefused|ConnectionReset|Connection (?:refused|reset|aborted)|Connection broken|MaxRetryError|NewConnectionError|Name or service not known|Temporary failure in name resolution|getaddrinfo failed|gaierror|SSLError|SSLCert|CERTIFICATE_VERIFY_FAILED|RemoteDisconnected|RemoteProtocolError|ProtocolError|IncompleteRead|ChunkedEncodingError|ClientConnectorError|ServerDisconnectedError|APIConnectionError|ConnectError|URLError|urlopen error|Network is unreachable|No route to host|Cannot assign requested address|dns error|error sending request|\b50[0234]\b.{0,40}(?:Server Error|Bad Gateway|Service Unavailable|Internal Server Error)|couldn't connect to|We couldn't connect|error trying to connect|tcp connect error|BrokenPipeError|Broken pipe|StatusCode\.UNAVAILABLE|Could not resolve host|InternalServerError|CommError")
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
    Rule::new("permission", Config, r"(?i)PermissionError|Permission denied|Operation not permitted|\[Errno 13\]|os error 13\b|Read-only file system|\[Errno 30\]|EACCES|os error 30\b")
        .says("The operating system refused access to a file or device.")
        .advice(&[PERMISSIONS])
        .like(&[
            "PermissionError: [Errno 13] Permission denied: '/data/out'",
            "OSError: [Errno 30] Read-only file system: '/mnt/x'",
            "bash: ./run.sh: Permission denied",
        ]),
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
    Rule::new("segfault", Unknown, r"(?i)Segmentation fault|segfault at|SIGSEGV|Signal 11\b|exit(?:ed with)?(?: code|code|)[ :=]*-11\b|exitcode\s*: -11|!!!!!!! Segfault encountered")
        .alone()
        .says("A native library crashed (segmentation fault).")
        .advice(&[CORE_DUMP])
        .like(&["Segmentation fault (core dumped)", "Fatal Python error: Segmentation fault", "exitcode  : -11 (pid: 12)"]),
    Rule::new("dataloader_worker", Unknown, r"DataLoader worker.{0,60}killed by signal")
        .medium()
        .says("A data loader worker was killed.")
        .advice(&[NUM_WORKERS_ZERO])
        .like(&["RuntimeError: DataLoader worker (pid 5) is killed by signal: Aborted."]),
    Rule::new("bus_error", Unknown, r"(?i)\bBus error\b|SIGBUS|Signal 7\b")
        .alone()
        .says("A process touched memory whose backing was gone: a full /dev/shm, or a file that shrank.")
        .advice(&[FREE_DISK, CORE_DUMP])
        .like(&["Bus error (core dumped)"]),
    Rule::new("abort", Unknown, r"(?i)^Aborted\b|SIGABRT|Signal 6\b|Fatal Python error: Aborted|exit code -?(?:6|134)\b|exitcode\s*: -6\b|double free or corruption|free\(\): invalid|corrupted size vs|malloc\(\): |stack smashing detected|terminate called|core dumped")
        .alone()
        .low()
        .says("A native library gave up and aborted the process.")
        .advice(&[CORE_DUMP])
        .like(&["Aborted (core dumped)", "Signal 6 (SIGABRT) received by PID 1134", "double free or corruption (!prev)"]),
    Rule::new("killed", Unknown, r"(?i)^Killed$|: line \d+:\s+\d+ Killed\b|SIGKILL|Signal 9\b|\btask \d+: Killed|exit(?:ed with)?(?: code|code| status)[ :=]*(?:-9|137)\b|exitcode\s*: -9\b|returned -9\b|died with <Signals\.SIGKILL|Exits? with return code = -9|non-zero exit status -9")
        .alone()
        .low()
        .says("The process was killed from outside; the kernel's OOM killer is the usual one.")
        .advice(&[LESS_HOST_MEMORY])
        .like(&[
            "Killed",
            "run.sh: line 3:  4242 Killed                  python train.py",
            "subprocess.CalledProcessError: Command '['python', 'x.py']' died with <Signals.SIGKILL: 9>.",
            "exit code 137",
        ]),
    Rule::new("interrupted", Unknown, r"(?i)KeyboardInterrupt|SIGTERM|Signal 15\b|SIGINT|SignalException|^Terminated$|exitcode\s*: -15\b|^\^C|Received (?:\d+ death signal|signal)|SIGHUP|CancelledError")
        .echo()
        .medium()
        .says("The process was told to stop.")
        .advice(&[RESUME])
        .like(&["KeyboardInterrupt", "torch.distributed.elastic.multiprocessing.api.SignalException: Process 12 got signal: 15", "Terminated"]),
    Rule::new("child_failed", Unknown, r"(?i:(?:look at|see) the errors? above)|^EOFError$|^\S*WorkflowError\b|root error\(s\) found|Pin memory thread exited|CalledProcessError|returned (?:a )?non-zero exit (?:status|code)|Exits? with return code|exited with (?:error )?code|failed with exit code|\(See above for error\)|Process \S+ (?:failed|exited)|Main process exited|command failed with|make: \*\*\*|Killing subprocess|exitcode\s*: 1\b|srun: error: \S+ task|Error executing job with overrides")
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
