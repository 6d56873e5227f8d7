"""Doing what a document says: each block of Python and bash in it runs.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from checkout import ROOT
from dagcelery.cli import dag
from dagcelery.client import set_default
from dagcelery.local import Server
from dagcelery.local.server import free_ports
from dagcelery.settings import Settings

from .serving import await_served

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md") if (ROOT / name).exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
EXECUTED = ("python", "yaml", "bash")
# So that a worker does not wait at its start, for a second, to learn of others.
ALONE = ("--without-gossip", "--without-mingle")
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


def executed(documents: Iterable[Path]) -> list[Path]:
    """Documents in which there is something to execute."""
    return [path for path in documents if any(block.language in EXECUTED for block in blocks(path))]


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
            words = shlex.split(line)
            if words[0] == "celery" and "worker" in words:
                words += ALONE
            server = subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        self.servers.append(server)
        if line.startswith("uvicorn"):
            await_served(
                int(self.environment["UVICORN_PORT"]), lambda: server.poll() is None, self.folder / "serving.log"
            )


def forget_own_app(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let our own app be made of the environment as it is now; returns the client that was the default one."""
    monkeypatch.delitem(sys.modules, "dagcelery.worker.own", raising=False)
    monkeypatch.delattr("dagcelery.app", raising=False)
    return set_default(None)


@pytest.fixture
def reader(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Someone who follows a document, with a server at hand and programs on PATH, and sweeps up afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGCELERY_BROKER_URL", server.url)
    monkeypatch.setenv("DAGCELERY_STORE_URL", server.url)
    monkeypatch.setenv("DAGCELERY_SIGNING_KEY", "a key")
    monkeypatch.setenv("SHOP_REDIS", server.url.rpartition("/")[0])
    replaced = forget_own_app(monkeypatch)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plugins = {"PYTEST_PLUGINS": "dagcelery.testing.plugin"}  # as where dagcelery is installed
    port = {"UVICORN_PORT": str(*free_ports(1))}
    reader = Reader(tmp_path, os.environ | {"PATH": path} | plugins | port, monkeypatch)
    try:
        yield reader
    finally:
        reader.stop()
        set_default(replaced)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
