"""A team's app whose settings hold for each of its tasks: runs go on beside them, at their own pace."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from dagcelery.client import set_default

from .site import Site
from .surroundings import CHOSEN

SECONDS = 60.0
KINDS = {"rabbitmq": ("guarded", "elderly", "quorate")}.get(CHOSEN, ("guarded",))


@pytest.fixture(params=KINDS)
def strict(request: pytest.FixtureRequest, at: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An app of some kind, as its web process imports it, and a worker of it with time limits of its own."""
    env = {**at.team, "STRICT_KIND": request.param, "DAGCELERY_SIGNING_KEY": at.cluster.signing_key}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    options = ("-c", "2", "-Q", f"{request.param},{request.param}_gpu", "--time-limit", "1", "--soft-time-limit", "1")
    worker = at.hire(request.param, *options, app="strict_team", env=env)
    import strict_team  # noqa: F401  # it becomes the default

    try:
        worker.await_ready()
        yield request.param
    finally:
        worker.process.stop()
        set_default(at.client)
        for name in ("strict_team", "strict_tasks"):
            sys.modules.pop(name, None)


def test_no_setting_that_is_meant_for_a_teams_tasks_keeps_a_run_from_its_result(strict: str, at: Site) -> None:
    import strict_tasks

    run = strict_tasks.strict.submit(xs=list(range(6)))
    assert tuple(run.result(SECONDS)) == (sum(x * x for x in range(6)), at.workers[strict].pid)
    assert [line for line in at.workers[strict].lines if "time limit" in line] == []
