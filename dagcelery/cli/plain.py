"""Text of others on its way to a terminal, which would obey what is hidden in it: colours, titles, other lines."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return `text` with every character that cannot be seen written as an escape, but for tabs and ends of lines."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else escaped(letter) for letter in text)


def escaped(letter: str) -> str:
    """Write a character as Python does: ``\\x1b``."""
    return letter.encode("unicode_escape").decode()
