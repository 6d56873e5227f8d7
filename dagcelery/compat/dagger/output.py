"""`dagger.output`: parts of a task's return value."""

from dagcelery.compat.dagger.rules import check_name
from dagcelery.model import FromKey, FromProperty, FromReturnValue

__all__ = ["FromKey", "FromProperty", "FromReturnValue", "validate_name"]


def validate_name(name: str) -> None:
    """Refuse a name that no output may have.

    Raises InvalidDag, which is a ValueError.
    """
    check_name("an output", "Outputs", name)
