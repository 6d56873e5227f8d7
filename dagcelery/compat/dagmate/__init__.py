"""The public class of dagmate: put ``dagcelery.compat.`` before ``dagmate`` in imports, and keep the rest."""

from dagcelery.compat.dagmate.core import Dagmate

__all__ = ["Dagmate"]
