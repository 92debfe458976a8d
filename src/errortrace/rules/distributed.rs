//! Several processes: NCCL, rendezvous, schedulers, time limits.

use super::{
    Rule,
    RuleClass::{Config, Cuda, Timeout, Unknown},
};
use crate::errortrace::advice::{
    FIRST_RANK, FREE_PORT, LESS_HOST_MEMORY, LONGER_JOB, LONGER_TIMEOUT, NCCL_DEBUG, NCCL_NETWORK,
    RESUME, VISIBLE_DEVICES, WORKER_LOG,
};

pub(super) const RULES: &[Rule] = &[
    Rule::new("job_time_limit", Timeout, r"DUE TO TIME ?LIMIT|\bTIME LIMIT\b.{0,40}(?:reached|exceeded)|TIMEOUT.{0,20}slurm|job exceeded .{0,20}(?:walltime|time limit)|PBS: job killed: walltime|TERM_RUNLIMIT")
        .alone()
        .says("The scheduler ended the job because its time was up.")
        .advice(&[LONGER_JOB, RESUME])
        .like(&[
            "slurmstepd: error: *** JOB 20468948 ON midway3-0284 CANCELLED AT 2024-05-18T21:17:22 DUE TO TIME LIMIT ***",
            "=>> PBS: job killed: walltime 3632 exceeded limit 3600",
        ]),
    Rule::new("preempted", Unknown, r"DUE TO PREEMPTION|CANCELLED\b.*\bpreempt|DUE TO NODE FAILURE|NODE_FAIL|preempted\b.{0,40}(?:job|instance|node)")
        .alone()
        .says("The scheduler took the job's node away.")
        .advice(&[RESUME])
        .like(&["slurmstepd: error: *** JOB 77 ON node3 CANCELLED AT 2025-01-01T00:00:00 DUE TO PREEMPTION ***"]),
    Rule::new("interrupted", Unknown, r"slurmstepd: error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT")
        .alone()
        .medium()
        .says("Somebody or something cancelled the job.")
        .advice(&[RESUME])
        .like(&["slurmstepd: error: *** JOB 5 ON n1 CANCELLED AT 2025-01-01T00:00:00 ***"]),
    Rule::new("nccl_timeout", Timeout, r"(?i)Watchdog caught collective operation timeout|ran for \d+ milliseconds before timing out|Some NCCL operations have failed or timed out|NCCL.{0,60}(?:timed? ?out|timeout)|collective operation timeout|Timed out waiting \d+ms for (?:recv|send) operation|monitoredBarrier|HeartbeatMonitor.{0,60}(?:terminat|stuck|timeout)|To avoid data inconsistency, we are taking the entire process down")
        .alone()
        .says("A collective operation between the processes did not finish in time: one of them was slow, stuck or dead.")
        .advice(&[NCCL_DEBUG, NCCL_NETWORK, LONGER_TIMEOUT])
        .like(&[
            "torch.distributed.DistBackendError: [Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600012 milliseconds before timing out.",
            "Some NCCL operations have failed or timed out. Due to the asynchronous nature of CUDA kernels, subsequent GPU operations might run on corrupted/incomplete data.",
        ]),
    Rule::new("store_timeout", Timeout, r"(?i)(?:DistStoreError|TCPStore|rendezvous|RendezvousTimeout|(?:client|server) socket).{0,120}(?:timed? ?out|timeout)|RendezvousTimeoutError|Timed out (?:after \d+ seconds )?waiting for clients|wait timeout after \d+ms|Socket Timeout")
        .says("The processes did not find each other in time.")
        .advice(&[NCCL_NETWORK, LONGER_TIMEOUT])
        .like(&[
            "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 3/4 clients joined.",
            "RuntimeError: [1] is setting up NCCL communicator and retreiving ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: Socket Timeout",
        "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect to (node0, 29500).",
        ]),
    Rule::new("peer_lost", Unknown, r"(?i)(?:NCCL|c10d|gloo|TCPStore|ProcessGroup|DistBackendError|DistNetworkError).{0,400}(?:Connection (?:closed|reset)|remote process (?:exited|has been terminated)|Broken pipe|socket (?:closed|was closed)|recvValue failed|failed to recv|Failed to recv)|Connection closed by (?:remote )?peer|NCCL communicator was aborted on rank|ncclRemoteError|NCCL error.{0,80}remote process exited")
        .echo()
        .says("Another process of the group is gone.")
        .advice(&[FIRST_RANK, NCCL_DEBUG])
        .like(&[
            "torch.distributed.DistBackendError: [6] is setting up NCCL communicator and retrieving ncclUniqueId from [0] via c10d key-value store by key '0', but store->get('0') got error: Connection reset by peer",
            "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:598] Connection closed by peer [10.0.0.1]:28312",
            "RuntimeError: NCCL communicator was aborted on rank 1. Original reason for failure was: NCCL error: remote process exited or there was a network error, NCCL version 2.18.1 ncclRemoteError",
        ]),
    Rule::new("nccl", Cuda, r"(?i)NCCL error|ncclUnhandledCudaError|ncclSystemError|ncclInternalError|ncclInvalidUsage|ncclInvalidArgument|unhandled (?:cuda|system) error|NCCL WARN (?:Cuda failure|.{0,60}(?:failed|error))|Duplicate GPU detected|RCCL error|HCCL (?:error|function error)|NCCL Error \d")
        .alone()
        .medium()
        .says("The library that connects the GPUs reported an error.")
        .advice(&[NCCL_DEBUG, NCCL_NETWORK, VISIBLE_DEVICES])
        .like(&[
            "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:1333, unhandled cuda error (run with NCCL_DEBUG=INFO for details), NCCL version 2.18.1",
            "NCCL WARN Cuda failure 'out of host'",
            "RuntimeError: NCCL Error 2: unhandled system error",
        ]),
    Rule::new("port_in_use", Config, r"(?i)EADDRINUSE|Address already in use|Only one usage of each socket address|address in use|port \d+ is (?:already )?(?:in use|occupied|not available)|Errno 98\b|os error 98\b|os error 10048\b|Cannot find any free port|bind.{0,40}failed.{0,40}in use")
        .alone()
        .says("The network port is taken by another process.")
        .advice(&[FREE_PORT])
        .like(&[
            "error binding to 0.0.0.0:8080: error creating server listener: Only one usage of each socket address (protocol/network address/port) is normally permitted. (os error 10048)",
            "OSError: [Errno 98] Address already in use",
            "RuntimeError: The server socket has failed to listen on any local network address. useIpv6: 0, code: -98, name: EADDRINUSE, message: address already in use",
        ]),
    Rule::new("killed", Unknown, r"ProcessExitedException.*signal SIGKILL")
        .low()
        .says("A child process was killed from outside; the kernel's OOM killer is the usual one.")
        .advice(&[LESS_HOST_MEMORY, FIRST_RANK])
        .like(&["torch.multiprocessing.spawn.ProcessExitedException: process 3 terminated with signal SIGKILL"]),
    Rule::new("child_failed", Unknown, r"ChildFailedError|ProcessRaisedException|ProcessExitedException|SpawnException|torch\.distributed\.elastic.{0,40}failed \(exitcode|^failed \(exitcode")
        .echo()
        .low()
        .says("A child process failed; this is its parent's report.")
        .advice(&[FIRST_RANK])
        .like(&[
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError",
            "torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with exit code 1",
            "failed (exitcode: -6) local_rank: 1 (pid: 1134) of binary: /usr/bin/python",
        ]),
    Rule::new("engine_dead", Unknown, r"(?i)Engine core initialization failed|EngineDeadError|EngineCore (?:encountered|died|failed)|Engine (?:process|loop) (?:failed|died|has died|is dead)|AsyncEngineDeadError|Background loop (?:has errored|is stopped)|See root cause above|See stack trace above|WorkerProc (?:initialization )?failed|WorkerProc hit an exception|Executor failed|died unexpectedly, shutting down|MQLLMEngine is already dead|Failed core proc|Rank 0 scheduler is dead|Scheduler hit an exception|killed_by_signal")
        .echo()
        .low()
        .says("The inference engine's process died; what killed it stands further up.")
        .advice(&[WORKER_LOG])
        .like(&[
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_0': 1}",
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.",
            "RuntimeError: Engine process failed to start. See stack trace for the root cause.",
            "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.",
        ]),
    Rule::new("worker_died", Unknown, r"(?i)RayActorError|ActorDiedError|ActorUnavailableError|WorkerCrashedError|NodeDiedError|OwnerDiedError|ObjectLostError|The actor died|A worker died or was killed|BrokenProcessPool|BrokenExecutor|worker(?: process)?(?: \d+| \(pid\(?s?\)? [\d, ]+\))? (?:exited unexpectedly|died|has died|was terminated|terminated unexpectedly)|Worker unexpectedly exits|TerminatedWorkerError|DataLoader worker.{0,60}exited unexpectedly")
        .echo()
        .low()
        .says("A worker process died; this message does not say of what.")
        .advice(&[WORKER_LOG])
        .like(&[
            "ray.exceptions.RayActorError: The actor died unexpectedly before finishing this task.",
            "concurrent.futures.process.BrokenProcessPool: A process in the process pool was terminated abruptly while the future was running or pending.",
            "RuntimeError: DataLoader worker (pid(s) 12, 13) exited unexpectedly",
            "joblib.externals.loky.process_executor.TerminatedWorkerError: A worker process managed by the executor was unexpectedly terminated.",
        ]),
];
