"""The worker configuration that is ready to deploy says only what Celery understands."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

from celery.app.defaults import NAMESPACES, flatten

ROOT = Path(__file__).parents[1]


def test_every_setting_is_one_that_celery_knows() -> None:
    config = runpy.run_path(str(ROOT / "worker_config" / "celeryconfig.py"))
    known = dict(flatten(NAMESPACES))
    assert not [name for name in config if not name.startswith("_") and name not in known]


def test_the_app_takes_it_with_celerys_own_option() -> None:
    command = [sys.executable, "-m", "celery", "-A", "dagcelery", "--config", "worker_config.celeryconfig", "report"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "worker_soft_shutdown_timeout: 20.0" in done.stdout
