"""The signing key of an installation on this machine: that of its directory, where results of before are kept."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from dagcelery.errors import NotConfigured

FILE: Final = "signing.key"


def key_of(directory: Path | None) -> str:
    """Return the key that a directory keeps, which is made with the first use; a new one where nothing is kept."""
    if directory is None:
        return secrets.token_hex(32)
    file = directory / FILE
    if not os.path.lexists(file):
        _make(file)
    try:
        found = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unfit(file, f"cannot be read: {error}") from error
    if not found:
        raise _unfit(file, "is empty")
    return found


def _make(file: Path) -> None:
    """Write a new key, whole or not at all; of several that do so at once one wins."""
    part = file.with_name(f".{FILE}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(secrets.token_hex(32) + "\n")
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    except OSError as error:
        raise _unfit(file, f"cannot be written: {error}") from error


def _unfit(file: Path, wrong: str) -> NotConfigured:
    right = "let this user read it, or remove it: another one is made, and what was signed with it cannot be read then"
    return NotConfigured(f"the signing key in {file} {wrong}", right)
