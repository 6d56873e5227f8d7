"""Celery's settings for workers on a machine with GPUs: a child for each GPU, which sees no other.

``celery -A dagcelery --config worker_config.gpu worker -Q gpu`` uses them. CUDA_VISIBLE_DEVICES says which GPUs the
worker has, as it does for any program: ``0,1``, or ids such as ``GPU-8f2a``. Without it they are what nvidia-smi lists.
"""

import os as _os
import subprocess as _subprocess

from billiard import current_process as _current_process
from celery.exceptions import ImproperlyConfigured as _ImproperlyConfigured
from celery.signals import worker_process_init as _worker_process_init

from worker_config.celeryconfig import *  # noqa: F403  # what is not said below is as on other machines

_VARIABLE = "CUDA_VISIBLE_DEVICES"


def _devices() -> list[str]:
    """Name the worker's GPUs. A worker that has none refuses to start: it would fail each task that it takes."""
    named = _os.environ.get(_VARIABLE, "")
    if not named:
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        try:
            found = _subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, _subprocess.SubprocessError) as error:
            raise _ImproperlyConfigured(f"no GPU: set {_VARIABLE}, or make nvidia-smi work here ({error})") from error
        named = ",".join(found.split())
    devices = [name.strip() for name in named.split(",") if name.strip()]
    if not devices:
        raise _ImproperlyConfigured(f"no GPU: nvidia-smi lists none, and {_VARIABLE} names none")
    return devices


_DEVICES = _devices()
# Children read this module once more where they are spawned; they shall find the list, not ask the driver again.
_os.environ[_VARIABLE] = ",".join(_DEVICES)


@_worker_process_init.connect(weak=False)
def _take_one(**_: object) -> None:
    """Leave a child one GPU. Its place in the pool decides: a child that dies is replaced in its place, on its GPU."""
    _os.environ[_VARIABLE] = _DEVICES[_current_process().index % len(_DEVICES)]


# CUDA that was touched before a fork is of no use to the child. A spawned child is a fresh interpreter, which boots in
# a second or more. Celery 5.7 can do so; an older one ignores this and forks, which is well as long as nothing that the
# worker's main process imports opens a GPU. Your own app's tasks must stand in modules that `include` names, or a
# spawned child does not know them; those of DAGs are found by their names.
worker_pool = "prefork"
worker_pool_start_method = "spawn"
# A spawned child imports the app, and with it perhaps a library as large as PyTorch, before it says that it is up.
worker_proc_alive_timeout = 120.0

# Two children on one GPU would share its memory without knowing of each other.
worker_concurrency = len(_DEVICES)

# A message that waits in the hands of a busy GPU keeps another one idle. Where tasks acknowledge late a multiplier of
# 1 takes none that no child is free for; worker_disable_prefetch, with a Redis broker, says so of the others, too.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
