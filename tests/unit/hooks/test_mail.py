"""A mail tells of a run or a piece what everybody may know, and whatever happens to it changes no run."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from dagcelery import Notice, Retry, dag, invoke, task
from dagcelery.errors import InvalidDag, NodeFailed
from dagcelery.hooks import mail, smtp
from dagcelery.hooks.letters import letter
from dagcelery.local.server import free_ports
from dagcelery.planner.encoding import encode_plan
from unit.engine.worlds import World

from .mailbox import PASSWORD, Mailbox

OPS = "ops@example.com"
SECRET = "hunter2-and-more"
failure_mail = mail(to=OPS)


@task
def fit(x: int, address: str = "") -> int:
    if x == 2:
        raise ValueError(f"no model of {x}\r\nBcc: thief@example.com\n\n.\nÄ\x1b[31m")
    return x


@dag(on_failure=mail(to=[OPS, "Jörg Doe <joerg@example.com>"]), on_success=failure_mail)
def train(xs: list[int], address: str) -> list[int]:
    return [fit(x, address) for x in xs]


def text(mailbox: Mailbox) -> str:
    """The body of the only mail."""
    (message,) = mailbox.messages
    content: str = message.get_content()
    return content


def world(url: str, **settings: Any) -> World:
    return World(smtp_url=url, store_url="redis://db", **settings)


ADDRESS = f"redis://:{SECRET}@db"


def test_a_mail_says_what_failed_where_and_why_and_how_to_go_on(mailbox: Mailbox) -> None:
    run_id = world(mailbox.url, run_url="https://dags.example.com/{run}/").ended(train, xs=[0, 1, 2], address=ADDRESS)
    (message,), said = mailbox.messages, text(mailbox)
    name = f"{__name__}:train".replace(":", ".")
    assert message["Subject"].replace(":", ".").startswith(f"[dagcelery] {name} fit[2] failed. ValueError. no model")
    for told in (
        f"The run {run_id} of",
        "fit[2]",
        "xs = [0, 1, 2]",
        "address = 'redis://:***@db'",
        f"https://dags.example.com/{run_id}/",
        "raise ValueError(f",
        f"dagcelery resume {run_id}",
        "Ä",
    ):
        assert told in said
    assert SECRET not in said
    assert "\x1b" not in said


def test_texts_of_errors_and_names_cannot_add_headers_or_end_the_mail(mailbox: Mailbox) -> None:
    world(mailbox.url).ended(train, xs=[0, 1, 2], address="")
    (message,), (envelope,) = mailbox.messages, mailbox.envelopes
    assert "Bcc" not in message
    assert envelope.rcpt_tos == [OPS, "joerg@example.com"]
    assert message["To"].addresses[1].display_name == "Jörg Doe"
    assert "dagcelery show" in text(mailbox)
    hostile = Notice("r\r\nBcc: a@b", "d\nX: y", "failed", "n\r\nX: y", "E: \ud800\r\n\r\nX: y", key="k\nX: y")
    sent = letter(hostile, [OPS], "me@example.com", "")
    assert {name.lower() for name in sent} & {"bcc", "x"} == set()
    assert "\\ud800" in message_from_bytes(bytes(sent), policy=default).get_content()


def test_what_would_not_find_a_run_in_process_is_not_advised(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMTP", mailbox.url), ("RUN", "https://dags.example.com/{run}/"), ("STORE", "redis://db")):
        monkeypatch.setenv(f"DAGCELERY_{name}_URL", value)
    with pytest.raises(NodeFailed):
        invoke(train, {"xs": [2], "address": ""})
    assert "raise ValueError" in text(mailbox)
    assert not re.search("dagcelery (show|resume)|https:", text(mailbox))


def test_success_is_told_too(mailbox: Mailbox) -> None:
    world(mailbox.url).ended(train, xs=[0, 1], address="")
    (message,) = mailbox.messages
    assert message["Subject"].endswith("train is done")
    assert "resume" not in text(mailbox)


def test_a_mail_of_a_task_tells_of_its_piece_and_its_attempt(mailbox: Mailbox) -> None:
    tried = task(retry=Retry(2, wait=0), on_retry=failure_mail, on_failure=failure_mail)(fit.fn)
    world(mailbox.url, smtp_from="dags@example.com").ended(tried, x=2)
    first, second = mailbox.messages
    assert "fit failed, and is tried again: ValueError" in first["Subject"]
    assert "fit failed: ValueError" in second["Subject"]
    assert first["From"] == "dags@example.com"
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert "attempt    2" in second.get_content()


def test_a_hook_that_is_called_again_sends_the_same_letter() -> None:
    notice = Notice("r", "d", "failed", "n", "E", key="order-42")
    one, two = (letter(notice, [OPS], "me@example.com", "") for _ in range(2))
    assert one["Message-ID"] == two["Message-ID"]
    assert "key        order-42" in one.get_content()


@task(sensitive="token")
def fetch(url: str, token: str) -> str:
    raise ValueError(f"{url} refuses {token!r}")


@dag(sensitive="token", on_failure=failure_mail)
def fetched(token: str) -> str:
    return fetch("u", token)


def test_what_is_sensitive_is_in_no_mail(mailbox: Mailbox) -> None:
    world(mailbox.url).ended(fetched, token=SECRET)
    assert SECRET not in text(mailbox) + str(mailbox.messages[0]["Subject"])
    assert "u refuses '***'" in text(mailbox)
    assert "token = ***" in text(mailbox)


# -- plans ------------------------------------------------------------------------------------------
def test_runs_that_are_not_signed_may_send_mails_and_their_plans_name_no_server(mailbox: Mailbox) -> None:
    unsigned = world(mailbox.url, key=None, imports=(__name__,))
    run_id = unsigned.ended(train, xs=[0, 1, 2], address="")
    assert "no model of 2" in text(mailbox)
    stored = encode_plan(unsigned.client.view(run_id).program.plan, signed=False)
    assert OPS.encode() in stored
    assert b"p@ss" not in stored
    assert str(mailbox.port).encode() not in stored


@pytest.mark.parametrize("to", ["", [], "ops", "a@b, c@d", "a@b\nBcc: c@d", 5, [None], "a@", "@b"], ids=repr)
def test_what_is_no_address_is_refused_where_it_is_written(to: Any) -> None:
    with pytest.raises(InvalidDag, match="mail"):
        mail(to=to)


def test_bytes_are_no_list_of_addresses() -> None:
    with pytest.raises(InvalidDag, match=r"mail: b'ops@example\.com': is not the address"):
        mail(to=b"ops@example.com")  # type: ignore[arg-type]


# -- servers ----------------------------------------------------------------------------------------
@contextmanager
def mute() -> Iterator[str]:
    """A server that accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"smtp://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def nobody() -> Iterator[str]:
    (port,) = free_ports(1)
    yield f"smtp://robot:{SECRET}@127.0.0.1:{port}"


