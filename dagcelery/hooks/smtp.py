"""Mails are handed to an SMTP server; what prevents that is logged, and never raised.

Nothing is tried twice: to keep mails until they can be delivered is what mail servers are for, and a worker has other
work. A server that cannot be reached is left alone for a minute, so that a thousand failed items do not wait for it one
by one.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from dagcelery.engine.interrupts import quiet_logger
from dagcelery.text import HIDDEN, one_line

log = quiet_logger(__name__)

ANSWER_SECONDS: Final = 10.0
"""How long a server may take for one answer."""

SECONDS: Final = 30.0
"""How long it may take for all of them."""

PAUSE_SECONDS: Final = 60.0

_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}

_SET: Final = "set DAGCELERY_SMTP_URL=smtps://user:password@host on workers"

_down: dict[str, float] = {}
"""When servers may be tried again, by address, by this process's clock."""


T = TypeVar("T")


class NotDelivered(Exception):
    """A server did not take a mail; `is_down` if no server was there."""

    def __init__(self, problem: str, remedy: str, *, is_down: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.is_down = is_down


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server, as ``DAGCELERY_SMTP_URL`` says it."""

    scheme: str
    host: str
    port: int
    user: str
    password: str

    @classmethod
    def of(cls, url: str) -> MailServer:
        """Return the server at an address that a setting has checked."""
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        return cls(
            parts.scheme, parts.hostname or "", port, unquote(parts.username or ""), unquote(parts.password or "")
        )

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"

    def hidden(self, text: str) -> str:
        """Return what a server said on one line, without the password."""
        return one_line(text.replace(self.password, HIDDEN) if self.password else text, 300)


def send(message: EmailMessage, url: str, run_id: str) -> None:
    """Hand a mail to the server at `url`, within a bounded time, and log what prevents that."""
    try:
        refused = ", ".join(_send(message, url))
        problem = (
            f"the mail server refuses some recipients of the mail about run {run_id}: {refused}" if refused else ""
        )
    except NotDelivered as error:
        problem = f"no mail about run {run_id} is sent to {message['To']}: {error}"
    if problem:
        log.error("%s", problem, extra={"action": "mail_failed", "run": run_id})


def _send(message: EmailMessage, url: str) -> Mapping[str, object]:
    if not url:
        raise NotDelivered("no SMTP server is known here", _SET)
    server = MailServer.of(url)
    if "From" not in message:
        if "@" not in server.user:
            raise NotDelivered("it has no sender", "set DAGCELERY_SMTP_FROM, or give mail(sender=)")
        message["From"] = server.user
    if time.monotonic() < _down.get(url, 0):
        raise NotDelivered(f"the SMTP server {server} could not be reached a moment ago", "see the log above")
    try:
        return _bounded(server, lambda smtp: smtp.send_message(message))
    except NotDelivered as error:
        if error.is_down:
            _down[url] = time.monotonic() + PAUSE_SECONDS
        raise


def greet(url: str) -> None:
    """Connect to a server and log in, as for a mail. Raises NotDelivered."""
    _bounded(MailServer.of(url), lambda smtp: smtp.noop())


def _bounded(server: MailServer, what: Callable[[smtplib.SMTP], T]) -> T:
    """Talk in a thread: a server that sends a byte now and then, or a slow resolver, would outlast all timeouts."""
    outcome: list[T | NotDelivered] = []
    talk = Conversation(server)
    thread = threading.Thread(target=lambda: outcome.append(talk.hold(what)), name="dagcelery-mail", daemon=True)
    thread.start()
    thread.join(SECONDS)
    if not outcome:
        talk.abandon()
        remedy = "look at that server, or name another one in DAGCELERY_SMTP_URL"
        raise NotDelivered(f"the SMTP server {server} took longer than {SECONDS:g} s", remedy, is_down=True)
    if isinstance(outcome[0], NotDelivered):
        raise outcome[0]
    return outcome[0]


class Conversation:
    """One connection to a server."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None

    def hold(self, what: Callable[[smtplib.SMTP], T]) -> T | NotDelivered:
        """Return what comes of a talk with the server, which knows then who is there, or why there was none."""
        try:
            smtp = self._smtp = self._connected()
            try:
                self._log_in(smtp)
                outcome = what(smtp)
                with suppress(OSError):
                    smtp.quit()
                return outcome
            finally:
                smtp.close()
        except Exception as error:  # of sockets, TLS, SMTP and codecs
            return self._problem(error)

    def abandon(self) -> None:
        """End the talk, from another thread."""
        sock = self._smtp and self._smtp.sock
        if sock:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> smtplib.SMTP:
        host, port = self._server.host, self._server.port
        if self._server.scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=ANSWER_SECONDS, context=ssl.create_default_context())
        return smtplib.SMTP(host, port, timeout=ANSWER_SECONDS)

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        if self._server.scheme == "smtp+starttls":
            smtp.starttls(context=ssl.create_default_context())
        if self._server.user:
            smtp.login(self._server.user, self._server.password)

    def _problem(self, error: Exception) -> NotDelivered:
        server = self._server
        said = server.hidden(f"{type(error).__name__}: {error}")
        match error:
            case smtplib.SMTPAuthenticationError():
                return NotDelivered(
                    f"the SMTP server {server} does not let {server.user} in: {said}",
                    "correct user and password in DAGCELERY_SMTP_URL, in which @ / : and % are written %40 %2F %3A %25",
                )
            case smtplib.SMTPSenderRefused():
                remedy = "set DAGCELERY_SMTP_FROM to an address that it sends for"
                return NotDelivered(f"the SMTP server {server} refuses the sender: {said}", remedy)
            case smtplib.SMTPRecipientsRefused():
                return NotDelivered(f"the SMTP server {server} refuses all recipients: {said}", "correct mail(to=)")
            case ssl.SSLError() | smtplib.SMTPNotSupportedError():
                remedy = "write smtps:// for TLS from the start, smtp+starttls:// for STARTTLS, smtp:// for neither"
                return NotDelivered(f"the SMTP server {server} does not speak as its address says: {said}", remedy)
            case smtplib.SMTPServerDisconnected() | smtplib.SMTPConnectError():
                problem, is_down = f"the SMTP server {server} hangs up: {said}", True
            case smtplib.SMTPException():
                problem, is_down = f"the SMTP server {server} does not take it: {said}", False
            case OSError():
                problem, is_down = f"the SMTP server {server} cannot be reached: {said}", True
            case _:
                problem, is_down = f"it cannot be handed to the SMTP server {server}: {said}", False
        return NotDelivered(problem, "look at that server, or correct DAGCELERY_SMTP_URL", is_down=is_down)
