"""What the reference says is made of the package: settings, options, errors, events, a list of pages."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from dagcelery import errors
from dagcelery.client.following import RunEvent
from dagcelery.model import options
from dagcelery.settings import Settings


def settings() -> Iterator[str]:
    """Yield the table of settings."""
    yield from ("| variable | default | unit | meaning |", "|---|---|---|---|")
    for setting in dataclasses.fields(Settings):
        default = "" if setting.default in ("", ()) else f"`{str(setting.default).removesuffix('.0')}`"
        unit = next((unit for unit in ("seconds", "bytes") if setting.name.endswith(unit)), "")
        meaning = _cell(setting.metadata["meaning"]).replace("](docs/", "](../")
        yield f"| `DAGCELERY_{setting.name.upper()}` | {default} | {unit} | {meaning} |"


def task_options() -> Iterator[str]:
    """Yield what `@task` takes."""
    yield from _options(options.TaskKeywords, options.TaskUse, options.TaskOptions)


def dag_options() -> Iterator[str]:
    """Yield what `@dag` takes, and what one use of a DAG does."""
    yield from _options(options.DagKeywords, options.DagUse, options.DagOptions)


def _options(keywords: Any, use: Any, meaning: type) -> Iterator[str]:
    values = {field.name: field.default for field in dataclasses.fields(meaning)}
    yield from ("| option | type | default | where |", "|---|---|---|---|")
    for name in sorted({**keywords.__annotations__, **use.__annotations__}):
        kind = {**_hints(use), **_hints(keywords)}[name]
        is_declared, is_used = name in _hints(keywords), name in _hints(use)
        where = "both" if is_declared and is_used else "decorator" if is_declared else "`.options(...)`"
        default = values.get(name)
        yield f"| `{name}` | {_cell(f'`{kind}`')} | {'' if default in (None, ()) else f'`{default!r}`'} | {where} |"
    yield ""
    yield from inspect.getdoc(meaning).split("\n") if meaning.__doc__ else ()


def _hints(kind: Any) -> dict[str, str]:
    """Return annotations as they are written, those of bases first."""
    found: dict[str, str] = {}
    for base in (*getattr(kind, "__orig_bases__", ()), kind):
        if base is not kind and hasattr(base, "__annotations__"):
            found |= _hints(base)
    own = {name: getattr(hint, "__forward_arg__", str(hint)) for name, hint in kind.__annotations__.items()}
    return found | own


def error_list() -> Iterator[str]:
    """Yield a section for each error, with what it derives from, and what it says."""
    for name, kind in sorted(vars(errors).items()):
        if name.startswith("_") or not (inspect.isclass(kind) and issubclass(kind, errors.DagceleryError)):
            continue
        bases = ", ".join(_derived_from(kind))
        yield from ("", f"### {name}", "", *(inspect.getdoc(kind) or "").split("\n"))
        if bases:
            yield from ("", f"Derives from {bases}.")


def _derived_from(kind: type) -> Iterator[str]:
    for base in kind.__mro__[1:]:
        name = base.__name__
        if base.__module__ == errors.__name__ and not name.startswith("_") and base is not errors.DagceleryError:
            yield f"[{name}](#{name.lower()})"
        elif base.__module__ == "builtins" and base not in (Exception, BaseException, object):
            yield f"`{name}`"


def events() -> Iterator[str]:
    """Yield what an event of a run says."""
    yield from (inspect.getdoc(RunEvent) or "").split("\n")
    yield from ("", "| field | type |", "|---|---|")
    for name, hint in get_type_hints(RunEvent).items():
        yield f"| `{name}` | `{hint.__name__}` |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


class Made(SphinxDirective):
    """``{made} settings``: what a function here yields, as Markdown."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Return what the lines become."""
        lines = MADE[self.arguments[0]]()
        text = re.sub(r"(?<!`)``(?!`)", "`", "\n".join(lines))  # docstrings are reStructuredText
        return self.parse_text_to_nodes(text, allow_section_headings=True)


MADE = {
    "settings": settings,
    "task-options": task_options,
    "dag-options": dag_options,
    "errors": error_list,
    "events": events,
}


def write_llms(app: Sphinx, error: Exception | None) -> None:
    """Write ``llms.txt``: each page with its first sentence, for programs that read documents."""
    if error is not None or app.builder.format != "html":
        return
    lines = ["# dagcelery", "", "> Durable DAGs in plain Python for Celery and Redis.", ""]
    for name in sorted(app.env.found_docs):
        title = app.env.titles[name].astext()
        doctree = app.env.get_doctree(name)
        first = next((each.astext() for each in doctree.findall(nodes.paragraph)), "")
        sentence = re.split(r"(?<=[.:])\s", " ".join(first.split()))[0]
        lines.append(f"- [{title}]({app.builder.get_target_uri(name)}): {sentence}")
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx know the directive."""
    app.add_directive("made", Made)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
