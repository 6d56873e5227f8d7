"""Celery's settings for workers on a machine with GPUs: a child for each GPU, which sees no other.

``celery -A dagcelery --config worker_config.gpu worker -Q gpu`` uses them. CUDA_VISIBLE_DEVICES says which GPUs the
worker has, as it does for any program: ``0,1``, or ids such as ``GPU-8f2a``. Without it they are what nvidia-smi lists.
"""

import os as _os
import subprocess as _subprocess

from billiard import current_process as _current_process
from celery.exceptions import ImproperlyConfigured as _ImproperlyConfigured
from celery.signals import worker_process_init as _worker_process_init

from worker_config.celeryconfig import *  # noqa: F403  # settings that are not below are as on other machines

_VARIABLE = "CUDA_VISIBLE_DEVICES"


def _devices() -> list[str]:
    """Return the worker's GPUs. A worker without any refuses to start: it would fail each task that it takes."""
    named = _os.environ.get(_VARIABLE, "")
    if not named:
        query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
        try:
            output = _subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, _subprocess.SubprocessError) as error:
            raise _ImproperlyConfigured(f"no GPU: set {_VARIABLE}, or make nvidia-smi work here ({error})") from error
        named = ",".join(output.split())
    devices = [name.strip() for name in named.split(",") if name.strip()]
    if not devices:
        raise _ImproperlyConfigured(f"no GPU: nvidia-smi lists none, and {_VARIABLE} names none")
    return devices


_DEVICES = _devices()
# Spawned children read this module again; they use this list, and do not ask the driver again.
_os.environ[_VARIABLE] = ",".join(_DEVICES)


@_worker_process_init.connect(weak=False)
def _take_one(**_: object) -> None:
    """Leave one GPU to a child, by its place in the pool: a child that dies is replaced in its place, on its GPU."""
    _os.environ[_VARIABLE] = _DEVICES[_current_process().index % len(_DEVICES)]


# A child cannot use CUDA if it was initialised before the fork. A spawned child is a fresh interpreter, which boots in
# a second or more. Celery 5.7 can spawn; older versions ignore this and fork, which works as long as nothing that the
# worker's main process imports opens a GPU. Your own app's tasks must be in modules that `include` names, or a spawned
# child does not have them; those of DAGs are found by their names.
worker_pool = "prefork"
worker_pool_start_method = "spawn"
# A spawned child imports the app, and perhaps a library as large as PyTorch, before it reports that it is up.
worker_proc_alive_timeout = 120.0

# Two children on one GPU would compete for its memory.
worker_concurrency = len(_DEVICES)

# A message held by a busy GPU keeps another one idle. If tasks acknowledge late, a multiplier of 1 takes no message
# without a free child; worker_disable_prefetch, with a Redis broker, does the same for other tasks.
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
