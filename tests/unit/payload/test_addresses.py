"""No two places share an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcelery.payload import addresses

ours = st.text("abc123", min_size=1, max_size=3)
anything = st.text("a0\0", max_size=4)
number = st.integers(0, 3)
place = st.tuples(
    st.sampled_from(["value", "items", "block", "failure", "record", "plan", "scope"]),
    ours,
    ours,
    anything,
    number,
    number,
    number,
)


def context(place: tuple[str, str, str, str, int, int, int]) -> tuple[tuple[object, ...], bytes]:
    kind, run, scope, token, lo, hi, attempt = place
    made: dict[str, tuple[tuple[object, ...], bytes]] = {
        "value": ((run, scope, token), addresses.value(run, scope, token)),
        "items": ((run, scope, token), addresses.items(run, scope, token)),
        "block": ((run, scope, token, lo, hi), addresses.block(run, scope, token, lo, hi)),
        "failure": ((run, token), addresses.failure(run, token)),
        "record": ((run, token), addresses.record(run, token)),
        "plan": ((run,), addresses.plan(run)),
        "scope": ((run, scope), addresses.scope(run, scope)),
    }
    parts, address = made[kind]
    return (kind, *parts, attempt), addresses.attempted(address, attempt)


@given(place, place)
def test_two_contexts_are_equal_only_for_the_same_place(
    left: tuple[str, str, str, str, int, int, int], right: tuple[str, str, str, str, int, int, int]
) -> None:
    (left_place, left_context), (right_place, right_context) = context(left), context(right)
    assert (left_place == right_place) == (left_context == right_context)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (addresses.value("r1", "0", "3.0"), "value 3.0 in scope 0 of run r1"),
        (addresses.block("r1", "0", "3.0", 256, 300), "block 3.0[256:300] in scope 0 of run r1"),
        (addresses.items("r1", "0", "$n"), "items $n in scope 0 of run r1"),
        (addresses.plan("r1"), "plan of run r1"),
        (addresses.failure("r1", "0/3"), "failure 0/3 of run r1"),
        (addresses.scope("r1", "x7"), "scope in scope x7 of run r1"),
        (addresses.record("r1", "hooks"), "record hooks of run r1"),
    ],
)
def test_an_address_is_shown_for_people(address: bytes, shown: str) -> None:
    assert addresses.readable(address) == shown
    assert addresses.readable(addresses.attempted(address, 2)) == f"{shown}, attempt 2"


def test_what_is_no_address_is_shown_as_it_is() -> None:
    assert addresses.readable(b"abc") == "b'abc'"
