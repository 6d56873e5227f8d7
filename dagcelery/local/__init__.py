"""Broker, store and workers on this machine: for trials, for tests, and for use on one machine.

::

    with local.cluster(workers=2, taints=("gpu",)):
        print(map_reduce.submit(n=10).result(timeout=60))
"""

from dagcelery.local.cluster import Cluster, cluster
from dagcelery.local.guard import Process
from dagcelery.local.server import Server

__all__ = ["Cluster", "Process", "Server", "cluster"]
