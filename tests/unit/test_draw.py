"""A DAG is drawn with its fan-outs, nested DAGs, taints and states, whatever its names are."""

from __future__ import annotations

from dagcelery import draw
from dagcelery.model import DAG, Each, FromNodeOutput, FromParam, FromReturnValue, Literal, Source, Task, TaskOptions

HOSTILE = 'a"]; b --> c\n\x1b[31m<script>`#\\'


def anything(**_: object) -> list[int]:
    return []


def task(options: TaskOptions | None = None, after: tuple[str, ...] = (), **inputs: Source) -> Task:
    """A node that returns a list, which others may read whole or by item."""
    split = not any(isinstance(source, Each) for source in inputs.values())
    outputs = {"out": FromReturnValue(is_partitioned=split)}
    return Task(anything, inputs, outputs, options=options, after=after)


def out(node: str) -> FromNodeOutput:
    return FromNodeOutput(node, "out")


def each(node: str) -> Each:
    return Each(out(node))


def nested() -> DAG:
    """A nested DAG, mapped over range(n), on a tainted queue."""
    inner = DAG(
        {"fit": task(TaskOptions(taints=("ssd", "gpu")), x=FromParam())},
        {"x": each("numbers")},
        {"out": out("fit")},
    )
    nodes: dict[str, Task | DAG] = {
        "numbers": task(n=FromParam()),
        "train": inner,
        "report": task(TaskOptions(queue="big"), xs=out("train")),
        "late": task(after=("train",)),
    }
    return DAG(nodes, {"n": FromParam()}, {"out": out("report")}, name="m:nested")


def test_text_is_a_tree_in_the_order_of_work() -> None:
    assert draw.text(nested()) == (
        "m:nested(n)\n"
        "├── numbers <- $n\n"
        "├── train [*] <- each numbers.out\n"
        "│   └── fit {gpu+ssd} <- $x\n"
        "├── report @big <- train.out\n"
        "└── late <- after train\n"
    )


def test_mermaid_has_a_subgraph_for_a_nested_dag() -> None:
    assert draw.mermaid(nested()) == (
        "flowchart TD\n"
        '    n1(["n"])\n'
        '    n2["numbers"]\n'
        '    subgraph c3["train [*]"]\n'
        '        n4["fit {gpu+ssd}"]\n'
        "    end\n"
        '    n5["report @big"]\n'
        '    n6["late"]\n'
        '    n7[["out"]]\n'
        "    n1 --> n2\n"
        "    n2 -. each .-> n4\n"
        "    n4 --> n5\n"
        "    n4 -. after .-> n6\n"
        "    n5 --> n7\n"
    )


def test_dot_has_a_cluster_for_a_nested_dag() -> None:
    drawn = draw.dot(nested())
    assert drawn.startswith('digraph "m:nested" {\n')
    assert '    subgraph cluster_c3 {\n        label="train [*]";\n' in drawn
    assert '    n2 -> n4 [style=dashed, label="each"];\n' in drawn
    assert '    n4 -> n6 [style=dotted, label="after"];\n' in drawn


def test_an_item_is_told_from_a_whole_list() -> None:
    drawn = draw.mermaid(DAG({"a": task(), "b": task(x=each("a")), "c": task(x=out("a"))}))
    assert "n1 -. each .-> n2" in drawn
    assert "n1 --> n3" in drawn


def test_a_nested_dag_that_runs_once_has_no_star() -> None:
    drawn = draw.text(DAG({"inner": DAG({"a": task()})}))
    assert drawn == "dag()\n└── inner\n    └── a\n"


def test_an_edge_into_a_nested_dag_leads_to_who_reads_the_parameter() -> None:
    inner = DAG({"unconcerned": task(), "reader": task(x=FromParam("n"))}, {"n": out("a")})
    drawn = draw.mermaid(DAG({"a": task(), "inner": inner}))
    assert '        n4["reader"]\n' in drawn
    assert drawn.endswith("    n1 --> n4\n")


def test_states_are_told_by_path_and_coloured() -> None:
    states = {"train/fit": "running 3/10", "numbers": "done"}
    assert 'n4["fit {gpu+ssd}: running 3/10"]' in draw.mermaid(nested(), states=states)
    assert "    style n2 fill:#b7e1b0\n" in draw.mermaid(nested(), states=states)
    assert 'n2 [label="numbers: done", fillcolor="#b7e1b0"];' in draw.dot(nested(), states=states)
    assert "numbers <- $n: done" in draw.text(nested(), states=states)


def test_a_task_is_drawn_with_its_inputs() -> None:
    assert draw.text(task(x=FromParam())) == "dag(x)\n└── anything <- $x\n"
    assert 'n2["task"]' in draw.mermaid(Task(lambda x: x, {"x": FromParam()}))


def test_hostile_names_stay_within_their_labels() -> None:
    dag = DAG({"f": task(TaskOptions(queue=HOSTILE))}, {}, {"out": out("f")}, name=HOSTILE)
    mermaid = draw.mermaid(dag, states={"f": HOSTILE})
    assert mermaid.count("\n") == 4
    assert mermaid.count('"') == 4
    assert not any(letter in mermaid for letter in ("\x1b", "<script>", "`"))


def test_control_characters_never_reach_the_terminal() -> None:
    dag = DAG({"f": task(TaskOptions(queue=HOSTILE))}, name=HOSTILE)
    assert "\x1b" not in draw.text(dag)
    assert draw.text(dag).count("\n") == 2


def test_quotes_and_backslashes_are_escaped_in_dot() -> None:
    dag = DAG({"f": task(TaskOptions(queue='a\\"b'))})
    assert '[label="f @a\\\\\\"b"]' in draw.dot(dag)


def test_a_list_that_is_only_counted_is_drawn() -> None:
    counted = Task(anything, over=out("a"))
    dag = DAG({"a": task(), "b": counted})
    assert "n1 -. each .-> n2" in draw.mermaid(dag)
    assert "b [*] <- each a.out" in draw.text(dag)


def test_literals_are_not_shown() -> None:
    dag = DAG({"f": task(x=Literal("secret"))})
    assert "secret" not in draw.mermaid(dag) + draw.dot(dag) + draw.text(dag)


def test_each_output_is_drawn_by_its_name() -> None:
    drawn = draw.mermaid(DAG({"f": task()}, {}, {"a": out("f"), "b": out("f")}))
    assert '    n2[["a"]]\n    n3[["b"]]\n' in drawn


def test_a_branch_is_drawn_with_its_condition() -> None:
    branch = DAG(
        {"train": task(x=FromParam("x"))}, {"x": FromParam("x"), "flag": out("check")}, only_if=("flag", False)
    )
    dag = DAG({"check": task(), "otherwise": branch}, {"x": FromParam()})
    assert "-. if not .->" in draw.mermaid(dag)
    assert '[style=dashed, label="if not"]' in draw.dot(dag)
    assert draw.text(dag).splitlines()[1:] == [
        "├── check",
        "└── otherwise <- $x, if not check.out",
        "    └── train <- $x",
    ]
