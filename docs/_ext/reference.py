"""What the reference says is made of the package: settings, options, errors, events; names that lead there; lists."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from remedies import REMEDIES
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.ext.intersphinx import InventoryAdapter
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
    yield from _options(options.TaskKeywords, options.TaskUse, options.TaskOptions, options.TASK_MEANINGS)


def dag_options() -> Iterator[str]:
    """Yield what `@dag` takes, and what one use of a DAG does."""
    yield from _options(options.DagKeywords, options.DagUse, options.DagOptions, options.DAG_MEANINGS)


def _options(keywords: Any, use: Any, kept: type, lines: dict[str, str]) -> Iterator[str]:
    values = {field.name: field.default for field in dataclasses.fields(kept)}
    kinds = {**_hints(use), **_hints(keywords)}
    yield from ("| option | what it says | type | default | where |", "|---|---|---|---|---|")
    for name in sorted(kinds, key=[*lines].index):
        is_declared, is_used = name in _hints(keywords), name in _hints(use)
        where = "both" if is_declared and is_used else "decorator" if is_declared else "`.options(...)`"
        default = "" if values.get(name) in (None, ()) else f"`{values[name]!r}`"
        kind = _cell(f"`{kinds[name].removesuffix(' | None')}`")
        yield f"| `{name}` | {_cell(lines[name])} | {kind} | {default} | {where} |"


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
        yield from ("", f"**What to do:** {REMEDIES[name]}")
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
        made = self.parse_text_to_nodes(text, allow_section_headings=True)
        for literal in (each for top in made for each in top.findall(nodes.literal)):
            if self.arguments[0] == "settings" and literal.parent.parent.parent.index(literal.parent.parent) == 0:
                literal["ids"].append(literal.astext().lower())
        return made


MADE = {
    "settings": settings,
    "task-options": task_options,
    "dag-options": dag_options,
    "errors": error_list,
    "events": events,
}


def link_names(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let names of errors, settings, and Celery's settings and signals lead to where they are described.

    The first one on a page does, so that pages do not become blue. Celery's names are found in its inventory.
    """
    if app.builder.format != "html":
        return
    celery = InventoryAdapter(app.env).named_inventory.get("celery", {})
    seen: set[str] = set()
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().partition("=")[0]
        if name in seen or literal["ids"] or _is_within(literal, (nodes.reference, nodes.title, addnodes.desc)):
            continue
        if target := _place_of(app, page, name, celery):
            seen.add(name)
            linked = nodes.reference("", "", literal.deepcopy(), refuri=target, internal=True)
            literal.replace_self(linked)


def _is_within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def _place_of(app: Sphinx, page: str, name: str, celery: Any) -> str:
    if re.fullmatch(r"DAGCELERY_[A-Z_]+", name) and name.removeprefix("DAGCELERY_").lower() in _SETTINGS:
        return f"{app.builder.get_relative_uri(page, 'reference/settings')}#{name.lower()}"
    kind = getattr(errors, name, None) if name.isidentifier() else None
    if inspect.isclass(kind) and issubclass(kind, errors.DagceleryError) and page != "reference/errors":
        return f"{app.builder.get_relative_uri(page, 'reference/errors')}#{name.lower()}"
    for sort in ("std:setting", "std:signal"):
        if "_" in name and name in celery.get(sort, {}):
            return str(celery[sort][name].uri)
    return ""


_SETTINGS = {setting.name for setting in dataclasses.fields(Settings)}


def write_llms(app: Sphinx, error: Exception | None) -> None:
    """Write ``llms.txt``, each page with its first sentence, and ``llms-full.txt``: documents for programs."""
    if error is not None or app.builder.format != "html":
        return
    lines, texts = [f"# {app.config.project}", "", f"> {metadata('dagcelery')['Summary']}", ""], []
    for caption, names in _sections(app):
        lines += [f"## {caption}", "", *(_listed(app, name) for name in names), ""]
        texts += [Path(app.env.doc2path(name)).read_text(encoding="utf-8") for name in names]
    Path(app.outdir, "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    readme = Path(app.srcdir, "../README.md").read_text(encoding="utf-8")
    Path(app.outdir, "llms-full.txt").write_text("\n\n".join([readme, *texts]), encoding="utf-8")


def _sections(app: Sphinx) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of the navigation, each with its pages and those below them."""
    for toctree in app.env.get_doctree("index").findall(addnodes.toctree):
        names: list[str] = []
        for _, name in toctree["entries"]:
            names += [name, *app.env.toctree_includes.get(name, [])]
        yield toctree["caption"], names


def _listed(app: Sphinx, name: str) -> str:
    first = next((each.astext() for each in app.env.get_doctree(name).findall(nodes.paragraph)), "")
    sentence = re.split(r"(?<=[.:])\s", " ".join(first.split()))[0]
    sentence = re.sub(r":$", ".", sentence)
    base = app.config.html_baseurl
    return f"- [{app.env.titles[name].astext()}]({base}{app.builder.get_target_uri(name)}): {sentence}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Let Sphinx know the directive."""
    app.add_directive("made", Made)
    app.connect("doctree-resolved", link_names)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
