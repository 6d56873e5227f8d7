"""Every place where sealed bytes may be kept has one address; each kind of address is spelled in one function.

An address is part of what is signed, so bytes that were moved elsewhere no longer verify. Its parts are
joined by NUL. Run ids and scope ids are ours and hold none; a token may hold anything, as parameters have any
name, and therefore comes last: no two places share an address.
"""

from __future__ import annotations

Culprit = str | bytes
"""What an error names: text for people, or an address."""


def value(run_id: str, scope: str, token: str) -> bytes:
    """Address a value that is stored whole."""
    return f"value\0{run_id}\0{scope}\0\0\0{token}".encode()


def block(run_id: str, scope: str, token: str, lo: int, hi: int) -> bytes:
    """Address the elements ``[lo, hi)`` of a list that is stored split."""
    return f"block\0{run_id}\0{scope}\0{lo}\0{hi}\0{token}".encode()


def items(run_id: str, scope: str, token: str) -> bytes:
    """Address the record that says how long a list is that is stored split."""
    return f"items\0{run_id}\0{scope}\0\0\0{token}".encode()


def plan(run_id: str) -> bytes:
    """Address the plan of a run."""
    return f"plan\0{run_id}\0\0\0\0".encode()


def failure(run_id: str, piece: str) -> bytes:
    """Address what is remembered of a failed piece."""
    return f"failure\0{run_id}\0\0\0\0{piece}".encode()


def log(run_id: str, piece: str) -> bytes:
    """Address the last lines that a piece has logged."""
    return f"log\0{run_id}\0\0\0\0{piece}".encode()


def scope(run_id: str, scope: str) -> bytes:
    """Address what is remembered of a scope, such as the child plan that runs in it."""
    return f"scope\0{run_id}\0{scope}\0\0\0".encode()


def record(run_id: str, what: str) -> bytes:
    """Address one more thing that is remembered of a run; `what` names it."""
    return f"record\0{run_id}\0\0\0\0{what}".encode()


def cached(task: str, entry: str) -> bytes:
    """Address a task's result that is kept for other runs."""
    return f"cached\0\0\0\0\0{entry} {task}".encode()


def attempted(address: bytes, attempt: int) -> bytes:
    """Extend `address` by the attempt that wrote there: the context that is signed."""
    return b"%b\0%d" % (address, attempt)


def named(culprit: Culprit) -> str:
    """Say what an error is about: a name is taken as it is, an address is made readable only now."""
    return culprit if isinstance(culprit, str) else readable(culprit)


def readable(context: bytes) -> str:
    """Say for people which place `context` names, with or without an attempt."""
    parts = context.decode(errors="replace").split("\0", 5)
    if len(parts) < 6:
        return repr(context)
    kind, run_id, scope_id, lo, hi, token = parts
    name, _, attempt = token.partition("\0")
    place = kind if not name else f"{kind} {name}"
    if lo:
        place += f"[{lo}:{hi}]"
    if scope_id:
        place += f" in scope {scope_id}"
    if run_id:
        place += f" of run {run_id}"
    return f"{place}, attempt {attempt}" if attempt and attempt != "0" else place
