"""An installation that keeps its runs in a directory keeps the key that signed them there as well."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dagcelery import RunState
from dagcelery.client import Run
from dagcelery.errors import NotConfigured, UnknownKey
from dagcelery.local import cluster
from dagcelery.local.cluster import KEY_FILE, key_of


def test_runs_of_before_can_be_read_when_the_same_directory_is_used_again(tmp_path: Path) -> None:
    from unit.cli.targets import squares

    with cluster(workers=0, directory=tmp_path / "kept") as first:
        run_id = first.client.submit(squares, {"n": 3}).id
        Run[int](run_id, client=first.client).cancel()
    with cluster(workers=0, directory=tmp_path / "kept") as second:
        assert second.signing_key == first.signing_key
        run: Run[int] = Run(run_id, client=second.client)
        assert [node.name for node in run.status().nodes] == ["numbers", "square", "total"]
        assert run.resume().state is not RunState.CANCELLED


def test_a_key_that_is_given_wins_and_leaves_that_of_the_directory_alone(tmp_path: Path) -> None:
    from unit.cli.targets import squares

    kept = key_of(tmp_path)
    given = {"DAGCELERY_SIGNING_KEY": "a key that is given, kept-by-others"}
    with cluster(workers=0, directory=tmp_path, environment=given) as local:
        assert local.signing_key == given["DAGCELERY_SIGNING_KEY"]
        assert local.environment["DAGCELERY_SIGNING_KEY"] == local.signing_key
        run_id = local.client.submit(squares, {"n": 3}).id
    assert key_of(tmp_path) == kept
    with cluster(workers=0, directory=tmp_path) as local:
        assert local.signing_key == kept
        with pytest.raises(UnknownKey):
            Run[int](run_id, client=local.client).status()
    both = {"DAGCELERY_SIGNING_KEY": f"{kept},a key that is given"}
    with cluster(workers=0, directory=tmp_path, environment=both) as local:
        assert Run[int](run_id, client=local.client).status().nodes


def test_the_key_is_its_users_alone_and_no_two_directories_share_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert key_of(tmp_path / "a") == key_of(tmp_path / "a") != key_of(tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "a" / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "a").iterdir()] == [KEY_FILE]
    assert key_of(None) != key_of(None)


def test_of_many_that_make_a_key_at_once_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(key_of, [tmp_path] * 16))) == 1


@pytest.mark.parametrize("content", ["", "\n", "\u00e9"])
def test_a_key_that_is_damaged_is_refused_and_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content, "utf-8")
    with pytest.raises(NotConfigured, match=r"the signing key in .*signing\.key (is empty|cannot be read).*remove it"):
        key_of(tmp_path)
    assert (tmp_path / KEY_FILE).read_text("utf-8") == content
