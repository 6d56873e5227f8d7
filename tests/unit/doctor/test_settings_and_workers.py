"""Each disease of settings and workers is found where it is, and comes with its remedy."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from dagcelery.cli import dag
from dagcelery.client import Client, set_default
from dagcelery.doctor import CHECKS, CheckContext, checks, run_checks
from dagcelery.local import Cluster, Server, cluster
from dagcelery.settings import Settings
from unit.hooks.mailbox import Mailbox

from .conftest import Check, Make, found

SECONDS = 60.0


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "imports", "expected"),
    [
        ("0123456789abcdef", (), None),
        ("0123456789abcdef, short", (), ("warning", "a signing key has fewer than 16 characters")),
        (
            "",
            ("shop",),
            ("warning", "no signing key is set: with write access to the store, anyone can change values"),
        ),
        ("", (), ("serious", "there is neither a signing key nor DAGCELERY_IMPORTS, so workers may execute nothing")),
    ],
)
def test_a_key_that_signs_nothing_or_can_be_guessed(
    context: Make, key: str, imports: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    told = found(context(key=key, dagcelery_imports=imports), checks.check_signing_key)
    assert [(severity, text.partition(",")[0]) for severity, text in told] == (
        [] if expected is None else [(expected[0], expected[1].partition(",")[0])]
    )


@pytest.mark.parametrize(
    ("url", "sender", "told"),
    [
        ("", "", []),
        ("smtps://robot%40example.com:secret@mail.example.com", "", []),
        ("smtp://robot:secret@localhost", "a@example.com", []),
        ("smtps://robot:secret@mail.example.com", "", ["mails have no sender"]),
        ("smtp://robot:secret@mail.example.com", "a@example.com", ["the password of robot goes to the SMTP server"]),
    ],
)
def test_mails_without_a_sender_and_passwords_in_plain_text_are_warnings(
    context: Make, url: str, sender: str, told: list[str]
) -> None:
    said = found(context(dagcelery_smtp_url=url, dagcelery_smtp_from=sender), checks.check_mail)
    assert [(severity, text[: len(start)]) for (severity, text), start in zip(said, told, strict=True)] == [
        ("warning", start) for start in told
    ]


def test_a_mail_server_that_lets_nobody_in_is_a_warning_with_its_remedy(context: Make) -> None:
    with Mailbox() as mailbox:
        assert found(context(dagcelery_smtp_url=mailbox.url), checks.check_mail_server) == []
        wrong = mailbox.url.replace("word", "wrong")
        ((severity, text),) = found(context(dagcelery_smtp_url=wrong), checks.check_mail_server)
    assert severity == "warning"
    assert "does not let robot@example.com in" in text
    assert "correct user and password in DAGCELERY_SMTP_URL" in text
    assert found(context(), checks.check_mail_server) == []


def test_workers_that_a_full_broker_would_end_are_noted(context: Make) -> None:
    check = checks.check_full_broker
    (said,) = found(context(), check)
    assert "set broker_channel_error_retry = True" in str(said)
    assert found(context(broker_channel_error_retry=True), check) == []


def test_visibility_timeouts_that_are_short_or_differ_are_warnings(context: Make) -> None:
    check = checks.check_visibility
    assert found(context(), check) == []
    assert found(context(broker_transport_options={"visibility_timeout": 3600}), check) == []
    differing = context(visibility_timeout=7200, broker_transport_options={"visibility_timeout": 60})
    assert [text for _, text in found(differing, check)] == [
        "visibility timeouts differ: broker_transport_options has 60, visibility_timeout has 7200; "
        "set the same in all three places",
        "the broker delivers a message again after 60 s, even if your own task still runs; "
        "make visibility_timeout longer than your longest task, in all apps that share the broker",
    ]


def test_a_visibility_timeout_that_is_no_number_is_serious(context: Make) -> None:
    broken = context(broker_transport_options={"visibility_timeout": "3600"})
    assert found(broken, checks.check_visibility) == [
        (
            "serious",
            "broker_transport_options has visibility_timeout='3600', which is not a number of seconds; "
            "give a number, such as 43200",
        )
    ]


def test_rabbitmq_s_consumer_timeout_cannot_be_asked_and_is_always_said(context: Make, server: Server) -> None:
    check = checks.check_consumer_timeout
    assert found(context(), check) == []
    rabbit = context("amqp://nobody@127.0.0.1:1//", store=server.url)
    assert [severity for severity, _ in found(rabbit, check)] == ["note"]
    assert found(rabbit, checks.check_visibility) == []


def test_a_multiplier_that_lets_work_wait_is_a_warning(context: Make) -> None:
    assert found(context(), checks.check_prefetch) == []
    ((severity, told),) = found(context(worker_prefetch_multiplier=4), checks.check_prefetch)
    assert severity == "warning"
    assert told.endswith("start workers with --prefetch-multiplier 1")


# -- workers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers' log and a module of theirs stand."""
    return tmp_path_factory.mktemp("hospital")


