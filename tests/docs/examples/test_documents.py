"""What the documents say is so: each block of Python and bash in them runs, and tables name what there is.

Blocks of one document run in order, in one folder. A block of Python whose first line is ``# name.py`` is written to
that file instead, and so is each block of YAML. An expression that a comment follows, ``2 + 2  # 4``, has that value.
A block of text that follows a block of bash shows lines of its output. Commands that serve until they are stopped run
till the document's end; those of dagcelery run in this process.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from checkout import ROOT
from dagcelery import errors
from dagcelery.cli import dag
from dagcelery.client import set_default
from dagcelery.local import cluster
from dagcelery.local.server import free_ports
from dagcelery.settings import Settings

from .serving import await_served

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SERVING = re.compile(
    r"celery -A \S+ (worker|beat)\b|dagcelery (worker|ui|metrics)\b|dagcelery dev( --\w+ \w+)*$|uvicorn "
)


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    text = document.read_text()
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in FENCED.finditer(text)]


class Reader:
    """Does what a document says, in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], own: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.environment = environment
        self.own = own  # changes the environment of this process
        self.servers: list[subprocess.Popen[bytes]] = []
        self.names: dict[str, Any] = {"__name__": "document"}

    def follow(self, document: Path) -> None:
        printed = None
        for block in blocks(document):
            if block.language == "text" and printed is not None:
                assert [line for line in block.text.splitlines() if line not in printed] == []
            printed = None
            if block.language == "python":
                self.python(block, document)
            elif block.language == "yaml":
                (self.folder / block.text.split("\n", 1)[0].removeprefix("# ")).write_text(block.text)
            elif block.language == "bash":
                printed = "".join(self.shell(line) for line in block.text.splitlines())

    def stop(self) -> None:
        for server in self.servers:
            server.terminate()
        for server in self.servers:
            server.wait(20)

    def python(self, block: Block, document: Path) -> None:
        first = block.text.split("\n", 1)[0]
        if re.fullmatch(r"# \w+\.py", first):
            (self.folder / first[2:]).write_text(block.text)
            return
        lines = block.text.splitlines()
        for statement in ast.parse(block.text).body:
            # Errors show the document's own lines.
            ast.increment_lineno(statement, block.line)
            if not isinstance(statement, ast.Expr):
                exec(compile(ast.Module([statement], []), str(document), "exec", dont_inherit=True), self.names)
                continue
            value = eval(compile(ast.Expression(statement.value), str(document), "eval", dont_inherit=True), self.names)
            assert statement.end_lineno is not None
            stated = lines[statement.end_lineno - block.line - 1].partition("  # ")[2]
            assert not stated or value == ast.literal_eval(stated), (document, statement.lineno)

    def shell(self, line: str) -> str:
        if exported := re.match(r"export DAGCELERY_(\w+)=", line):
            assert exported[1].lower() in Settings.__dataclass_fields__
            return ""
        words = shlex.split(line, comments=True)
        if not words:
            return ""
        if words[0] == "source":
            self.source(self.folder / words[1])
            return ""
        if words[0] == "make":
            return self.run(f"make -n -C {ROOT} {shlex.join(words[1:])}")
        if SERVING.match(line):
            self.serve(line)
            return ""
        if words[0] == "dagcelery":
            return self.verb(words[1:])
        return self.run(line)

    def source(self, file: Path) -> None:
        deadline = time.monotonic() + 60
        while not (file.exists() and file.read_text().endswith("\n")):
            assert time.monotonic() < deadline, (self.folder / "serving.log").read_text()
            time.sleep(0.05)
        for word in shlex.split(file.read_text().replace("export ", "")):
            name, _, value = word.partition("=")
            self.environment[name] = value
            self.own.setenv(name, value)
        forget_own_app(self.own)

    def run(self, line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def verb(self, words: list[str]) -> str:
        done = CliRunner().invoke(dag, words, prog_name="dagcelery")
        assert done.exit_code == 0, f"{words}\n{done.output}"
        return done.stdout

    def serve(self, line: str) -> None:
        # What is submitted before a worker is up waits for it, as in production.
        with (self.folder / "serving.log").open("a") as log:
            server = subprocess.Popen(shlex.split(line), cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.servers.append(server)
        if line.startswith("uvicorn"):
            await_served(
                int(self.environment["UVICORN_PORT"]), lambda: server.poll() is None, self.folder / "serving.log"
            )


def forget_own_app(monkeypatch: pytest.MonkeyPatch) -> None:
    # Our own app is made of the environment in which it is first imported.
    set_default(None)
    monkeypatch.delitem(sys.modules, "dagcelery.worker.own", raising=False)
    monkeypatch.delattr("dagcelery.app", raising=False)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Someone who follows a document, with a server at hand and programs on PATH, and sweeps up afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with cluster(workers=0) as local:
        for name, value in local.environment.items():
            monkeypatch.setenv(name, value)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        forget_own_app(monkeypatch)
        plugins = {"PYTEST_PLUGINS": "dagcelery.testing.plugin"}  # as where dagcelery is installed
        port = {"UVICORN_PORT": str(*free_ports(1)), "SHOP_REDIS": local.broker_url.rpartition("/")[0]}
        monkeypatch.setenv("SHOP_REDIS", port["SHOP_REDIS"])
        reader = Reader(tmp_path, os.environ | {"PATH": path} | plugins | port, monkeypatch)
        try:
            yield reader
        finally:
            reader.stop()
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.exists()], ids=lambda path: path.name)
def test_what_a_document_says_runs(document: Path, reader: Reader) -> None:
    reader.follow(document)


