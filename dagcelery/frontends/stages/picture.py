"""A pipeline as a picture: SVG and PNG where Graphviz is installed, Mermaid, DOT and text everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cached_property
from pathlib import Path
import typing
from typing import Any

from dagcelery.errors import InvalidLocation, NotConfigured
from dagcelery.model.graph import DAG
from dagcelery.text import shown

_SECONDS = 60.0


class Picture:
    """Shows itself in notebooks; printed it is text."""

    def __init__(self, dag: DAG) -> None:
        self._dag = dag

    @cached_property
    def text(self) -> str:
        """A tree of stages in the order in which they can start."""
        from dagcelery import draw

        return draw.text(self._dag)

    @cached_property
    def mermaid(self) -> str:
        """A flowchart for documents."""
        from dagcelery import draw

        return draw.mermaid(self._dag)

    @cached_property
    def dot(self) -> str:
        """A digraph for Graphviz."""
        from dagcelery import draw

        return draw.dot(self._dag)

    @cached_property
    def svg(self) -> str | None:
        """An image as text; None without Graphviz."""
        drawn = self._drawn("svg")
        return None if drawn is None else drawn.decode()

    @cached_property
    def png(self) -> bytes | None:
        """An image as bytes; None without Graphviz."""
        return self._drawn("png")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file; its ending says what: .svg, .png, .mmd, .dot or .txt.

        Raises NotConfigured, and InvalidLocation where nothing can be written.
        """
        if not isinstance(path, str | os.PathLike):
            raise InvalidLocation(f"a picture at {shown(path)}", "is not a path", "give a str or a Path")
        written = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".dot": "dot", ".txt": "text"}
        ending = Path(path).suffix.lower()
        if ending not in written:
            raise NotConfigured(f"{os.fspath(path)!r} does not say what to draw", f"end it in {', '.join(written)}")
        found: str | bytes | None = getattr(self, written[ending])
        if found is None:
            why = f"drawing {os.fspath(path)!r} needs Graphviz, whose program dot is not on PATH or failed"
            raise NotConfigured(why, "install it, or save as .mmd, .dot or .txt")
        try:
            Path(path).write_bytes(found.encode() if isinstance(found, str) else found)
        except (OSError, ValueError) as error:  # the latter of a null byte
            raise InvalidLocation(
                f"a picture at {shown(path)}", f"cannot be written: {error}", "name another one"
            ) from error

    def __str__(self) -> str:
        return self.text.rstrip()

    __repr__ = __str__

    def _repr_svg_(self) -> str | None:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"text/plain": str(self), "text/vnd.mermaid": self.mermaid}
        return bundle if self.svg is None else bundle | {"image/svg+xml": self.svg}

    def _drawn(self, language: typing.Literal["svg", "png"]) -> bytes | None:
        program = shutil.which("dot")
        if program is None:
            return None
        try:
            command = [program, f"-T{language}"]
            done = subprocess.run(command, input=self.dot.encode(), capture_output=True, timeout=_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout
