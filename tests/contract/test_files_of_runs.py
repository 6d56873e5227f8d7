"""The store knows which runs may have files, so that these can be removed when the runs are gone."""

from __future__ import annotations

from dagcelery.store.protocol import Store


def test_a_run_with_files_is_named_until_it_has_none(store: Store) -> None:
    for _ in range(2):
        store.fleet.spills("r")
        assert store.fleet.spilled(10, 0.0) == ["r"]
    for _ in range(2):
        store.fleet.unspilled("r")
        assert store.fleet.spilled(10, 0.0) == []


def test_it_need_not_be_there_yet_and_is_looked_at_later(store: Store) -> None:
    store.fleet.spills("r")
    assert store.reader.record("r") is None
    assert store.fleet.spilled(10, 3600.0) == []


def test_who_looks_marks_what_is_looked_at(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.fleet.spills(name)
    assert store.fleet.spilled(2, 0.0) == ["a", "b"]
    assert store.fleet.spilled(1, 0.0) == ["c"]


def test_a_run_that_is_deleted_is_still_named_since_somebody_may_be_writing(store: Store) -> None:
    store.fleet.spills("r")
    store.machine.delete("r")
    assert store.fleet.spilled(10, 0.0) == ["r"]
