"""The first step of the training; it fails on purpose, to show what a failure looks like."""


def step_fn() -> tuple[int, int]:
    """Find nothing to train with."""
    raise ValueError("there are no rows")
