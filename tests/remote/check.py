"""The study of tests/remote/run: what is asked, and what has to come of it."""

import json
import pathlib
import sys

QUESTIONS = 120
TOO_LONG = 7

STUDY = """\
name: remote
datasets: [{{name: quick, path: quick.jsonl, fields: {{question: question, answers: answers}}}}]
direct:
  models: [{{id: 'openai:tiny', base_url: 'http://127.0.0.1:{port}/v1'}}]
  prompts: [default]
batch_size: 8
generation: {{max_new_tokens: 100, temperature: 0}}
metrics: [exact_match, f1]
"""


def prepare(work, port):
    rows = [dict(question=f"Who is {n}?", answers=[f"n{n}"]) for n in range(QUESTIONS)]
    rows[TOO_LONG]["question"] = "Who is " + "very " * 400 + "long?"
    (work / "quick.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (work / "study.yaml").write_text(STUDY.format(port=port))


def check(work, status):
    """Every question is answered in spite of the kill, but the one that does not
    fit, which fails alone: so the experiment failed (exit code 1)."""
    [experiment] = (work / "outputs/remote").glob("*/state.json")
    state = json.loads(experiment.read_text())
    records = json.loads((experiment.parent / "predictions.json").read_text())["predictions"]
    failed = [record for record in records if record["error"]]
    assert len(records) == QUESTIONS, len(records)
    assert [record["idx"] for record in failed] == [TOO_LONG], failed
    assert failed[0]["failure_class"] == "bad_item", failed
    assert "context" in failed[0]["error"], failed
    assert all(record["tokens_out"] > 0 for record in records if not record["error"])
    assert state["phase"] == "failed" and state["predictions_complete"] == QUESTIONS - 1, state
    assert status == "1", status
    events = (work / "outputs/remote/events.jsonl").read_text().splitlines()
    lost = [event for event in map(json.loads, events) if event["event"] == "batch_failed"]
    classes = sorted({event["class"] for event in lost})
    print(f"{QUESTIONS - 1} answered, 1 too long; {len(lost)} batches lost to the kill ({', '.join(classes)})")
    assert set(classes) <= {"transient", "bad_item"}, classes


if __name__ == "__main__":
    what, work, argument = sys.argv[1:]
    dict(prepare=prepare, check=check)[what](pathlib.Path(work), argument)
