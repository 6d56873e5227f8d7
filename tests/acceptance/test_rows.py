"""The table of features, with the tests that show each: a row for whatever users of the older libraries have."""

from __future__ import annotations

import ast

import pytest

from checkout import TESTS

TUTORIAL, RUNS, COMPAT = "tutorial/test_", "workers/end_to_end/test_", "acceptance/compat/test_"
FRONTENDS, PAYLOAD, CLI = "unit/frontends/", "unit/payload/", "unit/cli/test_cli.py::test_"
STAGES, YAML = f"{FRONTENDS}stages/test_", f"{FRONTENDS}yaml/test_"

# Row 95, export to an orchestrator, is to come.
ROWS: dict[tuple[int, str], list[str]] = {
    # -- ways to write a DAG --
    (1, "task from a plain function"): [f"{TUTORIAL}09_declarative.py::test_a_dag_is_nodes_inputs_and_outputs"],
    (2, "DAG as immutable data"): ["unit/model/test_graph.py::test_mappings_of_a_dag_cannot_be_written"],
    (3, "decorated tasks in the called form"): [f"{TUTORIAL}01_tasks.py::test_empty_parentheses_mean_the_same_as_none"],
    (4, "decorated tasks in the bare form"): [f"{TUTORIAL}01_tasks.py::test_a_task_is_called_like_its_function"],
    (5, "build step"): [f"{TUTORIAL}02_dags.py::test_build_shows_the_dag_that_the_body_describes"],
    (6, "class of methods"): [
        f"{COMPAT}dagorama.py::test_a_definition_runs_on_a_worker_until_nothing_is_left",
        "workers/test_dynamic.py::test_a_workflow_is_submitted_with_its_state",
    ],
    (7, "decorated methods, sync and async"): [
        f"{COMPAT}dagorama.py::test_async_methods",
        f"{COMPAT}dagorama.py::test_decorators_refuse_functions_of_the_other_kind",
    ],
    (8, "bare decorator"): [f"{COMPAT}dagorama.py::test_the_bare_decorator_and_falsy_results"],
    (9, "stage from a function"): [f"{STAGES}pipelines.py::test_stages_run_one_after_the_other_in_this_process"],
    (10, "stage as a class"): [f"{STAGES}pipelines.py::test_a_stage_object_runs_in_process_as_itself"],
    (11, "explicit order"): [
        f"{STAGES}pipelines.py::test_after_is_said_in_any_way",
        f"{YAML}meaning.py::test_an_order_carries_no_value",
    ],
    (12, "pipeline as a container"): [f"{STAGES}pipelines.py::test_pipelines_share_nothing"],
    (13, "YAML with modules, functions and dependencies"): [
        f"{YAML}meaning.py::test_a_workflow_returns_what_no_step_takes",
    ],
    (14, "YAML with inputs and outputs"): [f"{YAML}meaning.py::test_a_workflow_returns_what_no_step_takes"],
    (15, "configuration from a dict as well as a file"): [
        f"{COMPAT}dagmate.py::test_a_dict_or_a_file_gives_its_workflows_by_name",
    ],
    (16, "module by dotted path or file path"): [
        f"{YAML}commands.py::test_run_prints_the_result_of_the_only_workflow",
        f"{YAML}commands.py::test_run_takes_the_options_of_any_run",
    ],
    (17, "several workflows in a project"): [
        f"{YAML}meaning.py::test_a_file_holds_several_workflows_in_order",
        f"{YAML}refusals.py::test_two_workflows_of_one_name_are_refused",
    ],
    # -- inputs, outputs and parameters --
    (18, "parameter that is renamed"): [
        "unit/planner/test_flattening.py::test_a_parameter_may_have_another_name_outside",
    ],
    (19, "input from another node"): [f"{TUTORIAL}09_declarative.py::test_nodes_are_ordered_by_what_they_read"],
    (20, "default values of tasks, DAGs and nested DAGs"): [
        f"{TUTORIAL}02_dags.py::test_defaults_hold_unless_another_value_is_given_even_a_falsy_one",
    ],
    (21, "hardcoded literals"): [f"{TUTORIAL}02_dags.py::test_literals_and_outputs_are_mixed_in_any_container"],
    (22, "falsy values override defaults"): [
        f"{TUTORIAL}02_dags.py::test_defaults_hold_unless_another_value_is_given_even_a_falsy_one",
    ],
    (23, "whole return value"): [f"{TUTORIAL}09_declarative.py::test_a_task_alone_can_be_invoked"],
    (24, "key or property of an output"): [
        f"{TUTORIAL}02_dags.py::test_a_part_of_a_result_is_read_by_key_or_attribute_at_any_depth",
        f"{TUTORIAL}09_declarative.py::test_keys_and_properties_of_a_result_are_outputs",
    ],
    (25, "several outputs by position"): [
        f"{TUTORIAL}02_dags.py::test_a_tuple_is_taken_apart_where_its_size_is_annotated",
    ],
    (26, "no output"): [f"{TUTORIAL}02_dags.py::test_a_dag_may_return_nothing"],
    (27, "several outputs of a DAG"): [
        f"{TUTORIAL}09_declarative.py::test_several_outputs_are_returned_by_name",
        f"{COMPAT}dagger.py::test_a_dag_that_returns_a_mapping_has_an_output_for_each_key",
    ],
    (28, "keyword arguments without and with names"): [
        f"{TUTORIAL}01_tasks.py::test_keyword_only_parameters_and_kwargs_are_parameters_like_others",
    ],
    (29, "outputs nested in containers"): [
        f"{TUTORIAL}02_dags.py::test_literals_and_outputs_are_mixed_in_any_container",
        f"{FRONTENDS}test_graphs.py::test_sets_and_equal_outputs_in_them_work",
    ],
    (30, "superfluous parameters"): [
        f"{RUNS}outages.py::test_an_unknown_parameter_is_answered_with_the_nearest_name",
        f"{COMPAT}dagger.py::test_superfluous_parameters_are_ignored_with_a_warning",
    ],
    # -- shapes of graphs --
    (31, "nested DAGs of any depth"): [f"{TUTORIAL}04_nested_dags.py::test_dags_nest_to_any_depth"],
    (32, "fan-out over a list whose size is known when it runs"): [
        f"{TUTORIAL}03_map_reduce.py::test_a_map_reduce_works_for_any_number_of_items",
    ],
    (33, "map of a task"): [f"{TUTORIAL}03_map_reduce.py::test_a_parameter_is_mapped_as_an_output_is"],
    (34, "map of a nested DAG"): [f"{TUTORIAL}04_nested_dags.py::test_a_nested_dag_runs_once_per_item_of_a_list"],
    (35, "fan-in to an ordered list"): [f"{TUTORIAL}03_map_reduce.py::test_results_come_in_the_order_of_the_items"],
    (36, "fan-in of a key"): [f"{TUTORIAL}03_map_reduce.py::test_parts_of_elements_are_read_by_key"],
    (37, "map-reduce inside map-reduce"): [
        f"{TUTORIAL}04_nested_dags.py::test_loops_may_be_nested_where_the_inner_list_depends_on_the_outer_element",
    ],
    (38, "empty fan-out"): [f"{TUTORIAL}03_map_reduce.py::test_a_map_reduce_works_for_any_number_of_items"],
    (39, "fan-out used by two consumers"): [
        f"{TUTORIAL}03_map_reduce.py::test_one_list_may_be_mapped_twice_and_taken_whole",
    ],
    (40, "mapped results used by two reducers"): [
        f"{FRONTENDS}answers/test_wrong_answers.py::test_two_reducers_of_one_map",
    ],
    (41, "mapped results as the output of a DAG"): [
        f"{TUTORIAL}03_map_reduce.py::test_results_come_in_the_order_of_the_items",
    ],
    (42, "generators and iterables of one's own are fanned out"): [
        f"{TUTORIAL}03_map_reduce.py::test_any_iterable_can_be_mapped_so_a_task_may_yield_its_items",
    ],
    (43, "dynamic branching on values"): [
        f"{TUTORIAL}12_dynamic_workflows.py::test_a_dynamic_task_decides_on_real_values_what_is_executed_next",
    ],
    (44, "nodes that are created while it runs"): [
        "workers/test_dynamic.py::test_the_nodes_that_were_added_are_seen_by_their_addresses",
    ],
    (45, "consumers of a task that returns another node see the value"): [
        f"{FRONTENDS}answers/test_wrong_answers.py::test_a_node_that_consumes_a_node_which_returns_another",
    ],
    (46, "order of parallel groups"): [
        "unit/model/test_graph.py::test_the_order_is_in_groups_that_may_run_at_once",
        f"{STAGES}pipelines.py::test_what_may_run_at_once_is_listed",
    ],
    (47, "conditional execution in a static DAG"): [f"{RUNS}branches.py::test_one_branch_is_taken"],
    # -- values, and where results are kept --
    (48, "JSON with indentation and a policy for NaN"): [
        f"{PAYLOAD}test_codecs.py::test_indentation_is_for_people_who_read_the_file",
        f"{TUTORIAL}05_values_and_serializers.py::test_nan_is_a_value_where_it_is_allowed",
    ],
    (49, "pickle"): [f"{TUTORIAL}05_values_and_serializers.py::test_a_dag_may_carry_all_its_values_pickled"],
    (50, "dill and cloudpickle"): [
        f"{PAYLOAD}formats/test_dill.py::test_classes_and_functions_of_scripts_travel",
        f"{COMPAT}pydags.py::test_serializers_turn_objects_into_bytes_and_back",
    ],
    (51, "serializer of one's own"): [
        f"{TUTORIAL}05_values_and_serializers.py::test_ours_and_yours_have_the_same_three_parts",
    ],
    (52, "serializer for each part of a result"): [
        f"{TUTORIAL}05_values_and_serializers.py::test_each_key_of_a_result_may_have_its_own",
    ],
    (53, "serializers that do not match"): [f"{COMPAT}dagger_rules.py::test_a_broken_rule_is_told"],
    (54, "MessagePack, Parquet, Arrow and CSV"): [f"{PAYLOAD}formats/test_in_dags.py::test_a_dag_hands_tables_on"],
    (55, "streaming in constant memory"): [
        f"{TUTORIAL}03_map_reduce.py::test_a_reducer_annotated_as_iterable_gets_its_items_without_holding_them_all",
    ],
    (56, "results in Redis"): [f"{STAGES}keeping.py::test_a_redis_of_one_s_own_keeps_values_for_a_week"],
    (57, "results on disk"): [
        f"{STAGES}keeping.py::test_files_are_shared_by_stages_on_processes_and_removed_after_the_run",
        f"{COMPAT}dagger_files.py::test_outputs_are_stored_in_a_folder",
    ],
    (58, "falsy results survive"): [f"{TUTORIAL}05_values_and_serializers.py::test_falsy_values_survive"],
    (59, "results that later runs take instead of calling"): [
        f"{TUTORIAL}11_caching.py::test_a_call_with_the_same_arguments_is_made_once",
        f"{TUTORIAL}11_caching.py::test_of_a_map_only_new_items_are_called",
    ],
    # -- where a DAG runs, and how its result is had --
    (60, "run in this process"): [
        f"{TUTORIAL}02_dags.py::test_invoke_runs_a_dag_in_this_process_and_returns_its_value",
        f"{COMPAT}dagger.py::test_outputs_come_back_by_name",
    ],
    (61, "run of a single task"): [f"{RUNS}pipelines.py::test_a_task_alone_runs_on_a_worker"],
    (62, "values or files"): [f"{COMPAT}dagger_files.py::test_outputs_are_stored_in_a_folder"],
    (63, "parallel run on this machine"): [f"{STAGES}pipelines.py::test_stages_run_on_processes_of_this_machine"],
    (64, "serial run"): [f"{STAGES}pipelines.py::test_stages_run_one_after_the_other_in_this_process"],
    (65, "run of a DAG or a nested node from the command line"): [
        f"{COMPAT}dagger_files.py::test_the_command_line_runs_a_dag",
        f"{COMPAT}dagger_files.py::test_the_command_line_runs_a_nested_node_with_lists_as_folders",
    ],
    (66, "partitioned values on disk"): [
        f"{COMPAT}dagger_files.py::test_the_command_line_runs_a_nested_node_with_lists_as_folders",
    ],
    (67, "distributed workers"): [f"{RUNS}pipelines.py::test_workers_give_plain_pythons_result"],
    (68, "workers that end when nothing is left"): [
        f"{COMPAT}dagorama.py::test_a_definition_runs_on_a_worker_until_nothing_is_left",
    ],
    (69, "async tasks"): [
        f"{TUTORIAL}01_tasks.py::test_an_async_task_is_run_to_its_end",
        f"{TUTORIAL}02_dags.py::test_an_async_body_awaits_the_outputs_of_tasks",
        f"{RUNS}by_value.py::test_a_closure_that_is_async_travels_too",
    ],
    (70, "submit from another process"): [f"{RUNS}pipelines.py::test_a_run_is_found_again_from_another_process"],
    (71, "fetch the result later"): [
        f"{TUTORIAL}08_runs.py::test_a_run_is_its_id",
        f"{RUNS}pipelines.py::test_whoever_waits_too_short_is_told_so_and_the_run_goes_on",
    ],
    (72, "eager call"): [
        f"{RUNS}attach.py::test_an_eager_app_runs_a_submitted_dag_to_its_end",
        f"{COMPAT}dagorama.py::test_greedy_execution_calls_the_method_itself",
    ],
    (73, "helpers that are not decorated run inline"): [
        f"{TUTORIAL}02_dags.py::test_plain_helpers_run_while_the_dag_is_built",
    ],
    (74, "objects with state from their constructor"): [
        f"{COMPAT}dagorama.py::test_objects_keep_what_their_constructor_was_given",
    ],
    # -- which worker runs what --
    (75, "named queue for a task"): [f"{RUNS}routing.py::test_a_task_with_a_queue_runs_where_that_queue_is_consumed"],
    (76, "default queue"): [f"{RUNS}attach.py::test_a_teams_app_runs_its_own_tasks_and_ours_on_its_default_queue"],
    (77, "taint"): [f"{TUTORIAL}07_routing.py::test_a_taint_is_the_name_of_a_queue_several_are_joined_in_order"],
    (78, "toleration"): [
        f"{RUNS}routing.py::test_gpu_tasks_run_only_on_the_worker_that_consumes_gpu",
        f"{CLI}a_worker_consumes_what_it_tolerates",
    ],
    (79, "include and exclude queues"): [
        f"{COMPAT}dagorama.py::test_named_queues_are_consumed_unless_others_are_named_and_taints_need_a_toleration",
    ],
    (80, "earlier runs first"): [f"{COMPAT}dagorama.py::test_earlier_calls_are_worked_off_first"],
    (81, "runtime options of a node"): [
        f"{COMPAT}dagger.py::test_runtime_options_are_kept_on_tasks_dags_and_nested_dags",
    ],
    # -- failures --
    (82, "static retry"): [
        f"{TUTORIAL}10_failures.py::test_a_task_that_fails_is_called_again_up_to_a_number_of_calls",
        f"{COMPAT}dagorama.py::test_retries_count_calls",
    ],
    (83, "exponential retry with jitter"): [
        f"{TUTORIAL}10_failures.py::test_waits_grow_so_that_a_service_has_time_to_recover",
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
        f"{RUNS}durability_of_runs.py::test_resume_refuses_changed_code_unless_it_is_allowed",
    ],
    (87, "going on without failed items"): [
        f"{RUNS}durability_of_tasks.py::test_items_that_fail_may_be_skipped_and_what_follows_sees_which",
    ],
    (88, "timeouts"): [
        f"{RUNS}durability_of_tasks.py::test_a_hard_limit_ends_the_process_and_fails_the_node",
        f"{TUTORIAL}10_failures.py::test_a_run_has_until_its_deadline_which_is_checked",
    ],
    (89, "exit hooks"): [
        f"{TUTORIAL}10_failures.py::test_a_dag_may_call_a_function_at_its_end_once_each_time_that_it_ends",
        f"{RUNS}durability_of_runs.py::test_a_hook_is_called_once_an_epoch",
    ],
    (90, "notice of a failure that an e-mail can be made of"): [
        f"{TUTORIAL}10_failures.py::test_a_dag_may_call_a_function_at_its_end_once_each_time_that_it_ends",
    ],
    (91, "progress of a run in Redis"): [
        f"{RUNS}remains.py::test_a_run_that_goes_on_says_what_is_running_and_what_waits"
    ],
    # -- operations and tools --
    (92, "cron schedule"): [
        "workers/schedule/test_schedulers.py::test_workflows_of_the_files_that_a_setting_names_are_scheduled",
    ],
    (93, "dashboard"): [
        "deploy/test_flower_in_a_browser.py::test_a_search_for_a_run_shows_its_nodes_and_no_value",
    ],
    (94, "graph as a picture"): [f"{CLI}draw_knows_three_languages"],
    (96, "configuration in the environment"): [
        "unit/test_settings.py::test_the_environment_of_the_process_is_read_by_default",
        f"{RUNS}by_value.py::test_a_script_may_define_its_pipeline_and_submit_it",
    ],
    (97, "log level"): [
        "workers/test_reloading.py::"
        "test_a_worker_s_log_is_at_info_unless_the_environment_or_its_arguments_say_another_level",
    ],
    (98, "workers that reload changed code"): [
        "workers/test_reloading.py::test_a_change_restarts_the_worker_after_what_it_is_at",
    ],
    (99, "decorated code keeps its types"): [
        "docs/typing/test_types.py::test_mypy_accepts_what_is_right_and_nothing_else"
    ],
    (100, "specific errors"): [
        f"{TUTORIAL}02_dags.py::test_what_has_no_value_yet_refuses_to_be_one_and_says_what_to_do",
        f"{TUTORIAL}06_errors.py::test_a_dag_that_cannot_be_is_refused_when_it_is_built",
    ],
    (101, "unknown and missing keys of a configuration"): [
        f"{YAML}refusals.py::test_what_is_wrong_is_told_with_its_line",
        f"{YAML}refusals.py::test_a_dict_is_refused_with_its_key",
    ],
}


def test_every_row_has_a_test() -> None:
    assert {number for number, _ in ROWS} == set(range(1, 102)) - {95}
    assert all(ROWS.values())


@pytest.mark.parametrize("test", sorted({test for tests in ROWS.values() for test in tests}))
def test_a_test_that_shows_a_feature_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in {getattr(node, "name", "") for node in ast.parse((TESTS / file).read_text()).body}
