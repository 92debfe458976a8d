"""A Slurm of its own: two virtual nodes on this host, without systemd."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

BINARY = os.environ["RAGICAMP"]
REPOSITORY = pathlib.Path(__file__).parent.parent.parent
NODES = ("n1", "n2")
# A process of each task and one of the model's; the host's cores are shared.
CPUS = max(2, os.cpu_count() or 2)


def wait_until(what, check, seconds=60):
    """Waits for something true, and gives it."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"it did not come about in {seconds} s: {what}"
        time.sleep(0.1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Slurm:
    """The daemons, and what is done to them."""

    def __init__(self, root):
        self.root = root
        self.env = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}
        self.host = socket.gethostname().split(".")[0]

    def up(self):
        root = self.root
        for name in ["state", "log", "run", "munge", *(f"spool/{node}" for node in NODES)]:
            (root / name).mkdir(parents=True)
        # The daemons refuse directories that others may write.
        for directory in [root, *root.rglob("*")]:
            directory.chmod(0o755)
        key = root / "munge/key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.run("munged", "--force", f"--key-file={key}", f"--socket={root}/munge/munge.sock",
                 f"--pid-file={root}/run/munged.pid", f"--log-file={root}/log/munged.log",
                 f"--seed-file={root}/munge/seed", "--num-threads=2")
        controller, *ports = free_ports(3)
        (root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        nodes = "".join(
            f"NodeName={node} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory=4000\n"
            for node, port in zip(NODES, ports)
        )
        (root / "slurm.conf").write_text(f"""\
ClusterName=test
SlurmctldHost={self.host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/munge.sock,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller}
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmdLogFile={root}/log/slurmd-%n.log
SlurmdSpoolDir={root}/spool/%n
StateSaveLocation={root}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=10000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=8
InactiveLimit=0
KillWait=3
CompleteWait=0
MinJobAge=600
JobRequeue=1
{nodes}PartitionName=all Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
""")
        self.run("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        wait_until("both nodes idle", lambda: self.states() == ["idle"] * len(NODES), 30)

    def down(self):
        subprocess.run(["scancel", "--me"], env=self.env, check=False, capture_output=True, timeout=20)
        for name in [*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"]:
            self.kill(name, signal.SIGTERM)
        time.sleep(0.5)
        for name in [*(f"slurmd-{node}" for node in NODES), "slurmctld", "munged"]:
            self.kill(name, signal.SIGKILL)

    def run(self, *command, check=True):
        done = subprocess.run(command, env=self.env, check=False, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def start_node(self, node):
        self.run("slurmd", "-N", node)

    def start_controller(self):
        self.run("slurmctld")

    def kill(self, name, how):
        path = self.root / f"run/{name}.pid"
        try:
            os.kill(int(path.read_text()), how)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            pass

    def states(self):
        return self.run("sinfo", "-h", "-N", "-o", "%t", check=False).split()

    def logs(self):
        tails = []
        for log in sorted((self.root / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-8:]
            tails.append(f"--- {log.name}\n" + "\n".join(lines))
        return "\n".join(tails)

    def tasks(self, job):
        """By task id: its state and its node."""
        lines = self.run("squeue", "-h", "-r", "--states=all", "-j", str(job), "-o", "%K %T %N", check=False)
        found = {}
        for line in lines.splitlines():
            task, state, *node = line.split()
            # What is left of an array whose waiting tasks were cancelled has no number.
            found[int(task) if task.isdigit() else None] = (state, node[0] if node else "")
        return found

    def processes_of(self, job, task):
        """The process ids of a task: they carry its numbers in their environment."""
        wanted = {f"SLURM_ARRAY_JOB_ID={job}".encode(), f"SLURM_ARRAY_TASK_ID={task}".encode()}
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                environment = set((path / "environ").read_bytes().split(b"\0"))
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if wanted <= environment and b"slurmstepd" not in command:
                found.append(int(path.name))
        return found

    def lose_node(self, node, job, tasks):
        """As a power cut does: its daemon, what watches over its tasks, and they themselves, all at once."""
        processes = [process for task in tasks for process in self.processes_of(job, task)]
        watchers = set()
        for process in processes:
            try:
                status = pathlib.Path(f"/proc/{process}/status").read_text()
            except OSError:
                continue
            parent = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
            try:
                command = pathlib.Path(f"/proc/{parent}/cmdline").read_bytes()
            except OSError:
                continue
            if b"slurmstepd" in command:
                watchers.add(parent)
        assert watchers, "no slurmstepd watches over these tasks"
        self.kill(f"slurmd-{node}", signal.SIGKILL)
        for process in [*watchers, *processes]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    # The socket's path has to be short.
    root = pathlib.Path("/tmp") / f"slurm-{os.getpid()}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    slurm = Slurm(root)
    try:
        slurm.up()
        yield slurm
    finally:
        slurm.down()
        shutil.rmtree(root, ignore_errors=True)


class Study:
    """The twelve experiments of the quick start, smaller, in a directory."""

    def __init__(self, root, slurm, name="shared"):
        self.slurm = slurm
        self.yaml = root / f"{name}.yaml"
        self.dir = root / "outputs" / name
        text = (REPOSITORY / "conf/study/quickstart.yaml").read_text()
        text = text.replace("conf/data", str(REPOSITORY / "conf/data"))
        text = text.replace("num_questions: 100", "num_questions: 24").replace("batch_size: 32", "batch_size: 4")
        text = text.replace("name: quickstart\ndescription", f"name: {name}\noutput_dir: {self.dir}\ndescription")
        self.yaml.write_text(text)
        self.cache = root / "cache"

    def ragicamp(self, *arguments, code=0, failpoints=""):
        env = self.slurm.env | {
            "XDG_CACHE_HOME": str(self.cache), "FAILPOINTS": failpoints, "RUST_BACKTRACE": "0",
            # Two nodes are one host here.
            "RAYON_NUM_THREADS": "1",
        }
        done = subprocess.run([BINARY, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=170,
                              check=False, cwd=self.yaml.parent)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}{self.logs()}"
        return done.stdout + done.stderr

    def logs(self):
        logs = sorted(self.dir.glob(".cluster/*/*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def status(self):
        return json.loads(self.ragicamp("status", self.dir, "--json"))

    def submission(self):
        return self.status()["submissions"][-1]

    def states(self):
        return {path.parent.name: json.loads(path.read_text()) for path in self.dir.glob("*/state.json")}

    def answers(self):
        """What must not depend on where it ran."""
        found = {}
        for path in sorted(self.dir.glob("*/predictions.json")):
            file = json.loads(path.read_text())
            for prediction in file["predictions"]:
                for key in ("batch_size", "attempt", "latency_ms"):
                    prediction.pop(key, None)
                for passage in prediction["retrieved"]:
                    # The terms of a score are not always added in the same order.
                    passage["score"] = round(passage["score"], 9)
            results = json.loads((path.parent / "results.json").read_text())
            found[path.parent.name] = (file, results["metrics"])
        return found

    def journal(self):
        """By experiment and question, the answers that were kept."""
        counts = {}
        for path in self.dir.glob("*/journal/*.jsonl"):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                record = record.get("record", record)
                if record.get("error") is None and "idx" in record:
                    key = (path.parent.parent.name, record["idx"])
                    counts[key] = counts.get(key, 0) + 1
        return counts


@pytest.fixture(scope="session")
def local(slurm, tmp_path_factory):
    """The same study, run on this machine without a cluster."""
    study = Study(tmp_path_factory.mktemp("local"), slurm)
    study.ragicamp("run", study.yaml)
    return study


@pytest.fixture
def study(slurm, tmp_path):
    return Study(tmp_path, slurm)
