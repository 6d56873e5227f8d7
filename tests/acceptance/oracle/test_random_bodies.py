"""Whatever a body says, a run of its DAG gives what the body gives as plain Python."""

from __future__ import annotations

from hypothesis import given, note

from dagcelery import invoke
from dagcelery.client import Client
from dagcelery.errors import InvalidDag

from .comparison import as_json, search
from .habits import PARAMS, habits
from .programs import Program, programs


@search(examples=40)
@given(programs())
def test_invoking_a_dag_gives_what_its_body_gives(program: Program) -> None:
    note(repr(program))
    main = program.main()
    assert as_json(invoke(main, program.params)) == as_json(main(**program.params))


@search(examples=30)
@given(programs())
def test_so_does_submitting_it_eagerly(eager: Client, program: Program) -> None:
    note(repr(program))
    main = program.main()
    run = main.submit(**program.params)
    assert as_json(run.result()) == as_json(main(**program.params))


@search(examples=120)
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
