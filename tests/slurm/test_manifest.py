"""The Kubernetes manifest against the schema of its API."""

import pathlib

import kubernetes_validate
import pytest
import yaml

MANIFEST = pathlib.Path(__file__).parent.parent.parent / "conf/clusters/kubernetes-job.yaml"
# Of the versions that the validator brings, from the first with per-index
# limits in general availability.
VERSIONS = ["1.33", "1.34", "1.35"]


@pytest.fixture
def job():
    return yaml.safe_load(MANIFEST.read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifest_is_what_the_api_accepts(job, version):
    kubernetes_validate.validate(job, version, strict=True)


def test_the_check_finds_what_the_api_would_refuse(job):
    job["spec"]["completionMod"] = job["spec"].pop("completionMode")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[0], strict=True)


def test_the_parts_of_the_command_are_those_of_the_job(job):
    command = job["spec"]["template"]["spec"]["containers"][0]["command"][-1]
    assert f'--shard "$((JOB_COMPLETION_INDEX + 1))/{job["spec"]["completions"]}"' in command
