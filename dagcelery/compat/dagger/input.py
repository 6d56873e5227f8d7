"""`dagger.input`: sources of inputs."""

from dagcelery.compat.dagger.rules import check_name
from dagcelery.model import FromNodeOutput, FromParam

__all__ = ["FromNodeOutput", "FromParam", "validate_name"]


def validate_name(name: str) -> None:
    """Refuse a name that no input may have.

    Raises InvalidDag, which is a ValueError.
    """
    check_name("an input", "Inputs", name)
