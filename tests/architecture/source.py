"""The package's own source as the tests of its architecture read it: modules, what they import, what they define."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from checkout import ROOT

PACKAGE = ROOT / "dagcelery"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """Where it is, below the package: ``engine/worker_loop``."""
        return self.path.relative_to(PACKAGE).with_suffix("").as_posix()

    @property
    def dotted(self) -> str:
        """Its name for ``import``."""
        return f"{PACKAGE.name}.{self.name}".replace("/", ".").removesuffix(".__init__")

    @property
    def room(self) -> str:
        """The room that it belongs to: a folder of the package, or a file beside them."""
        return self.name.partition("/")[0]

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """Yield the dotted names that it imports, anywhere in it; ``from a import b`` is ``a.b``."""
        yield from imported(self.tree)

    def imports_when_run(self) -> Iterator[str]:
        """Yield the same without what only type checkers see."""
        for_checkers = {
            id(inner)
            for outer in ast.walk(self.tree)
            if isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.dump(outer.test)
            for statement in outer.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(self.tree):
            if id(node) not in for_checkers:
                yield from names(node)

    def functions(self) -> Iterator[Function]:
        """Yield every function and method, inner ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def definitions(self) -> Iterator[str]:
        """Yield the names of its classes and functions, and of public methods as ``Class.method``."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | Function):
                yield node.name
            if isinstance(node, ast.ClassDef):
                methods = (inner.name for inner in node.body if isinstance(inner, Function))
                yield from (f"{node.name}.{method}" for method in methods if not method.startswith("_"))

    def docstring(self, definition: str) -> str | None:
        """Return what a definition says of itself; a method may leave it to a base, or to a protocol of its room."""
        owner, _, method = definition.rpartition(".")
        module = importlib.import_module(self.dotted)
        if not owner:
            return inspect.getdoc(getattr(module, definition))
        classes = (*getattr(module, owner).__mro__, *protocols(self.room))
        told = (inspect.getdoc(vars(found)[method]) for found in classes if method in vars(found))
        return next(filter(None, told), None)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a tree imports."""
    for node in ast.walk(tree):
        yield from names(node)


def names(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that one statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def modules() -> tuple[Module, ...]:
    """Return every module of the package; each is read and parsed once, however many tests look at it."""
    return tuple(Module(path) for path in sorted(PACKAGE.rglob("*.py")))


@cache
def protocols(room: str) -> tuple[type, ...]:
    """Return the protocols that a room defines; classes may have their shape without saying so."""
    rooms = (vars(importlib.import_module(module.dotted)) for module in modules() if module.room == room)
    things = [thing for names in rooms for thing in names.values()]
    return tuple({thing for thing in things if isinstance(thing, type) and getattr(thing, "_is_protocol", False)})


STDLIB = sys.stdlib_module_names | {"annotationlib"}  # of Python 3.14


def third_party(name: str) -> str | None:
    """Return the top of a dotted name if it is neither ours nor Python's."""
    top = name.partition(".")[0]
    return None if top == PACKAGE.name or top in STDLIB else top
