"""Large values stand in files: a signed reference says which bytes, and names no path that anybody could bend."""

from __future__ import annotations

import io
import pickle
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, BinaryIO

import fsspec
import pytest

from dagcelery.errors import (
    BadSignature,
    DeserializationError,
    InvalidSetting,
    NotConfigured,
    PayloadTooLarge,
    SpillDamaged,
    SpillUnavailable,
)
from dagcelery.payload import addresses
from dagcelery.payload.codecs import AsJSON, AsPickle, codec_for
from dagcelery.payload.signing import Keyring
from dagcelery.payload.spill import Folder, Reference, Spill
from dagcelery.payload.values import (
    DEFAULT_LIMITS,
    Limits,
    dump_block,
    open_block,
    open_bytes,
    open_value,
    seal_body,
    seal_bytes,
    seal_value,
    split_blocks,
)
from dagcelery.store.wire import STAGED

json, keyring = codec_for(AsJSON()), Keyring.parse("key")
here = addresses.value("r1", "0", "3.0")
elsewhere = addresses.value("r1", "0", "4.0")
LARGE = "x" * 500


@pytest.fixture(params=["file", "memory"])
def spill(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Spill]:
    """More than 100 bytes go into a file, on a disk or in an object store."""
    url = f"file://{tmp_path}/spilled" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    yield Spill(url, 100)
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def folder(spill: Spill) -> Folder:
    return spill.folder("r1")


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Spill(f"file://{tmp_path}", 100).folder("r1")


def files(spill: Spill) -> list[str]:
    """All files below a URL."""
    return [name for name in spill.files.find(spill._root) if spill.files.isfile(name)]


# -- values come back ----------------------------------------------------------------------------
@pytest.mark.parametrize("serializer", [AsJSON(), AsPickle()], ids=["json", "pickle"])
@pytest.mark.parametrize("value", [LARGE, [1] * 300, "small", None, ""])
def test_a_value_comes_back_large_or_small(folder: Folder, serializer: Any, value: Any) -> None:
    codec = codec_for(serializer)
    assert (
        open_value(keyring, codec, here, seal_value(keyring, codec, here, 1, value, folder=folder), folder=folder)
        == value
    )


def test_only_what_is_large_goes_into_a_file(spill: Spill, folder: Folder) -> None:
    seal_value(keyring, json, here, 1, "x" * 98, folder=folder)
    assert not files(spill)
    stored = seal_value(keyring, json, here, 1, "x" * 99, folder=folder)
    assert len(files(spill)) == 1
    assert len(stored) < 100


def test_a_block_of_elements_comes_back(spill: Spill, folder: Folder) -> None:
    place = ("r1", "0", "3.0", 4)
    address = addresses.block(*place, 7)
    body = dump_block(json, [LARGE, 1, None], 4, address, DEFAULT_LIMITS)
    stored = seal_body(keyring, address, 1, body, folder)
    assert len(files(spill)) == 1
    assert open_block(keyring, json, *place, 7, stored, folder=folder) == [LARGE, 1, None]
    assert stored[:1] != STAGED


def test_large_blocks_of_a_list_go_into_files_and_small_ones_do_not(spill: Spill, folder: Folder) -> None:
    values = ["y" * 100_000, *range(300), "z" * 100_000]
    parts = split_blocks(keyring, json, "r1", "0", "3.0", 1, iter(values), folder=folder)
    found, stored = [], 0
    for lo, hi, data in parts:
        found += open_block(keyring, json, "r1", "0", "3.0", lo, hi, data, folder=folder)
        stored += len(data)
    assert found == values
    assert stored < 10_000
    assert 1 <= len(files(spill)) <= 4


class InPortions:
    """A serializer that never holds more than a portion, and says how it was called."""

    extension = "portions"

    def __init__(self) -> None:
        self.largest_read = 0

    def serialize(self, value: int, writer: BinaryIO) -> None:
        for number in range(value):
            writer.write(b"%7d\n" % number)

    def deserialize(self, reader: IO[bytes]) -> int:
        found = 0
        while part := reader.read(8192):
            self.largest_read = max(self.largest_read, len(part))
            found += part.count(b"\n")
        return found


def test_a_serializer_that_works_in_portions_reads_and_writes_in_portions(folder: Folder) -> None:
    serializer = InPortions()
    codec = codec_for(serializer)
    stored = seal_value(keyring, codec, here, 1, 200_000, folder=folder)  # 1.6 MB
    assert open_value(keyring, codec, here, stored, folder=folder) == 200_000
    assert serializer.largest_read == 8192


def test_a_value_above_the_limit_is_refused_and_leaves_no_file(spill: Spill, folder: Folder) -> None:
    for codec in (json, codec_for(InPortions())):
        value: Any = 1000 if codec is not json else "x" * 8000
        with pytest.raises(PayloadTooLarge):
            seal_value(keyring, codec, here, 1, value, limits=Limits(payload_bytes=4000), folder=folder)
    assert not files(spill)


