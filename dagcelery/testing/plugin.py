"""Fixtures of pytest for users' DAGs: `dag_invoke` in process, `dag_cluster` on real workers, `dag_faults` amid faults.

pytest finds them where dagcelery is installed::

    def test_on_workers(dag_cluster):
        assert map_reduce.submit(n=10).result(timeout=30) == 285

Server and workers start with the first test that asks for them, serve the whole session, and are clean for each test.
pytest loads this module at its start whether or not a test uses it, so nothing is imported here that costs time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dagcelery.local import Cluster
    from dagcelery.testing.faults import FaultyCluster
    from dagcelery.testing.lending import SharedCluster, SharedFaultyCluster

SHARED = ("taints", "app", "modules", "environment", "log_level")
"""Options of `dag_cluster_options` that hold for `dag_faults` too."""


@pytest.fixture(scope="session")
def dag_cluster_options() -> dict[str, Any]:
    """What `dag_cluster` is started with: arguments of `dagcelery.local.cluster`. Override it in your conftest.py."""
    return {}


@pytest.fixture(scope="session")
def dag_faults_options(dag_cluster_options: dict[str, Any]) -> dict[str, Any]:
    """What `dag_faults` is started with: arguments of `testing.faults.faulty_cluster`. Override it like the other."""
    _check("dag_cluster_options", dag_cluster_options)
    return {name: value for name, value in dag_cluster_options.items() if name in SHARED}


@pytest.fixture
def dag_invoke() -> Iterator[Callable[..., Any]]:
    """`dagcelery.invoke`; and during the test what is submitted runs in this process too, at once, without Redis."""
    from dagcelery import invoke
    from dagcelery.testing.lending import in_process

    with in_process():
        yield invoke


@pytest.fixture(scope="session")
def _dag_shared_cluster(dag_cluster_options: dict[str, Any]) -> Iterator[SharedCluster]:
    from dagcelery.local import cluster
    from dagcelery.testing.lending import shared_cluster

    _check("dag_cluster_options", dag_cluster_options, cluster)
    yield from _or_fail(shared_cluster(**dag_cluster_options))


@pytest.fixture
def dag_cluster(_dag_shared_cluster: SharedCluster) -> Iterator[Cluster]:
    """A server and Celery workers of this machine, the default client's during the test; see `dag_cluster_options`."""
    with _dag_shared_cluster.lent() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _dag_shared_faulty_cluster(dag_faults_options: dict[str, Any]) -> Iterator[SharedFaultyCluster]:
    from dagcelery.testing.faults import faulty_cluster
    from dagcelery.testing.lending import shared_faulty_cluster

    _check("dag_faults_options", dag_faults_options, faulty_cluster)
    yield from _or_fail(shared_faulty_cluster(**dag_faults_options))


@pytest.fixture
def dag_faults(_dag_shared_faulty_cluster: SharedFaultyCluster) -> Iterator[FaultyCluster]:
    """Another server and workers, the default client's during the test, to which its methods do harm."""
    with _dag_shared_faulty_cluster.lent() as faulty:
        yield faulty


def _check(fixture: str, options: object, start: Callable[..., Any] | None = None) -> None:
    """Fail with a sentence where a fixture of the user's returns what cannot be started with."""
    if not isinstance(options, dict):
        pytest.fail(
            f"{fixture} returns {options!r}, which is not a dict; return one such as {{'workers': 1}}", pytrace=False
        )
    accepted = options if start is None else inspect.signature(start).parameters
    for name in options:
        if name not in accepted:
            pytest.fail(f"{fixture} names {name!r}, which is not an option; give {', '.join(accepted)}", pytrace=False)


def _or_fail(kept: Any) -> Iterator[Any]:
    """Let a block's value live as long as a fixture; where there can be none, fail with the sentence that says why."""
    from dagcelery.errors import DagceleryError

    try:
        started = kept.__enter__()
    except DagceleryError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield started
    finally:
        kept.__exit__(None, None, None)