@pytest.fixture(scope="module")
def hospital(folder: Path) -> Iterator[Cluster]:
    """A server and a worker of a team's app, which takes four messages ahead."""
    (folder / "shelf.py").write_text("AGE = 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        environment = {"DAGCELERY_IMPORTS": "shelf,json"}
        with cluster(workers=1, app="unit.doctor.doctored", environment=environment, log=folder / "log") as made:
            set_default(None)
            yield made


def now(hospital: Cluster, check: Check) -> list[tuple[str, str]]:
    """What a check finds at the worker and its servers."""
    ill = CheckContext(hospital.client.app_context, timeout_seconds=0.5)
    told = found(ill, check)
    ill.close()
    return told


def soon(hospital: Cluster, check: Check) -> list[tuple[str, str]]:
    """What a check finds once it finds something: workers listen soon after they are ready, and a busy one answers
    late.
    """
    until = time.monotonic() + SECONDS
    while not (told := now(hospital, check)):
        assert time.monotonic() < until
    return told


def await_answer(hospital: Cluster) -> None:
    """Wait until the worker answers, so that finding nothing says something."""
    until = time.monotonic() + SECONDS
    while not hospital.client.app_context.app.control.ping(timeout=1, limit=1):
        assert time.monotonic() < until


def test_a_worker_that_takes_more_than_it_can_do_is_a_warning(hospital: Cluster) -> None:
    ((severity, told),) = soon(hospital, checks.check_hoarders)
    assert severity == "warning"
    assert re.match(
        r"worker worker-1@\S+ takes 4 messages for 1 processes, so it holds work that others could do", told
    )


def test_what_an_app_says_of_its_tasks_alone_is_noted(context: Make) -> None:
    assert found(context(), checks.check_own_messages) == []
    conf = {"task_time_limit": 9, "task_annotations": {"*": {"rate_limit": "1/s"}, "theirs": {"time_limit": 1}}}
    assert [told.partition(" does not hold")[0] for _, told in found(context(**conf), checks.check_own_messages)] == [
        "task_time_limit = 9",
        "rate_limit in task_annotations",
    ]


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"accept_content": []}, ("serious", "accept_content of the app is []; let it have 'json'")),
        (
            {"task_always_eager": True},
            ("warning", "task_always_eager is set: runs are executed where they are submitted"),
        ),
    ],
)
def test_an_app_whose_workers_would_get_no_message_of_ours_is_told(
    context: Make, conf: dict[str, Any], expected: tuple[str, str]
) -> None:
    ((severity, told),) = found(context(**conf), checks.check_own_messages)
    assert (severity, told[: len(expected[1])]) == expected


def test_a_queue_that_a_run_needs_and_the_app_may_not_make_is_serious(context: Make) -> None:
    from . import doctored

    maker, strict = context(), context(task_create_missing_queues=False)
    run = Client(maker.settings, maker.app).submit(doctored.both)
    told = [text for severity, text in found(strict, checks.check_queues) if severity == "serious"]
    run.cancel()
    assert "no message can be sent to the queue 'gpu', for which such runs as" in told[1]
    assert "name the queue in task_queues of the app" in told[1]


@pytest.mark.parametrize(
    "stats",
    [
        {"pool": {"max-concurrency": 1, "processes": [7]}, "autoscaler": {"max": 4, "min": 1}},
        {"pool": {"max-concurrency": 2, "processes": [7, 8, 9, 10]}},
    ],
    ids=["it scales itself", "it was told to grow"],
)
def test_a_worker_that_may_grow_takes_as_many_messages_as_it_may_have_processes(stats: dict[str, Any]) -> None:
    context: Any = SimpleNamespace(answers={"stats": {"worker": stats | {"prefetch_count": 4}}})
    assert list(checks.check_hoarders(context)) == []


