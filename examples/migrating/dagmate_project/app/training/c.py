"""A step that takes two values, and gives two."""


def step_fn(x1: int, x2: int) -> tuple[int, int]:
    """Return two outputs, by position."""
    return x1 + x2, x1 * x2
