"""Objects whose class an annotation names reach workers and come back, of functions by name and by value."""

import dataclasses
import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from dagcelery import task

from .site import Site

SECONDS = 60.0
DAY = datetime.date(2024, 1, 2)


def test_objects_reach_workers_and_come_back(at: Site) -> None:
    import modelled as theirs

    orders = [theirs.Order(n, (Decimal("1.10"),) * n, DAY) for n in range(20)]
    best = theirs.best.submit(orders=orders).result(timeout=SECONDS)
    assert best == theirs.Receipt(order=orders[-1], total=Decimal("20.90"))
    assert type(best.order) is theirs.Order


def test_objects_of_a_function_that_travels_by_value_too(at: Site) -> None:
    @dataclasses.dataclass
    class Inner:
        when: datetime.datetime

    @dataclasses.dataclass
    class Here:
        inner: Inner

    @task
    def same(x: Here) -> Here:
        return x

    given = Here(Inner(datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)))
    found = same.submit(given).result(timeout=SECONDS)
    assert type(found) is Here
    assert found == given


def test_objects_of_a_module_that_is_sent_along(at: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "points.py").write_text("import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import points

    @task(by_value="points")
    def moved(point: points.Point) -> points.Point:
        return type(point)(point.x + 1)

    assert moved.submit(points.Point(1)).result(timeout=SECONDS) == points.Point(2)
