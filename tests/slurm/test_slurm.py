"""Twelve experiments on two nodes, and everything that goes wrong there."""

import os
import signal

from conftest import wait_until

# Long enough that a task is caught in the middle.
SLOW = "worker::slow=sleep(250)"
ONE_EACH = ("--per-task", "1", "--cpus-per-task", "1", "--mem", "300M")


def over(slurm, job):
    tasks = slurm.tasks(job)
    return tasks and all(state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
                         for state, _ in tasks.values()) and tasks


def running(slurm, job):
    return {task: node for task, (state, node) in slurm.tasks(job).items() if state == "RUNNING"}


def generating(study, submission, task):
    """Whether the task's experiment has answers and is not through."""
    name = submission["tasks"][task]["experiments"][0]
    journals = list((study.dir / name).glob("journal/*.jsonl"))
    return any(path.stat().st_size for path in journals) and not (study.dir / name / "results.json").exists()


def test_a_night_on_a_cluster_where_everything_goes_wrong_ends_as_a_run_at_home(slurm, study, local):
    said = study.ragicamp("submit", study.yaml, *ONE_EACH, failpoints=SLOW)
    assert "submitted 12 experiments in 12 tasks" in said
    submission = study.submission()
    job = submission["array_job_id"]

    # While it is queued there is nothing to submit.
    assert "nothing to submit" in study.ragicamp("submit", study.yaml, *ONE_EACH)

    # One task is cancelled, one killed, in the middle of its work.
    def two_at_work():
        at_work = [task for task in running(slurm, job) if generating(study, submission, task)]
        return at_work[:2] if len(at_work) >= 2 else None

    cancelled, killed = wait_until("two tasks at work", two_at_work)
    slurm.run("scancel", f"{job}_{cancelled}")
    for process in slurm.processes_of(job, killed):
        os.kill(process, signal.SIGKILL)
    wait_until("both are over", lambda: all(
        slurm.tasks(job)[task][0] in ("CANCELLED", "FAILED") for task in (cancelled, killed)))

    # A node is lost with what runs on it, and the controller restarts meanwhile.
    def on_a_node():
        nodes = running(slurm, job)
        at_work = [task for task in nodes if generating(study, submission, task)]
        return at_work and (nodes[at_work[0]], [task for task in at_work if nodes[task] == nodes[at_work[0]]])

    lost, victims = wait_until("work on a node", on_a_node)
    slurm.lose_node(lost, job, [task for task, node in running(slurm, job).items() if node == lost])
    slurm.kill("slurmctld", signal.SIGTERM)
    slurm.start_controller()
    wait_until("the controller answers", lambda: slurm.tasks(job))
    wait_until("the node's tasks are queued again", lambda: all(
        slurm.tasks(job)[task][0] != "RUNNING" or slurm.tasks(job)[task][1] != lost for task in victims), 60)
    slurm.start_node(lost)

    tasks = wait_until("the array is over", lambda: over(slurm, job), 120)
    unfinished = {task for task, (state, _) in tasks.items() if state != "COMPLETED"}
    assert unfinished == {cancelled, killed}, tasks
    seen = {task["task"]: task for task in study.submission()["tasks"]}
    assert seen[cancelled]["complete"] == 0 and seen[killed]["complete"] == 0

    # What is outstanding is submitted again, and nothing else.
    said = study.ragicamp("submit", study.dir, *ONE_EACH)
    assert "submitted 2 experiments in 2 tasks" in said
    again = study.submission()
    wait_until("the second array is over", lambda: over(slurm, again["array_job_id"]))
    tables = str(again["aggregate_job_id"])
    wait_until("the tables are rendered",
               lambda: slurm.run("squeue", "-h", "--states=all", "-j", tables, "-o", "%T").split() == ["COMPLETED"])

    states = study.states()
    assert len(states) == 12 and all(state["phase"] == "complete" for state in states.values()), states
    assert study.answers() == local.answers()
    assert (study.dir / "results.csv").read_text() == (local.dir / "results.csv").read_text()
    # What was answered before a death was not asked again.
    resumed = [name for task in (cancelled, killed, *victims) for name in submission["tasks"][task]["experiments"]]
    assert all(states[name]["attempt"] >= 2 for name in resumed), states
    assert set(study.journal().values()) == {1}


def test_a_time_limit_saves_requeues_and_goes_on(slurm, study, local):
    """SIGUSR1 comes before the limit, which Slurm counts in minutes: sent by hand here."""
    study.ragicamp("submit", study.yaml, "--cpus-per-task", "1", "--mem", "300M", "--filter", "direct_*_8bit",
                   failpoints=SLOW)
    submission = study.submission()
    job = submission["array_job_id"]
    wait_until("it is at work", lambda: running(slurm, job) and generating(study, submission, 0))
    slurm.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    name = submission["tasks"][0]["experiments"][0]
    wait_until("its state is saved", lambda: study.states()[name]["interrupted"])
    wait_until("it goes on and ends", lambda: over(slurm, job), 90)
    assert slurm.tasks(job)[0][0] == "COMPLETED"
    state = study.states()[name]
    assert (state["phase"], state["attempt"], state["interrupted"]) == ("complete", 2, False)
    assert study.answers()[name] == local.answers()[name]
    assert set(study.journal().values()) == {1}
    assert "start 1" in study.logs()


def test_cancel_ends_it_cleanly_and_submit_goes_on(slurm, study, local):
    options = ["--per-task", "1", "--cpus-per-task", "1", "--mem", "300M", "--filter", "direct_*"]
    study.ragicamp("submit", study.yaml, *options, "--max-parallel", "1", failpoints=SLOW)
    submission = study.submission()
    job = submission["array_job_id"]
    wait_until("one is at work", lambda: any(generating(study, submission, task) for task in running(slurm, job)))
    said = study.ragicamp("cancel", study.dir)
    assert "3 tasks cancelled" in said, said
    assert over(slurm, job)
    states = study.states()
    assert states and all(state["interrupted"] for state in states.values()), states
    study.ragicamp("submit", study.yaml, *options)
    again = study.submission()["array_job_id"]
    wait_until("it is over", lambda: over(slurm, again))
    assert {name: local.answers()[name] for name in study.answers()} == study.answers()
    assert len(study.answers()) == 3
    assert set(study.journal().values()) == {1}


def test_a_job_number_that_came_again_is_not_ours(slurm, study):
    """A controller that lost its memory counts from where it began."""
    study.ragicamp("submit", study.yaml, "--filter", "direct_*_none", "--cpus-per-task", "1", "--mem", "300M",
                   "--sbatch-arg=--hold")
    job = study.submission()["array_job_id"]
    slurm.run("scontrol", "update", f"job={job}", "name=somebody-elses")
    task = study.submission()["tasks"][0]
    assert task["state"] is None, "a job of another name under this number"
    study.ragicamp("cancel", study.dir)
    assert slurm.tasks(job)[0][0] == "PENDING", "it was left alone"
    slurm.run("scancel", str(job))


def test_printing_submits_nothing(slurm, study):
    said = study.ragicamp("submit", study.yaml, "--print", "--partition", "all", "--gpus", "2")
    assert "#SBATCH --array=0-2\n" in said and "--devices all" in said
    assert not study.dir.exists()


def test_a_cluster_that_refuses_leaves_no_trace(slurm, study):
    said = study.ragicamp("submit", study.yaml, "--partition", "none-such", code=4)
    assert "none-such" in said or "partition" in said
    assert not list(study.dir.glob(".cluster/*"))
