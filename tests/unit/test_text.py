"""Any value can be shown, secrets are hidden in what is shown, and a name that does not exist gets the nearest ones."""

from __future__ import annotations

import datetime
import tracemalloc
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dagcelery.errors import StoreUnavailable
from dagcelery.payload.spill import Spill
from dagcelery.settings import Settings
from dagcelery.store.redis import store_on_redis
from dagcelery.text import brief, choices, masked, nearest, shown, word


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Endless:
    def __repr__(self) -> str:
        return repr([self])


class Huge:
    def __repr__(self) -> str:
        return "x" * 1_000_000


class NoText:
    def __repr__(self) -> Any:
        return 5


class list(list):  # type: ignore[type-arg]
    """A class of the user's with a name that Python's own reprlib takes for its own."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")


def circle() -> Any:
    one: Any = []
    one.append({"again": one})
    return one


def deep() -> Any:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    return value


STRANGE: Any = {
    "an int": (10**5000, "<int of about 5,001 digits>"),
    "a negative int": (-(10**5000), "<negative int of about 5,001 digits>"),
    "an int within": ({"a": [(10**5000,)]}, "{'a': [(<int of about 5,001 digits>,)]}"),
    "an int that is a key": ({10**5000: 1}, "{<int of about 5,001 digits>: 1}"),
    "a broken repr": (Broken(), "<Broken>"),
    "a broken repr within": ([Broken(), {"a": Broken()}], "[<Broken>, {'a': <Broken>}]"),
    "an endless repr": (Endless(), "<Endless>"),
    "a repr that is not a str": (NoText(), "<NoText>"),
    "a circle": (circle(), None),
    "a deep one": (deep(), None),
    "many": (range(3), "range(0, 3)"),
    "a long list": ([1] * 10**6, None),
    "a long dict": (dict.fromkeys(range(10**5)), None),
    "a long text": ("x" * 10**7, None),
    "a huge repr": (Huge(), None),
    "a class like a builtin": (list(), "[]"),
}


class Lines(int):
    def __repr__(self) -> str:
        return "<first\n  second>"


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_value_is_shown_in_few_characters(kind: str) -> None:
    value, expected = STRANGE[kind]
    assert len(shown(value)) <= 200
    assert len(shown(value, 20)) <= 20
    if expected is not None:
        assert shown(value) == expected


@pytest.mark.parametrize(
    "value", [1, -1, True, None, 1.5, "a'b", b"x", [], (), (1,), {}, {"b": 1, "a": [2, ()]}, {3}, frozenset(), int, ...]
)
def test_an_ordinary_value_is_shown_as_its_repr(value: Any) -> None:
    assert shown(value) == repr(value)


@dataclass
class Row:
    at: datetime.date
    data: Any
    hidden: str = field(default="hush", repr=False)


@dataclass
class Silent:
    token: str

    def __repr__(self) -> str:
        return "Silent()"


class Asked:
    def __repr__(self) -> str:
        raise AssertionError("its database is asked")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Asked(), "<Asked>"),
        ({"a": [Asked(), 1.5, None]}, "{'a': [<Asked>, 1.5, None]}"),
        (Row(datetime.date(2020, 1, 2), Asked()), "Row(at=datetime.date(2020, 1, 2), data=<Asked>)"),
        (Silent("hush"), "<Silent>"),
        (object.__new__(Row), "<Row>"),
        (Decimal("1.5"), "Decimal('1.5')"),
        (bytearray(b"x"), "bytearray(b'x')"),
    ],
)
def test_a_foreign_object_is_named_in_brief_and_not_asked(value: Any, expected: str) -> None:
    assert brief(value) == expected


@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: Row(datetime.date(2020, 1, 2), [bytes(size)])])
def test_of_a_large_value_only_the_beginning_is_looked_at(make: Any) -> None:
    value = make(10**7)
    tracemalloc.start()
    texts = brief(value), *([shown(value)] if not isinstance(value, Row) else [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(len(text) == 200 for text in texts)
    assert peak < 10**5


def test_of_a_wide_tree_few_values_are_looked_at() -> None:
    calls: list[int] = []

    class Leaf(int):
        def __repr__(self) -> str:
            calls.append(1)
            return "leaf"

    leaf = Leaf()
    value: Any = leaf
    for _ in range(4):
        value = [value] * 20
    assert len(brief(value)) == 200
    assert len(calls) <= 500


def test_a_word_is_shown_without_quotes_and_anything_else_as_it_is_shown() -> None:
    assert (word("a b"), word(10**5000), word(None)) == ("a b", "<int of about 5,001 digits>", "None")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://me@h/0", "redis://me@h/0"),
        ("redis://:p@h:6379/0", "redis://:***@h:6379/0"),
        ("redis://me:p@ss/w:rd@h/0", "redis://me:***@h/0"),
        ("redis://me:p ss;w?r&d@h/0", "redis://me:***@h/0"),
        ("redis://me:p%40ss@h/0", "redis://me:***@h/0"),
        ("sentinel://:a@h;sentinel://:b@i", "sentinel://:***@h;sentinel://:***@i"),
        ("sentinel://h:26379,i:26379", "sentinel://h:26379,i:26379"),
        ("sentinel://me:a@h:1,i:2/0", "sentinel://me:***@h:1,i:2/0"),
        ("amqp://me:a@h//;b:c@i//", "amqp://me:***@i//"),
        ("amqp://me:a@h,amqps://me:b@i", "amqp://me:***@h,amqps://me:***@i"),
        ("redis+socket://:p@/s.sock?virtual_host=0", "redis+socket://:***@/s.sock?virtual_host=0"),
        ("sqla+postgresql://me:p@h/db", "sqla+postgresql://me:***@h/db"),
        ("redis://h/0?password=p&db=1", "redis://h/0?password=***&db=1"),
        ("rediss://h/0?ssl_keyfile=/k&ssl_password=p@q", "rediss://h/0?ssl_keyfile=/k&ssl_password=***"),
        ("redis://h/0?ssl%5Fpassword=p", "redis://h/0?ssl%5Fpassword=***"),
        ("redis://h/0?SSL_Password=p", "redis://h/0?SSL_Password=***"),
        ("redis://h/0?db=1;password=p;q", "redis://h/0?db=1;password=***"),
        ("redis://:x?password=y@h/0", "redis://:***"),
        ("redis://me:p@h/0?token=t@u", "redis://me:***@h/0?token=***"),
        ("s3://b/f?X-Amz-Signature=a&X-Amz-Credential=b&e=c", "s3://b/f?X-Amz-Signature=***&X-Amz-Credential=***&e=c"),
        ("abfs://c/f?sig=a&account_key=b&sv=1", "abfs://c/f?sig=***&account_key=***&sv=1"),
        ("me:hush@host?secret=s", "me:hush@host?secret=***"),
    ],
)
def test_secrets_in_addresses_are_hidden(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize("name", ["password", "ssl_password", "passphrase", "secret", "token", "api-key", "key", "sig"])
def test_the_secret_of_an_option_is_in_no_word_of_ours(name: str, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none?{name}=SECRET"
    assert "SECRET" not in repr(Settings(store_url=url, broker_url=f"redis://h/0?{name}=SECRET"))
    assert "SECRET" not in Spill(f"memory://runs?{name}=SECRET", 10).shown_url


def test_the_password_of_a_certificate_is_not_in_the_error_of_a_store(tmp_path: Path) -> None:
    store = store_on_redis("rediss://127.0.0.1:1/0?ssl_password=SECRET&ssl_cert_reqs=none", retry=None)
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert "ssl_password=***" in caught.value.url
    assert "SECRET" not in str(caught.value)
    store.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"url": "redis://:s3cret@host/0?ssl_password=x"}, "{'url': 'redis://:***@host/0?ssl_password=***'}"),
        (["a b", "amqp://me:s3cret@rabbit//", 3], "['a b', 'amqp://me:***@rabbit//', 3]"),
        (Lines(), "<first second>"),
    ],
)
def test_a_parameter_is_shown_in_one_line_without_passwords(value: object, text: str) -> None:
    assert brief(value) == text
    assert len(brief([value] * 100)) <= 200
    assert "s3cret" not in brief([value] * 100)


def test_a_name_that_does_not_exist_gets_the_nearest_ones_or_all() -> None:
    assert choices("totl", ["total", "sum"]) == "did you mean 'total'?"
    assert choices("x", ["total", "sum"]) == "there are 'sum' and 'total'"
    assert choices(3, []) == "there are none"
    assert (nearest("totl", ["total"]), nearest("x", ["total"])) == ("did you mean 'total'?", "")
