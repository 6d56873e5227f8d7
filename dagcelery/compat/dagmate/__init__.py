"""The public class of dagmate: put ``dagcelery.compat.`` before ``dagmate`` in imports."""

from dagcelery.compat.dagmate.core import Dagmate

__all__ = ["Dagmate"]
