"""A user of Redis who may not do what is needed is told so, by name of what is missing, and nothing is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import guarded
import pytest
import redis

from dagcelery.client import Client
from dagcelery.errors import StoreRefused, StoreUnavailable
from dagcelery.local import Server
from dagcelery.settings import Settings

PASSWORD = "a-password-of-few"


@pytest.fixture
def allowed(server: Server) -> Iterator[Callable[[str], Client]]:
    """Make a client whose user may do what rules of Redis's ACL say."""
    with redis.Redis.from_url(server.url) as admin:

        def made(rules: str) -> Client:
            admin.execute_command("ACL", "SETUSER", "few", "reset", "on", f">{PASSWORD}", *rules.split())
            url = f"redis://few:{PASSWORD}@127.0.0.1:{urlsplit(server.url).port}/0"
            return Client(Settings(broker_url=url, store_url=url, signing_key="a key"))

        yield made
        admin.execute_command("ACL", "DELUSER", "few")
        assert not admin.keys("*")


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ("~* &* +ping", "evalsha"),
        ("~* &* +@all -evalsha", "evalsha"),
        ("~elsewhere:* &* +@all", "access.* key"),
    ],
    ids=["nearly nothing", "no scripts", "other keys"],
)
def test_a_user_without_rights_is_told_which_one_is_missing(
    allowed: Callable[[str], Client], rules: str, missing: str
) -> None:
    with pytest.raises((StoreRefused, StoreUnavailable), match=f"(?i){missing}.*the user's rights") as told:
        allowed(rules).submit(guarded.doubles, {"xs": [1]})
    assert PASSWORD not in str(told.value)
