"""A pipeline can be looked at: with Graphviz as an image, without it as text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Pipeline
from dagcelery.errors import InvalidLocation, NotConfigured

from .vocabulary import note

TREE = "mine()\n├── note\n└── note-2 <- after note"


@pytest.fixture
def pipeline() -> Pipeline:
    made, first = Pipeline("mine"), note(1)
    made.add_stages([first, note(2).after(first)])
    return made


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture
def dot(path: Path) -> Path:
    """A program called dot, which says how it was called and what it was given."""
    program = path / "dot"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint(f'<svg>{{sys.argv[1]}}', sys.stdin.read())\n")
    program.chmod(0o700)
    return program


@pytest.mark.usefixtures("path")
def test_a_script_prints_the_text(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    picture = pipeline.visualize()
    assert capsys.readouterr().out == f"{TREE}\n"
    assert repr(picture) == str(picture) == TREE


@pytest.mark.usefixtures("path")
def test_a_session_shows_values_itself(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    pipeline.visualize()
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("dot")
def test_with_graphviz_there_are_images(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = pipeline.visualize(tmp_path / "p.SVG")
    assert picture.svg is not None
    assert picture.svg.startswith('<svg>-Tsvg digraph "mine" {')
    assert (tmp_path / "p.SVG").read_text() == picture.svg
    pipeline.visualize(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"<svg>-Tpng digraph")


@pytest.mark.usefixtures("path")
def test_without_graphviz_there_are_texts(pipeline: Pipeline, tmp_path: Path) -> None:
    for name, begins in {"p.mmd": "flowchart TD", "p.dot": "digraph", "p.txt": "mine()"}.items():
        pipeline.visualize(tmp_path / name)
        assert (tmp_path / name).read_text().startswith(begins)
    with pytest.raises(NotConfigured, match=r"needs Graphviz.*install it, or save as .mmd"):
        pipeline.visualize(tmp_path / "p.png")
    with pytest.raises(NotConfigured, match=r"does not say what to draw: end it in .svg, .png, .mmd, .dot, .txt"):
        pipeline.visualize(tmp_path / "p.gif")
    assert sorted(os.listdir(tmp_path)) == ["bin", "p.dot", "p.mmd", "p.txt"]


@pytest.mark.parametrize(
    ("path", "told"), [(3, "is not a path"), ("/nowhere/p.txt", "No such file"), ("a\0.txt", "null byte")]
)
def test_a_place_where_no_picture_can_be_is_refused(path: Any, told: str) -> None:
    pipeline = Pipeline()
    pipeline.add_stage(note(1))
    with pytest.raises(InvalidLocation, match=f"a picture at .*{told}"):
        pipeline.visualize(path)


def test_a_graphviz_that_fails_is_none(pipeline: Pipeline, dot: Path) -> None:
    dot.write_text("#!/nowhere")
    assert pipeline.visualize().svg is None


def test_a_notebook_shows_the_best_that_there_is(pipeline: Pipeline, dot: Path) -> None:
    bundle = pipeline._repr_mimebundle_()
    assert bundle.keys() == {"text/plain", "text/vnd.mermaid", "image/svg+xml"}
    dot.unlink()
    assert pipeline._repr_mimebundle_().keys() == {"text/plain", "text/vnd.mermaid"}
    assert repr(pipeline) == "<pipeline mine of 2 stages>"