def test_the_table_of_examples_is_complete() -> None:
    text = (ROOT / "docs" / "examples.md").read_text()
    for path in (ROOT / "examples").glob("*.py"):
        assert f"`{path.name}`" in text, path.name


def test_the_page_of_an_error_is_where_its_traceback_says() -> None:
    (note,) = errors.KeyReused("key 'a'", "belongs to another run", "choose another one").__notes__
    with (ROOT / "pyproject.toml").open("rb") as file:
        site = tomllib.load(file)["project"]["urls"]["Documentation"]
    assert note == f"See {site}reference/errors/#keyreused"


def test_every_verb_every_extra_and_every_folder_of_tests_is_named() -> None:
    changes, readme, guide = ((ROOT / f"{name}.md").read_text() for name in ("CHANGELOG", "README", "CONTRIBUTING"))
    verbs = re.search(r"The command line: `dagcelery (.*?)\.\n", changes, re.S)
    assert verbs is not None
    assert set(re.findall(r"\w+", verbs[1])) == set(dag.commands)
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"].keys() - {"dev", "docs", "bench", "bench-peers"}
    assert [extra for extra in extras if not re.search(rf"dagcelery\[{extra}\]|`{extra}`", readme)] == []
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert [name for name in folders if f"`tests/{name}`" not in guide] == []


def test_errors_and_actions_of_log_lines_that_documents_list_are_there() -> None:
    told = (ROOT / "docs" / "reference" / "errors.md").read_text().partition("All errors derive from")[2]
    named = set(re.findall(r"`([A-Z]\w+)`", told))
    assert {"NodeFailed", "CodeUnknown", "NotSent"} <= named
    assert [name for name in named if not hasattr(errors, name)] == []
    text = (ROOT / "docs" / "howto" / "logs.md").read_text()
    table = re.findall(r"^\| (?:ERROR|WARNING|INFO) \|.*\| (.*) \|$", text, re.M)
    actions = {action for cell in table for action in re.findall(r"`(\w+)`", cell)}
    source = "".join(path.read_text() for path in (ROOT / "dagcelery").rglob("*.py"))
    assert actions
    assert [action for action in actions if f'"action": "{action}"' not in source] == []


@pytest.mark.parametrize("document", [*(path for path in DOCUMENTS if path.exists())], ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    for name in re.findall(r"`([\w/]+/[\w/.]*|[A-Z]+\.md)`", document.read_text()):
        assert (ROOT / name).exists() or (ROOT / "dagcelery" / name).exists(), name


@pytest.mark.parametrize("document", [*(path for path in DOCUMENTS if path.exists())], ids=lambda path: path.name)
def test_modules_names_and_headings_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text()
    for name in re.findall(r"`(dagcelery(?:\.\w+)+)", text):
        module = name
        while not find_spec(module):
            module = module.rpartition(".")[0]
        assert name == module or hasattr(import_module(module), name.removeprefix(f"{module}.")), name
    headings = {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^##+ (.*)$", text, re.M)
    }
    assert [anchor for anchor in re.findall(r"\]\(#([\w-]+)\)", text) if anchor not in headings] == []
    for target in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (document.parent / target).exists(), target


def test_the_glossary_is_in_order_and_has_the_words_that_it_uses() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", text, re.M)[1:]
    words = [word for word, _ in rows]
    assert words == sorted(words, key=str.lower)
    used = {used for _, meaning in rows for used in re.findall(r"\*([\w'-]+(?: \w+)?)\*", meaning)}
    assert used
    assert [
        each for each in used if each.removesuffix("'s").removesuffix("s").lower() not in map(str.lower, words)
    ] == []
