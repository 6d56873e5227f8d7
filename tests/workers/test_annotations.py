"""Workers read the same of annotations, whose modules they import themselves."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from dagcelery import AsPickle, dag
from dagcelery.local import Cluster
from unit.frontends.test_annotations import functions_annotated_by


def test_annotations_that_name_what_is_for_type_checkers_hold_on_workers(cluster: Cluster) -> None:
    if sys.version_info >= (3, 14):
        names = vars(importlib.import_module("unit.frontends.annotated"))
    else:  # such a module cannot be imported, and its functions travel by value
        names = functions_annotated_by(annotations.compiler_flag)

    @dag(serializer=AsPickle())
    def uses(n: int, xs: Any) -> Any:
        a, b = names["several"](n)
        train, _ = names["parts"](b)
        all_of_them = [names["parts"](x) for x in xs]
        return [names["lazy"](all_of_them, all_of_them), names["pickled"](xs), train, a]

    run = uses.submit(1, [5, 6])

    assert run.result(timeout=60) == ["LazyList", {"5": 5, "6": 6}, [2], 1]
