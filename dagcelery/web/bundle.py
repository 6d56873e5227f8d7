"""The page's scripts as one, for a page that is a single file.

They are modules, and a file has no places from which modules could be imported. So each becomes a function that is
called once and returns what the module exports. Ours, and those that others made, import only names, and end with one
``export``; anything else would be noticed by the test that opens such a page.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

STATIC: Final = Path(__file__).parent / "static"

_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "\./([^"]+)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"\bexport\s*\{([^}]*)\};?")
_SOURCE_MAP: Final = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


@cache
def bundled(entry: str = "main.js") -> str:
    """Return a script that does what the module `entry` does, with all that it imports."""
    names: dict[str, str] = {}
    parts: list[str] = []
    _add(entry, names, parts)
    script = "\n".join(parts)
    assert "</script" not in script, "it would end there"
    return script


@cache
def style() -> str:
    """Return the page's style."""
    return (STATIC / "style.css").read_text("utf-8")


def _add(module: str, names: dict[str, str], parts: list[str]) -> str:
    """Add a module behind those that it imports; return the name of what it exports."""
    if module in names:
        return names[module]
    text = (STATIC / module).read_text("utf-8")
    lines = [
        f"const {{ {_renamed(imported)} }} = {_add(str(PurePosixPath(module).parent / path), names, parts)};"
        for imported, path in _IMPORT.findall(text)
    ]
    body = _SOURCE_MAP.sub("", _IMPORT.sub("", text))
    exports = list(_EXPORT.finditer(body))
    exported = ""
    if exports:
        last = exports[-1]
        exported = ", ".join(_property(each) for each in last[1].split(",") if each.strip())
        body = body[: last.start()] + body[last.end() :]
    names[module] = f"module{len(names)}"
    inner = "\n".join([*lines, body.strip("\n"), f"return {{ {exported} }};"])
    parts.append(f"const {names[module]} = (() => {{\n{inner}\n}})();")
    return names[module]


def _renamed(imported: str) -> str:
    """``a, b as c`` of an import, as what a destructuring says."""
    return imported.strip().replace(" as ", ": ")


def _property(exported: str) -> str:
    """``a as b`` of an export, as a property of an object."""
    local, _, name = exported.strip().partition(" as ")
    return f"{name or local}: {local}"
