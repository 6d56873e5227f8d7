"""What a team's Celery app says: settings in its configuration, and the modules of its tasks, which may be named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, shared_task

from dagcelery import attach
from dagcelery.client import Client, set_default
from dagcelery.errors import FunctionNotAllowed, InvalidSetting, NotConfigured
from dagcelery.payload.functions import load
from dagcelery.payload.signing import Keyring
from dagcelery.planner.plan import FunctionSpec
from dagcelery.worker.app import Modules

REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    replaced = set_default(None)
    yield
    set_default(replaced)


def made(**conf: Any) -> Celery:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.conf.update(conf)
    return app


# -- settings --------------------------------------------------------------------------------------
def test_every_setting_may_stand_in_the_configuration() -> None:
    client = attach(
        made(dagcelery_ttl_seconds=5, dagcelery_imports=["a.b"], dagcelery_workflows="x.yml y.yml", dagcelery_queue="q")
    )
    settings = client.settings
    assert (settings.ttl_seconds, settings.imports, settings.queue) == (5, ("a.b",), "q")
    assert settings.workflows == ("x.yml", "y.yml")


def test_an_argument_wins_over_the_environment_which_wins_over_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conf = {"dagcelery_signing_key": "conf", "dagcelery_ttl_seconds": 5, "dagcelery_store_url": "redis://conf/0"}
    monkeypatch.setenv("DAGCELERY_SIGNING_KEY", "environment")
    monkeypatch.setenv("DAGCELERY_TTL_SECONDS", "6")
    assert attach(made(**conf), signing_key="argument").settings.signing_key == "argument"
    settings = attach(made(**conf)).settings
    assert (settings.signing_key, settings.ttl_seconds, settings.store_url) == ("environment", 6, "redis://conf/0")
    monkeypatch.setenv("DAGCELERY_TTL_SECONDS", "")
    assert attach(made(**conf)).settings.ttl_seconds == 5


def test_names_may_have_the_prefix_of_the_apps_namespace() -> None:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.config_from_object({"CELERY_DAGCELERY_TTL_SECONDS": 7, "DAGCELERY_NOT_OURS": 1}, namespace="CELERY")
    assert attach(app).settings.ttl_seconds == 7


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("dagcelery_ttl_second", 5, "app.conf.dagcelery_ttl_second: is not a setting; did you mean 'ttl_seconds'"),
        ("dagcelery_import", "a", "app.conf.dagcelery_import: is not a setting; did you mean 'imports'?"),
        ("dagcelery_ttl_seconds", "many", "app.conf.dagcelery_ttl_seconds: is 'many' of type str; give an int"),
        ("dagcelery_imports", 5, "app.conf.dagcelery_imports: is of type int; give a tuple of module names"),
        ("dagcelery_store_url", 5, "app.conf.dagcelery_store_url: is of type int"),
    ],
)
def test_a_name_or_a_value_that_cannot_be_is_told(name: str, value: object, told: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        attach(made(**{name: value}))
    assert str(caught.value).startswith(told)


def test_a_name_that_cannot_be_is_told_in_a_namespace_too() -> None:
    app = Celery("shop", broker=REDIS, set_as_current=False)
    app.config_from_object({"CELERY_DAGCELERY_STORE": REDIS}, namespace="CELERY")
    with pytest.raises(InvalidSetting, match=r"app\.conf\.dagcelery_store: is not a setting; did you mean 'store_url'"):
        attach(app)


def test_what_is_set_too_late_is_not_ignored_without_a_word() -> None:
    app = made()
    client = attach(app)
    app.conf.dagcelery_ttl_seconds = 5
    with pytest.raises(NotConfigured, match=r"dagcelery_ttl_seconds of the app 'shop' was set after attach\(app\)"):
        _ = client.control
    assert attach(app).control.settings.ttl_seconds == 5


# -- modules ---------------------------------------------------------------------------------------
@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write modules of the package `stall`, which is forgotten after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stall").mkdir()

    def write(name: str, text: str) -> None:
        (tmp_path / "stall" / f"{name}.py").write_text(text)

    write("__init__", "def own(): pass\n")
    for name in ("tasks", "admin", "extra"):
        write(name, "def function(): return __name__\n")
    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "stall"]:
        del sys.modules[name]


def named(app_client: Client, module: str, name: str = "function") -> Any:
    """What data that nobody signed may call, as a worker of this app or its client sees it."""
    return load(FunctionSpec(module, name, ""), imports=app_client.control.imports, keyring=Keyring())()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "conf", [{"include": ["stall.tasks"]}, {"imports": ("stall.tasks",)}, {"dagcelery_imports": "stall.tasks"}]
)
def test_modules_that_the_app_names_are_allowed_and_no_others(conf: dict[str, Any]) -> None:
    client = attach(made(**conf))
    assert named(client, "stall.tasks") == "stall.tasks"
    for module, name in (("stall.admin", "function"), ("stall", "own"), ("stall.tasks_too", "f"), ("celery", "group")):
        with pytest.raises(FunctionNotAllowed):
            named(client, module, name)
    assert "stall.admin" not in sys.modules


@pytest.mark.usefixtures("package")
def test_what_is_discovered_late_is_allowed() -> None:
    app = made()
    client = attach(app)
    app.autodiscover_tasks(["stall"])
    assert "stall.tasks" not in sys.modules
    assert named(client, "stall.tasks") == "stall.tasks"
    with pytest.raises(FunctionNotAllowed):
        named(client, "stall.admin")


@pytest.mark.usefixtures("package")
def test_what_is_named_on_the_list_is_found_without_discovering_anything() -> None:
    app = made(dagcelery_imports=["stall.extra"])
    app.autodiscover_tasks(["stall"])
    assert named(attach(app), "stall.extra") == "stall.extra"
    assert "stall.tasks" not in sys.modules


def test_a_module_that_cannot_be_discovered_costs_the_others_nothing(
    package: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    package("tasks", "1 / 0\n")
    app = made(include=["stall.extra"])
    app.autodiscover_tasks(["stall"])
    client = attach(app)
    assert named(client, "stall.extra") == "stall.extra"
    with pytest.raises(FunctionNotAllowed):
        named(client, "stall.admin")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("package")
def test_the_apps_own_module_is_allowed_but_not_what_lies_below_its_package() -> None:
    import importlib

    for name in ("stall.extra", "stall"):
        importlib.import_module(name)
    assert named(attach(Celery("stall.extra", broker=REDIS, set_as_current=False)), "stall.extra") == "stall.extra"
    for module, name in (("stall.admin", "function"), ("stall", "own")):
        with pytest.raises(FunctionNotAllowed):
            named(attach(Celery("stall", broker=REDIS, set_as_current=False)), module, name)


def test_tasks_that_libraries_share_with_every_app_open_no_module() -> None:
    app = made()

    @shared_task
    def shared() -> None:
        """Of this module, which the app was not told of."""

    assert shared.name in app.tasks
    assert __name__ not in attach(app).app_context.imports


@pytest.mark.usefixtures("package")
def test_what_a_worker_adds_to_the_modules_of_its_app_is_not_allowed() -> None:
    app = made(include=["stall.tasks"])
    client = attach(app)
    app.loader.init_worker()
    app.conf.include = (*app.conf.include, "stall.admin")
    assert named(client, "stall.tasks") == "stall.tasks"
    with pytest.raises(FunctionNotAllowed):
        named(client, "stall.admin")


def test_neither_our_modules_nor_celerys_are_a_teams() -> None:
    app = made(include=["celery.app.builtins", "dagcelery.worker.app"])  # as a worker adds them by itself
    attach(app)
    assert not [name for name in Modules(app, ()) if name.startswith(("celery", "dagcelery"))]


def test_the_first_error_says_both_remedies() -> None:
    with pytest.raises(FunctionNotAllowed) as caught:
        named(attach(made()), "stall.tasks")
    for remedy in ("DAGCELERY_IMPORTS", "DAGCELERY_SIGNING_KEY", "app.conf.dagcelery_imports"):
        assert remedy in str(caught.value)


def test_a_spawned_child_shapes_its_log_with_what_the_app_alone_imports() -> None:
    code = """if True:
        import logging, sys
        from dagcelery import PieceFilter, app
        from dagcelery.worker.app import app_context_of
        handler = logging.StreamHandler()
        logging.getLogger().addHandler(handler)
        app_context_of(app).engine
        assert any(isinstance(each, PieceFilter) for each in handler.filters), handler.filters
        assert "dagcelery.worker.heartbeat" not in sys.modules
    """
    told = {"DAGCELERY_WORKER_ID": "spawned", "DAGCELERY_STORE_URL": "redis://127.0.0.1:1/0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | told)
