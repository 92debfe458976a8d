"""The API does what its own description says."""

import os
import pathlib
import re
import subprocess
import sys

CONFIG = """\
[parameters]
"path.study" = "real"
"path.id" = "troubles/rag_broken_8bit"
"path.job" = "17"
"""


def test_schemathesis_finds_no_answer_that_the_description_does_not_allow(server, tmp_path):
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    ran = subprocess.run([
        str(pathlib.Path(sys.executable).parent / "schemathesis"), "--config-file", str(config),
        "run", f"{server.url}/api/openapi.json", "--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "40"),
        "--seed", "3", "--request-timeout", "10",
        # A stream of events has no end.
        "--exclude-path", "/api/events",
    ], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    # Not only what is missing was asked for.
    assert "Missing test data" not in ran.stdout, ran.stdout[-4000:]
    assert "Unresolvable" not in ran.stdout, ran.stdout[-4000:]
    assert int(re.search(r"(\d+) generated", ran.stdout)[1]) > 200