# -- attempts, and a run's end -------------------------------------------------------------------
def test_attempts_write_to_different_files(spill: Spill, folder: Folder) -> None:
    first = seal_value(keyring, json, here, 1, LARGE, folder=folder)
    second = seal_value(keyring, json, here, 2, LARGE, folder=folder)
    assert len(files(spill)) == 2
    assert open_value(keyring, json, here, first, folder=folder) == open_value(
        keyring, json, here, second, folder=folder
    )


def test_one_attempt_that_writes_other_bytes_does_not_touch_its_first_file(folder: Folder) -> None:
    first = seal_value(keyring, json, here, 1, LARGE, folder=folder)
    seal_value(keyring, json, here, 1, LARGE + "!", folder=folder)
    assert open_value(keyring, json, here, first, folder=folder) == LARGE


def test_writing_the_same_again_changes_nothing(spill: Spill, folder: Folder) -> None:
    stored = seal_value(keyring, json, here, 1, LARGE, folder=folder)
    assert seal_value(keyring, json, here, 1, LARGE, folder=folder) == stored
    assert len(files(spill)) == 1


def test_removing_a_run_leaves_no_file_and_no_other_run_alone(spill: Spill) -> None:
    other = addresses.value("r2", "0", "3.0")
    seal_value(keyring, json, here, 1, LARGE, folder=spill.folder("r1"))
    kept = seal_value(keyring, json, other, 1, LARGE, folder=spill.folder("r2"))
    spill.remove("r1")
    spill.remove("r1")
    assert len(files(spill)) == 1
    assert open_value(keyring, json, other, kept, folder=spill.folder("r2")) == LARGE


def test_what_begins_is_told_once_before_the_first_file(spill: Spill) -> None:
    told: list[int] = []
    folder = spill.folder("r1", lambda: told.append(len(files(spill))))
    seal_value(keyring, json, here, 1, "small", folder=folder)
    assert told == []
    for attempt in (1, 2):
        seal_value(keyring, json, here, attempt, LARGE, folder=folder)
    assert told == [0]


def test_a_file_on_a_disk_is_there_whole_or_not_at_all(tmp_path: Path, disk: Folder) -> None:
    class Torn(io.BytesIO):
        """It can be read once, and fails in the middle of the second time."""

        times = 0

        def read(self, size: int | None = -1) -> bytes:
            self.times += 1
            if self.times > 2:
                raise OSError("the disk is full")
            return super().read(size)

    with pytest.raises(SpillUnavailable, match="cannot be written: OSError: the disk is full"):
        disk.put(here, 1, Torn(b"x" * 500))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".part"]
    stored = seal_value(keyring, json, here, 1, LARGE, folder=disk)
    assert open_value(keyring, json, here, stored, folder=disk) == LARGE


# -- what others may have done to it -------------------------------------------------------------
def one_file(tmp_path: Path) -> Path:
    (found,) = (path for path in tmp_path.rglob("*") if path.is_file())
    return found


def test_a_missing_file_is_told_with_its_name_and_a_remedy(tmp_path: Path, disk: Folder) -> None:
    stored = seal_value(keyring, json, here, 1, LARGE, folder=disk)
    lost = one_file(tmp_path)
    lost.unlink()
    with pytest.raises(SpillDamaged, match=f"{lost.name} is missing.*retry_from") as caught:
        open_value(keyring, json, here, stored, culprit="output 'x' of node 'a'", folder=disk)
    assert caught.value.culprit == "output 'x' of node 'a'"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("change", ["longer", "shorter", "other", "a pickle"])
def test_a_changed_file_is_not_decoded(tmp_path: Path, disk: Folder, change: str) -> None:
    codec = codec_for(AsPickle())
    stored = seal_value(keyring, codec, here, 1, LARGE, folder=disk)
    file = one_file(tmp_path)
    data = file.read_bytes()
    forged = {
        "longer": data + b"!",
        "shorter": data[:-1],
        "other": b"\0" + data[1:],
        "a pickle": pickle.dumps(Bomb()),
    }
    file.write_bytes(forged[change])
    with pytest.raises(SpillDamaged, match="was changed"):
        open_value(keyring, codec, here, stored, folder=disk)


def test_a_forged_reference_is_refused_before_any_file_is_opened(folder: Folder) -> None:
    reference = open_bytes(keyring, here, seal_value(keyring, json, here, 1, LARGE, folder=folder))[1]
    for forger in (Keyring.parse(None), Keyring.parse("another")):
        with pytest.raises(BadSignature):
            open_value(keyring, json, here, seal_bytes(forger, here, 1, reference), folder=folder)


def test_a_reference_is_refused_at_another_address_run_or_attempt(folder: Folder) -> None:
    stored = seal_value(keyring, json, here, 1, LARGE, folder=folder)
    another_attempt = (2).to_bytes(4, "big") + stored[4:]
    for address, data in (
        (elsewhere, stored),
        (addresses.value("r2", "0", "3.0"), stored),
        (here, another_attempt),
    ):
        with pytest.raises(BadSignature):
            open_value(keyring, json, address, data, folder=folder)


