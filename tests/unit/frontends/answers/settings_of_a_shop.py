"""A module whose names are patched, and which is loaded again."""

RATE = 3
EACH = [1, 2]


def rated() -> int:
    return RATE
