"""Whatever a body says, a manifest of its DAG that is executed gives what a run gives."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, note

from unit.export.argo.cluster import executed, in_process, invoked
from unit.export.argo.interpreter import Argo

from .comparison import as_json, search
from .programs import Program, programs


@search(examples=15)
@given(program=programs())
def test_executing_a_manifest_gives_what_invoking_gives(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    note(repr(program))
    module = ModuleType("program")
    main = module.main = program.main()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "program", module)
    folder: Path = tmp_path_factory.mktemp("argo")
    found = executed(main, "program:main", program.params, Argo(folder, in_process))
    assert as_json(found) == as_json(invoked(main, program.params))
