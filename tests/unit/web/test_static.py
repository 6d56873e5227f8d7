"""What the browser gets is all there, is what it says, and makes no markup of texts."""

from __future__ import annotations

import hashlib
import re

import pytest

from dagcelery.web.bundle import STATIC, bundled

SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))
MARKUP = (
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|\beval\(|new Function"
    r'| on\w+="|style="'
)
LATE = {"login.js"}  # of those who have no session yet


def test_what_others_made_is_what_they_published() -> None:
    vendored = STATIC / "vendor"
    rows = re.findall(r"^\| `(\S+)` .*`(\w{64})` \|$", (vendored / "VENDORED.md").read_text(), re.MULTILINE)
    assert rows == [(name, hashlib.sha256((vendored / name).read_bytes()).hexdigest()) for name, _ in rows]
    assert {name for name, _ in rows} == {path.name for path in vendored.glob("*.js")}


@pytest.mark.parametrize("name", ["index.html", *SCRIPTS])
def test_nothing_makes_markup_or_code_of_a_text(name: str) -> None:
    assert not re.findall(MARKUP, (STATIC / name).read_text())


def test_the_page_asks_for_all_its_scripts_at_once_and_for_nothing_from_elsewhere() -> None:
    asked = set(re.findall(r'(?:href|src)="([^"]+)"', (STATIC / "index.html").read_text()))
    own = {f"static/{name}" for name in SCRIPTS if name not in LATE}
    vendored = {f"static/vendor/{path.name}" for path in (STATIC / "vendor").glob("*.js")}
    assert asked == own | vendored | {"static/style.css", "data:,"}


def test_one_script_has_all_that_the_page_imports() -> None:
    script = bundled()
    assert not re.findall(r"^(?:import|export)\b", script, re.MULTILINE)
    assert script.count("(() => {\n") >= len(SCRIPTS) - len(LATE)
