"""The first step of the inference."""


def step_fn() -> tuple[int, int]:
    """Return two outputs, by position."""
    return 3, 4