@contextmanager
def unset() -> Iterator[str]:
    yield ""


@contextmanager
def other(change: Callable[[str], str] = str) -> Iterator[str]:
    with Mailbox() as made:
        yield change(made.url)


BROKEN: list[tuple[Any, str, dict[str, Any]]] = [
    (unset, r"no SMTP server is known here; set DAGCELERY_SMTP_URL=", {}),
    (nobody, r"cannot be reached: ConnectionRefusedError.* correct DAGCELERY_SMTP_URL", {}),
    (mute, r"took longer than 0.1 s; look at that server", {}),
    (lambda: other(lambda url: url.replace("word", "wrong")), r"does not let robot@example.com in", {}),
    (lambda: other(lambda url: "smtp+starttls" + url[4:]), r"does not speak as its address says.*smtps://", {}),
    (lambda: other(lambda url: "smtps" + url[4:]), r"does not speak as its address says.*smtps://", {}),
    (lambda: other(lambda url: "smtp://" + url.partition("@")[2]), r"it has no sender; set DAGCELERY_SMTP_FROM", {}),
    (other, r"refuses the sender: .*not your address.*; set DAGCELERY_SMTP_FROM", {"smtp_from": "a@refused.com"}),
]


@pytest.mark.parametrize(("serve", "told", "more"), BROKEN, ids=[told[:30] for _, told, _ in BROKEN])
def test_a_server_that_takes_no_mail_fails_no_run_and_is_logged_once_with_the_remedy(
    serve: Any, told: str, more: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "_down", {})
    monkeypatch.setattr(smtp, "SECONDS", 0.1 if serve is mute else 60)
    settings = {} if "no sender" in told else {"smtp_from": "dags@example.com"}
    with serve() as url:
        there = world(url, **settings | more)
        run_id = there.ended(train, xs=[0, 1], address="")
    assert there.result(run_id) == [0, 1]
    (said,) = [each for each in caplog.records if each.name.startswith("dagcelery") and each.levelno > logging.INFO]
    assert re.search(told, said.getMessage())
    assert run_id in said.getMessage()
    assert SECRET not in caplog.text
    assert PASSWORD not in caplog.text
    assert said.exc_info is None


def test_a_server_that_is_down_is_left_alone_for_a_while(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(smtp.time, "monotonic", lambda: clock[0])
    smtp._down[mailbox.url] = clock[0] + smtp.PAUSE_SECONDS
    there = letter(Notice("r", "d", "failed"), [OPS], "me@example.com", "")
    smtp.send(there, mailbox.url, "r")
    assert "could not be reached a moment ago" in caplog.text
    clock[0] += smtp.PAUSE_SECONDS
    smtp.send(there, mailbox.url, "r")
    assert len(mailbox.messages) == 1


def test_addresses_may_have_letters_of_any_script(mailbox: Mailbox) -> None:
    (to,) = mail("jörg@exämple.com").keywords["to"]  # type: ignore[attr-defined]
    smtp.send(letter(Notice("r", "d", "failed"), [to], "me@example.com", ""), mailbox.url, "r")
    assert mailbox.envelopes[0].rcpt_tos == ["jörg@exämple.com"]


def test_who_is_refused_is_named_and_others_get_the_mail(mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    smtp.send(letter(Notice("r", "d", "failed"), [OPS, "x@refused.com"], "me@example.com", ""), mailbox.url, "r")
    assert mailbox.envelopes[0].rcpt_tos == [OPS]
    assert "refuses some recipients of the mail about run r: x@refused.com" in caplog.text


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the loopback, with its key."""
    folder = tmp_path_factory.mktemp("certified")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    new: Sequence[str] = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    subprocess.run([*new, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_mails_go_over_tls_to_a_server_whose_certificate_is_trusted(
    scheme: str, certified: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified / "cert.pem", certified / "key.pem")
    options = {"ssl_context": context} if scheme == "smtps" else {"tls_context": context, "require_starttls": True}
    sent = letter(Notice("r", "d", "failed"), [OPS], "me@example.com", "")
    with Mailbox(**options) as mailbox:
        url = scheme + mailbox.url.removeprefix("smtp")
        smtp.send(sent, url, "r")
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
        assert not mailbox.messages
        monkeypatch.setenv("SSL_CERT_FILE", str(certified / "cert.pem"))
        smtp.send(sent, url, "r")
        assert len(mailbox.messages) == 1
