"""The rules of py-dagger for what a DAG's body may say, in its words. dagcelery allows more of it."""

from __future__ import annotations

from dagcelery.compat.dagger.old_texts import BrokenRule, WrongType
from dagcelery.compat.dagger.task import PARTITIONED_TWICE
from dagcelery.model import (
    DAG,
    DictOf,
    Each,
    FromNodeOutput,
    FromParam,
    ListOf,
    Literal,
    Node,
    Source,
    Splice,
    TupleOf,
    fan_source,
)
from dagcelery.model.names import short_name
from dagcelery.model.sources import Readable, own_items


def check_returned(dag: DAG) -> None:
    """Refuse what no DAG of py-dagger gives back: it must be outputs of nodes that are not partitioned."""
    returns = dag.returns
    if returns is None or returns == Literal(None):
        return
    for source in [value for _, value in returns.pairs] if isinstance(returns, DictOf) else [returns]:
        if isinstance(source, FromNodeOutput) and fan_source(dag.nodes[source.node]) is None:
            continue
        if isinstance(source, Literal):
            kind = type(source.value).__name__
        else:
            kind = "list" if isinstance(source, FromNodeOutput | ListOf) else type(source).__name__
        raise WrongType(
            f"DAG {dag.name!r}",
            f"This DAG returned a value of type {kind}. Functions decorated with `dsl.DAG` may only return two types "
            "of values: The output of another node or a mapping of [str, the output of another node]",
        )


def check_arguments(node: Node, dag: DAG) -> str | None:
    """Check the call of a node in a DAG's body; return the input that it is partitioned by, if any."""
    title = f"the call of {short_name(node.func)!r}" if hasattr(node, "func") else f"the call of DAG {node.name!r}"
    for name, source in node.inputs.items():
        if isinstance(source, ListOf | TupleOf) and any(isinstance(i, FromNodeOutput | Splice) for i in source.items):
            kind = "list" if isinstance(source, ListOf) else "tuple"
            raise BrokenRule(
                title,
                f"Argument '{name}' of type '{kind}' is invalid. Arguments of this type may only contain "
                "literal/hardcoded values, or references to the same output from a partitioned node.",
            )
    items = {name: read for name, source in node.inputs.items() for read in own_items(source)}
    _check_calls_within(node, dag)
    if len(items) > 1:
        raise BrokenRule(title, _partitioned_by_several(items))
    for read in items.values():
        if isinstance(read, FromParam):
            raise BrokenRule(title, _OVER_A_PARAMETER)
    return next(iter(items), None)


def _check_calls_within(group: Node, dag: DAG) -> None:
    """Check calls that are made for each element of two lists, which have become a DAG of their own, without a name."""
    if not isinstance(group, DAG) or group.name is not None:
        return
    for node in group.nodes.values():
        items = {name: read for name, source in node.inputs.items() for read in own_items(source)}
        from_outer = {name for name, source in node.inputs.items() if _of_element(source, group) is not None}
        title = f"the call of {short_name(node.func)!r}" if hasattr(node, "func") else f"DAG {node.name!r}"
        for read in items.values():
            around = _of_element(read, group)
            if around is not None:
                source = dag.nodes[around.node] if isinstance(around, FromNodeOutput) else None
                if source is None or fan_source(source) is None:
                    raise BrokenRule(title, _OVER_A_PARTITION)
                if source.over is None:  # else it takes no element, and py-dagger does not see that it is in a loop
                    raise BrokenRule(title, PARTITIONED_TWICE)
        if len(items.keys() | from_outer) > 1:
            raise BrokenRule(title, _partitioned_by_several({*items, *from_outer}))


def _of_element(source: Source, group: DAG) -> Readable | None:
    """Return what the DAG around iterates, if a source reads one element of that."""
    outside = group.inputs.get(source.name or "") if isinstance(source, FromParam) else None
    return outside.source if isinstance(outside, Each) else None


def _partitioned_by_several(names: object) -> str:
    return (
        f"The following inputs to this node are partitioned: {sorted(names)}. However, nodes may only be partitioned "  # type: ignore[call-overload]
        "by one of their inputs. Please check the 'Map Reduce' section in the documentation for an explanation of why "
        "this is not possible and suggestions of other valid map-reduce patterns."
    )


_OVER_A_PARAMETER = (
    "Iterating over the value of a parameter is not a valid parallelization pattern in Dagger. You need to convert the "
    "parameter into the output of a node. Read this section in the documentation to find out more: "
    "https://larribas.me/dagger/user-guide/map-reduce/"
)
_OVER_A_PARTITION = (
    "When defining DAGs through the DSL, you can iterate over the output of a node, if the output of that node is "
    "supposed to be partitioned. However, you may not iterate over one of the partitions of that output."
)
