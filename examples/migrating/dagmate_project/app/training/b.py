"""A step that others wait for, although it gives them nothing."""


def step_fn() -> None:
    """Have an effect."""
    print("b")
