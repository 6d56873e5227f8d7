"""Errors are records: whatever carries them about, they arrive as they were."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from dagcelery import errors

EXAMPLES = [
    errors.DagceleryError("anything"),
    errors.InvalidDag("node 'a'", "reads output 'x' of 'b', which has none", "read one of: y"),
    errors.InvalidDagType("node 'a'", "is of type int", "give a Task or a DAG"),
    errors.InvalidConfig("config.yml", 7, "workflows[0].name", "is a list", "write a text"),
    errors.NotExportable("node 'a'", "makes its nodes while it runs", "export a DAG without it"),
    errors.CyclicDependency(["a", "b"]),
    errors.InvalidParameters("parameter 'n'", "is missing", "give one"),
    errors.KeyReused("order-42", "r1", "shop:order"),
    errors.InvalidSetting("DAGCELERY_MAX_ITEMS", "is 'many'", "write a whole number"),
    errors.InvalidLocation("input 'x': x.json", "cannot be read", "name another file"),
    errors.NotConfigured("no store is known", "set DAGCELERY_STORE_URL"),
    errors.FunctionNotAllowed("os", "system"),
    errors.NodeFailed("train[3]/fit", "ValueError", "no rows", "Traceback\n  File x"),
    errors.NodeNotDone("train[3]", "running"),
    errors.NodeSkipped("node when/then was skipped", "its branch was not taken"),
    errors.PieceDied(3),
    errors.TimeLimitExceeded(2.5),
    errors.NotStarted("gpu", 60.0, False),
    errors.NotResumable("r1", "running"),
    errors.RunCancelled("r1", "by its owner"),
    errors.RunTimedOut("r1", "its deadline has passed"),
    errors.ResultTimeout("r1", 2.5),
    errors.RunNotFound("r1"),
    errors.NotKept("r1", "features"),
    errors.BadSignature("value 3.0 of run r1", "they were changed"),
    errors.UnknownKey("value 3.0 of run r1", "another key sealed them"),
    errors.CodeMismatch("m:f", "311-aa", "311-bb"),
    errors.CodeUnknown("m:f", "311-aa", "importing m raised ModuleNotFoundError"),
    errors.FunctionNotFound("m", "f", "it has no 'f'"),
    errors.SerializationError("the value", "is a set", "pass a list"),
    errors.DeserializationError("the value", "is not JSON", "write JSON"),
    errors.ValueFreed("value 3.0 of run r1", "it was freed", "return it"),
    errors.LimitExceeded("list 'xs'", 11, 10, "elements", "DAGCELERY_MAX_ITEMS"),
    errors.PayloadTooLarge("value 'x'", 11, 10),
    errors.StoreUnavailable("connection refused", "redis://h"),
    errors.StoreRefused("You can't write against a read only replica.", "redis://h"),
    errors.StoreFull("OOM command not allowed", "redis://h"),
    errors.StoreDamaged("a script in the store at redis://h", "fails: WRONGTYPE", "delete the run"),
    errors.SpillDamaged("parameter 'x'", "its file is missing", "keep it"),
    errors.SpillUnavailable("file:///var/dagcelery", "written", "OSError: no space"),
    errors.BrokerUnavailable("connection refused", "redis://h"),
    errors.NotSent("KeyError: 'zstd'", "install zstandard"),
    errors.PlanVersionUnsupported(2, 1),
]

each = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def everything_of(error: BaseException) -> tuple[object, ...]:
    return type(error), error.args, str(error), vars(error)


def test_every_error_class_has_an_example_here() -> None:
    public = {kind for name, kind in vars(errors).items() if isinstance(kind, type) and not name.startswith("_")}
    assert {type(error) for error in EXAMPLES} == {kind for kind in public if issubclass(kind, BaseException)}


@each
def test_an_error_survives_pickle_and_copying(error: errors.DagceleryError) -> None:
    assert everything_of(pickle.loads(pickle.dumps(error))) == everything_of(copy.copy(error)) == everything_of(error)


@each
def test_an_error_survives_a_json_result_backend(error: errors.DagceleryError) -> None:
    args = json.loads(json.dumps(error.args))
    assert everything_of(type(error)(*args)) == everything_of(type(error)(*error.args))
    assert str(type(error)(*args)) == str(error)


@each
def test_an_error_tells_three_things_in_one_line(error: errors.DagceleryError) -> None:
    for part in (error.culprit, error.problem, error.remedy):
        assert part.rstrip(". ") in str(error)
    assert "\n" not in str(error)


def test_a_sentence_names_the_culprit_the_wrong_and_the_right() -> None:
    error = errors.InvalidDag("node 'a'", "has no output 'x'.", "read 'y'")
    assert str(error) == "node 'a': has no output 'x'; read 'y'"


def test_parts_that_are_not_known_are_left_out() -> None:
    assert str(errors.InvalidDag("the DAG has no nodes")) == "the DAG has no nodes"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"culprit": 1}), ((1,), {"more": 1})]
)
def test_an_error_takes_each_of_its_parts_once(args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="InvalidDag takes culprit, problem, remedy"):
        errors.InvalidDag(*args, **kwargs)  # type: ignore[arg-type]


def test_a_wrong_type_in_a_dag_is_also_a_type_error() -> None:
    assert issubclass(errors.InvalidDagType, TypeError)
    assert issubclass(errors.InvalidDagType, errors.InvalidDag)


def test_a_cycle_is_shown_closed() -> None:
    assert "a -> b -> a" in str(errors.CyclicDependency(["a", "b"]))


def test_waiting_in_vain_is_a_timeout() -> None:
    with pytest.raises(TimeoutError, match=r"r1 had no result after 2\.5 s"):
        raise errors.ResultTimeout("r1", 2.5)


def test_the_remote_traceback_is_printed_below_a_failed_node() -> None:
    note, _ = errors.NodeFailed("fit", "ValueError", "no rows", "Traceback\n  File x").__notes__
    assert "fit" in note
    assert "File x" in note


def test_the_older_side_is_told_to_upgrade() -> None:
    assert "workers" in str(errors.PlanVersionUnsupported(2, 1))
    assert "client" in str(errors.PlanVersionUnsupported(1, 2))
