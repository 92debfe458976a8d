"""A directory of studies, the real server over it, and a real browser."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from playwright.sync_api import sync_playwright

BINARY = os.environ["RAGICAMP"]
OUT = pathlib.Path(os.environ["WEB_OUT"])
HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent.parent

XSS = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def state(phase, answered, total, **more):
    return json.dumps({
        "phase": phase, "error": None, "predictions_complete": answered, "total_questions": total,
        "started_at": "2026-03-01T10:00:00Z", "updated_at": "2026-03-01T10:20:00Z",
        "metrics_requested": ["exact_match"], "metrics_computed": [], "interrupted": False, "attempt": 1,
    } | more)


def log():
    """An evaluation that goes wrong in three ways, over ten minutes."""
    lines = []
    for minute in range(10):
        lines.append(f"[2026-03-01 10:{minute:02}:00] [loader] [INFO] [Main] step {minute}")
        lines.append(f"[2026-03-01 10:{minute:02}:10] [loader] [WARNING] [Main] Slow batch: {minute * 3 + 7} s")
        if minute in (3, 4, 8):
            lines.append(f"[2026-03-01 10:{minute:02}:20] [worker] [ERROR] [Inference] Error invalid configuration argument at line {380 + minute} in file /src/csrc/ops.cu")
        lines += [f"[2026-03-01 10:{minute:02}:30] [loader] [INFO] [Main] filler {i}" for i in range(40)]
    lines.append(f"[2026-03-01 10:10:00] [worker] [ERROR] [Main] Bad answer: {XSS}")
    lines.append("[2026-03-01 10:10:02] [__main__] [ERROR] [Main] Evaluation failed")
    lines.append("""Traceback (most recent call last):
  File "/app/src/cache.py", line 17, in load
    value = store[key]  # may be missing
KeyError: 'kv_cache'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/src/evaluate.py", line 142, in main
    answers = model.generate(batch, max_new_tokens=64)
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/site-packages/transformers/generation/utils.py", line 2215, in generate
    result = self._sample(input_ids)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB""")
    return "\n".join(lines) + "\n"


def troubles(root):
    study = root / "troubles"
    write(study / "study.yaml", "name: troubles\n")
    write(study / "events.jsonl", "")
    broken = study / "rag_broken_8bit"
    write(broken / "experiment.log", log())
    write(broken / "state.json", state("failed", 3, 5, error="CUDA out of memory. Tried to allocate 2.00 GiB", failure_class="oom", unanswered=2))
    predictions = [{"idx": i, "question": f"What is {i}? {XSS if i == 1 else ''}", "expected": ["x"],
                    "prediction": XSS if i == 1 else "x" if i < 3 else "[ERROR: CUDA out of memory]",
                    "error": None if i < 3 else "CUDA out of memory", "prompt": f"Question {i}: {XSS}", "batch_size": 32,
                    "attempt": 1, "tokens_in": 9, "tokens_out": 2, "latency_ms": 12, "metrics": {}} for i in range(5)]
    write(broken / "predictions.json", json.dumps({"experiment": broken.name, "predictions": predictions, "aggregate_metrics": {}}))
    for i in range(60):
        write(study / f"waiting_{i:02}" / "state.json", state("init", 0, 5))
    write(study / "quiet" / "state.json", state("complete", 0, 0))
    write(root / "logs" / "job_17.log", log())


STUDY = """\
name: {name}
num_questions: {questions}
datasets: [{{name: lands, path: {data}}}]
direct: {{models: ["embedded:reader"], prompts: [default], quantization: [none, 8bit]}}
experiments:
  - {{name: missing_model, model: "hf:./no/such/model", prompt: default, dataset: {{name: lands, path: {data}}}}}
generation: {{max_new_tokens: 2, temperature: 0}}
metrics: [exact_match]
batch_size: {batch}
output_dir: {out}
"""


def study(root, name, questions, batch=16):
    """The YAML of a study for the real program, its outputs below `root`."""
    data = root.parent / "lands.jsonl"
    if not data.exists():
        data.write_text("".join(json.dumps({"question": f"What is the capital of land {i}?", "answers": [f"Town {i}"]}) + "\n" for i in range(4000)))
    path = root.parent / f"{name}.yaml"
    path.write_text(STUDY.format(name=name, questions=questions, batch=batch, data=data, out=root / name))
    return path


class Server:
    def __init__(self, root, *arguments):
        self.root = root
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAGICAMP_")}
        self.process = subprocess.Popen([BINARY, "serve", str(root), "--bind", "127.0.0.1:0", *arguments],
                                        stderr=subprocess.PIPE, text=True, env=environment)
        line = self.process.stderr.readline()
        assert line.startswith("listening on "), line
        self.url = line.removeprefix("listening on ").strip()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("served") / "outputs"
    root.mkdir()
    troubles(root)
    ran = subprocess.run([BINARY, "run", str(study(root, "real", 24))], capture_output=True, text=True)
    assert ran.returncode == 1, ran.stderr
    return root


@pytest.fixture(scope="session")
def server(root):
    server = Server(root)
    yield server
    server.end()


@pytest.fixture(scope="session")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    yield from opened(browser, server.url)


@pytest.fixture
def phone(browser, server):
    yield from opened(browser, server.url, viewport={"width": 375, "height": 740}, is_mobile=True, has_touch=True)


def opened(browser, url, **options):
    """A page on which nothing may go wrong unseen."""
    context = browser.new_context(base_url=url, permissions=["clipboard-read", "clipboard-write"], **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.wrong = wrong
    page.goto("/")
    yield page
    # A request that was refused on purpose is logged by the browser itself.
    assert [text for text in wrong if "Failed to load resource" not in text] == []
    context.close()


@pytest.fixture
def shot(request):
    """Keeps what was seen."""
    OUT.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=OUT / f"{name}.png", full_page=False)
