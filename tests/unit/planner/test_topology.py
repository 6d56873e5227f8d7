"""The topology counts, for each step, what must be there before it may start."""

from __future__ import annotations

from dagcelery.model import DAG, DagOptions, Each, FromParam, ListOf, Literal, Splice, Task
from dagcelery.planner.compile import plan
from dagcelery.planner.topology import topology
from dagcelery.store.records import CLOSE, START, StepEntry

from .graphs import (
    VALUE,
    add,
    double,
    each,
    graph,
    lister,
    map_reduce,
    nothing,
    numbers,
    out,
    placed,
    square,
    task,
    total,
)


def table(dag: DAG, body: int = 0) -> dict[str, StepEntry]:
    """Return the entries of one body by the names of its steps."""
    planned = plan(dag)
    found = topology(planned)[body]
    named = {step.name: found[index] for index, step in enumerate(planned.bodies[body].steps)}
    return {**named, "start": found[START], "close": found[CLOSE]}


def aligned() -> DAG:
    return graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "add": task(add, x=each("square"), y=each("numbers")),
            "total": task(total, xs=out("add")),
        },
        "total",
        "n",
    )


def test_a_map_waits_for_its_list_and_a_reducer_for_the_map() -> None:
    found = table(map_reduce())
    assert [found[name].waits for name in ("numbers", "square", "total")] == [0, 1, 1]
    assert [found[name].successors for name in ("numbers", "square", "total")] == [[1], [2], []]
    assert found["square"].over == "0.0"


def test_who_follows_item_by_item_waits_by_item_and_not_for_the_list() -> None:
    found = table(aligned())
    assert (found["add"].waits, found["add"].item_waits) == (0, 1)
    assert (found["square"].successors, found["square"].item_successors) == ([], [2])
    assert found["numbers"].successors == [1]


def test_a_fan_out_that_is_also_read_whole_counts_twice_and_then_the_list_counts_too() -> None:
    dag = graph({**aligned().nodes, "both": task(max, a=each("square"), b=out("square"))}, "both", "n")
    found = table(dag)["both"]
    assert (found.waits, found.item_waits) == (2, 1)


def test_one_step_counts_once_however_often_it_is_read() -> None:
    dag = graph({"a": task(nothing), "b": task(add, x=out("a"), y=out("a"))}, "b")
    assert table(dag)["b"].waits == 1
    assert table(dag)["a"].successors == [1]


def test_splices_wait_for_what_they_count_and_for_what_they_hold() -> None:
    parts = ListOf((Literal(0), Splice(each("square"), out("numbers"))))
    dag = graph({**map_reduce().nodes, "all": task(total, xs=parts)}, "all", "n")
    assert table(dag)["all"].waits == 2


def test_after_counts_like_a_value() -> None:
    dag = graph({"a": task(nothing), "b": task(nothing, after=["a"])}, "b")
    assert table(dag)["b"].waits == 1


def test_parameters_never_count() -> None:
    dag = graph({"f": task(square, x=Each(FromParam("xs")))}, "f", "xs")
    found = table(dag)["f"]
    assert (found.waits, found.item_waits, found.over, found.item_inputs) == (0, 0, "$xs", ["$xs"])


def test_inputs_are_whole_values_and_no_lists_of_results() -> None:
    nodes = {**map_reduce().nodes, "add": task(add, x=out("square"), y=FromParam("n"))}
    dag = graph({**nodes, "f": task(add, x=out("total"), y=FromParam("n"))}, "f", "n")
    assert table(dag)["add"].inputs == ["$n"]
    assert table(dag)["f"].inputs == ["2.0", "$n"]


def test_more_than_sixteen_inputs_are_not_listed() -> None:
    many = {f"n{i}": task(nothing) for i in range(17)}
    few = ListOf(tuple(out(f"n{i}") for i in range(16)))
    dag = graph({**many, "few": task(total, xs=few), "all": task(total, xs=ListOf((*few.items, out("n16"))))}, "all")
    found = table(dag)
    assert (len(found["few"].inputs), found["all"].inputs) == (16, [])


def test_inputs_by_item_are_told_apart() -> None:
    assert table(aligned())["add"].item_inputs == ["1.0", "0.0"]


def test_a_mapped_dag_waits_for_all_that_its_body_reads_outside() -> None:
    deep = graph({"add": task(add, x=FromParam("x"), y=FromParam("k"))}, "add", "x", "k")
    middle = graph(
        {"numbers": lister(numbers, n=FromParam("n")), "deep": placed(deep, x=each("numbers"), k=FromParam("k"))},
        "deep",
        "n",
        "k",
    )
    dag = graph(
        {
            "late": task(square, x=FromParam("n")),
            "numbers": lister(numbers, n=FromParam()),
            "middle": placed(middle, n=each("numbers"), k=out("late")),
        },
        "middle",
        "n",
    )
    assert table(dag)["middle"].waits == 2
    assert table(dag)["late"].successors == [2]
    assert table(dag, 1)["deep"].waits == 1
    assert table(dag, 2)["add"].inputs == ["$x", "^^0.0"]


