"""The first step."""


def step_fn() -> tuple[int, int]:
    """Return two outputs, by position."""
    return 3, 4
