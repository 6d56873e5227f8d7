"""A run's page as one file, to keep or to attach: it asks nobody, and shows what was known when it was written.

It is the same page. What the server would answer stands in it as JSON, scripts and style stand in it too, and the
browser is told to run and load nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from dagcelery.web.bundle import bundled, style

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<div id="app"></div>
<script type="application/json" id="answers">{answers}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def report(whole: Mapping[str, Any], nodes: Mapping[str, Any]) -> str:
    """Return the page of a run, made of what the server would answer about it and about some of its nodes."""
    run_id, name = whole["run"]["id"], whole["run"]["name"]
    session = {"title": "dagcelery", "version": importlib.metadata.version("dagcelery"), "actions": [], "run": run_id}
    details = {f"node {address}": told for address, told in nodes.items()}
    told = json.dumps({"api/session": session, f"api/runs/{run_id}": whole} | details)
    script, css = bundled(), style()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(css)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    answers = told.replace("<", "\\u003c")  # nothing in it can end the element that it stands in
    return _PAGE.format(policy=policy, title=escape(f"{name} {run_id[:8]}"), style=css, answers=answers, script=script)


def _hash(text: str) -> str:
    """Return what a policy calls a text that may stand in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
