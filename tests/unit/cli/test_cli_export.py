"""``dagcelery export``: a manifest on standard output or in a file, and none where anything is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from dagcelery.export.argo import manifests
from examples.map_reduce import map_reduce

from .conftest import Cli

TARGET = ("export", "argo", "examples.map_reduce:map_reduce", "--image", "registry/image:1")


def test_a_manifest_is_printed_as_yaml_or_json(cli: Cli) -> None:
    expected = manifests(map_reduce, image="registry/image:1", params={"n": 3})
    assert [*yaml.safe_load_all(cli(*TARGET, "-p", "n=3").stdout)] == expected
    assert [json.loads(cli(*TARGET, "-p", "n=3", "--format", "json").stdout)] == expected


def test_it_is_written_to_a_file_unless_anything_is_wrong(cli: Cli, tmp_path: Path) -> None:
    file, spec = tmp_path / "workflow.yaml", tmp_path / "spec.json"
    wrong = cli(*TARGET, "-o", str(file))
    assert (wrong.exit_code, file.exists()) == (1, False)
    assert "missing ['n']" in wrong.stderr
    spec.write_text('{"serviceAccountName": "runner"}')
    right = cli(*TARGET, "-p", "n=3", "-o", str(file), "--spec", str(spec), "--name", "mine", "--command", "x y")
    assert (right.exit_code, right.stdout) == (0, "")
    manifest = yaml.safe_load(file.read_text())
    assert manifest["metadata"]["name"] == "mine"
    assert manifest["spec"]["serviceAccountName"] == "runner"
    assert manifest["spec"]["templates"][1]["container"]["command"] == ["x", "y"]


def test_an_image_must_be_given(cli: Cli) -> None:
    result = cli("export", "argo", "examples.map_reduce:map_reduce")
    assert result.exit_code == 2
    assert "Missing option '--image'" in result.stderr


def test_a_command_is_made_of_whole_words(cli: Cli) -> None:
    result = cli(*TARGET, "-p", "n=3", "--command", "sh -c 'x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert """--command: "sh -c 'x" ends within quotation marks; close them""" in " ".join(result.stderr.split())
