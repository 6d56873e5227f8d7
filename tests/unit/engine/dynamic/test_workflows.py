"""A workflow is a class: decorated methods are nodes, its other methods are methods."""

from __future__ import annotations

from collections import Counter

import pytest

from dagcelery import Workflow, errors, register_definition, task

from .vocabulary import Greeter, Statuses, Tree, greeter


def test_the_example_that_workflows_come_from() -> None:
    assert Statuses().invoke() == Counter({0: 2, 1: 2})


def test_the_constructors_state_travels() -> None:
    assert Tree(2).invoke(2) == ["root.0.0", "root.0.1", "root.1.0", "root.1.1"]
    assert Tree(3).invoke(depth=1) == ["root.0", "root.1", "root.2"]


def test_what_a_node_changes_in_its_object_nobody_else_sees() -> None:
    class Counting(Workflow):
        def __init__(self) -> None:
            self.seen = 0

        @task
        def entrypoint(self) -> list[int]:
            return [self.one() for _ in range(3)]

        @task
        def one(self) -> int:
            self.seen += 1
            return self.seen

    assert Counting().invoke() == [1, 1, 1]


def test_a_registered_object_is_named_and_not_carried() -> None:
    assert greeter.invoke(["Ada"]) == ["hello, Ada"]
    assert "hello" not in repr(greeter.__dag__().nodes["entrypoint"].inputs)


def test_a_name_stands_for_one_object() -> None:
    assert register_definition(greeter) is greeter
    with pytest.raises(errors.InvalidDag, match="is registered with another state; give each a name"):
        register_definition(Greeter("good morning"))
    other = register_definition(Greeter("good evening"), "evening")
    assert other.invoke(["Ada"]) == ["good evening, Ada"]


def test_methods_are_inherited_and_overridden() -> None:
    class Mixin:
        @task
        def twice(self, x: int) -> list[int]:
            return [self.once(x), self.once(x)]

        @task
        def once(self, x: int) -> int:
            return x

    class Base(Mixin, Workflow):
        @task
        def entrypoint(self, x: int) -> list[int]:
            return self.twice(x)

    class Derived(Base):
        @task
        def once(self, x: int) -> int:
            return -x

    assert Base().invoke(4) == [4, 4]
    assert Derived().invoke(4) == [-4, -4]


def test_a_workflow_without_an_entrypoint_is_refused_when_it_is_run() -> None:
    class Empty(Workflow):
        pass

    with pytest.raises(errors.InvalidDag, match=r"workflow .*Empty: has no entrypoint; define a method entrypoint"):
        Empty().invoke()


def test_arguments_are_checked_against_the_entrypoint() -> None:
    with pytest.raises(errors.InvalidParameters, match="none is called 'dept'"):
        Tree(1).invoke(dept=1)
