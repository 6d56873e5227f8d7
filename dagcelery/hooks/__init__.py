"""Hooks that are ready to use: ``@dag(on_failure=mail(to="ops@example.com"))``.

A hook is made where DAGs are written, and called on workers; it is data in their plans. The server that sends mail is
a setting of the workers, so that no plan holds its password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from dagcelery.errors import InvalidDag
from dagcelery.text import shown

if TYPE_CHECKING:
    from dagcelery.engine.hooks import Notice

__all__ = ["mail", "send_mail"]


def mail(to: str | Iterable[str], *, sender: str | None = None) -> Callable[[Notice], None]:
    """Return a hook that sends a mail, for any of `on_failure`, `on_success` and `on_retry`.

    `to` is an address or several, also as ``"Jane Doe <jane@example.com>"``, and `sender` the address that it comes
    from, by default ``DAGCELERY_SMTP_FROM``. Workers send it through the server of ``DAGCELERY_SMTP_URL``.

    Raises InvalidDag for what is no address.
    """
    recipients = list(to) if isinstance(to, Iterable) and not isinstance(to, str | bytes) else [to]
    if not recipients:
        raise InvalidDag("mail(to=[])", "names nobody", "give an address, or several")
    for address in recipients if sender is None else [*recipients, sender]:
        _check_address(address)
    return partial(send_mail, to=recipients) if sender is None else partial(send_mail, to=recipients, sender=sender)


def _check_address(address: object) -> None:
    if not (isinstance(address, str) and address.isprintable() and _is_one(address)):
        raise InvalidDag(f"mail: {shown(address)}", "is not the address of one person", "write 'ops@example.com'")


def _is_one(address: str) -> bool:
    from email.errors import NonASCIILocalPartDefect  # here, since only mails need it
    from email.policy import SMTP

    try:
        header = SMTP.header_factory("to", address)
    except (ValueError, LookupError):  # Python's parser raises both
        return False
    (one, *others) = header.addresses or (None,)
    is_sound = all(isinstance(defect, NonASCIILocalPartDefect) for defect in header.defects)
    return bool(one is not None and not others and one.username and one.domain and is_sound)


def send_mail(notice: Notice, *, to: list[str], sender: str = "") -> None:
    """Send what a hook is told to some people. What fails is logged, with the remedy, and changes nothing."""
    from dagcelery.engine.hooks import settings_here
    from dagcelery.hooks.letters import letter
    from dagcelery.hooks.smtp import send

    settings = settings_here()
    is_stored = bool(settings.store_url)
    message = letter(notice, to, sender or settings.smtp_from, settings.run_url, is_stored=is_stored)
    send(message, settings.smtp_url, notice.run_id)
