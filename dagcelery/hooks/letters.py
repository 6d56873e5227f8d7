"""What a mail says of a run or of a piece: who and what failed, why, and how to go on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from dagcelery.engine.hooks import Notice
from dagcelery.text import one_line

_SUBJECT_CHARACTERS: Final = 180

_MESSAGE_CHARACTERS: Final = 2_000

_TRACEBACK_LINES: Final = 40

_LINE_CHARACTERS: Final = 500

_STATES: Final = {"done": "is done", "timed_out": "ran out of time", "cancelled": "was cancelled"}


def letter(notice: Notice, to: Sequence[str], sender: str, page: str, *, is_stored: bool = True) -> EmailMessage:
    """Return the mail about a notice, without the header "From" if there is no `sender`.

    `page` is the address of a page about a run, with ``{run}`` for its id, or "". A run that is not stored, since it
    is executed in process, is found there as little as by commands.
    """
    message = EmailMessage(policy=SMTP)
    message["Subject"] = _subject(notice)
    message["To"] = ", ".join(to)
    message["Date"] = formatdate(localtime=False)
    if sender:
        message["From"] = sender
    # A hook that is called again, since its worker died, sends the same letter, which is told by its id.
    what = [notice.run_id, notice.epoch, notice.address, notice.attempt, notice.state, sorted(to)]
    message["Message-ID"] = f"<{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}@{_domain(sender)}>"
    message["References"] = f"<{hashlib.sha256(notice.run_id.encode()).hexdigest()[:32]}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(notice, page, is_stored)) + "\n", charset="utf-8")
    return message


def _domain(sender: str) -> str:
    domain = sender.rpartition("@")[2].rstrip(" >")
    return domain if domain.isascii() and domain else "dagcelery.invalid"


def _subject(notice: Notice) -> str:
    place = f" {notice.address}" if notice.address else ""
    error = f": {notice.error}" if notice.error else ""
    return one_line(f"[dagcelery] {notice.name}{place} {_state(notice)}{error}", _SUBJECT_CHARACTERS)


def _state(notice: Notice) -> str:
    if notice.state == "retried":
        return "failed, and is tried again"
    return _STATES.get(notice.state, "failed")


def _lines(notice: Notice, page: str, is_stored: bool) -> Iterator[str]:
    is_run = not notice.attempt  # those of pieces are counted from 1
    run = f"run {notice.run_id} of {one_line(notice.name)}"
    if is_run:
        yield f"The {run} {_state(notice)}."
    else:
        yield f"{one_line(notice.address)} {_state(notice)}, in the {run}."
    yield ""
    yield from _facts(notice, page if is_stored else "")
    if notice.traceback:
        yield from ("", *_tail(notice.traceback))
    if is_stored and is_run and notice.state != "done":
        yield from ("", "When its cause is repaired, go on where it stopped:", f"    dagcelery resume {notice.run_id}")
    if is_stored:
        yield from ("", "All that is known of it:", f"    dagcelery show {notice.run_id}")


def _facts(notice: Notice, page: str) -> Iterator[str]:
    facts = [("node", one_line(notice.address)), ("error", _visible(notice.error)[:_MESSAGE_CHARACTERS])]
    facts += [("attempt", str(notice.attempt or "")), ("epoch", str(notice.epoch) if notice.epoch > 1 else "")]
    facts += [("key", one_line(notice.key or ""))]
    facts += [("parameter", f"{one_line(name)} = {value}") for name, value in notice.params.items()]
    facts += [("page", page.replace("{run}", quote(notice.run_id, safe="")))]
    for name, value in facts:
        first, *rest = value.splitlines() or [""]
        if value:
            yield f"{name:10} {first}"
            yield from (f"{'':10} {line}" for line in rest)


def _tail(traceback: str) -> list[str]:
    lines = _visible(traceback).rstrip().splitlines()
    left_out = len(lines) - _TRACEBACK_LINES
    kept = [line[:_LINE_CHARACTERS] for line in lines[-_TRACEBACK_LINES:]]
    return [f"(the first {left_out:,} lines of the traceback are left out)", *kept] if left_out > 0 else kept


def _visible(text: str) -> str:
    """Return a text without control characters, which a terminal obeys, and without what UTF-8 cannot hold."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)
