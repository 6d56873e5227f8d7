"""Rows whose feature is tested in another folder, and where; the other rows have their tests in this one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from checkout import TESTS

ROWS_OF_THE_TABLE = set(range(1, 102)) - {95}  # 95, export to an orchestrator, is to come

ROWS = {
    (55, "streaming in constant memory"): [
        "tutorial/test_03_map_reduce.py::test_a_reducer_annotated_as_iterable_gets_its_items_without_holding_them_all",
    ],
    (58, "falsy results survive"): ["tutorial/test_05_values_and_serializers.py::test_falsy_values_survive"],
    (69, "async tasks"): [
        "tutorial/test_01_tasks.py::test_an_async_task_is_run_to_its_end",
        "tutorial/test_02_dags.py::test_an_async_body_awaits_the_outputs_of_tasks",
        "workers/end_to_end/test_by_value.py::test_a_closure_that_is_async_travels_too",
    ],
    (70, "submit from another process"): [
        "workers/end_to_end/test_pipelines.py::test_a_run_is_found_again_from_another_process",
    ],
    (71, "fetch the result later"): [
        "tutorial/test_08_runs.py::test_a_run_is_its_id",
        "workers/end_to_end/test_pipelines.py::test_whoever_waits_too_short_is_told_so_and_the_run_goes_on",
    ],
    (76, "default queue"): [
        "workers/end_to_end/test_attach.py::test_a_teams_app_runs_its_own_tasks_and_ours_on_its_default_queue",
    ],
    (78, "toleration"): [
        "workers/end_to_end/test_routing.py::test_gpu_tasks_run_only_on_the_worker_that_consumes_gpu",
        "unit/cli/test_cli.py::test_a_worker_consumes_what_it_tolerates",
    ],
    (84, "death of a worker, or of one of its processes, returns its work"): [
        "faults/chaos/test_faults.py::test_a_fault_happens_and_does_no_harm",
        "workers/smoke/test_smoke.py::test_a_worker_that_crashes_loses_nothing",
    ],
    (85, "restart of the broker keeps state"): [
        "faults/chaos/test_faults.py::test_a_fault_happens_and_does_no_harm",
        "workers/smoke/test_smoke.py::test_redis_may_be_restarted_and_forgets_nothing",
    ],
    (86, "change of code is noticed"): [
        "workers/end_to_end/test_durability_of_runs.py::test_resume_refuses_changed_code_unless_it_is_allowed",
    ],
    (87, "going on without failed items"): [
        "workers/end_to_end/test_durability_of_tasks.py::test_items_that_fail_may_be_skipped_and_what_follows_sees_which",
    ],
    (88, "timeouts"): [
        "workers/end_to_end/test_durability_of_tasks.py::test_a_hard_limit_ends_the_process_and_fails_the_node",
        "tutorial/test_10_failures.py::test_a_run_has_until_its_deadline_which_is_checked",
    ],
    (89, "exit hooks"): [
        "tutorial/test_10_failures.py::test_a_dag_may_call_a_function_at_its_end_once_each_time_that_it_ends",
        "workers/end_to_end/test_durability_of_runs.py::test_a_hook_is_called_once_an_epoch",
    ],
    (93, "dashboard"): [
        "deploy/test_flower_in_a_browser.py::test_a_search_for_a_run_shows_its_nodes_and_no_value",
    ],
    (98, "workers that reload changed code"): [
        "workers/test_reloading.py::test_a_change_restarts_the_worker_after_what_it_is_at",
    ],
}


def test_every_row_has_a_test() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = {int(number) for number in re.findall(r"def test_row_(\d+)_", here)} | {number for number, _ in ROWS}
    assert tested >= ROWS_OF_THE_TABLE


@pytest.mark.parametrize("test", [test for tests in ROWS.values() for test in tests])
def test_a_test_of_another_folder_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in {getattr(node, "name", "") for node in ast.parse((TESTS / file).read_text()).body}
