"""The top of the family of errors, and how its members put their sentences together."""

from __future__ import annotations


class DagceleryError(Exception):
    """The base of all errors of this package; ``str()`` joins the parts it was made of into a sentence."""

    def __init_subclass__(cls) -> None:
        # Where an error is written is nobody's business: it is called, pickled and shown by its public name.
        if cls.__module__.startswith("dagcelery.errors."):
            cls.__module__ = "dagcelery.errors"

    def __str__(self) -> str:
        return sentence(*map(str, self.args))


def sentence(*parts: str) -> str:
    """Join culprit, what is wrong and what would be right into one; empty parts are left out."""
    told = [part.rstrip(". ") for part in parts if part]
    if len(told) < 2:
        return "".join(told)
    return f"{told[0]}: {'; '.join(told[1:])}"
