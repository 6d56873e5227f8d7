"""The rules of branches: DAGs that run only if a condition holds. One function a rule, as in `rules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.model.fanout import fan_source
from dagcelery.model.names import is_in
from dagcelery.model.sources import Choice, FromNodeOutput, FromParam, Source, walk
from dagcelery.text import choices, shown

if TYPE_CHECKING:
    from dagcelery.model.graph import DAG

MAPPED_BRANCH: Final = "let a nested DAG that runs once per item hold it"


def condition_is_an_input(dag: DAG) -> None:
    if dag.only_if is None:
        return
    culprit = f"only_if={shown(dag.only_if)}"
    if not isinstance(dag.only_if, tuple) or len(dag.only_if) != 2 or not isinstance(dag.only_if[1], bool):
        raise InvalidDagType(culprit, "is not a condition", "give the name of an input, and True or False")
    if not is_in(dag.only_if[0], dag.inputs):
        raise InvalidDag(culprit, "names none of its inputs", choices(dag.only_if[0], dag.inputs))


def branches_run_at_most_once(dag: DAG) -> None:
    for name, node in dag.nodes.items():
        if getattr(node, "only_if", None) is not None and fan_source(node) is not None:
            raise InvalidDag(f"node {shown(name)}", "runs only if a condition holds, and once per item", MAPPED_BRANCH)


def choices_have_conditions(dag: DAG) -> None:
    for source in [*dag.outputs.values(), *(each for node in dag.nodes.values() for each in node.inputs.values())]:
        for part in walk(source):
            if isinstance(part, Choice) and not isinstance(part.condition, FromParam | FromNodeOutput):
                _refuse(part.condition)


def _refuse(condition: Source) -> None:
    right = "give FromParam(...) or FromNodeOutput(...)"
    raise InvalidDagType(f"condition={shown(condition)} of a Choice", "is not a value that a run makes", right)


BRANCH_RULES: tuple[Callable[[DAG], None], ...] = (
    condition_is_an_input,
    branches_run_at_most_once,
    choices_have_conditions,
)