def test_without_a_key_a_reference_still_leads_to_the_file_of_its_own_address_only(folder: Folder) -> None:
    unsigned = Keyring.parse(None)
    _, body = open_bytes(unsigned, here, seal_value(unsigned, json, here, 1, LARGE, folder=folder))
    replayed = seal_bytes(unsigned, elsewhere, 1, body)
    with pytest.raises(SpillDamaged, match="missing"):
        open_value(unsigned, json, elsewhere, replayed, folder=folder)


@pytest.mark.parametrize(
    "path", [b"../../../../etc/passwd", b"/etc/passwd", b"file:///etc/passwd", b"", b"../" * 13 + b"x"]
)
def test_a_reference_cannot_name_a_path(tmp_path: Path, disk: Folder, path: bytes) -> None:
    unsigned = Keyring.parse(None)
    with pytest.raises(DeserializationError):
        open_value(unsigned, json, here, seal_bytes(unsigned, here, 1, b"F", path), folder=disk)
    assert "/" not in Reference(path.ljust(40, b"/")).digest


@pytest.mark.parametrize("run_id", ["..", "../r2", "/etc", "r1/../../x", "", "a" * 300, "\udcff", "*"])
def test_no_run_id_leads_out_of_the_url(tmp_path: Path, run_id: str) -> None:
    bystander = tmp_path / "bystander"
    bystander.write_text("here")
    spill = Spill(f"file://{tmp_path}/spilled", 100)
    stored = seal_value(keyring, json, here, 1, LARGE, folder=spill.folder(run_id))
    made = [path for path in tmp_path.rglob("*") if path.is_file() and path != bystander]
    assert [path.parent.parent for path in made] == [tmp_path / "spilled"]
    assert open_value(keyring, json, here, stored, folder=spill.folder(run_id)) == LARGE
    spill.remove(run_id)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [bystander]


def test_a_link_to_another_file_is_no_way_to_read_it(tmp_path: Path, disk: Folder) -> None:
    secret = tmp_path / "secret"
    secret.write_text('"secret"')
    stored = seal_value(keyring, json, here, 1, LARGE, folder=disk)
    (file,) = (path for path in (tmp_path / "r1").iterdir())
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(SpillDamaged, match="was changed"):
        open_value(keyring, json, here, stored, folder=disk)


# -- reading again -------------------------------------------------------------------------------
def test_what_a_thread_read_last_is_not_fetched_again(tmp_path: Path, disk: Folder) -> None:
    stored = seal_value(keyring, json, here, 1, LARGE, folder=disk)
    assert open_value(keyring, json, here, stored, folder=disk) == LARGE
    one_file(tmp_path).unlink()
    assert open_value(keyring, json, here, stored, folder=disk) == LARGE
    with ThreadPoolExecutor(1) as others, pytest.raises(SpillDamaged, match="is missing"):
        others.submit(open_value, keyring, json, here, stored, folder=disk).result(timeout=30)


def test_only_the_last_one_is_kept(tmp_path: Path, disk: Folder) -> None:
    first, second = (seal_value(keyring, json, here, attempt, LARGE, folder=disk) for attempt in (1, 2))
    for stored in (first, second, first):
        assert open_value(keyring, json, here, stored, folder=disk) == LARGE
    for path in (tmp_path / "r1").iterdir():
        path.unlink()
    with pytest.raises(SpillDamaged):
        open_value(keyring, json, here, second, folder=disk)


def test_a_reader_that_closes_its_file_may_read_it_again(folder: Folder) -> None:
    class Closing:
        extension = "closing"

        def serialize(self, value: str, writer: BinaryIO) -> None:
            writer.write(value.encode())

        def deserialize(self, reader: BinaryIO) -> str:
            with reader:
                return reader.read().decode()

    codec = codec_for(Closing())
    stored = seal_value(keyring, codec, here, 1, LARGE, folder=folder)
    for _ in range(2):
        assert open_value(keyring, codec, here, stored, folder=folder) == LARGE


# -- where files cannot be -----------------------------------------------------------------------
def test_who_does_not_know_where_files_are_says_so(folder: Folder) -> None:
    stored = seal_value(keyring, json, here, 1, LARGE, folder=folder)
    with pytest.raises(NotConfigured, match="DAGCELERY_SPILL_URL"):
        open_value(keyring, json, here, stored, culprit="parameter 'x'")


def test_a_place_that_cannot_be_written_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    spill = Spill(f"file://{tmp_path}/file", 100)
    with pytest.raises(SpillUnavailable, match=f"{tmp_path}/file/r1 cannot be written"):
        seal_value(keyring, json, here, 1, LARGE, folder=spill.folder("r1"))


def test_a_url_that_nothing_opens_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="DAGCELERY_SPILL_URL: is nothing://there") as caught:
        Spill("nothing://there", 100)
    assert "file:///var/dagcelery" in caught.value.remedy


def test_a_url_whose_library_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(NotConfigured, match="not installed"):
        Spill("s3://user:secret@bucket/folder", 100)
