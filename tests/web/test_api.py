"""The API does what its own description says."""

import os
import pathlib
import subprocess
import sys


def test_schemathesis_finds_no_answer_that_the_description_does_not_allow(server):
    arguments = [
        str(pathlib.Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/api/openapi.json",
        "--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "40"), "--seed", "7", "--workers", "2", "--request-timeout", "10",
        # A stream of events has no end.
        "--exclude-path", "/api/events",
    ]
    ran = subprocess.run(arguments, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    print(ran.stdout[-1500:])