def test_a_list_of_results_further_up_is_no_plain_input() -> None:
    inner = graph({"f": task(add, x=FromParam("x"), y=FromParam("y"))}, "f", "x", "y")
    dag = graph({**map_reduce().nodes, "in": placed(inner, x=each("numbers"), y=out("square"))}, "in", "n")
    assert table(dag, 1)["f"].inputs == ["$x"]


def test_a_mapped_dag_that_follows_a_fan_out_waits_by_item() -> None:
    dag = graph(
        {
            "numbers": lister(numbers, n=FromParam()),
            "square": task(square, x=each("numbers")),
            "inner": placed(map_reduce(), n=each("square")),
        },
        "inner",
        "n",
    )
    found = table(dag)["inner"]
    assert (found.waits, found.item_waits, found.body) == (0, 1, 1)


def test_start_knows_the_steps_that_wait_for_nothing() -> None:
    dag = graph({"a": task(nothing), "b": task(nothing), "c": task(add, x=out("a"), y=out("b"))}, "c")
    assert table(dag)["start"] == StepEntry("celery", successors=[0, 1])


def test_close_knows_what_is_given_back() -> None:
    assert table(map_reduce())["close"] == StepEntry("celery", inputs=["2.0"])


def test_queues_of_a_scopes_own_pieces_are_those_of_its_first_and_last_steps() -> None:
    from dagcelery.model import TaskOptions

    inner = graph(
        {
            "f": task(square, TaskOptions(queue="cpu"), x=FromParam("x")),
            "g": task(square, TaskOptions(queue="gpu"), x=out("f")),
        },
        "g",
        "x",
    )
    dag = graph({"numbers": lister(numbers, n=FromParam()), "in": placed(inner, x=each("numbers"))}, "in", "n")
    planned = plan(dag)
    assert (planned.bodies[1].queue_open, planned.bodies[1].queue_close) == ("cpu", "gpu")
    assert planned.bodies[0].steps[1].queue == "cpu"
    assert (topology(planned)[1][START].queue, topology(planned)[1][CLOSE].queue) == ("cpu", "gpu")


def test_a_step_that_waits_by_item_for_nobody_waits_for_its_list() -> None:
    node = Task(nothing, {}, {VALUE: map_reduce().nodes["square"].outputs[VALUE]}, over=out("numbers"))  # type: ignore[dict-item]
    dag = graph({"numbers": lister(numbers, n=FromParam()), "f": node}, "f", "n")
    assert (table(dag)["f"].waits, table(dag)["f"].item_waits) == (1, 0)


def test_counts_and_successors_agree() -> None:
    dag = graph({**aligned().nodes, "double": task(double, x=out("total"))}, "double", "n")
    found = topology(plan(dag))[0]
    steps = [entry for name, entry in found.items() if name >= 0]
    for index, entry in enumerate(steps):
        assert entry.waits == sum(index in other.successors for other in steps)
        assert entry.item_waits == sum(index in other.item_successors for other in steps)


def test_readers_are_told_where_nothing_but_outputs_is_kept() -> None:
    nodes = {**aligned().nodes, "last": task(double, x=out("total"))}
    kept = table(graph(nodes, "last", "n", options=DagOptions(keep="outputs")))
    names = list(nodes)
    read = {name: [names[step] for step in kept[name].reads] for name in names}
    assert read == {
        "numbers": [],
        "square": ["numbers"],
        "add": ["numbers", "square"],
        "total": ["add"],
        "last": ["total"],
    }
    assert [name for name in names if kept[name].is_returned] == ["last"]
    assert kept["start"].keeps_outputs_only
    all_kept = table(graph(nodes, "last", "n")).values()
    assert not [entry for entry in all_kept if entry.reads or entry.is_returned or entry.keeps_outputs_only]


def test_what_a_mapped_dag_reads_from_outside_is_read_by_the_step_that_enters_it() -> None:
    inner = graph({"add": task(add, x=FromParam("x"), y=FromParam("y"))}, "add", "x", "y")
    nodes = {
        "numbers": lister(numbers, n=FromParam()),
        "seven": task(double, x=FromParam("n")),
        "in": placed(inner, x=each("numbers"), y=out("seven")),
    }
    found = table(graph(nodes, "in", "n", options=DagOptions(keep="outputs")))
    assert (found["in"].reads, found["in"].is_returned) == ([0, 1], 1)
