"""The project in examples/testing: its tests pass, run as their user runs them."""

from __future__ import annotations

import os
import subprocess
import sys

from checkout import EXAMPLES

PROJECT = EXAMPLES / "testing"


def test_its_tests_pass() -> None:
    plain = ("-p", "no:cacheprovider", "-p", "no:valkey", "-c", os.devnull, "--rootdir", ".", "-W", "error")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, "-p", "dagcelery.testing.plugin"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
