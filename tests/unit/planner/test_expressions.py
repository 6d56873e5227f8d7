"""Expressions are read token by token, each with the manner in which it is read."""

from __future__ import annotations

from dagcelery.planner.plan import Expr, is_constant, level, raised, step_of, substituted, tokens

ALL: Expr = (
    "dict",
    (
        (("lit", "a"), ("list", (("ref", "0.0"), ("splice", ("tuple", (("each", "1.0"),)), "0.1")))),
        (("lit", "b"), ("part", ("each", "^2.0"), (("key", "x"),))),
    ),
)


def test_tokens_are_read_whole_by_item_or_for_a_splice() -> None:
    assert list(tokens(ALL)) == [("0.0", "whole"), ("1.0", "spliced"), ("0.1", "over"), ("^2.0", "each")]


def test_constants_have_no_tokens() -> None:
    assert is_constant(("list", (("lit", 1), ("live", object()))))
    assert not is_constant(ALL)


def test_substitution_keeps_what_it_does_not_replace() -> None:
    assert substituted(ALL, lambda part: part) == ALL


def test_substitution_reaches_every_token() -> None:
    def lift(part: Expr) -> Expr:
        if part[0] == "splice":
            return ("splice", part[1], raised(part[2], 1))
        return (part[0], raised(part[1], 1))

    assert [token for token, _ in tokens(substituted(ALL, lift))] == ["^0.0", "^1.0", "^0.1", "^^2.0"]


def test_carets_count_scopes() -> None:
    assert level("^^$n") == (2, "$n")
    assert level("3.0") == (0, "3.0")


def test_only_tokens_of_the_same_scope_have_a_step_here() -> None:
    assert [step_of(token) for token in ("12.3", "$n", "^3.0")] == [12, None, None]
