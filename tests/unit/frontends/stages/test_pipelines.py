"""A pipeline runs its stages in the order that they were given, here and on processes of this machine."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from dagcelery import DAG, Pipeline, Stage, invoke, stage, submit
from dagcelery.errors import CyclicDependency, InvalidDag, InvalidDagType, NodeFailed
from dagcelery.local import Cluster
from dagcelery.model import Task

from .vocabulary import JOURNAL, Counter, fail, gather, leave, note


@pytest.fixture(autouse=True)
def _empty_journal() -> None:
    JOURNAL.clear()


def pipeline(*stages: Stage) -> Pipeline:
    made = Pipeline()
    made.add_stages(stages)
    return made


def six() -> Pipeline:
    one, two = note(1), note(2)
    three, four, five = note(3).after(two), note(4).after(two), note(5).after(one)
    return pipeline(one, two, three, four, five, note(6).after(three).after(four).after(five))


def test_a_call_makes_a_stage_and_calls_nothing() -> None:
    assert isinstance(note(1), Stage)
    assert JOURNAL == []


def test_stages_run_one_after_the_other_in_this_process() -> None:
    made = six()
    made.start()
    assert sorted(JOURNAL[:-1]) == [1, 2, 3, 4, 5]
    assert JOURNAL[-1] == 6
    assert JOURNAL.index(2) < JOURNAL.index(3)


def test_a_pipeline_is_a_dag_of_the_model() -> None:
    found = six().__dag__()
    assert isinstance(found, DAG)
    assert invoke(six()) is None
    assert invoke(found) is None
    assert six()() is None


def test_what_may_run_at_once_is_listed() -> None:
    assert six().groups() == [["note", "note-2"], ["note-3", "note-4", "note-5"], ["note-6"]]


def test_one_function_called_twice_is_two_stages() -> None:
    pipeline(note("a"), note("a")).start()
    assert JOURNAL == ["a", "a"]


def test_one_stage_added_twice_is_one() -> None:
    once = note("a")
    made = pipeline(once, once)
    made.add_stage(once)
    assert made.stages == (once,)


def test_pipelines_share_nothing() -> None:
    first, second = pipeline(note(1)), pipeline(note(2))
    second.add_stage(note(3))
    assert first.groups() == [["note"]]
    first.start()
    assert JOURNAL == [1]


def test_after_is_said_in_any_way() -> None:
    one, two, three = note(1), note(2), note(3)
    last = note(4).after(one).after(two, three).after(one)
    assert last.preceding_stages == (one, two, three)


def test_arguments_are_literals_in_any_form() -> None:
    pipeline(note(what={"x": [1]}, times=2), gather(1, 2, z=3), gather(y=4)).start()
    assert sorted(map(repr, JOURNAL)) == ["((), {'y': 4})", "((1, 2), {'z': 3})", "{'x': [1]}", "{'x': [1]}"]


def test_a_stage_object_runs_in_process_as_itself(tmp_path: Path) -> None:
    counter = Counter(str(tmp_path), 4)
    pipeline(counter).start()
    assert counter.counted == 5


def test_a_stage_is_called_by_its_function_its_class_or_as_it_says(tmp_path: Path) -> None:
    class Nameless(Stage):
        def run(self) -> None: ...

    named = Nameless()
    named.name = "mine/yours"
    made = pipeline(note(1), Nameless(), named, Counter(str(tmp_path), 1), Counter(str(tmp_path), 2))
    assert made.groups() == [["note", "Nameless", "mine_yours", "count", "count-2"]]


def test_a_failing_stage_is_told_by_its_name_with_the_original_error() -> None:
    later = note("never")
    made = pipeline(fail("on purpose"), later.after())
    later.after(made.stages[0])
    with pytest.raises(NodeFailed, match="node fail failed with ValueError: on purpose") as failed:
        made.start()
    assert isinstance(failed.value.__cause__, ValueError)
    assert JOURNAL == []


def test_functions_go_by_name_and_objects_take_only_themselves_along(tmp_path: Path) -> None:
    first = Counter(str(tmp_path), 1)
    second = Counter(str(tmp_path), 2).after(first)
    copied = pickle.loads(pickle.dumps(second))
    assert (copied.start, copied.preceding_stages) == (2, ())
    node = pipeline(note(1)).__dag__().nodes["note"]
    assert isinstance(node, Task)
    assert node.func is note.fn


def test_many_stages_in_a_row_run() -> None:
    made = pipeline(note(0))
    for number in range(1, 1000):
        made.add_stage(note(number).after(made.stages[-1]))
    made.start()
    assert list(range(1000)) == JOURNAL


# --- on processes of their own ---


def test_stages_run_on_processes_of_this_machine(tmp_path: Path) -> None:
    by = str(tmp_path)

    @stage
    def local_to_the_test() -> None:
        Path(by, "closure").touch()

    first = leave(by, "first")
    pipeline(first, leave(by, "second").after(first), Counter(by, 6).after(first), local_to_the_test()).start(
        num_cores=2
    )
    assert {path.name for path in tmp_path.iterdir()} == {"first", "second", "counted-7", "closure"}


def test_a_pipeline_may_be_submitted(tmp_path: Path, cluster: Cluster) -> None:
    first = Counter(str(tmp_path), 1)
    run = submit(pipeline(first, Counter(str(tmp_path), 2).after(first)))
    assert run.result(timeout=60) is None
    assert {path.name for path in tmp_path.iterdir()} == {"counted-2", "counted-3"}


# --- what is wrong ---


def refusal(made: Pipeline) -> str:
    with pytest.raises(InvalidDag) as refused:
        made.start()
    return str(refused.value)


def test_a_stage_that_was_never_added_is_named() -> None:
    last = note(2).after(fail("x"))
    assert refusal(pipeline(last)) == (
        "stage 'note': comes after stage 'fail', which was never added to the pipeline; add it; there are 'note'"
    )


def test_an_empty_pipeline_is_refused() -> None:
    assert refusal(Pipeline("mine")) == "pipeline 'mine': has no stage; add_stage(...) first"


def test_a_circle_is_told_with_its_stages() -> None:
    one, two = note(1), note(2)
    one.after(two.after(one))
    with pytest.raises(CyclicDependency, match=r"note -> note-2 -> note: depend on each other"):
        pipeline(one, two).start()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: note(1).after(note), "call it to make one"),
        (lambda: note(1).after(None), "None: is not a stage"),
        (lambda: pipeline(note), "call it to make one"),
        (lambda: note(), "the call of 'note': missing a required argument: 'what'"),
        (lambda: note(1, 2), "too many positional arguments; call it as (what: 'object'"),
        (lambda: note(note(1)), "takes <stage note>, and stages give no values; order them with after()"),
        (lambda: stage(3), "3: is not a function"),
        (lambda: Pipeline().add_stages(3), "3: holds no stages; give a list"),  # type: ignore[arg-type]
        (lambda: stage(Counter), "derive a class from Stage"),
    ],
)
def test_what_is_no_stage_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(InvalidDagType) as refused:
        wrong()
    assert told in str(refused.value)


def test_of_stages_among_which_one_is_none_no_one_is_added() -> None:
    made = Pipeline()
    with pytest.raises(InvalidDagType):
        made.add_stages([note(1), "note"])  # type: ignore[list-item]
    assert made.stages == ()


def test_a_stage_whose_run_wants_arguments_is_refused() -> None:
    class Wanting(Stage):
        def run(self, x: int) -> None: ...

    assert refusal(pipeline(Wanting())).startswith("stage 'Wanting': task 'run' with no inputs: cannot be called")


def test_a_stage_without_run_cannot_be_made() -> None:
    class Idle(Stage):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Idle()


@pytest.mark.parametrize("cores", [0, -1, True, "two", 1.5])
def test_a_number_of_cores_is_1_or_more(cores: Any) -> None:
    with pytest.raises(InvalidDag, match="is not a number of processes"):
        pipeline(note(1)).start(num_cores=cores)
