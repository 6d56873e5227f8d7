"""Where every value stands in a file, runs give what they give otherwise, and deleted runs leave nothing."""

from __future__ import annotations

import uuid

import fsspec
from hypothesis import given, note

from unit.engine.worlds import World

from .comparison import as_json, search
from .programs import Program, programs


@search(examples=15)
@given(programs())
def test_a_run_whose_values_are_all_in_files_gives_what_its_body_gives(program: Program) -> None:
    note(repr(program))
    main, folder = program.main(), uuid.uuid4().hex
    world = World(spill_url=f"memory://{folder}", spill_bytes=1)
    run_id = world.submit(main, **program.params)
    world.settle()
    assert as_json(world.result(run_id)) == as_json(main(**program.params))
    world.client.delete(run_id)
    assert not fsspec.filesystem("memory").find(f"/{folder}")
