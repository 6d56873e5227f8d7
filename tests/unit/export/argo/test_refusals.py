"""What Argo cannot say, and what cannot be meant, is refused before anything is written: culprit, problem, remedy."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery import DAG, FromParam, Task, dag, task
from dagcelery.errors import InvalidDag, InvalidParameters, NotExportable
from dagcelery.export.argo import manifests
from examples.dynamic_workflow import crawl

from . import graphs
from .cluster import IMAGE


def told(error: type[Exception], node: Any, /, **options: Any) -> str:
    with pytest.raises(error) as caught:
        manifests(node, **{"image": IMAGE, "target": "app:it", **options})
    return str(caught.value)


@task(dynamic=True)
def growing(x: int) -> Any:
    return graphs.plus(x)


@dag
def grown(x: int) -> Any:
    return growing.options(name="grows")(x)


@dag
def outer(x: int) -> Any:
    return grown.options(name="inner")(x)


@task(min_success=0.5)
def mostly(x: int) -> int:
    return x


@dag
def share(n: int) -> Any:
    return [mostly(x) for x in graphs.numbers(n)]


@dag(on_item_failure="skip")
def skipped(x: int) -> int:
    return graphs.plus(x)


@dag
def skips_dags(n: int) -> Any:
    return [skipped(x) for x in graphs.numbers(n)]


@dag
def enters_what_was_skipped(n: int) -> Any:
    return [graphs.one_more(y) for y in [graphs.even(x) for x in graphs.numbers(n)]]


@task(taint="no such key!")
def tainted(x: int) -> int:
    return x


@dag
def needs_a_taint(x: int) -> int:
    return tainted(x)


@dag(on_failure=print)
def tells(x: int) -> int:
    return graphs.plus(x)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (outer, "node 'inner.grows': makes its nodes while it runs"),
        (crawl, "makes its nodes while it runs"),
        (share, "min_success=0.5 of node 'mostly': is a share of items, which Argo does not count; give on_item"),
        (skips_dags, "on_item_failure='skip' of node 'skipped': is on a DAG"),
        (enters_what_was_skipped, "node 'one_more': runs once for each item of a list from which some may be left out"),
        (needs_a_taint, "taint 'no such key!' of node 'tainted': is not a key that Kubernetes accepts"),
        (tells, "on_failure of DAG 'unit.export.argo.test_refusals:tells': is a function"),
    ],
)
def test_what_argo_cannot_say_is_refused_with_the_node(node: Any, words: str) -> None:
    params = dict.fromkeys(node.__dag__().inputs, 1)
    assert words in told(NotExportable, node, params=params)


def test_hooks_may_be_left_out() -> None:
    assert manifests(tells, image=IMAGE, params={"x": 1}, hooks=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": " "}, "image=' ': is not the name of an image"),
        ({"image": "two words"}, "image='two words': is not the name of an image"),
        ({"kind": "Pod"}, "kind='Pod': is unknown"),
        ({"storage": "tape"}, "storage='tape': is unknown"),
        ({"name": "No_Name"}, "name='No_Name': is not a name for Kubernetes"),
        ({"name": "a..b"}, "name='a..b': is not a name for Kubernetes"),
        ({"namespace": "a.b"}, "namespace='a.b': is not a name for Kubernetes"),
        ({"kind": "ClusterWorkflowTemplate", "namespace": "jobs"}, "namespace='jobs': is not for a Cluster"),
        ({"schedule": "* * * * *"}, "schedule='* * * * *': means nothing for a Workflow"),
        ({"timezone": "UTC"}, "timezone='UTC': means nothing for a Workflow"),
        ({"kind": "CronWorkflow"}, "has no schedule, which a CronWorkflow needs"),
        ({"params": {"y": 1}}, "parameter 'y' of DAG"),
        ({"params": {}}, "missing ['x'], and nobody is asked for them when a Workflow starts"),
        ({"params": {}, "kind": "CronWorkflow", "schedule": "* * * * *"}, "when a CronWorkflow starts; give values"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(options: dict[str, Any], words: str) -> None:
    assert words in told(InvalidParameters, graphs.names, **{"params": {"x": 1}, **options})


def test_so_is_a_schedule_that_is_none() -> None:
    assert "schedule='often'" in told(InvalidDag, graphs.names, params={"x": 1}, kind="CronWorkflow", schedule="often")


def test_a_dag_without_a_name_to_import_needs_one() -> None:
    with pytest.raises(InvalidParameters, match=r'DAG \'declared\': has no name .*; give target="package.module:name"'):
        manifests(graphs.declared, image=IMAGE)


@pytest.mark.parametrize(
    ("place", "keys", "words"),
    [
        ("argo_container_overrides", {"image": "mine"}, "one.image: is written by the export"),
        ("argo_template_overrides", {"container": {"args": "mine"}}, "one.container.args: is written"),
        ("argo_task_overrides", {"template": "mine"}, "one.template: is written"),
    ],
)
def test_a_key_that_the_export_needs_is_not_overridden(place: str, keys: dict[str, Any], words: str) -> None:
    node = DAG({"one": Task(graphs.same.fn, {"x": FromParam()}, runtime_options={place: keys})}, {"x": FromParam()})
    assert words in told(NotExportable, node, params={"x": 1})


def test_nor_is_one_of_the_spec() -> None:
    assert "spec.entrypoint: is written" in told(NotExportable, graphs.names, params={"x": 1}, spec={"entrypoint": "x"})
