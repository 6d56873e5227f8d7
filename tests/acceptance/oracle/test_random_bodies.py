"""Whatever a body says, a run of its DAG gives what the body gives as plain Python."""

from __future__ import annotations

import uuid

import fsspec
from celery import Celery
from hypothesis import given, note

from dagcelery import invoke
from dagcelery.errors import InvalidDag
from unit.engine.worlds import World

from .comparison import as_json, search
from .habits import PARAMS, habits
from .programs import Program, programs


@search(examples=30)
@given(programs())
def test_invoking_a_dag_gives_what_its_body_gives(program: Program) -> None:
    note(repr(program))
    main = program.main()
    assert as_json(invoke(main, program.params)) == as_json(main(**program.params))


@search(examples=15)
@given(programs())
def test_so_does_submitting_it_eagerly(eager: Celery, program: Program) -> None:
    note(repr(program))
    main = program.main()
    run = main.submit(**program.params)
    assert as_json(run.result()) == as_json(main(**program.params))


@search(examples=15)
@given(programs())
def test_so_does_a_run_whose_values_are_all_in_files_which_go_with_it(program: Program) -> None:
    note(repr(program))
    main, folder = program.main(), uuid.uuid4().hex
    world = World(spill_url=f"memory://{folder}", spill_bytes=1)
    run_id = world.submit(main, **program.params)
    world.settle()
    assert as_json(world.result(run_id)) == as_json(main(**program.params))
    world.client.delete(run_id)
    assert not fsspec.filesystem("memory").find(f"/{folder}")


@search(examples=70)
@given(habits())
def test_a_body_that_is_accepted_means_what_it_says(program: Program) -> None:
    note(repr(program))
    main = program.main()
    try:
        main.__dag__()
    except InvalidDag:
        return
    for params in PARAMS:
        assert as_json(invoke(main, params)) == as_json(main(**params)), params
