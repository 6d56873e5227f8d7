"""Broker, store and workers on this machine: for trying things out, for tests, and for one-machine use.

::

    with local.cluster(workers=2, taints=("gpu",)):
        print(map_reduce.submit(n=10).result(timeout=60))
"""

from dagcelery.local.cluster import Cluster, cluster
from dagcelery.local.processes import Process
from dagcelery.local.server import Server

__all__ = ["Cluster", "Process", "Server", "cluster"]