def test_a_queue_that_a_run_needs_and_nobody_consumes_is_serious(hospital: Cluster) -> None:
    from . import doctored

    assert now(hospital, checks.check_queues) == []
    run = hospital.client.submit(doctored.both)
    ((severity, told),) = now(hospital, checks.check_queues)
    assert severity == "serious"
    assert told == (
        f"no worker consumes the queue 'gpu', which 1 unfinished run needs, such as {run.id}; "
        "start one: dagcelery worker --include-queue gpu"
    )
    run.cancel()
    assert now(hospital, checks.check_queues) == []


def test_a_worker_that_consumes_nothing_is_a_warning(hospital: Cluster) -> None:
    await_answer(hospital)
    assert now(hospital, checks.check_idle_workers) == []
    control = hospital.client.app_context.app.control
    control.cancel_consumer("celery", reply=True, timeout=SECONDS, limit=1)
    try:
        ((severity, told),) = soon(hospital, checks.check_idle_workers)
    finally:
        control.add_consumer("celery", reply=True, timeout=SECONDS, limit=1)
    assert severity == "warning"
    assert re.match(r"worker worker-1@\S+ consumes no queue", told)


def test_an_installation_without_workers_is_a_warning(context: Make) -> None:
    ((severity, told),) = found(context(), checks.check_queues)
    assert severity == "warning"
    assert told == "no worker is alive; start one: celery -A no_module worker"


@contextmanager
def forgetful(hospital: Cluster) -> Iterator[None]:
    """Let the hospital's server forget parts of what it was given for the length of a block."""
    with redis.Redis.from_url(hospital.server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.config_set("maxmemory", "1gb")
        try:
            yield
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("maxmemory", "0")


def test_another_worker_with_different_code_is_found_and_says_itself_what_is_serious(
    hospital: Cluster, folder: Path
) -> None:
    serious, log = "it evicts parts of runs, and messages; set maxmemory-policy noeviction", folder / "log"
    (folder / "shelf.py").write_text("AGE = 22")
    await_answer(hospital)
    assert now(hospital, checks.check_code) == []
    assert serious not in log.read_text()
    with forgetful(hospital):
        other = hospital.start_worker(1, queues=["other"])
        until = time.monotonic() + SECONDS
        while serious not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
    ((severity, told),) = soon(hospital, checks.check_code)
    other.stop()
    assert severity == "warning"
    assert re.match(r"workers have different code of shelf: worker-\d@\S+ has \w{12}, worker-\d@\S+ has \w{12}; ", told)
    assert "start workers with --prefetch-multiplier" not in log.read_text()  # it is a warning


# -- as a whole ------------------------------------------------------------------------------------------


def test_the_worst_comes_first_and_what_does_not_answer_is_said_once(context: Make) -> None:
    broken = context("redis://127.0.0.1:1/0", worker_prefetch_multiplier=4, broker_channel_error_retry=True)
    assert [(each.check, str(each.severity)) for each in run_checks(broken)] == [
        ("broker", "serious"),
        ("store", "serious"),
        ("prefetch", "warning"),
    ]


def test_an_app_without_anything_is_told_what_it_lacks() -> None:
    empty = CheckContext(Client(Settings(broker_url="redis://127.0.0.1:1/0")).app_context)
    told = {each.check: each.remedy for each in run_checks(empty)}
    assert told["store"] == "set DAGCELERY_STORE_URL to a Redis or Valkey"


@pytest.fixture
def environment(hospital: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hospital's addresses, in this process's environment."""
    for name, value in hospital.environment.items():
        monkeypatch.setenv(name, value)
    for name in [each for each in sys.modules if each in ("unit.doctor.sound", "dagcelery.worker.own")]:
        monkeypatch.delitem(sys.modules, name)
    replaced = set_default(None)
    yield
    set_default(replaced)


@pytest.mark.usefixtures("environment")
def test_doctor_prints_findings_and_its_exit_code_is_for_probes(hospital: Cluster) -> None:
    await_answer(hospital)
    healthy = CliRunner().invoke(dag, ["doctor", "-A", "unit.doctor.sound"], prog_name="dagcelery")
    assert healthy.exit_code == 0, healthy.output
    assert f"{len(CHECKS)} checks, " in healthy.stderr
    assert " 0 of them serious" in healthy.stderr
    assert "warning: prefetch: worker worker-1@" in healthy.stdout
    with forgetful(hospital):
        broken = CliRunner().invoke(dag, ["doctor", "-A", "unit.doctor.sound", "--json"], prog_name="dagcelery")
    assert broken.exit_code == 1
    told = json.loads(broken.stdout)
    assert told["serious"] == 1
    assert told["findings"][0]["check"] == "eviction"
    assert told["findings"][0]["remedy"] == "set maxmemory-policy noeviction"
