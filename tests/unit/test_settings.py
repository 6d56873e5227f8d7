"""Settings come from arguments, the environment or defaults, in that order; a bad one is refused by name."""

from __future__ import annotations

import dataclasses

import pytest

from dagcelery.errors import InvalidSetting
from dagcelery.settings import Settings


def test_without_an_environment_there_are_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_every_setting_has_a_variable_of_its_name() -> None:
    examples = {
        "broker_url": "amqp://b",
        "store_url": "redis://s",
        "signing_key": "new,old",
        "imports": "shop.tasks, reports",
        "serializer": "pickle",
        "queue": "work",
        "key_prefix": "shop:",
        "spill_url": "file:///var/dagcelery",
        "smtp_url": "smtps://me:secret@mail",
        "smtp_from": "dags@example.com",
        "run_url": "https://dags.example.com/{run}",
        "flower_url": "https://flower.example.com",
        "trace": "child",
        "trace_link": "https://traces.example.com/{run}",
        "log_link": "https://logs.example.com/{run}/{node}",
        "web_token": "a token of 16 characters, or more",
        "code_mismatch": "error",
        "log_level": "debug",
    }
    fields = dataclasses.fields(Settings)
    numbers = {field.name: str(getattr(Settings(), field.name) * 2) for field in fields if field.name not in examples}
    texts = {**examples, **numbers}
    settings = Settings.from_environment({f"DAGCELERY_{name.upper()}": text for name, text in texts.items()})
    assert all(getattr(settings, field.name) != field.default for field in fields)


def test_modules_are_separated_by_commas_or_spaces() -> None:
    settings = Settings.from_environment({"DAGCELERY_IMPORTS": "shop.tasks, reports  jobs"})
    assert settings.imports == ("shop.tasks", "reports", "jobs")


def test_an_argument_wins_over_the_environment() -> None:
    settings = Settings.from_environment({"DAGCELERY_MAX_ITEMS": "5"}, max_items=6)
    assert settings.max_items == 6


def test_an_argument_of_none_leaves_the_environment_alone() -> None:
    settings = Settings.from_environment({"DAGCELERY_MAX_ITEMS": "5"}, max_items=None)
    assert settings.max_items == 5


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert Settings.from_environment({"DAGCELERY_MAX_ITEMS": " "}) == Settings()


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_NODES", "12")
    assert Settings.from_environment().max_nodes == 12


def test_a_bad_argument_is_refused_by_its_own_name() -> None:
    with pytest.raises(InvalidSetting, match="max_items"):
        Settings(max_items="5")  # type: ignore[arg-type]


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="max_itmes"):
        Settings.from_environment({}, max_itmes=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtp_url", "mail.example.com"),
        ("smtp_url", "http://mail.example.com"),
        ("smtp_url", "smtp://"),
        ("smtp_url", "smtp://user:pass/word@host"),
        ("smtp_url", "smtps://host:port"),
        ("smtp_url", "smtp://host?tls=1"),
        ("smtp_from", "nobody"),
        ("smtp_from", "a@b\nBcc: c@d"),
        ("run_url", "dags.example.com/{run}"),
        ("log_link", "javascript:alert(1)"),
        ("web_token", "letmein"),
    ],
)
def test_settings_of_mails_are_checked_and_passwords_not_told(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"DAGCELERY_{name.upper()}") as refused:
        Settings.from_environment({f"DAGCELERY_{name.upper()}": value})
    assert "pass/" not in str(refused.value)
    assert "secret" not in repr(Settings(smtp_url="smtp://me:secret@host"))


@pytest.mark.parametrize("prefix", ["two words:", "{tag}:", "sh*p:", "shöp:", "a" * 65, "line\n", 1])
def test_a_prefix_that_keys_cannot_have_is_refused(prefix: object) -> None:
    with pytest.raises(InvalidSetting, match=r"key_prefix.*such as shop:"):
        Settings(key_prefix=prefix)  # type: ignore[arg-type]
